"""Numbers against closed forms and scikit-learn, and baselines against what they are."""

import math

import numpy as np
import pytest
from sklearn import metrics
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from isthmus import CodeClassifier, evaluate, load_bundle, save_bundle
from isthmus.data import Dataset, Splits
from isthmus.errors import DataError, DataWarning, IsthmusError
from isthmus.evaluation import (
    SupervisedNetwork,
    class_metrics,
    evaluate_head,
    fit_and_evaluate,
    reliability,
)


@pytest.fixture(scope="module")
def split(digits):
    images, labels = digits
    return images[:600], labels[:600], images[1000:1400], labels[1000:1400]


@pytest.fixture(scope="module")
def classifier(image_fit, split):
    """A linear head on frozen codes. Do not refit."""
    return CodeClassifier(image_fit, random_state=0).fit(split[0], split[1])


def test_interval_is_wilsons():
    y, predicted = np.zeros(200, dtype=int), np.r_[np.zeros(190, dtype=int), np.ones(10, dtype=int)]
    low, high = class_metrics(y, predicted)["interval"]
    n, p, z = 200, 0.95, 1.959963984540054
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert low == pytest.approx(middle - half, rel=1e-9)
    assert high == pytest.approx(middle + half, rel=1e-9)


def test_numbers_equal_scikit_learns(classifier, split):
    found = evaluate(classifier, split[2], split[3], baselines=None)["code"]
    predicted, probabilities = classifier.predict(split[2]), classifier.predict_proba(split[2])
    assert found["accuracy"] == metrics.accuracy_score(split[3], predicted)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(split[3], probabilities))
    assert found["confusion"] == metrics.confusion_matrix(split[3], predicted).tolist()
    recalls = [row["recall"] for row in found["per_class"]]
    assert recalls == metrics.recall_score(split[3], predicted, average=None).tolist()


@pytest.mark.filterwarnings("ignore:the encoder was trained on")
def test_what_is_promised_is_measured_as_the_classifier_decides(image_fit, split):
    order = np.random.default_rng(0).permutation(1000)
    X, y = (np.concatenate(pair)[order] for pair in ((split[0], split[2]), (split[1], split[3])))
    classifier = CodeClassifier(image_fit, "neighbours", calibration="cross", random_state=0)
    classifier.fit(X[:500], y[:500])
    found = evaluate(classifier, X[500:], y[500:], baselines=None)

    facts, rows = found["calibration"], np.arange(500)
    assert facts["log_loss"]["after"] == pytest.approx(found["code"]["log_loss"])
    assert facts["log_loss"]["after"] < facts["log_loss"]["before"]
    for one in facts["sets"]:
        sets = classifier.predict_set(X[500:], one["alpha"], by_class=one["by_class"])
        assert one["coverage"] == sets[rows, y[500:]].mean()
        assert one["mean_size"] == sets.sum(axis=1).mean()
        assert one["empty"] == (~sets.any(axis=1)).mean()
        assert sum(each["n"] for each in one["per_class"]) == 500
    for one in facts["accepted"]:
        accepted = classifier.accept(X[500:], one["max_error"])
        wrong = classifier.predict(X[500:]) != y[500:]
        assert (one["n"], one["n_wrong"]) == (accepted.sum(), (accepted & wrong).sum())
    confident = classifier.predict_proba(X[500:]).max(axis=1)
    right = classifier.predict(X[500:]) == y[500:]
    assert facts["ece"]["after"] == reliability(confident, right)["error"]


@pytest.mark.filterwarnings("ignore::isthmus.errors.CalibrationWarning")
def test_labels_of_no_class_are_in_no_set(image_fit, split):
    known = split[1] < 9
    classifier = CodeClassifier(image_fit, calibration="split", random_state=0)
    classifier.fit(split[0][known], split[1][known])
    facts = evaluate(classifier, split[2], split[3], baselines=None)["calibration"]

    sets = classifier.predict_set(split[2], 0.1)
    inside = split[3] < 9
    hits = sets[np.flatnonzero(inside), split[3][inside]].sum()
    assert facts["sets"][0]["coverage"] == hits / len(split[3])
    assert [each["label"] for each in facts["sets"][0]["per_class"]] == list(range(9))


def test_a_head_is_fitted_on_all_labels_after_the_evaluation(image_fit, split):
    train, test = Dataset(split[0], split[1]), Dataset(split[2], split[3])
    options = {"baselines": None, "random_state": 0}
    fitted, found = fit_and_evaluate(image_fit, train, test_fraction=0.25, **options)
    assert (fitted.n_labels_, found["code"]["n"]) == (600, 150)
    fitted, found = fit_and_evaluate(image_fit, Splits(train, test), **options)
    assert (fitted.n_labels_, found["code"]["n"]) == (600, 400)
    assert evaluate_head(fitted, test)["code"] == found["code"]
    with pytest.raises(DataError, match=r"baselines are fitted on .* pass train"):
        evaluate_head(fitted, test, baselines="fast")
    with pytest.raises(DataError, match=r"the head is a classifier, and normal="):
        evaluate_head(fitted, test, normal="3")


def test_instances_without_a_label_are_left_out_and_counted(image_fit, split):
    y = split[1].astype(object)
    y[::3] = None
    options = {"baselines": None, "random_state": 0}
    with pytest.warns(DataWarning, match="200 of 600 rows have no label and are left out.*spread"):
        fitted, found = fit_and_evaluate(image_fit, Dataset(split[0], y), **options)
    assert (fitted.n_labels_, found["n_left_out"], found["code"]["n"]) == (400, 200, 80)
    known = np.arange(600) % 3 > 0
    of_known = Dataset(split[0][known], split[1][known])
    expected = fit_and_evaluate(image_fit, of_known, **options)
    assert found["code"] == expected[1]["code"]
    with pytest.raises(DataError, match="none of 600 instances has a label.*suggest"):
        fit_and_evaluate(image_fit, Dataset(split[0], np.full(600, None)), **options)


