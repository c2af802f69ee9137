"""Realised false alarms and seconds of isthmus' detector of time points."""

from __future__ import annotations

import resource
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd

from isthmus import AnomalyDetector, Autoencoder, load
from isthmus.detection import AlarmRate, find_alarms
from isthmus.errors import CalibrationWarning

#: Share of a training part that a detector is fitted on; the rest, which is later, is decided on.
FITTED = 0.7
#: Shorter training parts have too few later points to tell a rate by.
MIN_POINTS = 1000
RATE, ALARMS = 0.01, AlarmRate.parse("1 per 2000 points")
#: Time points, and channels, of which the seconds are measured.
FIT_SIZES, SCORE_SIZE, CHANNELS = (1_200, 10_000), 1_000_000, 8


def as_dataset(readings: np.ndarray, window: int | str = "auto") -> Any:
    """Return the data set of readings (m, c) with whole numbers as times."""
    frame = pd.DataFrame(readings, columns=[f"channel {j}" for j in range(readings.shape[1])])
    frame["time"] = np.arange(len(readings))
    stride = "auto" if window == "auto" else 1
    return load(frame, kind="series", time="time", window=window, stride=stride)


def measure_rates(train: np.ndarray, seed: int) -> dict[str, Any] | None:
    """Return what a detector of the first part of normal readings says of the rest.

    Parameters
    ----------
    train : array of shape (n, c)
        Normal readings.
    seed : int

    Returns
    -------
    dict or None
        `drifts`, whether the fit warned of it; of `points` and `alarms` what is `realised`, the
        ends of the band, `low` and `high`, and whether it is `at_most` the upper end, and
        `inside`. None for a short part.
    """
    n_fitted = round(FITTED * len(train))
    later = train[n_fitted:]
    if len(train) < MIN_POINTS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # counted by what they lead to
        detector = AnomalyDetector(
            Autoencoder(random_state=seed), false_alarm_rate=RATE, random_state=seed
        ).fit(as_dataset(train[:n_fitted]))
        blocks = detector.point_calibration_.blocks
        gap = detector.point_facts_["merge_gap"]
        alarms = blocks.alarm_threshold(ALARMS, merge_gap=gap)
    decided = detector.decide_points(later)
    found = find_alarms(
        np.nan_to_num(decided.scores) > alarms.threshold, decided.points.segments, merge_gap=gap
    )
    return {
        "drifts": detector.point_facts_["drifts"],
        "asked": max(RATE, blocks.calibration.smallest_rate),
        "held": blocks.holds(RATE),
        "points": _inside(float(decided.abnormal.mean()), blocks.band(RATE, len(later))),
        "alarms": _inside(len(found), alarms.band(len(later))),
    }


def summarise_rates(rates: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how often the realised rates were as the bands say, of series without drift."""
    steady = [one for one in rates if not one["drifts"]]
    found: dict[str, Any] = {"n": len(rates), "n_drifting": len(rates) - len(steady)}
    for what in ("points", "alarms"):
        own = [one[what] for one in steady]
        found[what] = {
            "n": len(own),
            "at_most": sum(one["at_most"] for one in own),
            "inside": sum(one["inside"] for one in own),
            "mean_realised": float(np.mean([one["realised"] for one in own])) if own else None,
        }
    return found


def _inside(realised: float, band: tuple[float, float]) -> dict[str, Any]:
    low, high = band
    at_most, at_least = realised <= high + 1e-9, realised >= low - 1e-9
    return {
        "realised": realised,
        "low": low,
        "high": high,
        "at_most": bool(at_most),
        "inside": bool(at_most and at_least),
    }


def measure_seconds(seed: int) -> list[dict[str, Any]]:
    """Return the seconds of fits and of scoring a long series, and the memory at its highest."""
    found = []
    for n in FIT_SIZES:
        data = as_dataset(_sensors(n))
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)
            detector = AnomalyDetector(Autoencoder(random_state=seed), random_state=seed).fit(data)
        found.append({"what": "fit", "n": n, "seconds": time.perf_counter() - started})
    for n in (SCORE_SIZE // 10, SCORE_SIZE):
        readings = _sensors(n)
        started = time.perf_counter()
        detector.score_points(readings)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found.append({"what": "score", "n": n, "seconds": seconds, "peak_mb": peak})
    return found


def _sensors(n: int) -> np.ndarray:
    steps = np.arange(n)[:, None]
    periods = 20 + 7 * np.arange(CHANNELS)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(n, CHANNELS))
    readings: np.ndarray = np.sin(2 * np.pi * steps / periods) + noise
    return readings
