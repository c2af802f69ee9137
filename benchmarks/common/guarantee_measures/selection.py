"""The share of normal rows among those that `select` selects, and of abnormal ones found."""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.progress import track

from common.anomaly_tables import AnomalyTable
from common.guarantee_measures.guarantee import (
    Facts,
    Measure,
    at_most,
    draw,
    fit,
    fit_on_a_third,
    table_of,
    yes_or_no,
)
from common.markdown import markdown, number
from common.records import errors
from isthmus.errors import DataError

FDR, POWER = 0.1, 0.9
BATCH_NORMAL, BATCH_ABNORMAL = 1000, 100


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=int, default=100, help="default 100; 0 leaves them out")
    parser.add_argument("--batch-table", metavar="NAME", default="32_shuttle")


def measure(options: argparse.Namespace) -> list[Facts]:
    """Return the facts of one table, if batches are asked for."""
    if not options.batches:
        return []
    table = table_of(options, options.batch_table)
    return [select_batches(table, options.batches, options.rows, options.seed)]


def select_batches(table: AnomalyTable, n_batches: int, max_rows: int, seed: int) -> Facts:
    """Return false-discovery share and power of `select` over batches of new rows."""
    encoder, pool = fit_on_a_third(table, seed)
    abnormal = np.flatnonzero(table.abnormal)
    if len(pool) < 2 * BATCH_NORMAL or len(abnormal) < BATCH_ABNORMAL:
        raise DataError(
            f"{table.name} has {len(pool)} normal rows new to the encoder and {len(abnormal)} "
            f"abnormal ones; a batch needs {2 * BATCH_NORMAL} and {BATCH_ABNORMAL}: name a "
            "larger table with --batch-table"
        )
    shares, powers = [], []
    for batch in track(range(n_batches), f"{table.name}, selection", console=errors):
        mine, new = draw(pool, max_rows, [seed, 2, batch])
        rng = np.random.default_rng([seed, 3, batch])
        rows = np.concatenate([new[:BATCH_NORMAL], rng.permutation(abnormal)[:BATCH_ABNORMAL]])
        detector = fit(encoder, table.X[mine], batch, "split", "auto")
        share, power = discoveries(detector.select(table.X[rows], fdr=FDR), table.abnormal[rows])
        shares.append(share)
        powers.append(power)
    found = {"table": table.name, "n_calibration": detector.n_calibration_}
    power = float(np.mean(powers))
    return found | at_most(shares, FDR) | {"power": power, "power_holds": power >= POWER}


def discoveries(selected: np.ndarray, abnormal: np.ndarray) -> tuple[float, float]:
    """Return the share of normal rows among those selected, and of abnormal rows found.

    Examples
    --------
    >>> discoveries(np.array([True, True, False]), np.array([True, False, True]))
    (0.5, 0.5)
    """
    share = float((selected & ~abnormal).sum() / max(1, selected.sum()))
    return share, float((selected & abnormal).sum() / abnormal.sum())


def show(console: Console, found: list[Facts]) -> None:
    for one in found:
        columns = ["selection", "calibration rows", "batches", "asked", "false discoveries"]
        row = [one["table"], str(one["n_calibration"]), str(one["splits"]), f"{one['asked']:g}"]
        row += [number(one["mean"], 4), number(one["se"], 4), yes_or_no(one["holds"])]
        row += [number(one["power"], 4), yes_or_no(one["power_holds"])]
        columns += ["standard error", "holds", "power", f"power of {POWER} or more"]
        markdown(console, columns, [row])


MEASURE = Measure("selection", measure, show, add_options)
