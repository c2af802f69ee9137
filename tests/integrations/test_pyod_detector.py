"""PyODDetector, by what PyOD's own tests ask of each of its detectors, and by what it promises."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from isthmus import AnomalyDetector, Autoencoder
from isthmus.errors import DataError, MissingExtraError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
pytest.importorskip("pyod.models.base")

N, N_NEW, SHARE = 200, 100, 0.1


def quick(**parameters):
    return Autoencoder(2, max_epochs=2, random_state=0, **parameters)


@pytest.fixture(scope="module")
def data():
    """PyOD's own generator: abnormal instances are uniform around Gaussian ones."""
    from pyod.utils.data import generate_data

    return generate_data(N, N_NEW, n_features=4, contamination=SHARE, random_state=42)


@pytest.fixture(scope="module")
def fitted(data):
    from isthmus.integrations import PyODDetector

    return PyODDetector(quick(), contamination=SHARE, random_state=0).fit(data[0])


def test_it_has_what_pyod_asks_of_a_fitted_detector(fitted, data):
    from pyod.models.base import BaseDetector
    from sklearn.base import is_outlier_detector

    X, _, y, _ = data
    assert isinstance(fitted, BaseDetector)
    assert is_outlier_detector(fitted)
    assert fitted.decision_scores_.shape == (N,)
    assert roc_auc_score(y, fitted.decision_scores_) > 0.9
    assert fitted.threshold_ == np.percentile(fitted.decision_scores_, 100 * (1 - SHARE))
    assert fitted.labels_.tolist() == (fitted.decision_scores_ > fitted.threshold_).tolist()
    assert fitted.labels_.sum() == SHARE * N
    assert fitted.decision_function(X).shape == (N,)


def test_new_instances_are_scored_and_labelled(fitted, data):
    _, X, _, y = data
    scores = fitted.decision_function(X)
    assert scores.shape == (N_NEW,)
    assert roc_auc_score(y, scores) > 0.9
    assert fitted.predict(X).tolist() == (scores > fitted.threshold_).tolist()


@pytest.mark.parametrize("method", ["linear", "unify"])
def test_probabilities_and_confidence_are_in_their_range(fitted, data, method):
    X = data[1]
    probabilities, confidence = fitted.predict_proba(X, method=method, return_confidence=True)
    assert probabilities.shape == (N_NEW, 2)
    assert np.allclose(probabilities.sum(axis=1), 1)
    labels, same = fitted.predict(X, return_confidence=True)
    assert labels.shape == confidence.shape == (N_NEW,)
    assert (same == confidence).all()
    for found in (probabilities, confidence):
        assert found.min() >= 0
        assert found.max() <= 1


def test_an_unknown_method_of_probabilities_is_refused(fitted, data):
    with pytest.raises(ValueError, match="something"):
        fitted.predict_proba(data[1], method="something")


def test_predictions_may_be_rejected(fitted, data):
    labels = fitted.predict_with_rejection(data[1], c_r=0.1)
    assert set(labels) <= {0, 1, -2}
    _, (expected, bound, cost) = fitted.predict_with_rejection(data[1], c_r=0.1, return_stats=True)
    assert 0 <= expected <= 1
    assert bound >= expected
    assert cost >= 0


def test_ranks_follow_the_scores(fitted, data):
    ranks = fitted._predict_rank(data[1], normalized=True)
    assert 0 <= ranks.min() <= ranks.max() == 1
    assert (np.diff(ranks[np.argsort(fitted.decision_function(data[1]))]) >= 0).all()


def test_fit_predict_scores_a_table_by_its_labels(data, capsys):
    from isthmus.integrations import PyODDetector

    _, X, _, y = data
    detector = PyODDetector(quick(), random_state=0)
    with pytest.warns(UserWarning, match="y should not be presented"):
        labels = detector.fit(X, y).labels_
    assert labels.tolist() == detector.fit_predict(X).tolist()
    assert detector.predict_proba(X).shape == (N_NEW, 2)
    assert detector.fit_predict_score(X, y, scoring="prc_n_score") >= 0.5
    with pytest.raises(NotImplementedError):
        detector.fit_predict_score(X, y, scoring="something")


