"""Realised rates of false alarms on simulated series whose time points depend on each other.

    python benchmarks/block_rates.py
    python benchmarks/block_rates.py --runs 50 --json facts.json

For each run, five blocks of scores calibrate a share of time points (0.01, or the smallest that
they hold) and a rate of alarms (1 per 2000 points, or the smallest), and twenty later blocks of the
same source are decided on. Scores are independent, autoregressive, or smooth as the mean over
windows is, and none drifts. Beside it, the share of points with every point as an independent one.

A run of all sources takes a tenth of a second on one core.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
from rich.progress import track
from scipy.signal import lfilter

from common.markdown import markdown
from common.records import errors, put_json, run, tables_console, versions
from isthmus.detection import AlarmRate, Calibration, block_calibration, find_alarms
from isthmus.errors import CalibrationWarning

N_BLOCKS, N_LATER = 5, 20
WINDOW = 32
ASKED = 0.01
SIZES = (1200, 5000)
SOURCES = ("independent", "autoregressive 0.9", "autoregressive 0.98", "smooth")


def main() -> None:
    options = arguments()
    found: dict[str, Any] = {"benchmark": "block_rates", "versions": versions(), "rates": []}
    cells = [(source, n) for source in SOURCES for n in SIZES]
    for source, n in track(cells, "sources", console=errors, transient=True):
        found["rates"].append(measure(source, n, range(options.runs)))
    put_json(options.json, found)
    rows = [
        [
            one["source"],
            f"{one['n']:,}",
            f"{one['mean_cluster']:.1f}",
            *(f"{one[name]['mean']:.2f} ({one[name]['error']:.2f})" for name in NAMES),
            *(f"{100 * one[name]['mean']:.0f} %" for name in SHARES),
        ]
        for one in found["rates"]
    ]
    columns = [
        "scores",
        "held out",
        "count as one",
        "points",
        "points, all as independent",
        "alarms",
    ]
    columns += ["points in band", "alarms in band", "warned of drift"]
    markdown(tables_console(options.json), columns, rows)


NAMES = ("points", "all_points", "alarms")
SHARES = ("points_in_band", "alarms_in_band", "warned")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=400, help="default 400")
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


def measure(source: str, n: int, seeds: range) -> dict[str, Any]:
    """Return means over runs of realised over asked rates, with their standard errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        runs = [one_run(source, n, np.random.default_rng(seed)) for seed in seeds]
    found: dict[str, Any] = {"source": source, "n": n}
    found["mean_cluster"] = float(np.median([one["mean_cluster"] for one in runs]))
    for name in (*NAMES, *SHARES):
        values = np.array([one[name] for one in runs], dtype=float)
        error = float(values.std() / np.sqrt(len(values)))
        found[name] = {"mean": float(values.mean()), "error": error}
    return found


def one_run(source: str, n: int, rng: np.random.Generator) -> dict[str, float]:
    """Calibrate on blocks of one source, and decide on later ones."""
    length, gap = n // N_BLOCKS, WINDOW // 2
    scores = np.concatenate([simulate(source, length, rng) for _ in range(N_BLOCKS)])
    later = np.concatenate([simulate(source, length, rng) for _ in range(N_LATER)])
    first = length * np.arange(N_LATER)
    blocks = np.column_stack([first, first + length])
    calibration = block_calibration(scores, blocks[:N_BLOCKS], window=WINDOW)
    rate = calibration.choose_rate("auto")
    share = float((later > calibration.threshold_for_rate(rate)).mean())
    low, high = calibration.band(rate, len(later))
    every = Calibration.with_tolerance(scores).threshold_for_rate(ASKED)
    asked = AlarmRate(1.0, float(min(2000, n)), "points")
    found = calibration.alarm_threshold(asked, merge_gap=gap)
    n_alarms = len(find_alarms(later > found.threshold, blocks, merge_gap=gap))
    fewest, most = found.band(len(later))
    return {
        "mean_cluster": calibration.mean_cluster,
        "points": share / rate,
        "all_points": float((later > every).mean()) / ASKED,
        "alarms": n_alarms / (len(later) * asked.per_point()),
        "points_in_band": low <= share <= high,
        "alarms_in_band": fewest <= n_alarms <= most,
        "warned": calibration.warn_of_drift(calibration.realised(rate)),
    }


def simulate(source: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return scores of one block."""
    if source == "independent":
        return rng.normal(size=n)
    if source == "smooth":  # the mean over windows of squared residuals of four channels
        kernel = np.convolve(np.ones(WINDOW), np.ones(WINDOW)) / WINDOW**2
        return np.convolve(rng.chisquare(4, size=n + 2 * WINDOW - 2), kernel, "valid")
    phi = float(source.split()[-1])
    burn_in = 1000
    return lfilter([1], [1, -phi], rng.normal(size=n + burn_in))[burn_in:]


if __name__ == "__main__":
    run(main)
