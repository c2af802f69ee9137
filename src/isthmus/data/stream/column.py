"""What is known of one column of a stream while its pieces go by."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.columns import Column, Place, check_no_infinity, recognise
from isthmus.data.columns.column import as_plain
from isthmus.data.preprocessing.inputs import (
    LARGEST,
    CategoryInputs,
    ValueInputs,
    check_repeats,
)
from isthmus.data.preprocessing.moments import Moments
from isthmus.errors import DataError

#: Different texts of a column that are counted; categories may have a tenth of that.
MOST_DISTINCT = 100_000

Learned = tuple[Column, ValueInputs | CategoryInputs, tuple[float, float] | None]


class ColumnFacts:
    """Type, moments, range and some values of a column; of text, how often each occurs.

    Parameters
    ----------
    name : str
    table : str
        What to call the stream in errors.
    """

    def __init__(self, name: str, table: str) -> None:
        self.name, self.table = name, table
        self.n_rows = 0
        self.moments, self.bounds = Moments(), Moments()
        self.some: list[np.ndarray] = []
        self.counts: Counter[Any] = Counter()
        self.column = Column()
        self.categorical = False

    def update(self, values: pd.Series, chosen: np.ndarray, first_row: int) -> None:
        """Take in the next values; of those at `chosen` the median is found."""
        self.n_rows += len(values)
        if _counted(values.dtype):
            self._count(values)
            return
        place = Place(
            self.name, self.table, lambda row: f"row {first_row + row + 1}, counting from 1"
        )
        type_, known = recognise(values, place)
        self.column = Column(type_, dtype=str(known.dtype) if type_ == "date" else "")
        numbers = self.column.read(known, place)
        check_no_infinity(numbers, place)
        self.some.append(numbers[chosen])
        present = numbers[~np.isnan(numbers)] if np.isnan(numbers).any() else numbers
        if not len(present):
            return
        low, high = float(present.min()), float(present.max())
        self.bounds.add(len(present), 0.0, 0.0, low, high)
        if low < -LARGEST or high > LARGEST:
            present = np.clip(present, -LARGEST, LARGEST)
        self.moments.update(present)

    def result(self) -> Learned:
        """Return what `Column.learn` and `learn_inputs` give, and the range of numbers.

        Raises
        ------
        DataError
            As these do.
        """
        called = f"column {self.name!r}" if not self.name.isdecimal() else f"column {self.name}"
        if self.counts:
            return self._of_counts(called)
        check_repeats(self.n_rows, self.moments.n, self.column, called)
        some = np.concatenate(self.some)
        some = some[~np.isnan(some)]
        # Where hardly anything is there, no row drawn may have a value.
        median = float(np.median(some)) if len(some) else float(self.moments.mean)
        return self._of_values(float(np.clip(median, -LARGEST, LARGEST)))

    def _of_values(self, median: float) -> Learned:
        bounds = float(self.bounds.low), float(self.bounds.high)
        n_missing = self.n_rows - self.moments.n
        if n_missing:
            self.moments.add(n_missing, median, 0.0, median, median)
        inputs = ValueInputs.of(self.moments, median, n_missing, self.column)
        return self.column, inputs, bounds if self.column.type == "number" else None

    def _of_counts(self, called: str) -> Learned:
        distinct = pd.Series(list(self.counts), dtype=object)
        counts = np.array(list(self.counts.values()))
        if self.categorical:
            distinct = distinct.astype("category")
        place = Place(self.name, self.table)
        self.column = Column.learn(distinct, place)
        check_repeats(self.n_rows, int(counts.sum()), self.column, called)
        positions = self.column.read(distinct, place)
        if self.column.type == "category":
            at = positions.astype(np.intp)
            sizes = np.bincount(at, weights=counts, minlength=len(self.column.categories))
            return self.column, CategoryInputs.of(sizes.astype(np.intp), self.n_rows), None
        check_no_infinity(positions, place)
        self.bounds.add(1, 0.0, 0.0, positions.min(), positions.max())
        values = np.clip(positions, -LARGEST, LARGEST)
        mean = np.average(values, weights=counts)
        variance = np.average((values - mean) ** 2, weights=counts)
        self.moments.add(int(counts.sum()), mean, variance, values.min(), values.max())
        return self._of_values(_median(values, counts))

    def _count(self, values: pd.Series) -> None:
        self.categorical |= isinstance(values.dtype, pd.CategoricalDtype)
        try:
            found = values.value_counts()
        except TypeError as error:
            raise DataError(
                f"column {self.name!r} of {self.table} holds values that are no single ones, "
                "expected numbers, text, true and false, or dates; name the others with columns=["
                "...]"
            ) from error
        for value, count in zip(found.index, found.to_numpy(), strict=True):
            if count:
                self.counts[as_plain(value) if isinstance(value, np.generic) else value] += int(
                    count
                )
        if len(self.counts) > MOST_DISTINCT:
            raise DataError(
                f"column {self.name!r} of {self.table} holds more than {MOST_DISTINCT:,} different "
                "texts, which looks like a name or free text; leave it out with columns=[...], or "
                "write numbers and dates as such"
            )


def _counted(dtype: Any) -> bool:
    """Return whether a column is text, categories or Python objects."""
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype):
        return True
    return bool(pd.api.types.is_object_dtype(dtype))


def _median(values: np.ndarray, counts: np.ndarray) -> float:
    """Return the median of values that occur `counts` times each."""
    order = np.argsort(values)
    ends = np.cumsum(counts[order])
    n = int(ends[-1])
    middle = np.searchsorted(ends, [(n - 1) // 2, n // 2], side="right")
    return float(values[order][middle].mean())
