"""AeonDetector and AeonClassifier, by aeon's own checks of its estimators.

aeon needs older releases of pandas and NumPy than those that are locked; so these tests are skipped
unless it is installed, as by make test-adapters.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("aeon.testing")

from aeon.testing.estimator_checking import parametrize_with_checks

from _pages import Page, blocks_of
from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load
from isthmus.integrations import AeonClassifier, AeonDetector

pytestmark = pytest.mark.filterwarnings("ignore")  # of aeon and of rates that 20 points cannot hold


@parametrize_with_checks([AeonDetector, AeonClassifier])
def test_aeons_contract(check):
    check()


def quick(**parameters):
    return Autoencoder(max_epochs=2, random_state=0, **parameters)


def waves(n, seed=0):
    steps = np.arange(n)
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(2, n))
    return np.stack([np.sin(steps / 5), np.cos(steps / 3)]) + noise


def test_scores_of_time_points_are_those_of_the_detector_and_find_a_fault():
    X = waves(1500)
    X[0, 1200:1220] += 2
    detector = AeonDetector(quick(), window=32, random_state=0).fit(X[:, :1000], axis=1)
    scores = detector.predict(X[:, 1000:])
    assert 180 < scores.argmax() < 240
    alone = AnomalyDetector(quick(), random_state=0).fit(
        load(pd.DataFrame(X[:, :1000].T), kind="series", window=32, stride=1)
    )
    assert (scores == alone.score_points(X.T[1000:])["anomaly_score"]).all()
    assert (scores == detector.predict(X.T[1000:], axis=0)).all()


def test_a_series_is_scored_by_models_that_did_not_see_it():
    X = waves(600)
    X[1, 300:310] += 2
    detector = AeonDetector(quick(), window=16, random_state=0)
    scores = detector.fit_predict(X)
    assert scores.shape == (600,)
    assert np.isfinite(scores).all()
    assert 284 < scores.argmax() < 326
    # Each window has itself among its neighbours there.
    assert np.median(detector.predict(X)) < np.median(scores)


def test_classes_are_those_of_the_classifier():
    X = np.stack([waves(48, seed)[:, :: 1 + seed % 2][:, :24] for seed in range(80)])
    y = np.array(["slow", "fast"] * 40)
    classifier = AeonClassifier(quick(kind="series"), random_state=0).fit(X[:40], y[:40])
    alone = CodeClassifier(quick(kind="series"), random_state=0).fit(
        X[:40].transpose(0, 2, 1), y[:40]
    )
    assert (classifier.predict_proba(X[40:]) == alone.predict_proba(X[40:].swapaxes(1, 2))).all()
    assert classifier.score(X[40:], y[40:]) > 0.95


def test_a_head_without_probabilities_gives_the_class_predicted_all_of_it():
    from sklearn.linear_model import RidgeClassifier

    X, y = np.random.default_rng(0).normal(size=(30, 1, 24)), np.arange(30) % 2
    classifier = AeonClassifier(quick(kind="series"), RidgeClassifier()).fit(X, y)
    probabilities = classifier.predict_proba(X)
    assert set(probabilities.ravel()) == {0.0, 1.0}
    assert (probabilities.argmax(axis=1) == classifier.predict(X)).all()


def test_a_fitted_encoder_is_shared_by_clones():
    X = np.random.default_rng(0).normal(size=(30, 1, 24))
    encoder = quick(kind="series").fit(X.transpose(0, 2, 1))
    classifier = AeonClassifier(encoder).clone()
    assert classifier.encoder is encoder
    assert classifier.fit(X, np.arange(30) % 2).classifier_.encoder_ is encoder


@pytest.mark.parametrize("made", [AeonDetector, AeonClassifier])
def test_the_example_of_the_docstring_runs(made):
    """It is skipped where all doctests are run, because aeon is not installed there."""
    import doctest

    text = made.__doc__.replace("# doctest: +SKIP", "")
    names = {made.__name__: made, "np": np}
    test = doctest.DocTestParser().get_doctest(text, names, made.__name__, None, None)
    assert len(test.examples) > 4
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_block_of_the_page_runs(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "integrations.md"
    (block,) = (one for one in blocks_of(page) if "import AeonClassifier" in one.code)
    Page(tmp_path).run(block)
