"""One interface for X in memory, streamed, or as stored codes."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

import numpy as np
import pandas as pd

from isthmus.data.array_checks import Kind, check_step
from isthmus.data.containers import as_array_or_frame, check_rows, with_labels
from isthmus.data.labels import as_labels, warn_of_order
from isthmus.data.places import describe_row, draw_rows
from isthmus.data.schema import Schema
from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data.windows import TimePoints, Windows

T = TypeVar("T")
M = TypeVar("M", bound=Callable[..., Any])


class Instances(ABC):
    """Instances of any of the three kinds, see `as_instances`.

    The methods here are those of instances in memory, which are one chunk. Where an algorithm
    differs by kind, other packages register a function for each by `functools.singledispatch`.

    Attributes
    ----------
    name : str
        Name in messages.
    in_memory : bool
        Whether all rows are in memory; otherwise they are read chunk by chunk.
    encoded : bool
        Whether they are codes of an encoder instead of instances.
    """

    name: str
    in_memory: ClassVar[bool] = True
    encoded: ClassVar[bool] = False

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows that can be read."""

    @property
    @abstractmethod
    def held(self) -> Any:
        """The object handed over, unchanged."""

    @property
    def n_rows(self) -> int:
        """Number of numbered rows: of a stream including those in damaged chunks."""
        return len(self)

    @property
    def values(self) -> np.ndarray | pd.DataFrame:
        """The values a schema is learned from: an array, or a DataFrame unchanged."""
        held = self.held
        return held if isinstance(held, pd.DataFrame) else np.asarray(held)

    @property
    def labels(self) -> np.ndarray | None:
        """Stored labels, where in memory; those of a stream are read with its chunks."""
        return None

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the channels of series, where they came with names."""
        return None

    @property
    def kind(self) -> Kind | None:
        """What the instances are, where that is known."""
        return None

    @property
    def points(self) -> TimePoints | None:
        """Time points of the series that windows were cut from, where they are at hand."""
        return None

    @property
    def group_columns(self) -> tuple[str, ...]:
        """Columns that name the groups of a stream, whose chunks have `groups`."""
        return ()

    @property
    def groups(self) -> np.ndarray | None:
        """Group of each instance as text, where they came with groups, see `as_groups`."""
        return None

    @property
    def step(self) -> float | None:
        """Usual step in time of the series that windows were cut from, see `Schema`."""
        return None

    def place(self, row: int, step: int | None = None) -> str:
        """Return where an instance is, and the time step of a window, in words.

        Parameters
        ----------
        row, step : int

        Returns
        -------
        str
        """
        if step is None:
            return describe_row(row)
        return f"window {row}, time step {step}, counting from 0"

    @property
    def has_row_hashes(self) -> bool:
        """Whether `row_hashes` is available."""
        return True

    def chunks(self, *, label: bool = False, keys: bool = False) -> Iterator[Chunk]:
        """Return all rows in bounded chunks, without a copy of those in memory.

        Parameters
        ----------
        label, keys : bool
            With labels, and of a stream key columns and groups, where there are any.

        Returns
        -------
        iterator of Chunk
        """
        groups = self.groups if keys else None
        return iter([Chunk(0, self.held, self.labels if label else None, groups=groups)])

    @abstractmethod
    def take(
        self, rows: np.ndarray, *, label: bool = True, schema: Schema | None = None
    ) -> SelectedRows:
        """Return rows by their numbers, in memory, with stored labels where there are any."""

    def draw(self, n: int, seed: int | Sequence[int]) -> np.ndarray:
        """Draw at most `n` row numbers uniformly, without replacement; return them sorted.

        Parameters
        ----------
        n : int
        seed : int or sequence of int

        Returns
        -------
        int array of shape (min(n, len(self)),)
        """
        return draw_rows(self.n_rows, n, seed)

    def at_most(
        self,
        n: int,
        seed: int | Sequence[int],
        y: Any = None,
        *,
        label: bool = True,
        schema: Schema | None = None,
    ) -> tuple[Any, Any]:
        """Return instances and labels in memory; of a stream, at most `n` drawn uniformly.

        Parameters
        ----------
        n, seed
            As for `draw`.
        y : array of shape (len(self),), optional
            Labels, of instances in memory.
        label, schema
            As for `Stream.take`.

        Returns
        -------
        instances, labels
        """
        return self.held, y

    def labelled_chunks(self, y: Any) -> Iterator[Chunk]:
        """Return all rows in chunks with labels: `y`, or of a stream its own.

        Parameters
        ----------
        y : array of shape (n,) or None

        Returns
        -------
        iterator of Chunk

        Raises
        ------
        DataError
            When there are no labels, or their number is not that of the instances.
        """
        n = len(self)
        y = self.labels if y is None else y
        if y is None:
            raise DataError(f"got {n} instances and no labels; pass y, one label for each instance")
        labels = as_labels(y)
        if len(labels) != n:
            raise DataError(
                f"got {n} instances and labels of shape {labels.shape}; "
                "expected one label for each instance"
            )
        return iter([Chunk(0, self.held, labels, groups=self.groups)])

    def map(self, function: Callable[[Any], T]) -> Iterable[T]:
        """Return the results of a function on each chunk; for a stream, lazily.

        Parameters
        ----------
        function : callable

        Returns
        -------
        iterable
        """
        return [function(self.held)]

    def gather(self, function: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Return the results of a function on each chunk, a row for an instance, as one array.

        Parameters
        ----------
        function : callable

        Returns
        -------
        array of shape (n, ...)
        """
        return function(self.held)

    def checked(self, check: Callable[[Any], np.ndarray]) -> Instances:
        """Return the instances after a check; those of a stream are checked when they are read.

        Parameters
        ----------
        check : callable

        Returns
        -------
        Instances
        """
        return InMemory(check(self.held))

    def codes_by(self, encode: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Return the code of each instance: stored, or computed by `encode`.

        Parameters
        ----------
        encode : callable

        Returns
        -------
        float32 array of shape (n, n_components)
        """
        return encode(self.held)

    def row_hashes(self, hash_rows: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Return the hash of each instance: stored, or computed by `hash_rows`.

        Parameters
        ----------
        hash_rows : callable

        Returns
        -------
        uint64 array of shape (n,)
        """
        return hash_rows(self.held)

    def check_made_by(  # noqa: B027  (not abstract: there is nothing to check but in stored codes)
        self, digest: str | None, identity: Callable[[], str]
    ) -> None:
        """Check that stored codes are of an encoder; instances always pass.

        Parameters
        ----------
        digest, identity
            See `StoredCodes.check_made_by`.
        """

    def reading_facts(self) -> dict[str, Any]:
        """Return facts on reading as plain values: for a stream, what was skipped.

        Returns
        -------
        dict
        """
        return {}


class SelectedRows(Protocol):
    """Rows in memory, and their labels where there are any."""

    @property
    def X(self) -> Any:
        """The instances."""

    @property
    def y(self) -> np.ndarray | None:
        """Their labels."""


@dataclass(frozen=True, eq=False)
class InMemory(Instances):
    """An array, DataFrame or list, neither copied nor checked.

    Attributes
    ----------
    X : array, DataFrame or list
    y : array of shape (n,) or None
    channel_names : tuple of str or None
    kind : {"images", "series", "table"} or None
    points : TimePoints or None
        Of the series that windows were cut from; `step` is their usual step in time.
    step : float or None
    source : callable or None
        Returns the place of an instance in the data set that they are of, see `Dataset.place`.
    groups : object array of shape (n,) or None
        Group of each instance as text.
    """

    X: Any
    name: str = "X"
    y: np.ndarray | None = None
    channel_names: tuple[str, ...] | None = None
    kind: Kind | None = None
    points: TimePoints | None = None
    step: float | None = None
    source: Callable[[int, int | None], str] | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        X = self.X if hasattr(self.X, "__len__") else np.asarray(self.X)
        return X.shape[0] if hasattr(X, "shape") else len(X)

    @property
    def held(self) -> Any:
        """The object handed over, unchanged."""
        return self.X

    @property
    def labels(self) -> np.ndarray | None:
        """Labels that came with the instances, as in a dataset of torch."""
        return self.y

    def place(self, row: int, step: int | None = None) -> str:
        """Return where an instance is, and the time step of a window, in words."""
        return super().place(row, step) if self.source is None else self.source(row, step)

    def checked(self, check: Callable[[Any], np.ndarray]) -> Instances:
        """Return the instances after a check."""
        return replace(self, X=check(self.X))

    def take(self, rows: np.ndarray, *, label: bool = True, schema: Schema | None = None) -> Chunk:
        """Return rows by their numbers."""
        y = self.y[rows] if label and self.y is not None else None
        groups = None if self.groups is None else self.groups[rows]
        return Chunk(0, take_rows(self.X, rows), y, groups=groups)


class InstanceSource(ABC):
    """A data set: instances with their labels, kind and names, see `isthmus.data.Dataset`."""

    @abstractmethod
    def instances(self) -> Instances:
        """Return its instances."""


# Compared by identity: == of arrays is elementwise.
@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive or selected rows in memory.

    Attributes
    ----------
    first_row : int
    X : DataFrame of shape (k, m), array of shape (k, ...), or StoredCodes of k instances
    y : array of shape (k,) or None
    keys : DataFrame of shape (k, n_keys) or None
        Labels and key columns, when requested and available.
    windows : Windows or None
        Positions of instances that were cut from a long table: rows are counted through all
        files; times are included when keys were requested.
    groups : object array of shape (k,) or None
        Group of each instance as text, of a stream when keys were requested.
    """

    first_row: int
    X: Any
    y: np.ndarray | None = None
    keys: pd.DataFrame | None = None
    windows: Windows | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: np.ndarray) -> Chunk:
        """Return rows by their positions in the chunk; `first_row` is unchanged."""
        return Chunk(
            self.first_row,
            take_rows(self.X, rows),
            None if self.y is None else self.y[rows],
            None if self.keys is None else take_rows(self.keys, rows),
            None if self.windows is None else self.windows.take(rows),
            None if self.groups is None else self.groups[rows],
        )


def as_instances(X: Any, y: Any = None) -> Instances:
    """Return any X as one of the three kinds of instances.

    Parameters
    ----------
    X : array, DataFrame, list, Dataset, Stream, StoredCodes or Instances
        Of arrays only the number of dimensions is checked, the rest by the estimator. Tensors of
        torch become arrays, without their gradients, and so do map-style datasets, with the labels
        of their pairs; tables of other libraries become DataFrames, see `as_array_or_frame`.
    y : array of shape (n,), optional

    Returns
    -------
    Instances
        A `Stream` and `StoredCodes` are instances themselves; anything else becomes `InMemory`.

    Raises
    ------
    DataError
        When labels come beside a stream, which has its own, or X is nothing that can be read as
        an array: a path, a lazy or sparse table, a generator, a number.

    Examples
    --------
    >>> instances = as_instances([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> len(instances), instances.in_memory, instances.encoded
    (3, True, False)
    >>> instances.take(np.array([0, 2])).X
    array([[1., 2.],
           [5., 6.]])
    """
    warn_of_order(X, y)
    if isinstance(X, Instances | InstanceSource):
        instances = X if isinstance(X, Instances) else X.instances()
    else:
        values, labels = with_labels(X)
        own = None if labels is None else as_labels(labels)
        instances = InMemory(check_rows(values), y=own)
    if y is not None and not instances.in_memory:
        raise DataError("got y beside a stream, whose labels are in its files; leave y out")
    return instances


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Return rows of an array, DataFrame, list or stored codes, as the same type."""
    if isinstance(X, Instances):
        return X.take(rows).X
    X = as_array_or_frame(X)
    return X.iloc[rows] if isinstance(X, pd.DataFrame | pd.Series) else np.asarray(X)[rows]


def row_index(X: Any) -> pd.Index | None:
    """Return the index of a DataFrame, which what is computed of its rows has too; else None.

    Examples
    --------
    >>> row_index(pd.DataFrame({"a": [1.0]}, index=["pump 7"])).tolist()
    ['pump 7']
    """
    held = X.held if isinstance(X, InMemory) else X
    return held.index if isinstance(held, pd.DataFrame) else None


def over_chunks(method: M) -> M:
    """Make a method `(self, X, ...) -> array` accept streams, by calling it on each chunk.

    Series of another sampling rate than at fit are refused.
    """

    @functools.wraps(method)
    def wrapper(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        instances = as_instances(X)
        of_encoder = self if hasattr(self, "schema_") else getattr(self, "encoder_", None)
        check_step(instances.step, getattr(getattr(of_encoder, "schema_", None), "step", None))
        return instances.gather(lambda chunk: method(self, chunk, *args, **kwargs))

    return cast(M, wrapper)


def rows_of(rows: np.ndarray, chunk: Chunk) -> np.ndarray:
    """Return the positions in a chunk of those sorted row numbers that lie in it."""
    first, end = np.searchsorted(rows, [chunk.first_row, chunk.first_row + len(chunk)])
    return rows[first:end] - chunk.first_row
