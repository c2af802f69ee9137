"""False warnings of the monitor without drift, and how late it finds a shift of one column."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import ks_2samp

from common.anomaly_tables import AnomalyTable, read_table
from common.guarantee_measures.guarantee import (
    Facts,
    Measure,
    at_most,
    draw,
    fit,
    fit_on_a_third,
    tables_of,
    yes_or_no,
)
from common.markdown import markdown, number
from common.records import errors
from isthmus.monitoring import Monitor, MonitorReference, Observed, wilson_interval

LEVELS = (0.01, 0.05, 0.1)
SHIFTS = (0.25, 0.5, 1.0)
#: Rows of the reference, columns of which the last two have few levels, and numbers of a code.
N_REFERENCE, N_COLUMNS, N_COMPONENTS = 1000, 10, 3
#: Rows before the shift, and after it at most.
QUIET, MOST = (0, 5000), 20_000
#: Rows of a window of the two-sample test that the monitor stands beside, and its level.
WINDOW, WINDOW_LEVEL = 500, 0.01
RATE = 0.01
#: Shares of the delays that are printed.
QUARTILES = (25, 50, 75)


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--runs", type=int, default=1000, help="of a monitor without drift, default 1000")
    add("--stream", type=int, default=10_000, help="simulated rows of each run, default 10000")
    add("--shifted", type=int, default=100, help="runs for each shift, default 100")


def measure(options: argparse.Namespace) -> list[Facts]:
    """Return shares of runs with a false warning, and delays by shift."""
    found: list[Facts] = []
    if options.runs:
        largest = [
            simulated_run([options.seed, 5, run], options.stream)
            for run in track(range(options.runs), "monitor, simulated", console=errors)
        ]
        found += false_warnings("simulated", options.stream, largest)
        for path in tables_of(options):
            table = read_table(path)
            found += of_table(table, options.runs, options.rows, options.seed)
    for quiet in QUIET if options.shifted else ():
        for shift in SHIFTS:
            found.append(delays(shift, quiet, options.shifted, options.seed))
    return found


def false_warnings(what: str, n_rows: int, largest: Sequence[Sequence[float]]) -> list[Facts]:
    """Return the share of runs that warn at each level, from (monitor, windows) of each run."""
    values = np.array(largest)
    found = []
    for level in LEVELS:
        warned = values[:, 0] >= 1 / level
        facts = {"stream": what, "n_rows": n_rows}
        facts |= at_most(warned.astype(float).tolist(), level)
        facts["interval"] = wilson_interval(int(warned.sum()), len(warned))
        facts["windows"] = float((values[:, 1] <= WINDOW_LEVEL).mean())
        found.append(facts)
    return found


def simulate(rng: np.random.Generator, n: int, mixing: np.ndarray, shift: float = 0.0) -> Observed:
    """Draw rows: columns of which the second is shifted, codes and scores of them."""
    latent = rng.normal(size=(n, N_COLUMNS))
    latent[:, 1] += shift
    columns = latent.copy()
    columns[:, 2] = np.exp(latent[:, 2])
    columns[:, -2:] = np.round(2 * latent[:, -2:])
    columns[latent[:, 3] > 1.5, 4] = np.nan
    scores = np.sqrt((latent**2).mean(axis=1)).round(6)
    abnormal = np.zeros(n, dtype=bool)  # not what is measured here
    return Observed(scores, abnormal, latent @ mixing, columns)


class Simulated:
    """A reference of simulated rows, in place of a detector."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.mixing = rng.normal(size=(N_COLUMNS, N_COMPONENTS))
        self.rows = simulate(rng, N_REFERENCE, self.mixing)

    def monitor_reference(self) -> MonitorReference:
        names = [f"column {at}" for at in range(N_COLUMNS)]
        rows = self.rows
        return MonitorReference.of_values(
            RATE, rows.scores, rows.codes, rows.columns, N_COMPONENTS, names
        )

    def observe(self, X: Any) -> Observed:
        return X


def simulated_run(seed: Sequence[int], n_rows: int) -> tuple[float, float]:
    """Return the largest e-value of a stream without drift, and p-value of the windows."""
    rng = np.random.default_rng(seed)
    simulated = Simulated(rng)
    rows = simulate(rng, n_rows, simulated.mixing)
    state = Monitor(simulated, seed=int(rng.integers(2**31))).update(rows)
    return state.e_value, min(window_p_values(simulated.rows.columns, rows.columns), default=1.0)


