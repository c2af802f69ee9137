"""What is known of one column of a stream while its pieces go by."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from itertools import islice
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
from isthmus.data.stream.piece_moments import PieceMoments
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
        self.moments = PieceMoments()
        self.low, self.high = np.inf, -np.inf
        self.some = array("d")
        self.counts: Counter[Any] = Counter()
        #: How many different texts there were after each piece.
        self.n_texts = array("q")
        self.column: Column | None = None
        self.categorical = False

    def update(self, values: pd.Series, chosen: np.ndarray, first_row: int) -> None:
        """Take in the next values; of those at `chosen` the median is found."""
        self.n_rows += len(values)
        if _counted(values.dtype):
            self._count(values)
        else:
            self._measure(values, chosen, first_row)
        self.n_texts.append(len(self.counts))

    def extend(self, later: ColumnFacts) -> None:
        """Take in what is known of rows after these."""
        self.n_rows += later.n_rows
        self.moments.extend(later.moments)
        self._widen(later.low, later.high)
        self.some += later.some
        self.counts.update(later.counts)
        self.column = later.column or self.column
        self.categorical |= later.categorical

    def full_after(self, later: ColumnFacts) -> int | None:
        """Return the first piece of rows after these, from 0, that brings too many texts."""
        room = MOST_DISTINCT - len(self.counts)
        if len(later.counts) <= room:
            return None
        new = (at for at, text in enumerate(later.counts) if text not in self.counts)
        past = next(islice(new, room, None), None)
        return None if past is None else bisect_right(later.n_texts, past)

    def too_many_texts(self) -> DataError:
        """Return the error about a column of more texts than are counted."""
        return DataError(
            f"column {self.name!r} of {self.table} holds more than {MOST_DISTINCT:,} different "
            "texts, which looks like a name or free text; leave it out with columns=[...], or "
            "write numbers and dates as such"
        )

    def result(self) -> Learned:
        """Return what `Column.learn` and `learn_inputs` give, and the range of numbers.

        Raises
        ------
        DataError
            As these do.
        """
        called = f"column {self.name!r}" if not self.name.isdecimal() else f"column {self.name}"
        moments = self.moments.together()
        if self.counts:
            return self._of_counts(called, moments)
        column = self.column or Column()
        check_repeats(self.n_rows, moments.n, column, called)
        some = np.frombuffer(self.some)
        some = some[~np.isnan(some)]
        # Where hardly anything is there, no row drawn may have a value.
        median = float(np.median(some)) if len(some) else float(moments.mean)
        return self._of_values(float(np.clip(median, -LARGEST, LARGEST)), column, moments)

    def _of_values(self, median: float, column: Column, moments: Moments) -> Learned:
        n_missing = self.n_rows - moments.n
        if n_missing:
            moments.add(n_missing, median, 0.0, median, median)
        inputs = ValueInputs.of(moments, median, n_missing, column)
        return column, inputs, (self.low, self.high) if column.type == "number" else None

    def _of_counts(self, called: str, moments: Moments) -> Learned:
        distinct = pd.Series(list(self.counts), dtype=object)
        counts = np.array(list(self.counts.values()))
        if self.categorical:
            distinct = distinct.astype("category")
        place = Place(self.name, self.table)
        column = Column.learn(distinct, place)
        check_repeats(self.n_rows, int(counts.sum()), column, called)
        positions = column.read(distinct, place)
        if column.type == "category":
            at = positions.astype(np.intp)
            sizes = np.bincount(at, weights=counts, minlength=len(column.categories))
            return column, CategoryInputs.of(sizes.astype(np.intp), self.n_rows), None
        check_no_infinity(positions, place)
        self._widen(float(positions.min()), float(positions.max()))
        values = np.clip(positions, -LARGEST, LARGEST)
        mean = np.average(values, weights=counts)
        variance = np.average((values - mean) ** 2, weights=counts)
        moments.add(int(counts.sum()), mean, variance, values.min(), values.max())
        return self._of_values(_median(values, counts), column, moments)

    def _measure(self, values: pd.Series, chosen: np.ndarray, first_row: int) -> None:
        place = Place(
            self.name, self.table, lambda row: f"row {first_row + row + 1}, counting from 1"
        )
        type_, known = recognise(values, place)
        self.column = Column(type_, dtype=str(known.dtype) if type_ == "date" else "")
        numbers = self.column.read(known, place)
        check_no_infinity(numbers, place)
        self.some.frombytes(numbers[chosen].tobytes())
        present = numbers[~np.isnan(numbers)] if np.isnan(numbers).any() else numbers
        if not len(present):
            return
        low, high = float(present.min()), float(present.max())
        self._widen(low, high)
        if low < -LARGEST or high > LARGEST:
            present = np.clip(present, -LARGEST, LARGEST)
        self.moments.update(present)

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
            raise self.too_many_texts()

    def _widen(self, low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)


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
