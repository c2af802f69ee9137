"""Schema and preprocessing of a stream, learned in one pass that several processes may share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.checks import check_images, check_series, check_table
from isthmus.data.instances import Piece, draw, rows_of
from isthmus.data.preprocessing import Preprocessor, learn_preprocessor
from isthmus.data.preprocessing.series import SeriesPreprocessor
from isthmus.data.preprocessing.standardise import scale_of
from isthmus.data.preprocessing.tables import TablePreprocessor
from isthmus.data.schema import Schema
from isthmus.data.stream.column import ColumnFacts
from isthmus.data.stream.piece_moments import PieceMoments
from isthmus.errors import DataError

#: Rows whose values give the medians. Of a longer stream they are drawn at random, always the
#: same: a median's rank is then within 0.7 % of the middle in 999 columns of 1,000, whatever the
#: distribution.
MEDIAN_ROWS = 65_536


def median_rows(n_rows: int) -> np.ndarray:
    """Return the numbers of the rows of a stream whose values give the medians, sorted."""
    return draw(n_rows, MEDIAN_ROWS, 0)


class Facts:
    """What is known of a stream, or of a stretch of its pieces, while these go by in order.

    Parameters
    ----------
    name : str
        What to call the stream in errors.
    kind : {"images", "series", "table"}
    channels : tuple of str, optional
        Names of a series' channels.
    """

    def __init__(self, name: str, kind: str, channels: tuple[str, ...] | None = None) -> None:
        self.name, self.kind, self.channels = name, kind, channels
        self._known: _TableFacts | _ArrayFacts | None = None

    def update(self, piece: Piece, drawn: np.ndarray) -> None:
        """Take in the next piece.

        Parameters
        ----------
        piece : Piece
        drawn : integer array
            `median_rows` of the stream.

        Raises
        ------
        DataError
            As `Schema.learn` does; also when a column holds more different texts than can be told
            apart in bounded memory.
        """
        if self._known is None:
            is_table = self.kind == "table"
            self._known = (
                _TableFacts(self.name, piece.X)
                if is_table
                else _ArrayFacts(self.kind, piece.X, self.channels)
            )
        self._known.update(piece, drawn)

    def extend(self, later: Facts) -> None:
        """Take in what is known of the pieces after these.

        What comes out does not depend on where the pieces were divided.

        Raises
        ------
        DataError
            When both together hold more different texts than can be told apart.
        """
        if self._known is None:
            self._known = later._known
        elif later._known is not None:
            self._known.extend(later._known)  # type: ignore[arg-type]

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
        if self._known is None:
            raise DataError(f"{self.name} holds no row that can be read; expected at least one")
        return self._known.result()


class _TableFacts:
    """Facts on each column of a table."""

    def __init__(self, name: str, X: Any) -> None:
        self.names = [str(column) for column in X.columns] if _has_names(X) else None
        self.dtype = "float64" if self.names else str(X.dtype)
        self.columns = [
            ColumnFacts(str(column), name) for column in self.names or range(X.shape[1])
        ]

    def update(self, piece: Piece, chosen: np.ndarray) -> None:
        X, rows = piece.X, rows_of(chosen, piece)
        if not _has_names(X):
            X = pd.DataFrame(check_table(X))
        for at, facts in enumerate(self.columns):
            facts.update(X.iloc[:, at], rows, piece.first_row)

    def extend(self, later: _TableFacts) -> None:
        pairs = list(zip(self.columns, later.columns, strict=True))
        full = [(own.full_after(other), at) for at, (own, other) in enumerate(pairs)]
        if found := [(piece, at) for piece, at in full if piece is not None]:
            raise self.columns[min(found)[1]].too_many_texts()
        for own, other in pairs:
            own.extend(other)

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


class _ArrayFacts:
    """Range of images; range, mean and deviation of windows of series."""

    def __init__(self, kind: str, X: np.ndarray, channels: tuple[str, ...] | None) -> None:
        self.kind, self.like, self.channels = kind, X[:1].copy(), channels
        self.low, self.high = np.inf, -np.inf
        self.moments = PieceMoments(X.shape[2:])

    def update(self, piece: Piece, chosen: np.ndarray) -> None:
        X = piece.X
        (check_images if self.kind == "images" else check_series)(X)
        self.low, self.high = min(self.low, float(X.min())), max(self.high, float(X.max()))
        if self.kind == "series":
            self.moments.update(X.reshape(-1, X.shape[2]).astype(np.float64, copy=False))

    def extend(self, later: _ArrayFacts) -> None:
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)
        self.moments.extend(later.moments)

    def result(self) -> tuple[Schema, Preprocessor]:
        kind: Any = self.kind
        like = self.like
        schema = Schema(
            kind, like.shape[1:], str(like.dtype), self.low, self.high, columns=self.channels
        )
        if kind == "series":
            moments = self.moments.together()
            return schema, SeriesPreprocessor(schema, moments.mean, scale_of(moments))
        return schema, learn_preprocessor(like, schema)


def _has_names(X: Any) -> bool:
    return isinstance(X, pd.DataFrame)
