"""The rate that each of twenty groups realises whose scores differ in scale by up to five times."""

from __future__ import annotations

import argparse
import math
import warnings

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from common.guarantee_measures.guarantee import Facts, Measure, yes_or_no
from common.markdown import markdown, number
from common.records import errors
from isthmus import AnomalyDetector, Autoencoder, load
from isthmus.detection import band
from isthmus.errors import CalibrationWarning

N_GROUPS, LARGEST_SCALE = 20, 5.0
#: Rows of a group to fit on and new ones, and time points of each.
FIT_ROWS, NEW_ROWS = 500, 1000
FIT_POINTS, NEW_POINTS, WINDOW = 1500, 4000, 16
TABLE_RATES, SERIES_RATE = (0.01, 0.05), 0.05
NAMES = np.array([f"machine {at + 1:02d}" for at in range(N_GROUPS)], dtype=object)
SCALES = np.linspace(1, LARGEST_SCALE, N_GROUPS)
#: Of twenty groups the worst is that many standard errors above its expectation as often as one
#: alone is two.
WORST_ERRORS = 3.03


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--group-runs", type=int, default=40, help="with groups: tables drawn (default 40)"
    )
    parser.add_argument(
        "--group-series", type=int, default=30, help="with groups: sets of series (default 30)"
    )


def measure(options: argparse.Namespace) -> list[Facts]:
    """Return the facts of tables for each rate, then those of series."""
    found = []
    if options.group_runs:
        found += tables(options.group_runs, options.seed)
    if options.group_series:
        found += series(options.group_series, options.seed)
    return found


def draw_rows(n: int, seed: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return n rows of each group, three hidden causes and noise, and the group of each."""
    mix = np.random.default_rng([17, 0]).normal(size=(3, 8))
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n * N_GROUPS, 3)) @ mix + 0.5 * rng.normal(size=(n * N_GROUPS, 8))
    return rows * np.repeat(SCALES, n)[:, None], np.repeat(NAMES, n)


def tables(n_runs: int, seed: int) -> list[Facts]:
    """Return what detectors by group and with one threshold realise on new rows."""
    encoder = Autoencoder(random_state=seed, max_epochs=20).fit(draw_rows(200, [seed, 0])[0])
    shares: dict[tuple[float, str], list[np.ndarray]] = {}
    inside: dict[tuple[float, str], list[bool]] = {}
    for run in track(range(n_runs), "groups of a table", console=errors):
        X, groups = draw_rows(FIT_ROWS, [seed, 1, run])
        new, of_new = draw_rows(NEW_ROWS, [seed, 2, run])
        detector = AnomalyDetector(encoder, false_alarm_rate=TABLE_RATES[0], random_state=run)
        detector.fit(X, groups=groups)
        one = AnomalyDetector(encoder, false_alarm_rate=TABLE_RATES[0], random_state=run).fit(X)
        scores = {"by group": -detector.score_samples(new), "one": -one.score_samples(new)}
        for rate in TABLE_RATES:
            flags = {
                "by group": detector.set_false_alarm_rate(rate).verdicts_of(
                    scores["by group"], of_new
                ),
                "one": one.set_false_alarm_rate(rate).verdicts_of(scores["one"]),
            }
            for how, verdicts in flags.items():
                share = (verdicts == -1).reshape(N_GROUPS, NEW_ROWS).mean(axis=1)
                shares.setdefault((rate, how), []).append(share)
                low, high = band(rate, detector.n_calibration_, N_GROUPS * NEW_ROWS)
                inside.setdefault((rate, how), []).append(low <= share.mean() <= high)
    return [
        describe("table", how, rate, np.array(found), inside[rate, how])
        for (rate, how), found in shares.items()
    ]


def draw_series(n: int, seed: list[int]) -> pd.DataFrame:
    """Return n time points of each group: a wave, and noise that depends on its past."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(N_GROUPS, n))
    for at in range(1, n):
        noise[:, at] = 0.5 * noise[:, at - 1] + math.sqrt(0.75) * noise[:, at]
    wave = np.sin(np.arange(n) / 4)
    return pd.DataFrame(
        {
            "machine": np.repeat(NAMES, n),
            "second": np.tile(np.arange(n), N_GROUPS),
            "load": (wave + 0.2 * SCALES[:, None] * noise).ravel(),
        }
    )


def series(n_runs: int, seed: int) -> list[Facts]:
    """Return what detectors of time points realise on later series."""
    cut = {"kind": "series", "time": "second", "group": "machine", "window": WINDOW, "stride": 2}
    encoder = Autoencoder(random_state=seed, max_epochs=5)
    encoder.fit(load(draw_series(300, [seed, 3]), **cut))
    shares: dict[str, list[np.ndarray]] = {"by group": [], "one": []}
    for run in track(range(n_runs), "groups of series", console=errors):
        fitted = load(draw_series(FIT_POINTS, [seed, 4, run]), **cut)
        new = load(draw_series(NEW_POINTS, [seed, 5, run]), **cut)
        for how, found in shares.items():
            detector = AnomalyDetector(
                encoder,
                false_alarm_rate=SERIES_RATE,
                random_state=run,
                by_group=how == "by group",
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CalibrationWarning)
                decided = detector.fit(fitted).decide_points(new)
            codes = decided.points.codes
            found.append(np.array([decided.abnormal[codes == at].mean() for at in range(N_GROUPS)]))
    return [
        describe("series", how, SERIES_RATE, np.array(found), None) for how, found in shares.items()
    ]


def describe(
    data: str, how: str, rate: float, shares: np.ndarray, inside: list[bool] | None
) -> Facts:
    """Return pooled and worst rate of `shares`, of shape (runs, groups), with standard errors."""
    n = len(shares)
    pooled, means = shares.mean(axis=1), shares.mean(axis=0)
    errors_of = shares.std(axis=0, ddof=1) / math.sqrt(n)
    worst, least = int(means.argmax()), int(means.argmin())
    facts: Facts = {
        "data": data,
        "calibration": how,
        "asked": rate,
        "runs": n,
        "pooled": float(pooled.mean()),
        "pooled_se": float(pooled.std(ddof=1) / math.sqrt(n)),
        "in_band": None if inside is None else float(np.mean(inside)),
        "worst": float(means[worst]),
        "worst_se": float(errors_of[worst]),
        "worst_group": str(NAMES[worst]),
        "lowest": float(means[least]),
        "lowest_se": float(errors_of[least]),
        "n_above": int((means > rate + 2 * errors_of).sum()),
    }
    if how == "by group":
        facts["holds"] = facts["pooled"] <= rate + 2 * facts["pooled_se"] and bool(
            facts["worst"] <= rate + WORST_ERRORS * facts["worst_se"]
        )
    return facts


def show(console: Console, found: list[Facts]) -> None:
    columns = ["groups", "calibration", "asked", "runs", "all groups", "standard error"]
    columns += ["in the band of 90 %", "worst group", "standard error", "lowest", "standard error"]
    columns += ["groups above by two errors", "holds"]
    rows = [
        [
            one["data"],
            one["calibration"],
            f"{one['asked']:g}",
            str(one["runs"]),
            number(one["pooled"], 4),
            number(one["pooled_se"], 4),
            "" if one["in_band"] is None else f"{one['in_band']:.0%}",
            number(one["worst"], 4),
            number(one["worst_se"], 4),
            number(one["lowest"], 4),
            number(one["lowest_se"], 4),
            str(one["n_above"]),
            yes_or_no(one["holds"]) if "holds" in one else "",
        ]
        for one in found
    ]
    markdown(console, columns, rows)


MEASURE = Measure("groups", measure, show, add_options)
