"""Heads on frozen codes: what they reach, what they refuse, and that the encoder stays."""

import copy
import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from torch import nn

from isthmus import Autoencoder, CodeClassifier, load, load_bundle, save_bundle
from isthmus.classification import MLPHead, StandardisedHead, build_head, check_labels, mlp
from isthmus.errors import CalibrationError, CalibrationWarning, DataError, DataWarning, FrozenError
from isthmus.networks import digest, read_weights
from isthmus.training import derived_seed, draw_seed


@pytest.fixture(scope="module")
def labelled(digits):
    """Three hundred labelled digits, the first that the encoder saw."""
    return digits[0][:300], digits[1][:300]


@pytest.fixture(scope="module")
def unseen(digits):
    return digits[0][1000:], digits[1][1000:]


@pytest.fixture(scope="module")
def linear_fit(image_fit, labelled):
    """Do not refit."""
    return CodeClassifier(image_fit).fit(*labelled)


@pytest.fixture(scope="module")
def codes(image_fit, labelled):
    """Standardised codes of the labelled digits."""
    return StandardScaler().fit_transform(image_fit.transform(labelled[0]))


# --- accuracy ----------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "mlp", "neighbours", "svm"])
def test_every_head_does_about_as_well_as_on_as_many_principal_components(
    head, image_fit, labelled, unseen
):
    flat, flat_unseen = labelled[0].reshape(300, -1), unseen[0].reshape(len(unseen[0]), -1)
    oracle = make_pipeline(PCA(32), StandardScaler(), LogisticRegression(max_iter=1000))
    oracle.fit(flat, labelled[1])
    majority = np.bincount(unseen[1]).max() / len(unseen[1])

    classifier = CodeClassifier(image_fit, head, random_state=0).fit(*labelled)

    assert classifier.score(*unseen) > oracle.score(flat_unseen, unseen[1]) - 0.05
    assert classifier.score(*unseen) > 0.8 > 8 * majority * 0.9


def test_probabilities_are_probabilities(linear_fit, unseen):
    probabilities = linear_fit.predict_proba(unseen[0])

    assert probabilities.shape == (len(unseen[0]), 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(
        linear_fit.classes_[probabilities.argmax(axis=1)], linear_fit.predict(unseen[0])
    )


def test_the_decision_is_the_heads_on_standardised_codes(linear_fit, image_fit, labelled, unseen):
    scaler = StandardScaler().fit(image_fit.transform(labelled[0]))
    features = scaler.transform(image_fit.transform(unseen[0]))

    np.testing.assert_array_equal(linear_fit.predict(unseen[0]), linear_fit.head_.predict(features))


@pytest.mark.parametrize(
    "head",
    ["linear", MLPHead((32,), max_epochs=3), "neighbours", RandomForestClassifier(5)],
    ids=str,
)
def test_the_seed_decides_the_head(head, image_fit, labelled):
    first, again = (
        CodeClassifier(image_fit, head, random_state=0).fit(*labelled).predict_proba(labelled[0])
        for _ in range(2)
    )

    np.testing.assert_array_equal(first, again)


def test_the_support_vector_machine_decides_as_one_without_probabilities(image_fit, labelled):
    codes = StandardScaler().fit_transform(image_fit.transform(labelled[0]))
    oracle = SVC(C=5, gamma=1 / codes.shape[1]).fit(codes, labelled[1])

    classifier = CodeClassifier(image_fit, "svm").fit(*labelled)

    np.testing.assert_array_equal(classifier.predict(labelled[0]), oracle.predict(codes))


def test_a_support_vector_machine_needs_three_labels_of_each_class(image_fit, labelled):
    with pytest.raises(ValueError, match="less than 3 examples for at least one class"):
        CodeClassifier(image_fit, "svm").fit(labelled[0][:20], labelled[1][:20])


# --- labels ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "form"),
    [
        *(("linear", form) for form in ("array", "list", "series", "object")),
        *((MLPHead((32,), lr=0.01, max_epochs=20), "object"), ("neighbours", "series")),
    ],
)
def test_labels_may_be_words(head, form, image_fit, labelled):
    words = np.array(["zero", "one", "more"])[np.minimum(labelled[1], 2)]
    y = {
        "array": lambda: words,
        "list": lambda: words.tolist(),
        "series": lambda: pd.Series(words),
        "object": lambda: words.astype(object),
    }[form]()

    classifier = CodeClassifier(image_fit, head, random_state=0).fit(labelled[0], y)

    assert list(classifier.classes_) == ["more", "one", "zero"]
    assert classifier.score(labelled[0], words) > 0.9


