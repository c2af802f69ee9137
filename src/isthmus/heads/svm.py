"""A support vector machine as a head, with probabilities."""

from __future__ import annotations

from sklearn.calibration import CalibratedClassifierCV
from sklearn.svm import SVC

#: Parts of it that skops does not vouch for: plain numbers in classes of scikit-learn's own.
TYPES = ("sklearn.calibration._CalibratedClassifier", "sklearn.calibration._TemperatureScaling")


def support_vector_machine() -> CalibratedClassifierCV:
    """Build an unfitted support vector machine for standardised features.

    Its kernel is Gaussian, exp(-|a - b|² / m) for m features, and C = 5 (chosen on validation
    parts of MNIST). One temperature turns its decisions into probabilities (Guo et al., 2017),
    found on decisions that three parts of the labels got from the others, so each class needs
    three labels. Time grows with the square of the number of labels: 60,000 codes of 128 numbers
    take a minute, as many rows of 784 several.
    """
    machine = SVC(C=5.0, gamma="auto", cache_size=500)
    return CalibratedClassifierCV(machine, method="temperature", cv=3, ensemble=False)