def window_p_values(reference: np.ndarray, rows: np.ndarray) -> list[float]:
    """Return the p-value of each window of rows: Kolmogorov and Smirnov's, times the columns."""
    found = []
    for first in range(0, len(rows) - WINDOW + 1, WINDOW):
        window = rows[first : first + WINDOW]
        tests = [
            ks_2samp(then[~np.isnan(then)], now[~np.isnan(now)], method="asymp").pvalue
            for then, now in zip(reference.T, window.T, strict=True)
        ]
        found.append(min(1.0, len(tests) * min(tests)))
    return found


def of_table(table: AnomalyTable, n_runs: int, max_rows: int, seed: int) -> list[Facts]:
    """Return false warnings on new normal rows of a table, by a detector fitted on others."""
    encoder, pool = fit_on_a_third(table, seed)
    largest = []
    for run in track(range(n_runs), f"monitor, {table.name}", console=errors):
        mine, new = draw(pool, max_rows, [seed, 6, run])
        new = np.random.default_rng([seed, 7, run]).permutation(new)
        detector = fit(encoder, table.X[mine], run, "split", "auto")
        state = detector.monitor(seed=run).update(table.X[new])
        reference = detector.reference_set_.columns.values
        largest.append((state.e_value, min(window_p_values(reference, table.X[new]), default=1.0)))
    return false_warnings(table.name, len(new), largest)


def delays(shift: float, quiet: int, n_runs: int, seed: int) -> Facts:
    """Return how many rows after its beginning a shift of one column is found."""
    found: dict[str, list[float]] = {"monitor": [], "windows": []}
    named, since = [], []
    for run in track(range(n_runs), f"monitor, shift {shift:g} after {quiet}", console=errors):
        rng = np.random.default_rng([seed, 8, run])
        simulated = Simulated(rng)
        monitor = Monitor(simulated, LEVELS[0], seed=run)
        before = simulate(rng, quiet, simulated.mixing)
        state = monitor.update(before)
        while state.valid and state.n < quiet + MOST:
            state = monitor.update(simulate(rng, WINDOW, simulated.mixing, shift))
        late = np.inf if state.valid else state.warned_at["row"] + 1 - quiet
        found["monitor"].append(late)
        named.append("column 1" in state.moved)
        since += [] if state.valid else [abs(state.since["row"] - quiet)]
        after = simulate(rng, MOST, simulated.mixing, shift).columns
        tested = window_p_values(simulated.rows.columns, np.concatenate([before.columns, after]))
        first = np.flatnonzero(np.array(tested[quiet // WINDOW :]) <= WINDOW_LEVEL)
        found["windows"].append(WINDOW * (first[0] + 1.0) if len(first) else np.inf)
    facts: Facts = {"shift": shift, "quiet": quiet, "runs": n_runs}
    for name, values in found.items():
        finite = [value if np.isfinite(value) else None for value in quantiles(values)]
        facts[name] = {"found": float(np.isfinite(values).mean()), "quartiles": finite}
    facts["named"] = float(np.mean(named))
    facts["since_off_by"] = float(np.median(since)) if since else None
    return facts


def quantiles(values: Sequence[float]) -> list[float]:
    return np.percentile(values, QUARTILES, method="inverted_cdf").tolist()


def show(console: Console, found: list[Facts]) -> None:
    columns = ["stream without drift", "rows", "runs", "level", "false warnings"]
    columns += ["standard error", "95 % interval", "holds", f"KS on windows of {WINDOW}"]
    rows = []
    for one in found:
        if "stream" in one:
            row = [one["stream"], f"{one['n_rows']:,}", f"{one['splits']:,}", f"{one['asked']:g}"]
            row += [number(one[name], 4) for name in ("mean", "se")]
            row.append(" to ".join(number(bound, 4) for bound in one["interval"]))
            rows.append([*row, yes_or_no(one["holds"]), number(one["windows"], 3)])
    if rows:
        markdown(console, columns, rows)
    columns = ["shift of one column", "after rows", "runs", "found", "rows until the warning"]
    columns += ["column named", "begin off by (median)", f"KS on windows of {WINDOW}"]
    rows = []
    for one in found:
        if "shift" in one:
            by_monitor = one["monitor"]
            row = [f"{one['shift']:g} SD", f"{one['quiet']:,}", str(one["runs"])]
            row += [number(by_monitor["found"], 2), in_words(by_monitor["quartiles"])]
            row += [number(one["named"], 2), _rows(one["since_off_by"])]
            rows.append([*row, in_words(one["windows"]["quartiles"])])
    if rows:
        markdown(console, columns, rows)


def in_words(quartiles: Sequence[float | None]) -> str:
    low, middle, high = map(_rows, quartiles)
    return f"{middle} ({low} to {high})"


def _rows(value: float | None) -> str:
    return f"over {MOST:,}" if value is None else f"{value:,.0f}"


MEASURE = Measure("monitor", measure, show, add_options)
