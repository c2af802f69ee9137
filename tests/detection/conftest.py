"""Normal rows and an encoder of them, for all tests of the detector. Do not refit."""

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, load

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


def pump_table(n=900, seed=0, *, gap=True):
    """Two machines in turn, a row a second, sometimes with a gap, and with an unused column."""
    rng = np.random.default_rng(seed)
    rows = np.arange(n)
    second = rows // 2 + np.where(gap & (rows > n // 2), 300, 0)
    phase = second / 5 + (rows % 2)
    return pd.DataFrame(
        {
            "when": pd.Timestamp("2024-05-01") + pd.to_timedelta(second, unit="s"),
            "machine": np.array(["b", "a"])[rows % 2],
            "load": np.sin(phase) + 0.1 * rng.normal(size=n),
            "heat": np.cos(phase) + 0.1 * rng.normal(size=n),
        }
    )


SERIES = {"kind": "series", "time": "when", "group": "machine", "window": 16, "stride": 1}


@pytest.fixture(scope="session")
def pump():
    """Draw a table of two machines, see `pump_table`."""
    return pump_table


@pytest.fixture(scope="session")
def point_fit():
    """A detector of time points of that table, with a threshold of 1 % of them. Do not refit."""
    encoder = Autoencoder(architecture="dense", n_components=3, max_epochs=2, random_state=0)
    return AnomalyDetector(encoder, random_state=0, false_alarm_rate=0.05).fit(
        load(pump_table(), **SERIES)
    )
