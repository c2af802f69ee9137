"""Tables of an anomaly-detection benchmark, and which of their rows train and which test.

A table is an `.npz` file of `X`, shape (n, m), and `y`, 1 for abnormal and 0 for normal: that
benchmark's own sign. From here on it is a boolean array, True for abnormal.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus import load
from isthmus.errors import DataError

#: Of a larger table a run takes so many rows, drawn anew with each seed.
MAX_ROWS = 20_000
#: Draws the validation half: the same rows in every run, whatever its seed.
HALF_SEED = 20_260_101


@dataclass(frozen=True, eq=False)
class AnomalyTable:
    """A table with what is known of its rows.

    Attributes
    ----------
    name : str
    X : float64 array of shape (n, m)
    abnormal : boolean array of shape (n,)
    """

    name: str
    X: np.ndarray
    abnormal: np.ndarray


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers that train, and row numbers that test; no row is in both."""

    train: np.ndarray
    test: np.ndarray


def find_tables(folder: str | Path, names: str | None = None) -> list[Path]:
    """Return the folder's tables in the order of their numbers, or those of `"NAME,NAME"`.

    Raises
    ------
    DataError
        When there is none, or none of that name.
    """
    folder = Path(folder)
    found = {path.stem: path for path in sorted(folder.glob("*.npz"), key=_number_and_name)}
    if not found:
        raise DataError(f"{folder} holds no .npz file; pass the folder in which the tables lie")
    if names is None:
        return list(found.values())
    wanted = [name.strip().removesuffix(".npz") for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in found:
            close = difflib.get_close_matches(name, found, 1, cutoff=0.3)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise DataError(f"{folder} holds no {name}.npz, but {', '.join(found)}{hint}")
    return [found[name] for name in wanted]


def read_table(path: Path) -> AnomalyTable:
    """Read one table.

    Raises
    ------
    DataError
        When `y` is missing or is not 0 and 1, or `X` has missing values, which the peers
        cannot take.
    """
    data = load(path)
    if data.y is None or set(np.unique(data.y).tolist()) != {0, 1}:
        raise DataError(f"{path} holds no y of 0 (normal) and 1 (abnormal) beside X; save both")
    if min(data.y.sum(), len(data.y) - data.y.sum()) < 2:
        raise DataError(f"{path} has fewer than two normal or two abnormal rows; leave it out")
    X = data.X.astype(np.float64)
    if np.isnan(X).any():
        row = int(np.isnan(X).any(axis=1).argmax())
        raise DataError(f"{path} misses a value in row {row}, counting from 0; fill it first")
    return AnomalyTable(path.stem, X, data.y == 1)


def one_class_split(abnormal: np.ndarray, seed: int, max_rows: int = MAX_ROWS) -> Split:
    """Half of the normal rows train; the other half and all abnormal rows test.

    Parameters
    ----------
    abnormal : boolean array of shape (n,)
    seed : int
    max_rows : int
        Rows that are drawn from a larger table before it is split.

    Examples
    --------
    >>> split = one_class_split(np.array([False, False, False, False, True]), seed=0)
    >>> len(split.train), len(split.test)
    (2, 3)
    """
    rng = np.random.default_rng([seed, 0])
    rows = _draw(len(abnormal), max_rows, rng)
    normal = rng.permutation(rows[~abnormal[rows]])
    train = np.sort(normal[: len(normal) // 2])
    return Split(train, np.setdiff1d(rows, train))


def contaminated_split(abnormal: np.ndarray, seed: int, share: float) -> Split:
    """As `one_class_split`, with a share of abnormal rows among those that train.

    They are drawn from the abnormal rows, half of these at most, and do not test. Where they are
    too few, normal training rows are left out until they make up the share, but for a hundred: of
    small tables the share is then smaller.

    Examples
    --------
    >>> abnormal = np.arange(1000) < 100
    >>> split = contaminated_split(abnormal, seed=0, share=0.05)
    >>> int(abnormal[split.train].sum()), len(split.train), int(abnormal[split.test].sum())
    (24, 474, 76)
    """
    split, rng = one_class_split(abnormal, seed), np.random.default_rng([seed, 3])
    drawn = rng.permutation(split.test[abnormal[split.test]])
    drawn = drawn[: len(drawn) // 2]
    normal = rng.permutation(split.train)
    wanted = round(share / (1 - share) * len(normal))
    if wanted > len(drawn):
        enough = max(min(100, len(normal)), round(len(drawn) * (1 - share) / share))
        normal = normal[:enough]
        wanted = min(len(drawn), round(share / (1 - share) * len(normal)))
    train = np.sort(np.concatenate([normal, drawn[:wanted]]))
    return Split(train, np.setdiff1d(split.test, train))


def labelled_split(abnormal: np.ndarray, seed: int, max_rows: int = MAX_ROWS) -> Split:
    """Of the normal and of the abnormal rows 70 % train and the others test."""
    rng = np.random.default_rng([seed, 1])
    rows = _draw(len(abnormal), max_rows, rng)
    parts = []
    for kind in (rows[~abnormal[rows]], rows[abnormal[rows]]):
        parts.append(rng.permutation(kind)[: round(0.7 * len(kind))])
    train = np.sort(np.concatenate(parts))
    return Split(train, np.setdiff1d(rows, train))


def labelled_rows(
    abnormal: np.ndarray, train: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """Choose the abnormal training rows whose label is known: a fraction, one at least.

    With the same seed a smaller fraction's rows are among a larger one's, so that fractions
    differ by the labels added and not by luck.
    """
    found = train[abnormal[train]]
    order = np.random.default_rng([seed, 2]).permutation(found)
    return np.sort(order[: max(1, int(np.ceil(fraction * len(found))))])


def validation_half(abnormal: np.ndarray) -> np.ndarray:
    """Mark half of the normal and half of the abnormal rows, the same ones in every run.

    Choices are made by how these rows are ranked, so figures on the others are clean of them.

    Returns
    -------
    boolean array of shape (n,)
    """
    rng = np.random.default_rng(HALF_SEED)
    half = np.zeros(len(abnormal), dtype=bool)
    for kind in (np.flatnonzero(~abnormal), np.flatnonzero(abnormal)):
        half[rng.permutation(kind)[: len(kind) // 2]] = True
    return half


def _draw(n_rows: int, max_rows: int, rng: np.random.Generator) -> np.ndarray:
    rows = np.arange(n_rows)
    return rows if n_rows <= max_rows else np.sort(rng.permutation(rows)[:max_rows])


def _number_and_name(path: Path) -> tuple[int, str]:
    number = re.match(r"\d+", path.stem)
    return (int(number.group()) if number else 0, path.stem)
