"""What a notebook shows of estimators and results: their own figures, and data as text."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, advise, evaluate, load
from isthmus.errors import IsthmusError
from isthmus.evaluation import evaluate_detector


class Cells(HTMLParser):
    """The texts of the table that is ours, in order."""

    def __init__(self, text):
        super().__init__()
        self.texts, self._inside, self.scripts = [], False, 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._inside |= tag == "table" and ("class", "isthmus") in attributes
        self.scripts += self._inside and tag == "script"

    def handle_endtag(self, tag):
        self._inside &= tag != "table"

    def handle_data(self, text):
        if self._inside:
            self.texts.append(text)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def encoder(digits):
    half = digits.train.X[::2]
    return Autoencoder(recipe="fast", max_epochs=2, random_state=0).fit(half)


def test_estimators_show_what_they_learned(encoder, digits):
    classifier = CodeClassifier(encoder).fit(digits.train.X, digits.train.y)
    normal = digits.train.X[1::2][digits.train.y[1::2] == 0]
    detector = AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(normal)

    shown = {
        one: Cells(one._repr_mimebundle_()["text/html"]).texts
        for one in (encoder, classifier, detector)
    }

    assert "32 numbers of 64" in shown[encoder]
    assert f"validation {encoder.history_[-1]['validation_loss']:.4g}" in " ".join(shown[encoder])
    assert f"{len(digits.train.y):,}, beside 0 unlabelled" in shown[classifier]
    assert "10 % of normal instances" in shown[detector]
    assert all(encoder.digest_[:12] in texts for texts in shown.values())


def test_before_fitting_there_is_only_the_diagram():
    shown = Autoencoder(7)._repr_html_()

    assert "Autoencoder" in shown
    assert Cells(shown).texts == []


def test_text_is_shown_where_diagrams_are_switched_off(encoder):
    with config_context(display="text"):
        assert list(encoder._repr_mimebundle_()) == ["text/plain"]


def test_class_names_are_never_markup(encoder, digits):
    y = np.where(digits.train.y > 4, "<script>alert(1)</script>", "low")
    shown = Cells(CodeClassifier(encoder).fit(digits.train.X, y)._repr_html_())

    assert shown.scripts == 0
    assert "2: <script>alert(1)</script>, low" in "".join(shown.texts)


def test_an_evaluation_is_a_plain_dict_and_a_table(encoder, digits):
    classifier = CodeClassifier(encoder).fit(digits.train.X, digits.train.y)
    found = evaluate(
        classifier,
        digits.test.X,
        digits.test.y,
        X_train=digits.train.X,
        y_train=digits.train.y,
        random_state=0,
    )

    assert json.loads(json.dumps(found)) == found
    texts = Cells(found._repr_html_()).texts
    low, high = found["baselines"]["pca"]["interval"]
    assert texts[texts.index("pca") + 1] == (
        f"{100 * found['baselines']['pca']['accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    )


def test_an_evaluation_of_a_detector_is_a_table_too(encoder, digits):
    normal = digits.train.X[1::2][digits.train.y[1::2] == 0]
    detector = AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(normal)
    y = np.where(digits.test.y == 0, 1, -1)
    found = evaluate_detector(detector, digits.test.X, y, X_train=normal)

    texts = Cells(found._repr_html_()).texts
    flagged = found["code"]["false_alarms"]
    assert f"{flagged['count']} of {flagged['n']}" in texts
    assert texts[texts.index("raw") + 1] == f"{found['baselines']['raw']['auroc']:.3f}"


def test_advice_marks_the_width_that_it_recommends(digits):
    advice = advise(digits.train.X[:200], widths=[4, 16], max_epochs=1, random_state=0)
    texts = Cells(advice._repr_html_()).texts

    assert f"{advice.n_components} (recommended)" in texts
    assert f"{advice.table[0]['pca_error']:.4g}" in texts
    assert "accuracy %" not in texts


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (lambda X: Autoencoder(max_epochs=np.int64(0)).fit(X), "max_epochs=0"),
        (lambda X: Autoencoder(lr=np.float64(-1)).fit(X), "lr=-1.0"),
        (lambda X: Autoencoder(n_components=np.float64(1.5)).fit(X), "n_components=1.5"),
        (lambda X: Autoencoder(device=np.str_("gqu")).fit(X), "'gqu'"),
        (
            lambda X: AnomalyDetector(Autoencoder(), false_alarm_rate=np.float64(2)).fit(X),
            "rate=2.0",
        ),
        (lambda X: AnomalyDetector(Autoencoder(), method=np.str_("odd")).fit(X), "method='odd'"),
        (lambda X: AnomalyDetector(Autoencoder()).fit(X, np.full(len(X), 7)), "label 7 in row 0"),
        (lambda X: load(pd.DataFrame(X), kind="series", window=np.int64(1)), "window=1"),
        (lambda X: load(X, rows=np.int64(1)), "rows=1"),
        (lambda X: load(X, rows=[np.int64(1)]), r"rows=\[1\]"),
        (lambda X: load(X).take_range(slice(np.int64(900), np.int64(901))), "900"),
    ],
)
def test_numbers_and_text_of_numpy_are_shown_in_errors_as_those_of_python(call, shown):
    with pytest.raises((IsthmusError, ValueError), match=shown) as caught:
        call(np.random.default_rng(0).normal(size=(40, 4)))
    assert "np." not in str(caught.value)