@pytest.mark.parametrize("classes", [(-1, 1), (0, 1), (7, 3), (False, True), (-2, 5)])
def test_two_classes_may_be_any_two_numbers(classes, image_fit, labelled):
    y = np.where(labelled[1] < 5, *classes)

    classifier = CodeClassifier(image_fit).fit(labelled[0], y)

    assert list(classifier.classes_) == sorted(classes)
    assert classifier.score(labelled[0], y) > 0.8


def missing(y, value):
    y = y.astype(object)
    y[4] = value
    return y


BAD_LABELS = {
    "none at all": (lambda y: None, "the target y is None"),
    "None": (lambda y: missing(y, None), r"1 of 300 labels are missing .* row 4; fit on"),
    "NaN": (lambda y: missing(y, np.nan).astype(float), r"1 of 300 .* row 4.*keep = ~pandas.isna"),
    "NA": (lambda y: pd.Series(missing(y, pd.NA)), "1 of 300 labels are missing"),
    "missing word": (
        lambda y: pd.Series([None if pd.isna(v) else str(v) for v in missing(y, None)]),
        "1 of 300 labels are",
    ),
    "infinite": (lambda y: missing(y, np.inf).astype(float), "1 of 300 labels are infinite.*row 4"),
    "mark": (lambda y: np.where(y > 7, -1, y), re.escape("fit(X[y != -1], y[y != -1])")),
    "marks only": (lambda y: np.full(300, -1), "marks an instance as unlabelled"),
    "one class": (lambda y: np.full(300, "normal"), r"labels of one class \(.*normal.*detector"),
    "one number": (lambda y: np.zeros(300, np.int64), r"labels of one class \(0\), expected"),
    "too few": (lambda y: y[:299], "got 300 instances and 299 labels"),
    "too many": (lambda y: np.append(y, 1), "got 300 instances and 301 labels"),
    "continuous": (lambda y: y + 0.5, "Unknown label type: continuous"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_cannot_be_used_are_refused_with_the_fix(case, image_fit, labelled):
    spoil, message = BAD_LABELS[case]

    with pytest.raises(ValueError, match=message):
        CodeClassifier(image_fit).fit(labelled[0], spoil(labelled[1]))


def test_classes_that_look_alike_or_like_none_are_warned_of():
    y = ["nut", "Nut", "bolt", "nut "]
    with pytest.warns(DataWarning, match="got the classes 'Nut', 'nut', 'nut ', which differ in"):
        check_labels(y, 4)
    with pytest.warns(DataWarning, match="got the classes 'nan', which"):
        check_labels(np.array(["nut", np.nan, "bolt"]), 3)
    with pytest.warns(DataWarning, match=r"got the classes '-', '\?', which"):
        check_labels(["nut", "?", "bolt", "-"], 4)
    check_labels(["a", "A", "b"], 3)


def test_bad_labels_are_found_before_an_encoder_is_trained(labelled, monkeypatch):
    monkeypatch.setattr(Autoencoder, "fit", lambda *_: pytest.fail("trained for hours"))

    with pytest.raises(DataError, match="missing"):
        CodeClassifier(Autoencoder()).fit(labelled[0], missing(labelled[1], None))


@pytest.mark.parametrize("head", ["linear", "mlp", "neighbours"])
@pytest.mark.parametrize("n", [2, 5, 49])
def test_very_few_labels_are_enough(head, n, image_fit, labelled):
    classifier = CodeClassifier(image_fit, head, random_state=0).fit(*(a[:n] for a in labelled))

    assert classifier.score(*(a[:n] for a in labelled)) == 1
    assert classifier.predict(labelled[0]).shape == (300,)


# --- frozen ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def normalised_fit(images):
    """An encoder with running statistics. Do not refit."""
    torch.manual_seed(0)
    encoder = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(36, 8), nn.BatchNorm1d(8)),
    )
    decoder = nn.Sequential(nn.Linear(8, 64), nn.Unflatten(1, (1, 8, 8)))
    return Autoencoder(architecture=(encoder, decoder), max_epochs=2, random_state=0).fit(images)


