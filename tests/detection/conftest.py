"""Normal rows and an encoder of them, for all tests of the detector. Do not refit."""

import numpy as np
import pytest

from isthmus import AnomalyDetector, Autoencoder

MIX = np.random.default_rng(9).normal(size=(2, 6))


@pytest.fixture(scope="session")
def gaussians():
    """Draw n normal rows of six columns: two hidden causes, and noise."""

    def draw(n, seed):
        rng = np.random.default_rng(seed)
        return rng.normal(size=(n, 2)) @ MIX + 0.3 * rng.normal(size=(n, 6))

    return draw


@pytest.fixture(scope="session")
def encoder(gaussians):
    """An encoder of 600 normal rows, drawn with seed 0. Do not refit."""
    return Autoencoder(n_components=2, max_epochs=15, random_state=0).fit(gaussians(600, 0))


@pytest.fixture(scope="session")
def detector_fit(encoder, gaussians):
    """A detector with 60 calibration rows, its rows drawn with seed 1. Do not refit."""
    return AnomalyDetector(encoder, false_alarm_rate=0.05, calibration="split", random_state=0).fit(
        gaussians(300, 1)
    )
