"""Normal rows among those selected: their share, its bound after the fact, and of a stream."""

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
from isthmus.detection import Calibration, OnlineSelection, Selection
from isthmus.errors import DataError

FDR, POWER = 0.1, 0.9
BATCH_NORMAL, BATCH_ABNORMAL = 1000, 100
CONFIDENCE = 0.9
#: Calibration rows, normal and abnormal instances of simulated batches.
SIMULATED = ((99, 200, 20), (500, 1000, 10), (500, 1000, 100), (2000, 1000, 100), (2000, 1000, 400))
#: How far simulated abnormal scores lie above normal ones, in standard deviations.
SHIFT = 4.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=int, default=100, help="default 100; 0 leaves them out")
    parser.add_argument("--batch-table", metavar="NAME", default="32_shuttle")
    parser.add_argument(
        "--simulated-batches", type=int, default=1000, help="default 1000; 0 leaves them out"
    )


def measure(options: argparse.Namespace) -> list[Facts]:
    """Return the facts of one table, of simulated batches and streams, if they are asked for."""
    found = []
    if options.batches:
        table = table_of(options, options.batch_table)
        found.append(select_batches(table, options.batches, options.rows, options.seed))
    if options.simulated_batches:
        for sizes in SIMULATED:
            found.append(simulate_batches(*sizes, options.simulated_batches, options.seed))
        for sizes in SIMULATED:
            found.append(simulate_streams(*sizes, options.simulated_batches, options.seed))
    return found


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
    shares, powers, bounds, broken = [], [], [], []
    for batch in track(range(n_batches), f"{table.name}, selection", console=errors):
        mine, new = draw(pool, max_rows, [seed, 2, batch])
        rng = np.random.default_rng([seed, 3, batch])
        rows = np.concatenate([new[:BATCH_NORMAL], rng.permutation(abnormal)[:BATCH_ABNORMAL]])
        detector = fit(encoder, table.X[mine], batch, "split", "auto")
        selection = detector.selection(table.X[rows], FDR, CONFIDENCE)
        share, power = discoveries(selection.mask, table.abnormal[rows])
        shares.append(share)
        powers.append(power)
        bounds.append(selection.most_false_share)
        broken.append(breaks(selection, table.abnormal[rows]))
    found = {"table": table.name, "n_calibration": detector.n_calibration_}
    found |= {"bound": float(np.mean(bounds)), "broken": at_most(broken, 1 - CONFIDENCE)}
    power = float(np.mean(powers))
    return found | at_most(shares, FDR) | {"power": power, "power_holds": power >= POWER}


def simulate_batches(n: int, normal: int, abnormal: int, n_batches: int, seed: int) -> Facts:
    """Return how often the bound of false discoveries breaks, and how far above them it is."""
    truth = np.arange(normal + abnormal) >= normal
    shares, bounds, broken, distances = [], [], [], []
    for batch in range(n_batches):
        rng = np.random.default_rng([seed, 4, n, abnormal, batch])
        calibration = Calibration(rng.normal(size=n))
        p_values = calibration.p_values(rng.normal(size=len(truth)) + SHIFT * truth)
        selection = Selection.of(p_values, n, FDR, CONFIDENCE)
        shares.append(discoveries(selection.mask, truth)[0])
        bounds.append(selection.most_false_share)
        broken.append(breaks(selection, truth))
        distances.append(massart_bound(selection, n))
    found = {"table": f"simulated, {normal} + {abnormal}", "n_calibration": n}
    found |= {"bound": float(np.mean(bounds)), "massart": float(np.mean(distances))}
    return found | at_most(shares, FDR) | {"broken": at_most(broken, 1 - CONFIDENCE)}


def simulate_streams(n: int, normal: int, abnormal: int, n_streams: int, seed: int) -> Facts:
    """Return false-discovery share and power of an online selection by one calibration set."""
    shares, powers = [], []
    for stream in range(n_streams):
        rng = np.random.default_rng([seed, 5, n, abnormal, stream])
        truth = rng.permutation(np.arange(normal + abnormal) >= normal)
        calibration = Calibration(rng.normal(size=n))
        p_values = calibration.p_values(rng.normal(size=len(truth)) + SHIFT * truth)
        share, power = discoveries(OnlineSelection(FDR).update(p_values), truth)
        shares.append(share)
        powers.append(power)
    found = {"table": f"stream, {normal} + {abnormal}", "n_calibration": n}
    return found | at_most(shares, FDR) | {"power": float(np.mean(powers))}


def breaks(selection: Selection, abnormal: np.ndarray) -> bool:
    """Return whether some choice of the smallest p-values has more normal rows than its bound."""
    normal = np.sort(selection.p_values[~abnormal])
    order = np.flatnonzero(~abnormal)[np.argsort(selection.p_values[~abnormal], kind="stable")]
    ends = np.flatnonzero(np.diff(normal, append=2.0)) + 1
    return any(selection.most_false_of(order[:end]) < end for end in ends)


def massart_bound(selection: Selection, n: int) -> float:
    """Return the bound by the inequality of Gazin et al. (2024, corollary 4.1), of DKW type."""
    m = len(selection.mask)
    if not len(selection):
        return 0.0
    size, distance = n * m / (n + m), 0.0
    for _ in range(50):
        factor = 1 + 2 * np.sqrt(2 * np.pi) * distance * size / np.sqrt(n + m)
        distance = np.sqrt(np.log(factor / (1 - CONFIDENCE)) / (2 * size))
    top = selection.p_values[selection.mask].max()
    return float(min(1.0, m * (top + distance) / len(selection)))


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
    columns = ["selection", "calibration rows", "batches", "asked", "false discoveries"]
    columns += ["standard error", "holds", "abnormal found", f"bound, {CONFIDENCE:.0%}"]
    rows = []
    for one in found:
        row = [one["table"], str(one["n_calibration"]), str(one["splits"]), f"{one['asked']:g}"]
        row += [number(one["mean"], 4), number(one["se"], 4), yes_or_no(one["holds"])]
        row += [number(one.get("power"), 4), number(one.get("bound"), 4)]
        row.append(number(one.get("massart"), 4))
        broken = one.get("broken")
        row += [number(broken["mean"], 3), yes_or_no(broken["holds"])] if broken else ["", ""]
        rows.append(row)
    markdown(console, [*columns, "bound of DKW type", "bound broken", "holds"], rows)


MEASURE = Measure("selection", measure, show, add_options)