@pytest.mark.parametrize("head", ["linear", "mlp", "neighbours"])
def test_no_weight_and_no_running_statistic_of_the_encoder_changes(head, normalised_fit, labelled):
    before = {name: value.clone() for name, value in normalised_fit.encoder_.state_dict().items()}
    assert any("running_mean" in name for name in before)
    # Someone left it in training mode, with gradients: fit has to see to that itself.
    normalised_fit.encoder_.train().requires_grad_(True)

    classifier = CodeClassifier(normalised_fit, head, random_state=0).fit(*labelled)
    classifier.predict(labelled[0])

    after = normalised_fit.encoder_.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert classifier.encoder_digest_ == normalised_fit.digest_


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("rejection_rate", 0.2), ("head", "neighbours"), ("calibration", "cross")],
)
def test_a_parameter_set_after_the_fit_is_said_not_to_count(parameter, value, image_fit, labelled):
    classifier = CodeClassifier(image_fit, random_state=0).fit(*labelled)
    before = classifier.predict(labelled[0])
    classifier.set_params(**{parameter: value})
    with pytest.warns(CalibrationWarning, match=f"{parameter}=.* was set after the fit.*fit again"):
        np.testing.assert_array_equal(classifier.predict(labelled[0]), before)
    with warnings.catch_warnings(action="error", category=CalibrationWarning):
        classifier.set_params(**{parameter: getattr(CodeClassifier(image_fit), parameter)})
        classifier.predict(labelled[0])


class Trespasser(ClassifierMixin, BaseEstimator):
    """A head whose fit reaches into an encoder that it got hold of."""

    network = None

    def __init__(self, what="weight"):
        self.what = what

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if self.what == "weight":
            self.network[0].weight.data[0, 0, 0, 0] += 1e-3
        elif self.what == "statistics":
            self.network.train()(torch.rand(4, 1, 8, 8))
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.mark.parametrize("what", ["weight", "statistics"])
def test_a_head_that_changes_the_encoder_is_found_out(what, normalised_fit, labelled, monkeypatch):
    encoder = copy.deepcopy(normalised_fit)
    monkeypatch.setattr(Trespasser, "network", encoder.encoder_)
    classifier = CodeClassifier(encoder, Trespasser(what))

    with pytest.raises(FrozenError, match=f"digest {encoder.digest_[:12]} before"):
        classifier.fit(*labelled)
    with pytest.raises(NotFittedError):
        classifier.predict(labelled[0])


def test_a_head_that_leaves_the_encoder_alone_is_not_accused(normalised_fit, labelled):
    assert CodeClassifier(normalised_fit, Trespasser("nothing")).fit(*labelled).encoder_


# --- heads of a person's own -------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        RandomForestClassifier(30, random_state=0),
        make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=500)),
        LinearSVC(random_state=0),
    ],
    ids=["forest", "pipeline", "svc"],
)
def test_any_scikit_learn_classifier_can_be_the_head(head, image_fit, labelled, unseen):
    classifier = CodeClassifier(image_fit, head).fit(*labelled)

    assert classifier.score(*unseen) > 0.75
    assert type(classifier.head_) is type(head)
    with pytest.raises(NotFittedError):
        head.predict(image_fit.transform(labelled[0]))  # a clone was fitted


def test_probabilities_are_there_only_if_the_head_has_them(image_fit, labelled):
    with_them = CodeClassifier(image_fit, RandomForestClassifier(10))
    without = CodeClassifier(image_fit, LinearSVC())
    assert hasattr(with_them, "predict_proba")
    assert not hasattr(without, "predict_proba")

    without.fit(*labelled)
    assert not hasattr(without, "predict_proba")


def test_a_head_without_a_seed_gets_the_classifiers(image_fit, labelled):
    mine, theirs = RandomForestClassifier(5), RandomForestClassifier(5, random_state=9)

    assert CodeClassifier(image_fit, mine, random_state=4).fit(*labelled).head_.random_state == 4
    assert CodeClassifier(image_fit, theirs, random_state=4).fit(*labelled).head_.random_state == 9
    assert mine.random_state is None


