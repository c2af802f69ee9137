"""The linear head: scikit-learn's optimum, in fewer passes."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import ThreadpoolController

from isthmus.classification import LinearHead, StandardisedHead, build_head

RNG_SEED = 0


def correlated(n, m, n_classes, dtype=np.float64, shift=0.0):
    """Return features that are linear mixtures, and labels drawn from a linear model."""
    rng = np.random.default_rng(RNG_SEED)
    X = rng.normal(size=(n, m)) * np.geomspace(1, 0.01, m) @ rng.normal(size=(m, m))
    chances = softmax(X @ rng.normal(size=(m, n_classes)), axis=1)
    y = (chances.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return (X + shift).astype(dtype), y


def objective(head, X, y, C=1.0):
    """Return what both minimise, computed in float64."""
    X, coef = X.astype(np.float64), head.coef_.astype(np.float64)
    logits = X @ coef.T + head.intercept_
    if len(head.classes_) == 2:
        logits = np.hstack([np.zeros_like(logits), logits])
    own = np.take_along_axis(logits, np.searchsorted(head.classes_, y)[:, None], axis=1)[:, 0]
    highest = logits.max(axis=1)
    loss = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest - own
    return C * loss.sum() + np.square(coef).sum() / 2


@pytest.mark.parametrize("n_classes", [2, 3, 20])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_it_reaches_the_optimum_of_scikit_learn(n_classes, dtype, C):
    X, y = correlated(600, 12, n_classes, dtype)
    oracle = LogisticRegression(C=C, tol=1e-10, max_iter=10**5).fit(X.astype(np.float64), y)

    head = LinearHead(C).fit(X, y)

    best = objective(oracle, X, y, C)
    assert objective(head, X, y, C) <= best * (1 + 1e-4)
    assert head.coef_.shape == oracle.coef_.shape
    assert head.coef_.dtype == dtype
    assert head.intercept_.shape == oracle.intercept_.shape
    np.testing.assert_allclose(head.predict_proba(X), oracle.predict_proba(X), atol=0.01)


def test_it_takes_far_fewer_passes_on_correlated_features():
    X, y = correlated(2000, 60, 5)

    head = LinearHead().fit(X, y)
    plain = LogisticRegression(max_iter=10**4).fit(X, y)

    assert 3 * head.n_iter_[0] < plain.n_iter_[0]
    assert objective(head, X, y) <= objective(plain, X, y) * (1 + 1e-6)


def test_of_many_features_it_takes_fewer_passes_too():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 1100)) + rng.normal(size=(300, 1100)) / 3
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)

    head = LinearHead(tol=1e-5).fit(X, y)
    plain = LogisticRegression(max_iter=10**4).fit(X, y)

    assert 2 * head.n_iter_[0] < plain.n_iter_[0]
    assert objective(head, X, y) <= objective(plain, X, y) * (1 + 1e-5)


def test_features_far_from_zero_in_float32_lose_nothing():
    X, y = correlated(600, 8, 3, np.float32)
    far, _ = correlated(600, 8, 3, np.float32, shift=1000)

    near = LinearHead().fit(X, y).predict_proba(X)

    np.testing.assert_allclose(LinearHead().fit(far, y).predict_proba(far), near, atol=0.02)


def test_blocks_and_a_preconditioner_of_few_directions_give_the_same(monkeypatch):
    X, y = correlated(600, 12, 3)
    expected = LinearHead().fit(X, y)
    for change in ({"BLOCK": 11}, {"MAX_DENSE": 11, "DIRECTIONS": 5, "SAMPLE": 100}):
        with monkeypatch.context() as changed:
            for name, value in change.items():
                changed.setattr(f"isthmus.classification.linear_head.{name}", value)
            found = LinearHead().fit(X, y)
        assert objective(found, X, y) == pytest.approx(objective(expected, X, y), rel=1e-4)


def test_a_fit_is_the_same_by_several_threads_and_leaves_their_number_as_it_was(monkeypatch):
    monkeypatch.setattr("isthmus.classification.linear_head.BLOCK", 64)
    X, y = correlated(600, 12, 3)
    blas = ThreadpoolController().select(user_api="blas")
    found = []
    for n_threads in (1, 2):
        with blas.limit(limits=n_threads):
            found.append(LinearHead().fit(X, y))
            assert {library.num_threads for library in blas.lib_controllers} == {n_threads}

    np.testing.assert_array_equal(found[0].coef_, found[1].coef_)
    np.testing.assert_array_equal(found[0].intercept_, found[1].intercept_)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize(
    ("max_span", "shift", "dtype"),
    [(60, 20.0, np.float64), (60, 20.0, np.float32), (59, 0.0, np.float64)],
)
def test_fewer_rows_than_features(max_span, shift, n_classes, dtype, monkeypatch):
    monkeypatch.setattr("isthmus.classification.linear_head.MAX_SPAN", max_span)
    X, y = correlated(60, 300, n_classes, dtype, shift=shift)
    oracle = LogisticRegression(solver="newton-cg", tol=1e-10, max_iter=10**4)
    oracle.fit(X.astype(np.float64), y)

    head = LinearHead(tol=1e-6).fit(X, y)

    assert objective(head, X, y) <= objective(oracle, X, y) * (1 + 1e-3)
    np.testing.assert_allclose(head.coef_, oracle.coef_, atol=0.02 * np.abs(oracle.coef_).max())


@pytest.mark.parametrize("shape", [(2, 50), (30, 1), (12, 40)])
def test_few_rows_and_constant_features(shape):
    X = np.random.default_rng(0).normal(size=shape)
    X[:, -1] = 3 if shape[1] > 1 else X[:, -1]
    y = np.arange(len(X)) % 2
    oracle = LogisticRegression(tol=1e-10, max_iter=10**5).fit(X, y)

    head = LinearHead().fit(X, y)

    np.testing.assert_allclose(head.predict_proba(X), oracle.predict_proba(X), atol=0.01)


def test_labels_may_be_text_and_the_head_of_that_name_is_this_one():
    X, y = correlated(100, 4, 3)
    names = np.array(["ash", "birch", "cedar"])[y]

    head = StandardisedHead(build_head("linear", n_labels=100)).fit(X, names)

    assert isinstance(head.head_, LinearHead)
    assert set(head.predict(X)) <= set(names)
    assert clone(head.head_).get_params() == {"C": 1.0, "max_iter": 2000, "tol": 1e-4}


def test_too_few_iterations_are_said():
    X, y = correlated(600, 12, 3)

    with pytest.warns(ConvergenceWarning, match="has not converged after max_iter=2"):
        LinearHead(max_iter=2).fit(X, y)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match=r"one class \('a'\)"):
        LinearHead().fit(np.zeros((3, 2)), ["a", "a", "a"])


@parametrize_with_checks([LinearHead()])
def test_it_keeps_the_contract_of_scikit_learn(estimator, check):
    check(estimator)