def test_a_clone_is_fitted_to_the_same_scores_and_a_second_fit_too(fitted, data):
    twin = clone(fitted)
    assert not hasattr(twin, "detector_")
    assert twin.get_params().keys() == fitted.get_params().keys()
    assert twin.get_params()["encoder__max_epochs"] == 2
    for _ in range(2):
        twin.fit(data[0])
        assert (twin.decision_scores_ == fitted.decision_scores_).all()
        assert (twin.decision_function(data[1]) == fitted.decision_function(data[1])).all()
    assert "contamination=0.1" in repr(twin)


def test_parameters_are_set_and_checked():
    from isthmus.integrations import PyODDetector

    detector = PyODDetector().set_params(contamination=0.2, method="neighbours")
    assert (detector.contamination, detector.method) == (0.2, "neighbours")
    for share in (0.0, 0.6):
        with pytest.raises(ValueError, match="contamination must be in"):
            PyODDetector(contamination=share)


def test_a_fitted_encoder_is_shared_by_a_clone(data):
    from isthmus.integrations import PyODDetector

    encoder = quick().fit(data[1])
    assert clone(PyODDetector(encoder)).encoder is encoder
    assert PyODDetector(encoder).fit(data[0]).detector_.encoder_ is encoder


def test_instances_that_cannot_be_used_are_refused(fitted, data):
    from isthmus.integrations import PyODDetector

    with pytest.raises(ValueError, match="infinity"):
        PyODDetector(quick()).fit(np.full((50, 3), np.inf))
    with pytest.raises(DataError):
        PyODDetector(quick(), method="something").fit(data[0])
    with pytest.raises(ValueError, match="features"):
        fitted.decision_function(data[0][:, :2])
    from sklearn.exceptions import NotFittedError

    for method in ("decision_function", "predict", "p_values"):
        with pytest.raises(NotFittedError):
            getattr(PyODDetector(), method)(data[0])


def test_scores_and_p_values_are_those_of_the_detector_by_cross_calibration(fitted, data):
    alone = AnomalyDetector(quick(), calibration="cross", random_state=0).fit(data[0])
    assert (fitted.decision_function(data[1]) == -alone.score_samples(data[1])).all()
    assert (fitted.p_values(data[1]) == alone.p_values(data[1])).all()
    # Each training row is scored by the model without it: these scores calibrate.
    raised = np.sort(fitted.decision_scores_)
    calibrating = alone.score_calibration_.scores
    assert (calibrating > raised).all()
    assert np.allclose(calibrating, raised, rtol=1e-3)


def test_p_values_hold_a_rate_that_contamination_does_not():
    from isthmus.integrations import PyODDetector

    rng = np.random.default_rng(0)
    normal, new = rng.normal(size=(400, 4)), rng.normal(size=(2000, 4))
    detector = PyODDetector(quick(), contamination=0.3, random_state=0).fit(normal)
    assert detector.predict(new).mean() == pytest.approx(0.3, abs=0.06)
    assert (detector.p_values(new) <= 0.05).mean() == pytest.approx(0.05, abs=0.03)


def test_a_detector_of_pyod_is_made_of_it(fitted, data):
    from pyod.models.knn import KNN
    from pyod.models.lscp import LSCP

    X, X_new, _, y_new = data
    together = LSCP([KNN(), clone(fitted)], n_bins=2, contamination=SHARE, random_state=0).fit(X)
    assert roc_auc_score(y_new, together.decision_function(X_new)) > 0.9


def test_tables_with_categories_are_taken(data):
    from isthmus.integrations import PyODDetector

    table = pd.DataFrame(data[0], columns=list("abcd")).assign(site=["x", "y"] * (N // 2))
    detector = PyODDetector(quick(), random_state=0).fit(table)
    assert detector.predict_proba(table[:5]).shape == (5, 2)


def test_without_pyod_the_error_names_the_extra(monkeypatch):
    import isthmus.integrations

    for name in ("pyod.models.base", "isthmus.integrations.pyod_detector"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pyod", None)
    monkeypatch.setitem(sys.modules, "pyod.models", None)
    monkeypatch.setitem(sys.modules, "pyod.models.base", None)
    monkeypatch.delitem(vars(isthmus.integrations), "pyod_detector", raising=False)
    from isthmus.integrations.pyod_detector import PyODDetector

    with pytest.raises(MissingExtraError, match=re.escape("pip install 'isthmus[pyod]'")):
        PyODDetector()