@pytest.mark.parametrize("head", ["forest", None, RandomForestClassifier, PCA(2)])
def test_what_is_no_head_is_refused_with_those_there_are(head, image_fit, labelled):
    heads = "linear, mlp, neighbours, svm, spreading"
    with pytest.raises(ValueError, match=f"expected one of {heads}, or"):
        CodeClassifier(image_fit, head).fit(*labelled)


@pytest.mark.parametrize("own", [None, KNeighborsClassifier(4), KNeighborsClassifier(7, p=1)])
def test_votes_of_neighbours_are_scikit_learns(own):
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(400, 6)), rng.normal(size=(150, 6))
    new[:20] = X[:20]  # at distance zero
    y = np.array(["left", "middle", "right"])[np.digitize(X[:, 0] + rng.normal(size=400), [-1, 1])]
    unfitted = build_head("neighbours" if own is None else own, n_labels=400)
    head = StandardisedHead(clone(unfitted)).fit(X, y)
    expected = make_pipeline(StandardScaler(), unfitted).fit(X, y)
    np.testing.assert_array_equal(head.predict(new), expected.predict(new))
    np.testing.assert_allclose(head.predict_proba(new), expected.predict_proba(new), atol=1e-6)


class AlwaysSure(KNeighborsClassifier):
    def predict_proba(self, X):
        return np.round(super().predict_proba(X))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_a_persons_own_way_of_counting_votes_is_used():
    X = np.random.default_rng(0).normal(size=(200, 3))
    head = StandardisedHead(AlwaysSure(5)).fit(X, X[:, 0] + X[:, 1] ** 2 > 0.5)
    assert set(head.predict_proba(X).ravel()) == {0.0, 1.0}


def test_there_are_never_more_neighbours_than_labels():
    assert build_head("neighbours", n_labels=3).n_neighbors == 3
    assert build_head("neighbours", n_labels=300).n_neighbors == 5


@pytest.mark.parametrize("encoder", [PCA(3), "conv", None])
def test_the_encoder_has_to_be_an_autoencoder(encoder, labelled):
    with pytest.raises(TypeError, match=r"expected an isthmus.Autoencoder"):
        CodeClassifier(encoder).fit(*labelled)


# --- scikit-learn ------------------------------------------------------------------------


def test_a_clone_shares_the_fitted_encoder(linear_fit, image_fit, labelled):
    twin = clone(linear_fit)

    assert twin.encoder is image_fit
    with pytest.raises(NotFittedError):
        twin.predict(labelled[0])


def test_a_clone_has_its_own_unfitted_encoder_and_head():
    classifier = CodeClassifier(Autoencoder(7), RandomForestClassifier(3), random_state=2)

    twin = clone(classifier)

    assert twin.encoder is not classifier.encoder
    assert twin.head is not classifier.head
    assert (twin.encoder.n_components, twin.head.n_estimators, twin.random_state) == (7, 3, 2)


def test_a_grid_search_over_heads_fits_no_encoder(image_fit, labelled, monkeypatch):
    monkeypatch.setattr(Autoencoder, "fit", lambda *_: pytest.fail("the encoder was refitted"))

    search = GridSearchCV(
        CodeClassifier(image_fit), {"head": ["linear", "neighbours"]}, cv=3, error_score="raise"
    ).fit(*labelled)

    assert search.best_params_["head"] in ("linear", "neighbours")
    assert min(search.cv_results_["mean_test_score"]) > 0.8
    assert search.best_estimator_.encoder_ is image_fit


def test_an_unfitted_encoder_is_cloned_and_fitted(labelled):
    encoder = Autoencoder(16, max_epochs=5, random_state=0)

    classifier = CodeClassifier(encoder).fit(*labelled)

    assert classifier.score(*labelled) > 0.8
    assert classifier.encoder_.digest_ == clone(encoder).fit(labelled[0]).digest_
    with pytest.raises(NotFittedError):
        encoder.transform(labelled[0])


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("cached", [False, True])
def test_an_encoder_that_gives_dataframes_will_do(head, cached, table, tmp_path):
    y = table[:, 0] > 13
    encoder = Autoencoder(4, max_epochs=5, random_state=0).fit(table)
    plain = CodeClassifier(encoder, head, random_state=0).fit(table, y)
    expected = plain.predict_proba(table)

    encoder.set_output(transform="pandas")
    where = tmp_path if cached else None
    framed = CodeClassifier(encoder, head, random_state=0, cache_dir=where).fit(table, y)

    for _ in range(2):  # the second time from the cache
        np.testing.assert_array_equal(framed.predict_proba(table), expected)


