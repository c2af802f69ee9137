"""The monitor of time points on stationary series: false warnings, and delay until a shift."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.signal import lfilter

from common.guarantee_measures.guarantee import Facts, Measure, at_most, yes_or_no
from common.markdown import markdown
from common.records import errors
from isthmus.detection import block_length, block_means
from isthmus.errors import DataError
from isthmus.monitoring import Monitor, MonitorReference, Observed

KINDS = ("independent", "autoregressive 0.9", "autoregressive 0.98", "smooth")
#: Normal time points held out, time points of the stream, and of a window.
N_HELD_OUT, N_STREAM, WINDOW = (5_000, 20_000), 20_000, 32
LEVELS = (0.01, 0.05, 0.1)
#: Shifts of the scores in standard deviations, from the first time point of the stream.
SHIFTS = (0.5, 1.0, 2.0)
RATE = 0.01


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--series-runs", type=int, default=500, help="of a stationary series (default 500)")
    add("--series-shifted", type=int, default=100, help="runs for each shift (default 100)")


def draw_scores(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a stationary series of variance 1."""
    if kind == "smooth":
        noise = rng.normal(size=n + WINDOW - 1)
        return np.convolve(noise, np.full(WINDOW, WINDOW**-0.5), "valid")
    weight = 0.0 if kind == "independent" else float(kind.split()[1])
    noise = rng.normal(size=n + 1000) * np.sqrt(1 - weight**2)
    return lfilter([1], [1, -weight], noise)[1000:]


class Blocks:
    """Blocks of simulated scores, in place of a detector."""

    def __init__(self, held_out: np.ndarray, *, learns: bool) -> None:
        segments = np.array([[0, len(held_out)]])
        self.length = block_length(held_out, segments, WINDOW)
        self.means = None if learns else block_means(held_out, segments, self.length)[0]

    def monitor_reference(self) -> MonitorReference:
        return MonitorReference.of_values(RATE, self.means, None, None, 0, block=self.length)

    def observe(self, X: Any) -> Observed:
        means, _ = block_means(X, np.array([[0, len(X)]]), self.length)
        return Observed(means, np.zeros(len(means), bool), np.empty((len(means), 0)))


def measure(options: argparse.Namespace) -> list[Facts]:
    """Return shares of runs with a false warning, and delays, for each kind of series."""
    found = []
    for kind in KINDS:
        for n_held_out in N_HELD_OUT:
            title = f"{kind}, {n_held_out:,} held out"
            evidence: dict[str, list[float]] = {"held out": [], "first blocks": []}
            delays: dict[float, list[float]] = {shift: [] for shift in SHIFTS}
            lengths, refused = [], 0
            for run in track(range(options.series_runs), title, console=errors):
                rng = np.random.default_rng([options.seed, 8, run])
                held_out = draw_scores(kind, n_held_out, rng)
                stream = draw_scores(kind, N_STREAM, rng)
                try:
                    blocks = Blocks(held_out, learns=False)
                except DataError:
                    refused += 1
                    continue
                lengths.append(blocks.length)
                evidence["held out"].append(Monitor(blocks, seed=run).update(stream).e_value)
                learning = Monitor(Blocks(held_out, learns=True), seed=run)
                evidence["first blocks"].append(learning.update(stream).e_value)
                for shift in SHIFTS if run < options.series_shifted else ():
                    state = Monitor(blocks, seed=run).update(stream + shift)
                    at = state.warned_at
                    delays[shift].append(np.inf if at is None else (at["row"] + 1) * blocks.length)
            facts: Facts = {"scores": kind, "n_held_out": n_held_out, "refused": refused}
            facts["block"] = float(np.median(lengths)) if lengths else None
            for source, values in evidence.items():
                for level in LEVELS if len(values) > 1 else ():
                    warned = [float(one >= 1 / level) for one in values]
                    facts[f"{source}, level {level:g}"] = at_most(warned, level)
            for shift, values in delays.items():
                if values:
                    quartiles = np.percentile(values, (25, 50, 75), method="inverted_cdf")
                    facts[f"shift {shift:g}"] = {
                        "delay": [None if np.isinf(one) else float(one) for one in quartiles],
                        "found": float(np.isfinite(values).mean()),
                    }
            found.append(facts)
    return found


def show(console: Console, found: list[Facts]) -> None:
    rows = []
    for one in found:
        row = [one["scores"], f"{one['n_held_out']:,}", f"{one['refused']}", f"{one['block']}"]
        for source in ("held out", "first blocks"):
            parts = [one[f"{source}, level {level:g}"] for level in LEVELS]
            row += [f"{part['mean']:.3f} ({part['se']:.3f})" for part in parts]
            row.append(yes_or_no(all(part["holds"] for part in parts)))
        for shift in SHIFTS:
            part = one[f"shift {shift:g}"]
            low, middle, high = (
                "never" if value is None else f"{value:,.0f}" for value in part["delay"]
            )
            row += [f"{middle} ({low} to {high})", f"{100 * part['found']:.0f} %"]
        rows.append(row)
    columns = ["scores", "held out", "refused", "points of a block"]
    for source in ("held out", "first blocks"):
        columns += [f"{source}: level {level:g}" for level in LEVELS] + ["holds"]
    columns += [word for shift in SHIFTS for word in (f"shift {shift:g}", "found")]
    markdown(console, columns, rows)


MEASURE = Measure("series_monitor", measure, show, add_options)
