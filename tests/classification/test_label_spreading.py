"""Labels spread over unlabelled instances: the right solution, and labels as people write them."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from isthmus import CodeClassifier, evaluate, load_bundle, save_bundle
from isthmus._core import find_nearest_others
from isthmus.classification import SpreadingHead, affinity, partial_labels, spread_labels
from isthmus.errors import DataError


@pytest.fixture(scope="module")
def points():
    """Two hundred points of three classes in five dimensions, and their classes."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 3
    return (rng.normal(size=(200, 5)) + 2 * np.eye(5)[y]).astype(np.float32), y


@pytest.fixture(scope="module")
def few(digits):
    """Thirty labels, three a class, among the first 1,000 digits: -1 elsewhere."""
    y = digits[1][:1000]
    known = np.concatenate([np.flatnonzero(y == c)[:3] for c in range(10)])
    partial = np.full(1000, -1)
    partial[known] = y[known]
    return partial


@pytest.fixture(scope="module")
def fitted(image_fit, digits, few):
    """Do not refit."""
    return CodeClassifier(image_fit, "spreading", random_state=0).fit(digits[0][:1000], few)


# --- the graph -----------------------------------------------------------------------------


def test_spreading_solves_the_linear_system(points):
    weights = affinity(*find_nearest_others(points[0], 6))
    labelled = np.arange(200) < np.array([27, 3, 12])[points[1]]  # nine, one and four of a class
    given = np.eye(3)[points[1]] * labelled[:, None]

    found = spread_labels(weights, given, 0.95)

    dense = weights.toarray()
    roots = np.diag(dense.sum(axis=1) ** -0.5)
    assert np.array_equal(dense, dense.T)
    closed_form = np.linalg.inv(np.eye(200) - 0.95 * roots @ dense @ roots) @ given
    closed_form /= [3, 1, 2]  # the roots of the numbers of labels
    np.testing.assert_allclose(found, closed_form, rtol=1e-3, atol=1e-6)


def test_weights_are_locally_scaled(points):
    distances, rows = find_nearest_others(points[0], 6)

    weights = affinity(distances, rows).toarray()

    near = [set(row.tolist()) for row in rows]
    for i, j in [(0, rows[0, 0]), (5, rows[5, 3]), (17, rows[17, 5])]:
        d2 = ((points[0][i] - points[0][j]) ** 2).sum()
        once = np.exp(-d2 / (distances[i, -1] * distances[j, -1]))
        assert weights[i, j] == pytest.approx(once * (1 + (i in near[j])), rel=1e-5)


def test_distributions_are_scikit_learns_on_the_same_graph(points):
    X, y = points[0], np.where(np.arange(200) < 9, points[1], -1)
    head = SpreadingHead(6, alpha=0.9).fit(X, y)
    graph = affinity(*find_nearest_others(X, 6)).toarray()
    oracle = LabelSpreading(kernel=lambda *_: graph, alpha=0.9, max_iter=2000, tol=1e-9)

    oracle.fit(X, y)

    unlabelled = y < 0
    np.testing.assert_allclose(
        head.label_distributions_[unlabelled],
        oracle.label_distributions_[unlabelled],
        rtol=1e-3,
        atol=1e-6,
    )
    np.testing.assert_array_equal(head.transduction_[unlabelled], oracle.transduction_[unlabelled])
    np.testing.assert_array_equal(head.transduction_[~unlabelled], y[~unlabelled])


def test_a_class_with_more_labels_takes_over_fewer_instances_of_others(points):
    X, truth = points
    known = np.arange(200) < np.array([36, 9, 9])[truth]  # twelve of a class, three of the others
    y = np.where(known, truth, -1)
    graph = affinity(*find_nearest_others(X, 10)).toarray()

    all_count_the_same = LabelSpreading(kernel=lambda *_: graph, alpha=0.9, max_iter=5000)
    found = SpreadingHead(alpha=0.9).fit(X, y).transduction_[~known]

    before = all_count_the_same.fit(X, y).transduction_[~known]
    right, right_before = ((one == truth[~known]).mean() for one in (found, before))
    assert right > right_before + 0.2
    assert (found == 0).sum() < (before == 0).sum()


# --- the head --------------------------------------------------------------------------------