def test_a_dataframe_keeps_its_names(frame):
    encoder = Autoencoder(4, max_epochs=5, random_state=0).fit(frame)
    y = frame["alcohol"] > 13

    classifier = CodeClassifier(encoder).fit(frame, y)

    assert classifier.n_features_in_ == 13
    assert list(classifier.feature_names_in_) == list(frame.columns)
    backwards = frame[frame.columns[::-1]]
    np.testing.assert_array_equal(classifier.predict(backwards), classifier.predict(frame))


def test_instances_unlike_those_of_the_encoder_are_refused(linear_fit, labelled):
    with pytest.raises(ValueError, match="resize the images"):
        linear_fit.predict(labelled[0][:, :7])


# --- the cache ---------------------------------------------------------------------------


def refuse_to_encode(monkeypatch):
    def fails(*_):
        raise AssertionError("encoded again")

    monkeypatch.setattr(Autoencoder, "transform", fails)


def test_the_same_instances_are_encoded_once(image_fit, labelled, tmp_path, monkeypatch):
    first = CodeClassifier(image_fit, cache_dir=tmp_path).fit(*labelled)
    expected = first.predict(labelled[0])

    refuse_to_encode(monkeypatch)
    again = CodeClassifier(image_fit, "neighbours", cache_dir=tmp_path).fit(*labelled)

    assert again.score(*labelled) == 1  # each is its own nearest neighbour
    np.testing.assert_array_equal(first.predict(labelled[0]), expected)


def test_other_data_never_meet_the_cache(image_fit, labelled, tmp_path, monkeypatch):
    classifier = CodeClassifier(image_fit, cache_dir=tmp_path).fit(*labelled)
    other = labelled[0].copy()
    other[17, 3, 3] ^= 1

    refuse_to_encode(monkeypatch)
    with pytest.raises(AssertionError, match="encoded again"):
        classifier.predict(other)


def test_another_encoder_never_meets_the_cache(image_fit, labelled, tmp_path):
    CodeClassifier(image_fit, cache_dir=tmp_path).fit(*labelled)
    other = Autoencoder(16, max_epochs=1, random_state=0).fit(labelled[0])

    classifier = CodeClassifier(other, cache_dir=tmp_path).fit(*labelled)

    assert classifier.head_.n_features_in_ == 16


def test_the_same_weights_for_other_units_never_meet_the_cache(table, tmp_path):
    # Standardised, a table and its double are bit for bit the same: so are the weights.
    encoder, doubled = (
        Autoencoder(4, max_epochs=2, random_state=0).fit(X) for X in (table, 2 * table)
    )
    assert encoder.digest_ == doubled.digest_
    y = table[:, 0] > 13
    expected = CodeClassifier(encoder).fit(table, y).predict_proba(table)

    CodeClassifier(doubled, cache_dir=tmp_path).fit(table, y)
    classifier = CodeClassifier(encoder, cache_dir=tmp_path).fit(table, y)

    np.testing.assert_array_equal(classifier.predict_proba(table), expected)


def test_changed_weights_never_meet_the_cache(labelled, tmp_path, monkeypatch):
    encoder = Autoencoder(4, max_epochs=1, random_state=0).fit(labelled[0])
    CodeClassifier(encoder, cache_dir=tmp_path).fit(*labelled)
    next(encoder.encoder_.parameters()).add_(1)
    encoder.adopt_weights()

    refuse_to_encode(monkeypatch)
    with pytest.raises(AssertionError, match="encoded again"):
        CodeClassifier(encoder, cache_dir=tmp_path).fit(*labelled)


# --- the MLP head ------------------------------------------------------------------------


