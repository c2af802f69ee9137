"""What baselines keep, what they make anew, and that doing so in parts changes nothing."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from isthmus.classification import LinearHead, StandardisedHead, build_head
from isthmus.evaluation import Baselines, baselines, class_metrics
from isthmus.evaluation import baselines as raw


@pytest.fixture
def tests_of(image_fit, digits):
    """Baselines on 600 digits, tested on 400 others."""
    X, y = digits

    def build(train=X[:600], test=X[1000:1400]):
        return Baselines(image_fit, train, y[:600], test, y[1000:1400], random_state=0)

    return build


def test_features_are_computed_once(tests_of, monkeypatch):
    tests = tests_of()
    first = tests.train_features("pca"), tests.test_features("pca")
    monkeypatch.setattr(tests, "_fit_mapping", None)
    assert tests.train_features("pca") is first[0]
    assert tests.test_features("pca") is first[1]


@pytest.mark.parametrize("name", ["raw", "pca", "untrained"])
def test_cleared_features_are_computed_again(tests_of, name):
    tests, rows = tests_of(), np.array([2, 3, 500])
    train, test = tests.train_features(name), tests.test_features(name)
    np.testing.assert_array_equal(tests.train_features(name, rows), train[rows])
    tests.clear_cache()
    np.testing.assert_allclose(tests.train_features(name, rows), train[rows], atol=1e-6)
    np.testing.assert_allclose(tests.test_features(name), test, atol=1e-6)


def test_a_head_is_not_measured_twice(tests_of, monkeypatch):
    tests = tests_of()
    first = tests.test("pca", "linear")
    tests.clear_cache()
    monkeypatch.setattr(tests, "_fit_head", None)
    assert tests.test("pca", "linear") == first


@pytest.mark.parametrize("head", ["linear", "neighbours"])
def test_raw_features_tested_in_parts_give_the_figures_of_the_whole(tests_of, head, monkeypatch):
    tests = tests_of()
    monkeypatch.setattr(baselines, "VALUES_PER_BATCH", 64 * 7)
    found = tests.test("raw", head)
    fitted, whole = tests._fit_head("raw", head), tests.test_features("raw")
    expected = class_metrics(tests.y_test, *baselines.decide(fitted, whole), fitted.classes_)
    assert found["confusion"] == expected["confusion"]
    assert found["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-5)


def test_the_raw_baseline_is_the_linear_head_in_float64_up_to_rounding(tests_of):
    tests = tests_of()
    train, test = (tests.X_train / 255.0).reshape(600, -1), (tests.X_test / 255.0).reshape(400, -1)
    scaler = StandardScaler().fit(train)
    head = LinearHead().fit(scaler.transform(train), tests.y_train)
    probabilities = head.predict_proba(scaler.transform(test))
    expected = class_metrics(
        tests.y_test, head.classes_[probabilities.argmax(axis=1)], probabilities, head.classes_
    )
    found = tests.test("raw", "linear")
    assert abs(found["accuracy"] - expected["accuracy"]) <= 0.0025  # one of 400
    assert found["log_loss"] == pytest.approx(expected["log_loss"], rel=0.01)


def test_a_persons_own_images_are_left_as_they_are(tests_of, digits):
    # Standardising writes over features; these are what the network would see already.
    images = digits[0][:600].astype(np.float32) / 255
    before = images.copy()
    tests_of(images).test("raw", "linear")
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("rows", [None, np.array([7, 2]), np.arange(178) % 3 == 0])
def test_raw_inputs_are_what_the_network_gets(table_fit, table, rows, monkeypatch):
    monkeypatch.setattr(raw, "_VALUES_PREPARED", 13 * 5)
    whole = table_fit.preprocessor_.to_network(table)
    expected = whole if rows is None else whole[rows]
    np.testing.assert_array_equal(raw.raw_inputs(table_fit, table, rows), expected)
    frame = pd.DataFrame(table)
    np.testing.assert_array_equal(raw.raw_inputs(table_fit, frame, rows), expected)
    doubled = raw.raw_inputs(table_fit, table, rows, then=lambda x: 2 * x[:, :3])
    np.testing.assert_array_equal(doubled, 2 * expected[:, :3])


@pytest.mark.parametrize("head", ["linear", "neighbours", "svm", KNeighborsClassifier(3, p=1)])
def test_pixels_of_0_to_255_give_the_figures_of_images_in_0_to_1(tests_of, digits, head):
    X = digits[0]
    expected = tests_of(*(part / np.float32(255) for part in (X[:600], X[1000:1400])))
    expected = expected.test("raw", head)
    for test in (X[1000:1400], X[1000:1400] / np.float32(255)):
        found = tests_of(test=test).test("raw", head)
        assert abs(found["accuracy"] - expected["accuracy"]) <= 0.0025  # one of 400
        assert found["log_loss"] == pytest.approx(expected["log_loss"], rel=0.01)


@pytest.mark.parametrize("head", [LinearHead(tol=0.1), "neighbours"])
def test_a_head_on_pixels_makes_no_float_copy_of_them(head):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 40_000)
    pixels = rng.integers(0, 128, (40_000, 256), dtype=np.uint8) + (100 * y[:, None]).astype("u1")
    tracemalloc.start()
    fitted = StandardisedHead(build_head(head, n_labels=len(y))).fit(pixels, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.size * 2  # in float32 four bytes each
    assert (fitted.predict(pixels[:50]) == y[:50]).all()


def test_an_image_among_those_of_a_head_on_pixels_decides_alone(digits):
    X, y = digits[0].reshape(len(digits[0]), -1), digits[1]
    head = StandardisedHead(build_head("neighbours", n_labels=600)).fit(X[:600], y[:600])
    assert head.predict_proba(X[:600]).max(axis=1).min() == 1
    assert (head.predict(X[:600]) == y[:600]).all()


@pytest.mark.parametrize("n", [200, 1000])  # with fewer rows than 10 to a column, from scikit-learn
def test_principal_components_are_those_of_scikit_learn(image_fit, digits, n, monkeypatch):
    monkeypatch.setattr(raw, "_VALUES_PREPARED", 64 * 70)
    inputs = raw.raw_inputs(image_fit, digits[0][:n])
    expected = PCA(12, svd_solver="full").fit(inputs.astype(np.float64)).transform(inputs)
    found = raw.fit_principal_components(image_fit, digits[0][:n], 12, 0)(inputs)
    np.testing.assert_allclose(found, expected, atol=2e-5)