def test_unlabelled_codes_make_a_few_labels_worth_more(fitted, few, digits, image_fit):
    X, y = digits[0][1000:], digits[1][1000:]
    known = few >= 0
    linear = CodeClassifier(image_fit).fit(digits[0][:1000][known], few[known])

    assert fitted.score(X, y) > linear.score(X, y) + 0.05
    shares = fitted.predict_proba(X)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_array_equal(shares.argmax(axis=1), fitted.predict(X))
    assert (fitted.n_labels_, fitted.n_unlabelled_) == (30, 970)


def test_with_a_label_for_every_instance_it_is_a_vote_of_neighbours(image_fit, digits):
    (X, y), new = (a[:300] for a in digits), slice(1000, None)
    neighbours = CodeClassifier(image_fit, "neighbours").fit(X, y)

    spreading = CodeClassifier(image_fit, "spreading").fit(X, y)

    reached = neighbours.score(digits[0][new], digits[1][new])
    assert spreading.score(digits[0][new], digits[1][new]) > reached - 0.03


def test_far_from_every_label_all_classes_are_alike():
    X = np.concatenate([np.arange(40.0), 1e6 + np.arange(20.0)])[:, None]
    y = np.full(60, -1)
    y[0], y[39] = 4, 2

    head = SpreadingHead(3).fit(X, y)

    np.testing.assert_allclose(head.predict_proba(X[-3:]), 0.5)
    assert head.transduction_[[1, 38]].tolist() == [4, 2]


def test_copies_of_one_row_do_no_harm():
    X = np.repeat([[0.0, 0.0], [1.0, 1.0]], 30, axis=0)
    y = np.full(60, -1)
    y[0], y[30] = 0, 1

    head = SpreadingHead().fit(X, y)

    assert np.isfinite(head.predict_proba(X)).all()
    assert head.predict(X[[0, 30]]).tolist() == [0, 1]


def test_standardisation_is_over_all_rows(fitted, image_fit, digits):
    codes = image_fit.transform(digits[0][:1000])

    np.testing.assert_allclose(fitted.standardised_head_.scaler_.mean_, codes.mean(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"n_neighbors": 0}, "n_neighbors=0"), ({"alpha": 1}, "alpha=1"), ({"alpha": 0}, "alpha=0")],
)
def test_parameters_out_of_range_are_refused(parameters, message, points):
    with pytest.raises(ValueError, match=message):
        SpreadingHead(**parameters).fit(*points)


# --- labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [None, np.nan, -1, pd.NA], ids=str)
def test_labels_may_be_words_and_gaps(mark, image_fit, digits, few, fitted):
    names = np.full(1000, mark, dtype=object)
    names[few >= 0] = [f"digit {label}" for label in few[few >= 0]]

    named = CodeClassifier(image_fit, "spreading").fit(digits[0][:1000], names)

    assert named.classes_.tolist() == [f"digit {c}" for c in range(10)]
    predicted = fitted.predict(digits[0][1000:1100])
    assert named.predict(digits[0][1000:1100]).tolist() == [f"digit {c}" for c in predicted]


def test_numbers_with_gaps_are_whole_again(image_fit, digits, few, fitted):
    y = np.where(few >= 0, few.astype(float), np.nan)

    classifier = CodeClassifier(image_fit, "spreading").fit(digits[0][:1000], y)

    assert classifier.classes_.dtype.kind == "i"
    assert classifier.classes_.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(1000, -1), "0 labelled among 1000"),
        (np.where(np.arange(1000) < 500, 1, -1), "one class"),
        (np.where(np.arange(1000) < 2, "cat", "-1"), "'-1', which is text"),
        (np.array(["cat", np.nan, *["dog"] * 998]), "'nan', which is text"),
        (np.where(np.arange(1000) < 9, np.arange(1000) + 0.5, -1), "continuous"),
    ],
    ids=["none", "one class", "text mark", "text nan", "continuous"],
)
def test_labels_that_cannot_be_spread_are_refused(y, message, image_fit, digits):
    with pytest.raises(ValueError, match=message):
        CodeClassifier(image_fit, "spreading").fit(digits[0][:1000], y)


def test_other_heads_refuse_gaps_and_name_this_one(image_fit, digits, few):
    for y in (few, np.where(few >= 0, few.astype(object), None)):
        with pytest.raises(DataError, match='head="spreading"'):
            CodeClassifier(image_fit).fit(digits[0][:1000], y)


def test_labels_without_gaps_are_left_as_they_are():
    y = np.array(["a", "b"])

    assert partial_labels(y) is y


