"""The monitor of a detector of time points: blocks of time in place of rows."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

from isthmus import AnomalyDetector, Autoencoder, load, save_bundle
from isthmus.detection import block_length, block_means
from isthmus.errors import DataError
from isthmus.monitoring import Monitor, MonitorReference, Observed

CUT = {"kind": "series", "time": "when", "window": 16, "stride": 1}


def pump(n, seed, load=0.0):
    rng = np.random.default_rng(seed)
    swing = lfilter([1], [1, -0.5], rng.normal(size=n))
    return pd.DataFrame(
        {
            "when": pd.Timestamp("2024-05-01") + pd.to_timedelta(np.arange(n), unit="s"),
            "load": swing + load,
            "heat": 0.8 * swing + 0.3 * rng.normal(size=n),
        }
    )


@pytest.fixture(scope="module")
def detector():
    """A detector of time points of one pump, calibrated on series of its own. Do not refit."""
    encoder = Autoencoder(architecture="dense", n_components=3, max_epochs=2, random_state=0)
    fitted = AnomalyDetector(encoder, random_state=0, false_alarm_rate=0.05)
    return fitted.fit(load(pump(900, 0), **CUT)).recalibrate(load(pump(3000, 1), **CUT))


def test_blocks_are_whole_and_cross_no_gap():
    scores = np.arange(12.0)
    scores[5] = np.nan
    means, first = block_means(scores, np.array([[0, 7], [7, 12]]), 3)
    assert (means.tolist(), first.tolist()) == ([1.0, 8.0], [0, 7])


def test_blocks_are_as_long_as_scores_depend_on_each_other():
    rng = np.random.default_rng(0)
    lengths = []
    for weight in (0.0, 0.9, 0.98):
        scores = lfilter([1], [1, -weight], rng.normal(size=40_000))
        lengths.append(block_length(scores, np.array([[0, 40_000]]), 16))
        means, _ = block_means(scores, np.array([[0, 40_000]]), lengths[-1])
        assert np.corrcoef(means[:-1], means[1:])[0, 1] < 0.1
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[2]
    with pytest.raises(DataError, match="needs a longer normal series"):
        block_length(np.cumsum(rng.normal(size=2000)), np.array([[0, 2000]]), 16)


def test_stationary_series_warn_no_more_often_than_the_level_and_shifted_ones_do():
    warned, found = 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        held_out, stream = (lfilter([1], [1, -0.8], rng.normal(size=8000)) for _ in range(2))
        length = block_length(held_out, np.array([[0, 8000]]), 32)

        class Simulated:
            means = block_means(held_out, np.array([[0, 8000]]), length)[0]

            def monitor_reference(self):
                return MonitorReference.of_values(0.01, self.means, None, None, 0)

            def observe(self, X):
                n = len(X)
                return Observed(X, np.zeros(n, bool), np.empty((n, 0)))

        means, _ = block_means(stream, np.array([[0, 8000]]), length)
        warned += not Monitor(Simulated(), 0.1, seed).update(means).valid
        found += not Monitor(Simulated(), 0.1, seed).update(means + stream.std()).valid
    assert warned <= 10 + 2 * 3  # 0.1 and two standard errors
    assert found == 100


def test_a_monitor_of_time_points_counts_blocks_and_goes_on_from_its_state(detector, tmp_path):
    monitor = detector.monitor()
    block = monitor.reference.block
    state = monitor.update(pump(2000, 2))
    assert (state.valid, state.block) == (True, block)
    assert state.n == len(block_means(detector.decide_points(pump(2000, 2)).scores,
                                      np.array([[0, 2000]]), block)[0])  # fmt: skip
    assert state.n_left_over == 2000 - state.n * block
    monitor.save(tmp_path / "press.json")
    again = Monitor.load(tmp_path / "press.json", detector)
    after = again.update(pump(2000, 3, load=1.5))
    assert (after.valid, after.moved) == (False, ["anomaly score"])
    assert state.n - 3 < after.since["row"] < state.n + 5
    assert after.since["time"].startswith("2024-05-01 00:")
    assert f"since about block {after.since['row']}" in after.summary()
    with pytest.raises(DataError, match="no stretch without a gap makes a block"):
        again.update(pump(block - 1, 4))
    assert again.state().n == after.n


def test_without_held_out_series_the_first_blocks_are_learned_from():
    encoder = Autoencoder(architecture="dense", n_components=3, max_epochs=2, random_state=0)
    crossed = AnomalyDetector(encoder, random_state=0, false_alarm_rate=0.05)
    crossed.fit(load(pump(4000, 0), **CUT))
    state = crossed.monitor().update(pump(2000, 1))
    assert crossed.calibration_ == "cross"
    assert "no statement before block 256" in str(state)


def test_the_command_monitors_a_series(detector, isthmus, tmp_path):
    save_bundle("press", detector.encoder_, {"normal": detector})
    for name, n, seed, moved in (("quiet.csv", 2000, 5, 0.0), ("loud.csv", 2000, 6, 1.5)):
        pump(n, seed, moved).to_csv(name, index=False)
    words = ("--time", "when", "--state", "state.json", "--json", "-")
    status, out, error = isthmus("monitor", "press", "quiet.csv", *words)
    assert status == 0, error
    assert json.loads(out)["valid"]
    status, out, _ = isthmus("monitor", "press", "loud.csv", *words)
    found = json.loads(out)
    assert (status, found["valid"], found["moved"]) == (3, False, ["anomaly score"])
    assert found["block"] == detector.monitor().reference.block
