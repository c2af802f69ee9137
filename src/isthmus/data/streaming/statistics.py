"""Schema and preprocessing of a stream, learned in one pass that processes may share."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.column_types import Place, check_table, recognise
from isthmus.data.columns import Column, as_plain, check_no_infinity
from isthmus.data.instances import Chunk, draw_rows, rows_of
from isthmus.data.preprocessing import (
    MAX_COMPARED,
    MAX_MAGNITUDE,
    CategoryInputs,
    ChunkMoments,
    ImageVariety,
    Moments,
    Preprocessor,
    RowOrder,
    SeriesPreprocessor,
    TablePreprocessor,
    ValueInputs,
    channel_inputs,
    check_repeats,
    column_name,
    describe_extremes,
    identifier_warnings,
    learn_preprocessor,
    leave_out,
    usual_range,
)
from isthmus.data.schema import Schema, check_images, check_series
from isthmus.errors import DataError

#: Different texts of a column that are counted, at most; of categories a tenth of that.
MAX_DISTINCT = 100_000

Learned = tuple[Column, ValueInputs | CategoryInputs, tuple[float, float] | None]


class ColumnStatistics:
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
        self.moments = ChunkMoments()
        self.low, self.high = np.inf, -np.inf
        #: First rows that hold the least and the greatest value, from 0; -1 where counted as text.
        self.low_row = self.high_row = 0
        self.order = RowOrder()
        self.sample = array("d")
        self.counts: Counter[Any] = Counter()
        #: How many different texts there were after each chunk.
        self.n_texts = array("q")
        self.column: Column | None = None
        self.categorical = False

    def update(self, values: pd.Series, chosen: np.ndarray, first_row: int) -> None:
        """Add the next values; the median is that of those at `chosen`."""
        self.n_rows += len(values)
        if _counted(values.dtype):
            self._count(values)
        else:
            self._measure(values, chosen, first_row)
        self.n_texts.append(len(self.counts))

    def extend(self, later: ColumnStatistics) -> None:
        """Add the statistics of later rows."""
        self.n_rows += later.n_rows
        self.moments.extend(later.moments)
        self._widen(later.low, later.high, later.low_row, later.high_row)
        self.order.extend(later.order)
        self.sample += later.sample
        self.counts.update(later.counts)
        self.column = later.column or self.column
        self.categorical |= later.categorical

    def full_after(self, later: ColumnStatistics) -> int | None:
        """Return the first chunk of rows after these, from 0, that brings too many texts."""
        n_free = MAX_DISTINCT - len(self.counts)
        if len(later.counts) <= n_free:
            return None
        new = (at for at, text in enumerate(later.counts) if text not in self.counts)
        past = next(islice(new, n_free, None), None)
        return None if past is None else bisect_right(later.n_texts, past)

    def too_many_texts(self) -> DataError:
        """Return the error about a column of more texts than are counted."""
        return DataError(
            f"column {self.name!r} of {self.table} holds more than {MAX_DISTINCT:,} different "
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
        moments = self.moments.combined()
        if self.counts:
            return self._of_counts(called, moments)
        column = self.column or Column()
        check_repeats(self.n_rows, moments.n, column, called)
        sample = np.frombuffer(self.sample)
        sample = np.clip(sample[~np.isnan(sample)], -MAX_MAGNITUDE, MAX_MAGNITUDE)
        return self._of_values(sample, column, moments)

    def extreme_warning(self, schema: Schema, at: int, inputs: ValueInputs) -> str | None:
        """Return the warning about extreme values of the column, whose number is `at`."""
        if inputs.usual is None:
            return None
        far = self.high - inputs.fill > inputs.fill - self.low
        value, row = (self.high, self.high_row) if far else (self.low, self.low_row)
        place = self.table if row < 0 else f"row {row}, counting from 0"
        name, column = column_name(schema, at), schema.types[at]
        return describe_extremes(name, value, place, 0, inputs, column)

    def _of_values(self, sample: np.ndarray, column: Column, moments: Moments) -> Learned:
        """Learn from a sample of the values and the moments of all."""
        n_missing = self.n_rows - moments.n
        # Where hardly anything is there, no row drawn may have a value.
        median = float(np.median(sample)) if len(sample) else float(moments.mean)
        usual = None
        if (found := usual_range(sample, moments)) is not None:
            usual, moments = found
        inputs = ValueInputs.of(moments, median, n_missing, self.n_rows, column, usual)
        return column, inputs, (self.low, self.high) if column.type == "number" else None

    def _of_counts(self, called: str, moments: Moments) -> Learned:
        distinct = pd.Series(list(self.counts), dtype=object)
        counts = np.array(list(self.counts.values()))
        if self.categorical:
            if any(type(value) is float for value in self.counts):  # a chunk with missing values
                distinct = distinct.map(lambda value: float(value) if type(value) is int else value)
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
        self._widen(float(positions.min()), float(positions.max()), -1, -1)
        values = np.clip(positions, -MAX_MAGNITUDE, MAX_MAGNITUDE)
        mean = np.average(values, weights=counts)
        variance = np.average((values - mean) ** 2, weights=counts)
        moments.add(int(counts.sum()), mean, variance, values.min(), values.max())
        share = min(1.0, MEDIAN_ROWS / int(counts.sum()))
        sample = np.repeat(values, np.ceil(counts * share).astype(np.intp))
        return self._of_values(sample, column, moments)

    def _measure(self, values: pd.Series, chosen: np.ndarray, first_row: int) -> None:
        place = Place(
            self.name, self.table, lambda row: f"row {first_row + row + 1}, counting from 1"
        )
        type_, known = recognise(values, place)
        self.column = Column(type_, dtype=str(known.dtype) if type_ == "date" else "")
        numbers = self.column.read(known, place)
        check_no_infinity(numbers, place)
        self.sample.frombytes(numbers[chosen].tobytes())
        self.order.update(numbers)
        present = numbers[~np.isnan(numbers)] if np.isnan(numbers).any() else numbers
        if not len(present):
            return
        low, high = float(present.min()), float(present.max())
        low_row = int(np.nanargmin(numbers)) if low < self.low else 0
        high_row = int(np.nanargmax(numbers)) if high > self.high else 0
        self._widen(low, high, first_row + low_row, first_row + high_row)
        if low < -MAX_MAGNITUDE or high > MAX_MAGNITUDE:
            present = np.clip(present, -MAX_MAGNITUDE, MAX_MAGNITUDE)
        self.moments.update(present)

    def _count(self, values: pd.Series) -> None:
        self.categorical |= isinstance(values.dtype, pd.CategoricalDtype)
        try:
            found = values.value_counts()
            for value, count in zip(found.index, found.to_numpy(), strict=True):
                if count:
                    plain = as_plain(value) if isinstance(value, np.generic) else value
                    self.counts[plain] += int(count)
        except TypeError as error:
            raise DataError(
                f"column {self.name!r} of {self.table} holds lists or other objects, "
                "expected numbers, text, true and false, or dates; name the others with columns=["
                "...]"
            ) from error
        if len(self.counts) > MAX_DISTINCT:
            raise self.too_many_texts()

    def _widen(self, low: float, high: float, low_row: int, high_row: int) -> None:
        if low < self.low:
            self.low, self.low_row = low, low_row
        if high > self.high:
            self.high, self.high_row = high, high_row


def _counted(dtype: Any) -> bool:
    """Return whether a column is text, categories or Python objects."""
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype):
        return True
    return bool(pd.api.types.is_object_dtype(dtype))


#: Rows whose values give medians and usual ranges. Of a longer stream they are drawn at random,
#: always the same: a median's rank is then within 0.7 % of the middle in 999 columns of 1,000,
#: whatever the distribution.
MEDIAN_ROWS = 65_536


def median_rows(n_rows: int) -> np.ndarray:
    """Return the numbers of the rows of a stream whose values give the medians, sorted."""
    return draw_rows(n_rows, MEDIAN_ROWS, 0)


class StreamStatistics:
    """Schema and preprocessing of a stream, or of a share of it, from its chunks in order.

    Parameters
    ----------
    name : str
        What to call the stream in errors.
    kind : {"images", "series", "table"}
    channels : tuple of str, optional
        Names of a series' channels.
    first_row : int
        Number of the first row in messages.
    """

    def __init__(
        self, name: str, kind: str, channels: tuple[str, ...] | None = None, first_row: int = 0
    ) -> None:
        self.name, self.kind, self.channels, self.first_row = name, kind, channels, first_row
        self._statistics: _TableStatistics | _ArrayStatistics | None = None

    def update(self, chunk: Chunk, drawn: np.ndarray) -> None:
        """Add the next chunk.

        Parameters
        ----------
        chunk : Chunk
        drawn : integer array
            `median_rows` of the stream.

        Raises
        ------
        DataError
            As `Schema.learn` does; also when a column holds more than `MAX_DISTINCT` texts.
        """
        if self._statistics is None:
            is_table = self.kind == "table"
            self._statistics = (
                _TableStatistics(self.name, chunk.X)
                if is_table
                else _ArrayStatistics(self.kind, chunk.X, self.channels)
            )
        self._statistics.update(chunk, drawn, self.first_row + chunk.first_row)

    def extend(self, later: StreamStatistics) -> None:
        """Add the statistics of later chunks.

        The result does not depend on where the chunks were divided.

        Raises
        ------
        DataError
            When both together hold more than `MAX_DISTINCT` texts in a column.
        """
        if self._statistics is None:
            self._statistics = later._statistics
        elif later._statistics is not None:
            self._statistics.extend(later._statistics)  # type: ignore[arg-type]

    def warnings(self, schema: Schema, preprocessor: Preprocessor) -> list[str]:
        """Return warnings about columns, given the result; see `column_warnings`."""
        assert self._statistics is not None
        return self._statistics.warnings(schema, preprocessor)

    def result(self) -> tuple[Schema, Preprocessor]:
        """Return what was learned.

        Returns
        -------
        schema : Schema
            The same as of all instances in memory.
        preprocessor : Preprocessor
            The same up to rounding, but for medians, which are those of the rows drawn.

        Raises
        ------
        DataError
            As `learn_preprocessor` does.
        """
        if self._statistics is None:
            raise DataError(f"{self.name} holds no row that can be read; expected at least one")
        return self._statistics.result()


class _TableStatistics:
    """StreamStatistics on each column of a table."""

    def __init__(self, name: str, X: Any) -> None:
        self.names = [str(column) for column in X.columns] if _has_names(X) else None
        self.dtype = "float64" if self.names else str(X.dtype)
        self.columns = [
            ColumnStatistics(str(column), name) for column in self.names or range(X.shape[1])
        ]

    def update(self, chunk: Chunk, chosen: np.ndarray, first_row: int) -> None:
        X, rows = chunk.X, rows_of(chosen, chunk)
        if not _has_names(X):
            X = pd.DataFrame(check_table(X))
        for at, facts in enumerate(self.columns):
            facts.update(X.iloc[:, at], rows, first_row)

    def extend(self, later: _TableStatistics) -> None:
        pairs = list(zip(self.columns, later.columns, strict=True))
        full = [(own.full_after(other), at) for at, (own, other) in enumerate(pairs)]
        if found := [(chunk, at) for chunk, at in full if chunk is not None]:
            raise self.columns[min(found)[1]].too_many_texts()
        for own, other in pairs:
            own.extend(other)

    def warnings(self, schema: Schema, preprocessor: Preprocessor) -> list[str]:
        assert isinstance(preprocessor, TablePreprocessor)
        found: list[str | None] = []
        ordered = set()
        for at, (facts, inputs) in enumerate(zip(self.columns, preprocessor.inputs, strict=True)):
            if isinstance(inputs, CategoryInputs):
                continue
            found.append(facts.extreme_warning(schema, at, inputs))
            name, column = column_name(schema, at), schema.types[at]
            text = facts.order.describe(name, column, leave_out(schema, at))
            found.append(text)
            if text is not None:
                ordered.add(at)
        issued = [text for text in found if text is not None]
        return issued + self._identifier_warnings(schema, ordered)

    def _identifier_warnings(self, schema: Schema, leave: set[int]) -> list[str]:
        """Return warnings about identifiers, as `column_warnings` does, from the rows drawn."""
        samples = [np.frombuffer(facts.sample) for facts in self.columns]
        n = max(map(len, samples))
        # Text and columns without a value in some chunk have no value for each of the rows drawn.
        whole = [at for at, sample in enumerate(samples) if len(sample) == n]
        step = max(1, n // MAX_COMPARED)
        X = np.column_stack([samples[at][::step] for at in whole])
        names = None if schema.columns is None else tuple(schema.columns[at] for at in whole)
        types = tuple(schema.types[at] for at in whole)
        part = replace(schema, shape=(len(whole),), columns=names, column_types=types)
        return identifier_warnings(X, part, {whole.index(at) for at in leave if at in whole})

    def result(self) -> tuple[Schema, Preprocessor]:
        learned = [facts.result() for facts in self.columns]
        ranges = [bounds for _, _, bounds in learned if bounds is not None]
        types = tuple(column for column, _, _ in learned)
        plain = all(column.type == "number" for column in types)
        schema = Schema(
            "table",
            (len(types),),
            self.dtype,
            min((low for low, _ in ranges), default=0.0),
            max((high for _, high in ranges), default=0.0),
            columns=None if self.names is None else tuple(self.names),
            column_types=None if plain else types,
        )
        return schema, TablePreprocessor(schema, tuple(inputs for _, inputs, _ in learned))


class _ArrayStatistics:
    """Range of images; range, mean and deviation of windows of series."""

    def __init__(self, kind: str, X: np.ndarray, channels: tuple[str, ...] | None) -> None:
        self.kind, self.like, self.channels = kind, X[:1].copy(), channels
        self.low, self.high = np.inf, -np.inf
        self.moments = ChunkMoments(X.shape[2:])
        self.variety = ImageVariety()
        self.sample = array("d")
        #: (channel, extreme value, window, time step): the least and greatest of each channel.
        self.extremes: list[tuple[int, float, int, int]] = []

    def update(self, chunk: Chunk, chosen: np.ndarray, first_row: int) -> None:
        X = chunk.X
        (check_images if self.kind == "images" else check_series)(X)
        self.low, self.high = min(self.low, float(X.min())), max(self.high, float(X.max()))
        if self.kind != "series":
            self.variety.update(X)
            return
        values = X.reshape(-1, X.shape[2]).astype(np.float64, copy=False)
        self.moments.update(values)
        windows = rows_of(chosen, chunk)
        steps = _steps_drawn(windows + chunk.first_row, len(chosen), X.shape[1])
        self.sample.frombytes(X[windows[:, None], steps].astype(np.float64).tobytes())
        found = []
        for channel in range(X.shape[2]):
            for at in (int(values[:, channel].argmin()), int(values[:, channel].argmax())):
                window, step = divmod(at, X.shape[1])
                found.append((channel, float(values[at, channel]), first_row + window, step))
        self.extremes = _widest(self.extremes + found)

    def extend(self, later: _ArrayStatistics) -> None:
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)
        self.moments.extend(later.moments)
        self.variety.extend(later.variety)
        self.sample += later.sample
        self.extremes = _widest(self.extremes + later.extremes)

    def warnings(self, schema: Schema, preprocessor: Preprocessor) -> list[str]:
        if not isinstance(preprocessor, SeriesPreprocessor):
            return self.variety.warnings()
        found = []
        for channel, usual in enumerate(preprocessor.usual):
            if usual is None:
                continue
            inputs = channel_inputs(preprocessor, channel)
            own = [one for one in self.extremes if one[0] == channel]
            _, value, window, step = max(own, key=lambda one: abs(one[1] - inputs.fill))
            name = (
                f"channel {schema.columns[channel]!r}" if schema.columns else f"channel {channel}"
            )
            place = f"window {window}, time step {step}, counting from 0"
            found.append(describe_extremes(name, value, place, 0, inputs, Column()))
        return found

    def result(self) -> tuple[Schema, Preprocessor]:
        kind: Any = self.kind
        like = self.like
        schema = Schema(
            kind, like.shape[1:], str(like.dtype), self.low, self.high, columns=self.channels
        )
        if kind != "series":
            return schema, learn_preprocessor(like, schema)
        moments = self.moments.combined()
        sample = np.frombuffer(self.sample).reshape(-1, like.shape[2])
        usual = [
            usual_range(sample[:, at], _of_channel(moments, at)) for at in range(like.shape[2])
        ]
        return schema, SeriesPreprocessor.of(schema, moments, usual)


def _steps_drawn(windows: np.ndarray, n_drawn: int, n_steps: int) -> np.ndarray:
    """Return time steps of windows with these numbers, so that some `MEDIAN_ROWS` are drawn."""
    n = min(n_steps, max(1, MEDIAN_ROWS // max(1, n_drawn)))
    return (windows[:, None] + np.arange(n) * n_steps // n) % n_steps


def _widest(found: list[tuple[int, float, int, int]]) -> list[tuple[int, float, int, int]]:
    """Return the first least and the first greatest value of each channel."""
    widest = []
    for channel in sorted({one[0] for one in found}):
        own = [one for one in found if one[0] == channel]
        widest += [min(own, key=lambda one: one[1]), max(own, key=lambda one: one[1])]
    return widest


def _of_channel(moments: Moments, at: int) -> Moments:
    """Return the moments of one column."""
    own = Moments()
    own.add(
        moments.n,
        *(getattr(moments, name)[at] for name in ("mean", "variance", "low", "high", "rest")),
    )
    return own


def _has_names(X: Any) -> bool:
    return isinstance(X, pd.DataFrame)