def test_the_mlp_writes_its_best_epochs(image_fit, labelled, codes, tmp_path):
    classifier = CodeClassifier(image_fit, "mlp", random_state=0, checkpoint_dir=tmp_path)
    classifier.fit(*labelled)
    head = classifier.head_

    names = sorted(path.name for path in tmp_path.glob("weights-*"))
    found = [re.fullmatch(r"weights-(\d\d+)-(\d\.\d{4})\.safetensors", name) for name in names]
    epochs = [int(match[1]) for match in found]
    accuracies = [float(match[2]) for match in found]
    history = {record["epoch"]: record["validation_accuracy"] for record in head.history_}
    assert accuracies == [pytest.approx(history[epoch], abs=1e-4) for epoch in epochs]
    assert accuracies == sorted(accuracies)
    assert epochs[0] == 1
    assert epochs[-1] == head.best_epoch_

    plan = json.loads((tmp_path / "architecture.json").read_text())
    network = mlp(
        plan["n_features"], plan["hidden_layer_sizes"], plan["n_classes"], plan["dropout"]
    )
    assert digest(network) != digest(head.network_)
    read_weights(tmp_path / names[-1], network)
    assert digest(network) == digest(head.network_)


def test_the_mlp_stops_early_and_keeps_its_best_epoch(codes, labelled):
    head = MLPHead(patience=3, random_state=0, max_epochs=60).fit(codes, labelled[1])
    accuracies = [record["validation_accuracy"] for record in head.history_]

    assert len(accuracies) == head.best_epoch_ + 3 < 60
    assert accuracies[head.best_epoch_ - 1] == max(accuracies)


def test_with_few_labels_the_mlp_holds_none_out(codes, labelled):
    head = MLPHead((32,), max_epochs=7, random_state=0).fit(codes[:49], labelled[1][:49])

    assert head.best_epoch_ == len(head.history_) == 7
    assert "validation_loss" not in head.history_[0]


def test_the_mlp_drops_nothing_when_it_predicts(codes, labelled):
    head = MLPHead((32,), max_epochs=2, dropout=0.9, random_state=0).fit(codes, labelled[1])

    np.testing.assert_array_equal(head.predict_proba(codes), head.predict_proba(codes))


@pytest.mark.parametrize("layout", ["reversed", "read-only", "fortran"])
def test_the_mlp_takes_codes_of_any_layout(layout, codes, labelled):
    head = MLPHead((16,), max_epochs=2, random_state=0).fit(codes, labelled[1])
    fixed = codes.astype(np.float32)
    other = {
        "reversed": fixed[::-1].copy()[::-1],
        "read-only": np.frombuffer(fixed.tobytes(), np.float32).reshape(fixed.shape),
        "fortran": np.asfortranarray(fixed),
    }[layout]

    np.testing.assert_allclose(head.predict_proba(other), head.predict_proba(fixed), rtol=1e-6)


def test_the_mlp_trains_what_plain_torch_trains(codes, labelled):
    X, y = codes[:40].astype(np.float32), labelled[1][:40]
    how = {"lr": 0.02, "weight_decay": 0.1, "batch_size": 64, "dropout": 0.0}
    head = MLPHead((8,), max_epochs=1, random_state=0, **how).fit(X, y)

    with torch.random.fork_rng():
        torch.manual_seed(draw_seed(0))
        plain = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Dropout(0), nn.Linear(8, 10))
        torch.manual_seed(derived_seed(draw_seed(0), 1))
        order = torch.randperm(40)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.02, weight_decay=0.1, fused=True)
    loss = nn.functional.cross_entropy(plain(torch.from_numpy(X)[order]), torch.tensor(y)[order])
    loss.backward()
    optimizer.step()
    assert digest(head.network_) == digest(plain)
    assert head.history_[0]["train_loss"] == pytest.approx(loss.item())


def test_verbose_shows_the_heads_progress(image_fit, labelled, capsys):
    few = labelled[0][:30], labelled[1][:30]
    CodeClassifier(image_fit, "mlp", random_state=0, verbose=True).fit(*few)

    assert "mlp head: epoch 1/" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_nothing_is_decided_before_fit(method, image_fit, labelled):
    with pytest.raises(NotFittedError, match="CodeClassifier"):
        getattr(CodeClassifier(image_fit), method)(labelled[0])


@pytest.fixture(scope="module")
def rejecting():
    """Knows the digits 0 to 7 and may reject a twentieth of them; don't refit this."""
    digits = load("digits").train
    known = digits.y < 8
    encoder = Autoencoder(max_epochs=20, random_state=0)
    return CodeClassifier(encoder, rejection_rate=0.05, random_state=0).fit(
        digits.X[known], digits.y[known]
    )


