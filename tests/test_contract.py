"""Scikit-learn's own checks of what an estimator has to do."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from isthmus import Autoencoder, CodeClassifier
from isthmus.heads import MLPHead

def EXPECTED(e):
    return {}


ESTIMATORS = [
    Autoencoder(n_components=1, max_epochs=2, random_state=0),
    CodeClassifier(Autoencoder(n_components=1, max_epochs=2, random_state=0)),
    MLPHead((16,), max_epochs=30, random_state=0),
]


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=EXPECTED)
def test_sklearn_contract(estimator, check):
    check(estimator)