def test_a_semi_supervised_classifier_of_ones_own_gets_the_unlabelled_too(image_fit, digits, few):
    X, names = digits[0][:1000], np.full(1000, None, dtype=object)
    names[few >= 0] = [f"digit {label}" for label in few[few >= 0]]
    own = SelfTrainingClassifier(LogisticRegression(), threshold=0.9)
    features = StandardScaler().fit_transform(image_fit.transform(X))

    classifier = CodeClassifier(image_fit, own).fit(X, names)

    expected = SelfTrainingClassifier(LogisticRegression(), threshold=0.9).fit(features, few)
    assert classifier.predict(X).tolist() == [f"digit {c}" for c in expected.predict(features)]


# --- more labels, on disk, beside baselines ---------------------------------------------------


def test_labels_can_be_added_and_taken_back(image_fit, digits, few):
    X, y = digits
    grown = CodeClassifier(image_fit, "spreading").fit(X[:1000], few)
    unlabelled = np.flatnonzero(few < 0)[:20]

    grown.add_labels(X[unlabelled], y[unlabelled])
    assert (grown.n_labels_, grown.n_unlabelled_) == (50, 950)
    grown.add_labels(X[1000:1010], y[1000:1010])
    assert (grown.n_labels_, grown.n_unlabelled_) == (60, 950)
    grown.add_labels(X[unlabelled], np.full(20, -1))
    assert (grown.n_labels_, grown.n_unlabelled_) == (40, 970)

    anew = CodeClassifier(image_fit, "spreading").fit(X[:1010], np.concatenate([few, y[1000:1010]]))
    np.testing.assert_allclose(grown.predict_proba(X), anew.predict_proba(X), atol=1e-4)


def test_names_cannot_be_added_to_numbers(image_fit, digits, few):
    classifier = CodeClassifier(image_fit, "spreading").fit(digits[0][:1000], few)

    with pytest.raises(DataError, match="numbers with numbers"):
        classifier.add_labels(digits[0][:2], np.array(["a", None], dtype=object))


def test_loaded_equals_saved_and_takes_labels(tmp_path, image_fit, digits, few):
    X, names = digits[0], np.full(1000, None, dtype=object)
    names[few >= 0] = [f"digit {label}" for label in few[few >= 0]]
    classifier = CodeClassifier(image_fit, "spreading").fit(X[:1000], names)
    save_bundle(tmp_path / "b", image_fit, {"spreading": classifier})

    loaded = load_bundle(tmp_path / "b").head("spreading")

    assert loaded.head == "spreading"
    assert (loaded.n_labels_, loaded.n_unlabelled_) == (30, 970)
    np.testing.assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    assert loaded.predict(X[:50]).tolist() == classifier.predict(X[:50]).tolist()
    np.testing.assert_array_equal(loaded.head_.transduction_, classifier.head_.transduction_)
    for each in (loaded, classifier):
        each.add_labels(X[1000:1003], np.array(["digit 1", None, "new"], dtype=object))
    np.testing.assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    assert loaded.data_fingerprint_ == classifier.data_fingerprint_


def test_baselines_get_the_same_head_and_the_same_labels(fitted, digits, few):
    X, y = digits

    found = evaluate(fitted, X[1000:], y[1000:], X_train=X[:1000], y_train=few, random_state=0)

    flat = X.reshape(len(X), -1) / np.float32(255)
    scaler = StandardScaler().fit(flat[:1000])
    by_hand = SpreadingHead().fit(scaler.transform(flat[:1000]), few)
    accuracy = by_hand.score(scaler.transform(flat[1000:]), y[1000:])
    assert found["baselines"]["raw"]["accuracy"] == pytest.approx(accuracy, abs=0.01)
    assert set(found["baselines"]) == {"raw", "pca", "untrained"}
    assert found["code"]["classes"] == list(range(10))
    json.dumps(found)


def test_the_supervised_baseline_sees_labels_only(image_fit, digits, few, monkeypatch):
    from isthmus.evaluation import baselines

    seen = {}

    class Network:
        def __init__(self, *_, **__):
            self.classes_ = np.arange(10)

        def fit(self, X, y):
            seen["X"], seen["y"] = X, y

        def predict_proba(self, X):
            return np.full((len(X), 10), 0.1)

    monkeypatch.setattr(baselines, "SupervisedNetwork", Network)
    tests = baselines.Baselines(
        image_fit, digits[0][:1000], partial_labels(few), digits[0][1000:], digits[1][1000:]
    )
    tests.test_supervised()

    np.testing.assert_array_equal(seen["y"], few[few >= 0])
    np.testing.assert_array_equal(seen["X"], digits[0][:1000][few >= 0])
