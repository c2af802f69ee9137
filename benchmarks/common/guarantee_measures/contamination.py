"""Abnormal rows among those that train: how rows are ranked, and which rates are realised."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from sklearn.metrics import roc_auc_score

from common.anomaly_tables import AnomalyTable, contaminated_split, read_table
from common.guarantee_measures.guarantee import Facts, Measure, tables_of
from common.markdown import markdown, number
from common.records import errors
from isthmus import AnomalyDetector, Autoencoder
from isthmus.errors import CalibrationWarning

SHARES = (0.0, 0.01, 0.05, 0.1)
RATES = (0.01, 0.05)
#: Bounds stated for each share of abnormal rows; for none of them as for 1 and 5 %.
RIGHT = {0.0: 0.01, 0.01: 0.01, 0.05: 0.05, 0.1: 0.1}
TWICE = {0.0: 0.05, 0.01: 0.02, 0.05: 0.1, 0.1: 0.2}
CLEAN, WITHOUT, AUTO = "clean rows", "without", "auto"


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--contaminated", metavar="NAME,NAME", default="all", help="its tables (default all)")
    add("--contamination-seeds", type=int, default=3, help="default 3; 0 leaves them out")


def measure(options: argparse.Namespace) -> list[Facts]:
    """Return for each share of abnormal rows and each bound the means over tables and seeds."""
    if not options.contamination_seeds:
        return []
    runs = []
    for path in tables_of(options, options.contaminated):
        table = read_table(path)
        seeds = range(options.seed, options.seed + options.contamination_seeds)
        for seed in track(seeds, f"{table.name}, contamination", console=errors):
            for share in SHARES:
                runs += compare(table, seed, share)
    return [
        summary(runs, share, how)
        for share in SHARES
        for how in dict.fromkeys(run["how"] for run in runs)
    ]


def compare(table: AnomalyTable, seed: int, share: float) -> list[Facts]:
    """Fit without the option, with it, and on the normal rows alone; test on the same rows."""
    split = contaminated_split(table.abnormal, seed, share)
    abnormal = table.abnormal[split.train]
    ways: dict[str, Any] = {CLEAN: None, WITHOUT: None, "right": RIGHT[share]}
    ways |= {"twice": TWICE[share], AUTO: "auto"}
    found = []
    for how, bound in ways.items():
        rows = split.train[~abnormal] if how == CLEAN else split.train
        detector = AnomalyDetector(
            Autoencoder(random_state=seed), random_state=seed, contamination=bound
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)
            detector.fit(table.X[rows])
        p_values, truth = detector.p_values(table.X[split.test]), table.abnormal[split.test]
        scores = -detector.score_samples(table.X[split.test])
        facts: Facts = {"table": table.name, "seed": seed, "share": share, "how": how}
        facts |= {"bound": bound, "n": len(rows), "auroc": float(roc_auc_score(truth, scores))}
        facts["true_share"] = float(table.abnormal[rows].mean())
        for rate in RATES:
            facts[f"realised {rate}"] = float((p_values[~truth] <= rate).mean())
            facts[f"found {rate}"] = float((p_values[truth] <= rate).mean())
        known = detector.contamination_
        for name in ("trimmed", "left_out"):
            rows_out = np.zeros(0, int) if known is None else getattr(known, name)
            facts[name] = len(rows_out) / len(rows)
            facts[f"{name} abnormal"] = int(table.abnormal[rows[rows_out]].sum())
        found.append(facts)
    return found


def summary(runs: list[Facts], share: float, how: str) -> Facts:
    """Return means over tables of means over seeds, with the standard error over tables."""
    chosen = [run for run in runs if run["share"] == share and run["how"] == how]
    tables = list(dict.fromkeys(run["table"] for run in chosen))
    facts: Facts = {"share": share, "how": how, "bound": chosen[0]["bound"], "tables": len(tables)}
    own = by_table(chosen, tables, "auroc")
    for other in (CLEAN, WITHOUT):
        others = [run for run in runs if run["share"] == share and run["how"] == other]
        difference = own - by_table(others, tables, "auroc")
        facts[f"auroc minus {other}"] = with_error(difference)
        facts[f"lowest minus {other}"] = float(difference.min())
        facts[f"lowest table minus {other}"] = tables[int(difference.argmin())]
    names = ["auroc", "trimmed", "left_out", "true_share"]
    names += [f"{what} {rate}" for rate in RATES for what in ("realised", "found")]
    for name in names:
        facts[name] = with_error(by_table(chosen, tables, name))
    for rate in RATES:
        facts[f"highest realised {rate}"] = float(
            by_table(chosen, tables, f"realised {rate}").max()
        )
    return facts | {"runs": chosen}


def by_table(runs: list[Facts], tables: list[str], name: str) -> np.ndarray:
    return np.array([np.mean([run[name] for run in runs if run["table"] == t]) for t in tables])


def with_error(values: np.ndarray) -> dict[str, float]:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return {"mean": float(values.mean()), "se": error}


def show(console: Console, found: list[Facts]) -> None:
    columns = ["abnormal rows", "bound", "AUROC", f"minus {CLEAN}", f"minus {WITHOUT}", "lowest"]
    columns += ["not fitted on", "not calibrating"]
    columns += [f"{what} {rate:g}" for rate in RATES for what in ("realised", "highest", "found")]
    rows = []
    for one in found:
        bound = "" if one["bound"] is None else f" {one['bound']}"
        row = [f"{one['share']:.0%}", f"{one['how']}{bound}"]
        row += [said(one["auroc"], 1)]
        row += [said(one[f"auroc minus {other}"], 1) for other in (CLEAN, WITHOUT)]
        row += [number(100 * one[f"lowest minus {WITHOUT}"], 1)]
        row += [said(one["trimmed"], 1), said(one["left_out"], 1)]
        for rate in RATES:
            row += [said(one[f"realised {rate}"], 2)]
            row += [number(100 * one[f"highest realised {rate}"], 2)]
            row += [said(one[f"found {rate}"], 1)]
        rows.append(row)
    console.print("contamination, in percent; in brackets the standard error over tables")
    markdown(console, columns, rows)


def said(value: dict[str, float], digits: int) -> str:
    return f"{100 * value['mean']:.{digits}f} ({100 * value['se']:.{digits}f})"


MEASURE = Measure("contamination", measure, show, add_options)