def test_a_class_that_the_head_never_saw_counts_as_wrong(image_fit, split):
    known = split[1] < 9
    classifier = CodeClassifier(image_fit).fit(split[0][known], split[1][known])
    found = evaluate(classifier, split[2], split[3], baselines=None)["code"]
    nine = next(row for row in found["per_class"] if row["label"] == 9)
    assert nine["recall"] == 0
    assert nine["support"] == (split[3] == 9).sum()
    assert found["log_loss"] > (split[3] == 9).mean() * 30  # -ln(epsilon) is 36


@pytest.mark.parametrize("most_kept", [20_000, 100])
def test_instances_that_a_head_was_fitted_on_are_counted(
    image_fit, split, digits, most_kept, monkeypatch, tmp_path
):
    monkeypatch.setattr("isthmus.classification.classifier.MAX_LABELLED_CODES", most_kept)
    fitted = CodeClassifier(image_fit).fit(split[0], split[1])
    save_bundle(tmp_path / "bundle", image_fit, {"digits": fitted})
    loaded = load_bundle(tmp_path / "bundle").heads["digits"]
    assert (loaded.labelled_ is None) == (most_kept == 100)
    X, y = digits[0][500:800], digits[1][500:800]
    for head in (fitted, loaded):
        assert evaluate(head, X, y, baselines=None)["n_known"] == 100
        assert evaluate(head, split[2], split[3], baselines=None)["n_known"] == 0


def test_baselines_are_what_their_names_say(classifier, split):
    X_train, y_train, X_test, y_test = split
    found = evaluate(classifier, X_test, y_test, X_train=X_train, y_train=y_train, random_state=0)[
        "baselines"
    ]
    assert list(found) == ["raw", "pca", "untrained"]
    raw_train = X_train.reshape(len(X_train), -1).astype(np.float32) / 255
    raw_test = X_test.reshape(len(X_test), -1).astype(np.float32) / 255

    def linear(train, test):
        scaler = StandardScaler().fit(train)
        head = LogisticRegression(max_iter=2000).fit(scaler.transform(train), y_train)
        return head.score(scaler.transform(test), y_test)

    assert found["raw"]["accuracy"] == pytest.approx(linear(raw_train, raw_test), abs=0.006)
    pca = PCA(32, random_state=0).fit(raw_train)
    expected = linear(pca.transform(raw_train), pca.transform(raw_test))
    assert found["pca"]["accuracy"] == pytest.approx(expected, abs=0.006)


def test_untrained_baseline_has_other_weights_and_the_same_architecture(image_fit, split):
    untrained = image_fit.untrained(random_state=1)
    assert untrained.digest_ != image_fit.digest_
    assert untrained.transform(split[2]).shape == image_fit.transform(split[2]).shape
    worse = untrained.reconstruction_error(split[2]).mean()
    assert worse > 1.5 * image_fit.reconstruction_error(split[2]).mean()


def test_supervised_network_learns_and_is_the_listings(image_fit, split):
    network = SupervisedNetwork(image_fit.preprocessor_, max_epochs=12, random_state=0)
    network.fit(split[0], split[1])
    assert (network.predict(split[2]) == split[3]).mean() > 0.85
    probabilities = network.predict_proba(split[2])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_supervised_network_of_a_28x28_image_has_the_published_parameters():
    from isthmus.evaluation.supervised_network import _network
    from isthmus.networks import count_parameters

    # 320 + 18,496 + 1,179,776 + 1,290, as the listing's own summary counts.
    assert count_parameters(_network((1, 28, 28), 10)) == 1_199_882


def test_supervised_network_takes_tables(table_fit, table):
    y = (table[:, 0] > 13).astype(int)
    network = SupervisedNetwork(table_fit.preprocessor_, max_epochs=20, random_state=0)
    assert (network.fit(table, y).predict(table) == y).mean() > 0.9


def test_evaluation_says_what_is_missing(classifier, split):
    with pytest.raises(DataError, match="X_train="):
        evaluate(classifier, split[2], split[3], baselines="fast")
    found = evaluate(classifier, split[2], split[3])
    assert found["baselines"] == {}
    assert {"accuracy", "log_loss"} <= set(found["code"])
    with pytest.raises(DataError, match="one label for each"):
        evaluate(classifier, split[2], split[3][:5], baselines=None)
    with pytest.raises(IsthmusError, match="'fast', 'all' or None"):
        evaluate(classifier, split[2], split[3], baselines="some")
    labels = split[1].astype(str)
    with pytest.raises(DataError, match="same kind"):
        names = CodeClassifier(classifier.encoder_).fit(split[0], np.char.add("no ", labels))
        evaluate(names, split[2], split[3], baselines=None)


def test_labels_need_not_be_written_as_the_classes_are(classifier, split):
    X, y, X_test, y_test = split
    strings = CodeClassifier(classifier.encoder_).fit(X, y.astype(str))
    given = {"X_train": X, "y_train": y, "random_state": 0}
    expected = evaluate(strings, X_test, y_test.astype(str), **given | {"y_train": y.astype(str)})
    assert evaluate(strings, X_test, y_test, **given) == expected
    assert "unknown_classes" not in expected
