"""Hold the detector to what it states: false-alarm rates and false-discovery rates.

    python benchmarks/guarantees.py FOLDER
    python benchmarks/guarantees.py FOLDER --refit 10 --cross 30

FOLDER as in `benchmarks/anomaly.py`. For each table one encoder is fitted on a third of the
normal rows; rows that equal one of these are left out of what follows. Then, 200 times, the
rest is split anew at random: rows for the detector (4,000 at most, a fifth of them calibrate)
and rows that are new to it (as many at most), of which the share called abnormal is counted for
each rate asked. Split by split the rows are exchangeable, whatever rows and encoder they are, so
the splits are independent draws and the guarantee is exact: without ties the expected share is
floor(a (n + 1)) / (n + 1) for a rate a and n calibration rows, printed as "expected".

For the selection at a false-discovery rate, 100 times, the detector is fitted on new rows in the
same way, and one batch of 1,000 normal and 100 abnormal rows is put to it: the share of normal
rows among those selected (0 when none is), and the share of the abnormal ones that were found.

A figure passes when its mean over the splits is no more than what was asked and two standard
errors; where the expected share is the rate itself, chance fails one such check in 44. The
power passes from 0.9 on.

--refit N repeats the first for N splits with an encoder that is not fitted, so that each split
trains one. --cross N does so with calibration="cross", which trains six and whose guarantee is
weaker: its rates are printed with the same check, and what they are is the finding.

200 splits of a table with its encoder fitted cost about a minute on one core, a split that trains
encoders ten seconds to a minute.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from common.anomaly_tables import AnomalyTable, find_tables, read_table
from common.markdown import markdown, number
from common.records import data_folder, errors, put_json, run, say, tables_console, versions
from isthmus import AnomalyDetector, Autoencoder
from isthmus.data import ABNORMAL, verdicts
from isthmus.errors import CalibrationWarning, DataError

TABLES = "32_shuttle,23_mammography,31_satimage-2"
RATES = (0.01, 0.05, 0.1)
FDR, POWER = 0.1, 0.9
BATCH_NORMAL, BATCH_ABNORMAL = 1000, 100


def main() -> None:
    options = arguments()
    folder = data_folder(options.folder, "adbench")
    found: dict[str, Any] = {"benchmark": "guarantees", "versions": versions()}
    found |= {"rates": [], "selection": []}
    max_rows, seed = options.rows, options.seed
    for path in find_tables(folder, options.tables):
        table = read_table(path)
        if options.splits:
            frozen, pool = fit_on_a_third(table, seed)
            found["rates"] += rates(table, pool, options.splits, max_rows, seed, encoder=frozen)
        if options.refit:
            normal = np.flatnonzero(~table.abnormal)
            found["rates"] += rates(table, normal, options.refit, max_rows, seed)
    if options.cross:
        table = read_table(only(folder, options.cross_table))
        normal = np.flatnonzero(~table.abnormal)
        found["rates"] += rates(table, normal, options.cross, max_rows, seed, calibration="cross")
    if options.batches:
        table = read_table(only(folder, options.batch_table))
        found["selection"].append(selection(table, options.batches, max_rows, seed))
    put_json(options.json, found)
    show(options.json, found)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="where the .npz tables lie")
    parser.add_argument("--tables", metavar="NAME,NAME", default=TABLES, help=f"default {TABLES}")
    parser.add_argument("--splits", type=int, default=200, help="default 200; 0 leaves them out")
    parser.add_argument("--rows", type=int, default=4000, help="most in a split (default 4000)")
    parser.add_argument("--batches", type=int, default=100, help="default 100; 0 leaves them out")
    parser.add_argument("--batch-table", metavar="NAME", default="32_shuttle")
    parser.add_argument("--refit", type=int, default=0, help="splits that train an encoder each")
    parser.add_argument("--cross", type=int, default=0, help="splits with calibration='cross'")
    parser.add_argument("--cross-table", metavar="NAME", default="6_cardio")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    options = parser.parse_args()
    for name in ("splits", "batches", "refit", "cross"):
        if getattr(options, name) == 1:
            parser.error(f"got --{name} 1, expected 0, or 2 or more, for a standard error")
    return options


def only(folder: Path, name: str) -> Path:
    return find_tables(folder, name)[0]


def fit_on_a_third(table: AnomalyTable, seed: int) -> tuple[Autoencoder, np.ndarray]:
    """Return an encoder of a third of the normal rows, and the numbers of those new to it."""
    normal = np.random.default_rng([seed, 0]).permutation(np.flatnonzero(~table.abnormal))
    third = len(normal) // 3
    encoder = Autoencoder(random_state=seed).fit(table.X[normal[:third]])
    rest = normal[third:]
    seen = encoder.training_row_hashes_.overlap(encoder.row_hashes(table.X[rest]))
    return encoder, rest[~seen]


def rates(
    table: AnomalyTable,
    pool: np.ndarray,
    n_splits: int,
    max_rows: int,
    seed: int,
    *,
    encoder: Autoencoder | None = None,
    calibration: str = "split",
) -> list[dict[str, Any]]:
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


def selection(table: AnomalyTable, n_batches: int, max_rows: int, seed: int) -> dict[str, Any]:
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


def fit(
    encoder: Autoencoder, X: np.ndarray, seed: int, calibration: str, rate: float | str
) -> AnomalyDetector:
    detector = AnomalyDetector(
        encoder, false_alarm_rate=rate, calibration=calibration, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return detector.fit(X)


def draw(pool: np.ndarray, max_rows: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows for a detector and new ones, disjoint: `max_rows` or half of the pool each."""
    order = np.random.default_rng(seed).permutation(pool)
    size = min(max_rows, len(pool) // 2)
    return order[:size], order[size : 2 * size]


def expected_rate(rate: float, n_calibration: int) -> float:
    """Return what a conformal threshold lets through on average, where scores have no ties.

    Examples
    --------
    >>> expected_rate(0.05, 99), expected_rate(0.05, 30)
    (0.05, 0.03225806451612903)
    """
    return math.floor(rate * (n_calibration + 1) + 1e-9) / (n_calibration + 1)


def discoveries(selected: np.ndarray, abnormal: np.ndarray) -> tuple[float, float]:
    """Return the share of normal rows among those selected, and of abnormal rows found.

    Examples
    --------
    >>> discoveries(np.array([True, True, False]), np.array([True, False, True]))
    (0.5, 0.5)
    """
    share = float((selected & ~abnormal).sum() / max(1, selected.sum()))
    return share, float((selected & abnormal).sum() / abnormal.sum())


def at_most(values: Sequence[float], asked: float) -> dict[str, Any]:
    """Compare the mean of two or more independent values with the most that was asked for.

    Returns
    -------
    dict
        `asked`, `splits`, `mean`, its standard error `se`, and whether it `holds`: whether the
        mean is `asked + 2 se` or less.
    """
    mean, se = float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))
    counted = {"asked": asked, "splits": len(values), "mean": mean, "se": se}
    return counted | {"holds": mean <= asked + 2 * se}


