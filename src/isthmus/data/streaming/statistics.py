"""Schema and preprocessing of a stream, learned in one pass that processes may share."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.array_checks import check_images, check_series
from isthmus.data.column_types import check_table
from isthmus.data.columns import Column
from isthmus.data.instances import Chunk, rows_of
from isthmus.data.places import draw_rows
from isthmus.data.preprocessing import (
    MAX_COMPARED,
    CategoryInputs,
    ChunkMoments,
    ImageVariety,
    Moments,
    Preprocessor,
    SeriesPreprocessor,
    TablePreprocessor,
    channel_inputs,
    column_name,
    describe_alike,
    describe_extremes,
    identifier_warnings,
    learn_columns,
    learn_preprocessor,
    leave_out,
    usual_range,
)
from isthmus.data.schema import Schema
from isthmus.data.streaming.column_statistics import MEDIAN_ROWS, ColumnStatistics
from isthmus.errors import DataError


def median_rows(n_rows: int) -> np.ndarray:
    """Return the numbers of the rows of a stream whose values give the medians, sorted.

    Parameters
    ----------
    n_rows : int

    Returns
    -------
    int array
    """
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

        Parameters
        ----------
        later : StreamStatistics

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
        """Return warnings about columns, given the result; see `column_warnings`.

        Parameters
        ----------
        schema, preprocessor
            What `result` returned.

        Returns
        -------
        list of str
        """
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
                found += describe_alike(column_name(schema, at), schema.types[at])
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
        samples = [facts.row_sample() for facts in self.columns]
        n = max(map(len, samples))
        # Categories have none, and a column may be read in another way in some chunk.
        whole = [at for at, sample in enumerate(samples) if len(sample) == n]
        step = max(1, n // MAX_COMPARED)
        X = np.column_stack([samples[at][::step] for at in whole])
        names = None if schema.columns is None else tuple(schema.columns[at] for at in whole)
        types = tuple(schema.types[at] for at in whole)
        part = replace(schema, shape=(len(whole),), columns=names, column_types=types)
        return identifier_warnings(X, part, {whole.index(at) for at in leave if at in whole})

    def result(self) -> tuple[Schema, Preprocessor]:
        columns = self.columns
        learned = learn_columns(
            range(len(columns)) if self.names is None else self.names,
            [one.n_present for one in columns],
            columns[0].n_rows,
            lambda at: columns[at].result(),
        )
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