def test_classes_never_seen_are_rejected_and_known_ones_are_not(rejecting):
    test = load("digits").test
    known = test.y < 8
    predicted = rejecting.predict(test.X)
    n = known.sum()
    assert np.mean(predicted[known] == -1) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)
    assert np.mean(predicted[~known] == -1) > 0.8
    assert np.array_equal(predicted == -1, rejecting.rejecter_.p_values(test.X) <= 0.05)


def test_labels_that_cannot_be_added_leave_head_and_rejecter_alone(rejecting, monkeypatch):
    test = load("digits").test
    before = rejecting.predict(test.X), rejecting.rejecter_.reference_set_, rejecting.labelled_

    def fails(self, *words, **given):
        raise DataError("got an end, expected none")

    monkeypatch.setattr(CodeClassifier, "_fit_head", fails)
    with pytest.raises(DataError, match="got an end"):
        rejecting.add_labels(test.X[:30], test.y[:30])
    np.testing.assert_array_equal(rejecting.predict(test.X), before[0])
    assert rejecting.rejecter_.reference_set_ is before[1]
    assert rejecting.labelled_ is before[2]


def test_a_row_without_any_value_is_said():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(X[:60])
    classifier = CodeClassifier(encoder).fit(X[60:100], (X["a"] > 0)[60:100].astype(int))
    classifier.calibrate(X[100:], (X["a"] > 0)[100:].astype(int))
    rows = X[:5].copy()
    rows.iloc[[1, 3]] = np.nan
    for decide in (classifier.predict, classifier.predict_proba, classifier.predict_set):
        with pytest.warns(DataWarning, match="2 of 5 rows have no value in any column"):
            decide(rows)


def test_rejection_leaves_classes_and_probabilities_alone(rejecting):
    test = load("digits").test
    assert rejecting.classes_.tolist() == list(range(8))
    best = rejecting.classes_[rejecting.predict_proba(test.X).argmax(axis=1)]
    predicted = rejecting.predict(test.X)
    kept = predicted != -1
    assert np.array_equal(predicted[kept], best[kept])


def test_among_names_the_rejected_are_called_unknown():
    digits = load("digits").train.take(np.arange(120))
    names = np.array(["even", "odd"])[digits.y % 2]
    encoder = Autoencoder(max_epochs=2, random_state=0)
    classifier = CodeClassifier(encoder, rejection_rate=0.2, random_state=0).fit(digits.X, names)
    noise = np.random.default_rng(0).integers(0, 255, (5, 8, 8)).astype(np.uint8)
    assert set(classifier.predict(noise)) == {"unknown"}


def test_rejection_needs_rows_that_the_encoder_has_not_seen(image_fit, labelled):
    with pytest.raises(CalibrationError, match="encoder that is not fitted"):
        CodeClassifier(image_fit, rejection_rate=0.5).fit(*labelled)


@pytest.mark.parametrize("rate", [0, 1, -0.1, "few", True])
def test_a_rejection_rate_out_of_range_is_refused(rate, labelled):
    with pytest.raises(CalibrationError, match="rejection_rate"):
        CodeClassifier(Autoencoder(), rejection_rate=rate).fit(*labelled)


def test_a_search_over_a_fitted_encoders_parameters_is_refused(image_fit, labelled):
    search = GridSearchCV(CodeClassifier(image_fit), {"encoder__n_components": [2, 3]}, cv=2)
    with pytest.raises(FrozenError, match="encoder is fitted"):
        search.fit(*labelled)


def test_labels_and_a_class_can_be_added_without_encoding_or_training_again(image_fit, labelled):
    X, y = labelled
    old = y < 8
    grown = CodeClassifier(image_fit, random_state=0).fit(X[old], y[old])
    digest_ = grown.encoder_digest_
    grown.add_labels(X[~old], y[~old])
    order = np.concatenate([np.flatnonzero(old), np.flatnonzero(~old)])
    anew = CodeClassifier(image_fit, random_state=0).fit(X[order], y[order])
    assert grown.classes_.tolist() == list(range(10))
    assert np.array_equal(grown.predict_proba(X), anew.predict_proba(X))
    assert grown.encoder_digest_ == digest_
    assert grown.n_labels_ == len(y)