def show(json_path: str | None, found: dict[str, Any]) -> None:
    console = tables_console(json_path)
    if found["rates"]:
        columns = ["false alarms", "encoder", "calibration rows", "splits", "asked", "expected"]
        rows = []
        for one in found["rates"]:
            row = [one[name] for name in ("table", "encoder", "n_calibration", "splits", "asked")]
            row += [number(one[name], 5) for name in ("expected", "mean", "se")]
            rows.append([*map(str, row), yes_or_no(one["holds"])])
        markdown(console, [*columns, "mean", "standard error", "holds"], rows)
    for one in found["selection"]:
        columns = ["selection", "calibration rows", "batches", "asked", "false discoveries"]
        row = [one["table"], str(one["n_calibration"]), str(one["splits"]), f"{one['asked']:g}"]
        row += [number(one["mean"], 4), number(one["se"], 4), yes_or_no(one["holds"])]
        row += [number(one["power"], 4), yes_or_no(one["power_holds"])]
        columns += ["standard error", "holds", "power", f"power of {POWER} or more"]
        markdown(console, columns, [row])
    broken = [one for one in found["rates"] + found["selection"] if not one["holds"]]
    say(f"{len(broken)} of {len(found['rates'] + found['selection'])} checks do not hold")


def yes_or_no(holds: bool) -> str:
    return "yes" if holds else "NO"


if __name__ == "__main__":
    run(main)
