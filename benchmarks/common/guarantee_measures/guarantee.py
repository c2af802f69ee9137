"""What a measure of a guarantee is, what it may draw, and when a figure passes."""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from common.anomaly_tables import AnomalyTable, find_tables, read_table
from common.records import data_folder
from isthmus import AnomalyDetector, Autoencoder
from isthmus.errors import CalibrationWarning

Facts = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """One promise, held against data.

    Attributes
    ----------
    name : str
        For `--only`, and the key of its facts in JSON.
    measure : callable
        From the options to plain facts, one for each figure. `"holds"` is whether what was promised
        was found, and is left out where nothing was promised.
    show : callable
        Print those facts as tables.
    add_options : callable
        Add options of its own to the parser. Those of all: `folder`, `tables`, `rows`, `seed`.
    """

    name: str
    measure: Callable[[argparse.Namespace], list[Facts]]
    show: Callable[[Console, list[Facts]], None]
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def tables_of(options: argparse.Namespace, names: str | None = None) -> list[Path]:
    """Return the paths of the tables of these names, or of `--tables`; of `"all"` all.

    Raises
    ------
    DataError
        When there is no folder, or none of a name in it.
    """
    folder = data_folder(options.folder, "adbench")
    names = options.tables if names is None else names
    return find_tables(folder, None if names == "all" else names)


def table_of(options: argparse.Namespace, name: str) -> AnomalyTable:
    """Read the table of this name."""
    return read_table(tables_of(options, name)[0])


def fit_on_a_third(table: AnomalyTable, seed: int) -> tuple[Autoencoder, np.ndarray]:
    """Return an encoder of a third of the normal rows, and the numbers of those new to it."""
    normal = np.random.default_rng([seed, 0]).permutation(np.flatnonzero(~table.abnormal))
    third = len(normal) // 3
    encoder = Autoencoder(random_state=seed).fit(table.X[normal[:third]])
    rest = normal[third:]
    seen = encoder.training_row_hashes_.overlap(encoder.row_hashes(table.X[rest]))
    return encoder, rest[~seen]


def fit(
    encoder: Autoencoder, X: np.ndarray, seed: int, calibration: str, rate: float | str
) -> AnomalyDetector:
    """Fit a detector at a rate; that few rows hold no smaller one is not warned of."""
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


def at_most(values: Sequence[float], asked: float) -> Facts:
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


def yes_or_no(holds: bool) -> str:
    return "yes" if holds else "NO"