def test_another_label_for_the_same_instance_replaces_the_first(image_fit, labelled):
    X, y = labelled
    classifier = CodeClassifier(image_fit, "neighbours").fit(X, y)
    classifier.add_labels(X[:1], [(y[0] + 1) % 10])
    assert classifier.n_labels_ == len(y)
    assert classifier.predict(X[:1]) == [(y[0] + 1) % 10]


def test_labels_of_new_rows_that_equal_others_by_chance_leave_those_alone():
    rng = np.random.default_rng(0)
    encoder = Autoencoder(1, max_epochs=1, random_state=0).fit(rng.poisson(1, size=(500, 2)))
    X, new = rng.poisson(1, size=(1000, 2)), rng.poisson(1, size=(20, 2))
    y = np.where(rng.random(1000) < X[:, 0] / 4, "many", "few")
    classifier = CodeClassifier(encoder).fit(X, y)
    with pytest.warns(DataWarning, match=r"20 labelled instances equal rows .* count as new"):
        classifier.add_labels(new, y[:20])
    at_once = CodeClassifier(encoder).fit(np.vstack([X, new]), np.append(y, y[:20]))
    assert classifier.n_labels_ == 1020
    np.testing.assert_array_equal(classifier.predict_proba(X), at_once.predict_proba(X))


def test_the_accuracy_is_that_of_labels_however_they_are_written(image_fit, labelled):
    X, y = labelled
    classifier = CodeClassifier(image_fit).fit(X, y)
    right = classifier.predict(X) == y
    assert classifier.score(X, y) == classifier.score(X, y.astype(str)) == right.mean()
    weights = np.arange(len(y))
    assert classifier.score(X, y, weights) == pytest.approx(np.average(right, weights=weights))
    some = np.where(np.arange(len(y)) < 10, "", y.astype(str))
    assert classifier.score(X, some) == right[10:].mean()
    with pytest.raises(DataError, match=f"none of {len(y)} instances has a label"):
        classifier.score(X, np.full(len(y), ""))
    mixed = np.where(np.arange(len(y)) % 3, y.astype(object), "none of these")
    assert 0.5 < CodeClassifier(image_fit).fit(X, mixed).score(X, mixed) <= 1


def test_labels_of_another_sort_cannot_be_added(image_fit, labelled):
    classifier = CodeClassifier(image_fit).fit(*labelled)
    with pytest.raises(DataError, match="numbers with numbers"):
        classifier.add_labels(labelled[0][:2], ["a", "b"])
    with pytest.raises(DataError, match="2 instances and 1 labels"):
        classifier.add_labels(labelled[0][:2], [1])


def test_a_loaded_head_takes_labels_like_the_one_that_was_saved(image_fit, labelled, tmp_path):
    X, y = labelled
    classifier = CodeClassifier(image_fit, random_state=0).fit(X[:60], y[:60])
    save_bundle(tmp_path / "b", image_fit, {"linear": classifier})
    loaded = load_bundle(tmp_path / "b").head("linear")
    for each in (classifier, loaded):
        each.add_labels(X[60:90], y[60:90])
    assert np.array_equal(loaded.predict_proba(X), classifier.predict_proba(X))


def test_more_labels_than_are_kept_cannot_be_added_to(image_fit, labelled, monkeypatch):
    monkeypatch.setattr("isthmus.classification.classifier.MAX_LABELLED_CODES", 50)
    classifier = CodeClassifier(image_fit).fit(*labelled)
    with pytest.raises(DataError, match="fit it again"):
        classifier.add_labels(*labelled)


def test_heads_that_train_in_epochs_have_a_history(image_fit, images, tmp_path):
    y = np.arange(len(images)) % 2
    mlp = CodeClassifier(image_fit, "mlp", random_state=0).fit(images, y)
    linear = CodeClassifier(image_fit).fit(images, y)
    save_bundle(tmp_path / "press", image_fit, {"mlp": mlp})

    assert [record["epoch"] for record in mlp.history_] == [*range(1, len(mlp.history_) + 1)]
    assert {"train_loss", "train_accuracy"} <= set(mlp.history_[0])
    assert linear.history_ == []
    assert load_bundle(tmp_path / "press").heads["mlp"].history_ == mlp.history_
