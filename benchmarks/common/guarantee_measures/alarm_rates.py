"""The share of new normal rows called abnormal, at each rate asked."""

from __future__ import annotations

import argparse
import math

import numpy as np
from rich.console import Console
from rich.progress import track

from common.anomaly_tables import AnomalyTable, read_table
from common.guarantee_measures.guarantee import (
    Facts,
    Measure,
    at_most,
    draw,
    fit,
    fit_on_a_third,
    table_of,
    tables_of,
    yes_or_no,
)
from common.markdown import markdown, number
from common.records import errors
from isthmus import Autoencoder
from isthmus.data import ABNORMAL, verdicts

RATES = (0.01, 0.05, 0.1)


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--splits", type=int, default=200, help="default 200; 0 leaves them out")
    add("--refit", type=int, default=0, help="splits that train an encoder each")
    add("--cross", type=int, default=0, help="splits with calibration='cross'")
    add("--cross-table", metavar="NAME", default="6_cardio")


def measure(options: argparse.Namespace) -> list[Facts]:
    """Return the realised rates of each table: frozen encoder, refitted, cross."""
    found: list[Facts] = []
    max_rows, seed = options.rows, options.seed
    for path in tables_of(options) if options.splits or options.refit else []:
        table = read_table(path)
        if options.splits:
            frozen, pool = fit_on_a_third(table, seed)
            found += rates(table, pool, options.splits, max_rows, seed, encoder=frozen)
        if options.refit:
            normal = np.flatnonzero(~table.abnormal)
            found += rates(table, normal, options.refit, max_rows, seed)
    if options.cross:
        table = table_of(options, options.cross_table)
        normal = np.flatnonzero(~table.abnormal)
        found += rates(table, normal, options.cross, max_rows, seed, calibration="cross")
    return found


def rates(
    table: AnomalyTable,
    pool: np.ndarray,
    n_splits: int,
    max_rows: int,
    seed: int,
    *,
    encoder: Autoencoder | None = None,
    calibration: str = "split",
) -> list[Facts]:
    """Return for each rate asked what was realised over random splits of the pool.

    Without an encoder each split trains its own.
    """
    what = "frozen encoder" if encoder is not None else f"encoder of its own, {calibration}"
    realised = []
    for split in track(range(n_splits), f"{table.name}, {what}", console=errors):
        mine, new = draw(pool, max_rows, [seed, 1, split])
        own = Autoencoder(random_state=split) if encoder is None else encoder
        detector = fit(own, table.X[mine], split, calibration, min(RATES))
        scores = -detector.score_samples(table.X[new])
        shares = []
        for rate in RATES:
            # As predict does, without scoring the rows once for each rate.
            threshold = -detector.set_false_alarm_rate(rate).offset_
            shares.append(float((verdicts(scores, threshold) == ABNORMAL).mean()))
        realised.append(shares)
    return [
        {"table": table.name, "encoder": what, "n_calibration": detector.n_calibration_}
        | {"expected": expected_rate(rate, detector.n_calibration_)}
        | at_most([shares[i] for shares in realised], rate)
        for i, rate in enumerate(RATES)
    ]


def expected_rate(rate: float, n_calibration: int) -> float:
    """Return what a conformal threshold lets through on average, where scores have no ties.

    Examples
    --------
    >>> expected_rate(0.05, 99), expected_rate(0.05, 30)
    (0.05, 0.03225806451612903)
    """
    return math.floor(rate * (n_calibration + 1) + 1e-9) / (n_calibration + 1)


def show(console: Console, found: list[Facts]) -> None:
    columns = ["false alarms", "encoder", "calibration rows", "splits", "asked", "expected"]
    rows = []
    for one in found:
        row = [one[name] for name in ("table", "encoder", "n_calibration", "splits", "asked")]
        row += [number(one[name], 5) for name in ("expected", "mean", "se")]
        rows.append([*map(str, row), yes_or_no(one["holds"])])
    markdown(console, [*columns, "mean", "standard error", "holds"], rows)


MEASURE = Measure("rates", measure, show, add_options)
