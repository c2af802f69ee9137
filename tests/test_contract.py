"""Scikit-learn's own checks of what an estimator has to do."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier
from isthmus.classification import MLPHead

# The networks compute in float32, whose matrix products round differently for batches of
# different size; the check allows 1e-7. test_autoencoder.py holds it to 1e-5.
FLOAT32 = {"check_methods_subset_invariance": "float32: equal to about 1e-6, not to 1e-7"}

# scikit-learn's detectors call the share `contamination` of the training rows abnormal. Here it is
# a bound, and `false_alarm_rate` says how many normal rows are.
BOUND = dict.fromkeys(
    ("check_outliers_fit_predict", "check_outliers_train"),
    "contamination is a bound, and not the share to be predicted",
)


# The checks give every estimator classes 0, 1, 2 for y; a detector refuses 2, which says neither
# normal nor abnormal. So it takes them here without y; test_detector.py has its labels.
class Detector(AnomalyDetector):
    def fit(self, X, y=None):
        return super().fit(X)


EXPECTED_FAILURES = {
    "Autoencoder": FLOAT32,
    "CodeClassifier": FLOAT32,
    "Detector": FLOAT32 | BOUND,
    "MLPHead": FLOAT32,
}

ESTIMATORS = [
    Autoencoder(n_components=1, max_epochs=2, random_state=0),
    # Neighbours, because three blobs in a plane are not linearly separable along one axis.
    CodeClassifier(Autoencoder(n_components=1, max_epochs=2, random_state=0), "neighbours"),
    # A rate that the checks' smallest tables can hold.
    Detector(
        Autoencoder(n_components=1, max_epochs=2, random_state=0),
        false_alarm_rate=0.2,
        calibration="split",
        random_state=0,
    ),
    MLPHead((16,), max_epochs=30, random_state=0),
]


@parametrize_with_checks(
    ESTIMATORS,
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES[type(estimator).__name__],
)
def test_scikit_learns_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_the_constructor_only_stores(estimator):
    # What `fit` checks, the constructor takes as it is; only so does `set_params` work.
    odd = {name: object() for name in estimator.get_params(deep=False)}

    made = type(estimator)(**odd)

    assert vars(made) == odd
