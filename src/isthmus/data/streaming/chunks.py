"""Chunks, the bounded parts of files that a stream is read in: their place, and reading ahead."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from os.path import commonpath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from isthmus.data.instances import Chunk, Instances
from isthmus.data.places import in_file, joined_chunks
from isthmus.errors import ShardError

if TYPE_CHECKING:
    import pyarrow as pa

    from isthmus.data.dataset import Dataset
    from isthmus.data.preprocessing import Preprocessor
    from isthmus.data.schema import Schema

#: Upper limits of a chunk: rows, and bytes of them in memory.
MAX_CHUNK_ROWS = 131_072
MAX_CHUNK_BYTES = 2**26
#: End of the error about a damaged file; the list of what was skipped goes without it.
HOW_TO_SKIP = ", or leave it out with on_bad_shard='skip' (on the command line --on-bad-shard skip)"


@dataclass(frozen=True)
class ChunkRange:
    """The rows of one chunk, as numbered in the stream.

    Attributes
    ----------
    index : int
        Number of the chunk in the stream; it stays the same when a chunk before it is skipped.
    source : str
        The file; of a folder of images the first of the files.
    first_row : int
        Number of the first row in the stream.
    n_rows : int
    """

    index: int
    source: str
    first_row: int
    n_rows: int


@dataclass(frozen=True)
class SkippedChunk:
    """A file or chunk that could not be read and was skipped.

    Attributes
    ----------
    source : str
    n_rows : int or None
        Rows lost; None where the number is unknown.
    reason : str
    """

    source: str
    n_rows: int | None
    reason: str

    @classmethod
    def because(cls, source: str, n_rows: int | None, error: ShardError) -> SkippedChunk:
        """Return the record of what was skipped because of an error.

        Parameters
        ----------
        source : str
        n_rows : int or None
        error : ShardError

        Returns
        -------
        SkippedChunk
        """
        return cls(source, n_rows, str(error).removesuffix(HOW_TO_SKIP))


@dataclass(frozen=True)
class StreamState:
    """What reading a stream has found out; passed to another process, it saves a pass.

    Attributes
    ----------
    damaged : dict
        Chunks that are damaged and skipped, by index.
    learned : tuple of Schema and Preprocessor, optional
    """

    damaged: dict[int, SkippedChunk] = field(default_factory=dict)
    learned: tuple[Schema, Preprocessor] | None = None


@dataclass(frozen=True)
class FileRange:
    """The rows of one chunk, as a reader finds them in files.

    Attributes
    ----------
    files : tuple of str
        One file; of a folder of images as many as rows.
    groups : tuple of int
        Row groups of a Parquet file.
    start, stop : int
        Rows, counted from the first of the row groups, or of the file; of a long table windows.
    cut_of : int
        Rows of the row group, where that is too large for one chunk and was divided; otherwise 0.
    before : int
        Rows of the file before those that `start` counts from.
    """

    files: tuple[str, ...]
    groups: tuple[int, ...]
    start: int
    stop: int
    cut_of: int = 0
    before: int = 0

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def follows(self) -> bool:
        """Whether it is read fastest right after the chunk before it.

        A row group can only be read from its beginning.
        """
        return self.cut_of > 0 and self.start > 0


class FileRow(NamedTuple):
    """The file of an instance, as seen from the folder that holds all files, and its row there."""

    file: str
    row: int


class Reader(Protocol):
    """Divides files of one format into chunks, and reads them."""

    kind: str

    @property
    def has_labels(self) -> bool:
        """Whether there are labels to read."""

    @property
    def identifies_rows(self) -> bool:
        """Whether the key columns say which row is which; otherwise its number does."""

    @property
    def channels(self) -> tuple[str, ...] | None:
        """Names of a series' channels, None when they have none."""

    def lay_out(self, source: str) -> list[FileRange]:
        """Return the chunks of a file, by its footer or header; ShardError when it is damaged."""

    def read(self, file_range: FileRange, label: bool, keys: bool) -> Chunk:
        """Read a chunk, whose `first_row` is left at 0: the stream numbers the rows."""

    def key_types(self) -> dict[str, pa.DataType]:
        """Return the key columns that `read` gives, and their types in the first file."""

    def stamp(self, source: str) -> dict[str, Any]:
        """Return plain values that change when a file is rewritten, such as size and time."""

    def describe(self) -> str:
        """Return what a row is, such as "rows of 30 columns"."""


A = TypeVar("A")
B = TypeVar("B")


def prefetch(make: Callable[[A], B], items: Iterable[A]) -> Generator[B, None, None]:
    """Yield `make(item)` of each item in order, while the next is made in another thread.

    At most two results exist at any time: the one yielded and the next.

    Parameters
    ----------
    make : callable
    items : iterable

    Yields
    ------
    object
        What `make` returned.

    Examples
    --------
    >>> list(prefetch(lambda x: x * x, [1, 2, 3]))
    [1, 4, 9]
    """
    with ThreadPoolExecutor(1, "isthmus-ahead") as thread:
        current = None
        for item in items:
            following = thread.submit(make, item)
            if current is not None:
                yield current.result()
            current = following
        if current is not None:
            yield current.result()


class ChunkedInstances(Instances):
    """What a `Stream` does by its chunks alone, without reading its files."""

    reader: Reader
    first_row: int
    _file_ranges: tuple[FileRange, ...]
    _starts: np.ndarray

    @abstractmethod
    def _in_files(self, rows: np.ndarray) -> np.ndarray:
        """Return row numbers of this stream as row numbers in its files."""

    @property
    @abstractmethod
    def runs(self) -> list[list[ChunkRange]]:
        """Chunks to be read one after the other."""

    @abstractmethod
    def chunks(
        self,
        ranges: Sequence[ChunkRange] | None = None,
        *,
        label: bool = False,
        keys: bool = False,
    ) -> Iterator[Chunk]:
        """Read all chunks in order, or those given."""

    @abstractmethod
    def take(
        self, rows: np.ndarray, *, label: bool = True, schema: Schema | None = None
    ) -> Dataset:
        """Return rows by their numbers as a data set in memory."""

    @abstractmethod
    def check_labelled(self) -> None:
        """Check that there are labels to read."""

    @cached_property
    def _folder(self) -> str | None:
        """The folder that holds all files, with a slash at its end; None of a single file."""
        files = {one.files[0] for one in self._file_ranges}
        return f"{commonpath(files).rstrip('/')}/" if len(files) > 1 else None

    def file_of(self, row: int) -> FileRow | None:
        """Return the file of a row, and the number of the row in it, from 0.

        Parameters
        ----------
        row : int
            Its number in the data that was read, as `Dataset.row_numbers` gives it.

        Returns
        -------
        FileRow or None
            None where all rows are in one file, and of images, which are files themselves.

        Examples
        --------
        >>> import tempfile
        >>> import pandas as pd
        >>> from isthmus import load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name, n in (("a.parquet", 2), ("b.parquet", 3)):
        ...         pd.DataFrame({"width": range(n)}).to_parquet(f"{folder}/{name}")
        ...     print(*load(folder, lazy=True).file_of(3))
        b.parquet 1
        """
        if self._folder is None or "file" in self.reader.key_types():
            return None
        among_all = int(self._in_files(np.array([row - self.first_row]))[0])
        at = int(np.searchsorted(self._starts, among_all, side="right")) - 1
        one = self._file_ranges[at]
        file = one.files[0].removeprefix(self._folder)
        return FileRow(file, one.before + one.start + among_all - int(self._starts[at]))

    def place(self, row: int, step: int | None = None) -> str:
        """Return where an instance is, with its file where there are several.

        Parameters
        ----------
        row, step : int

        Returns
        -------
        str
        """
        unit = "window" if self.kind == "series" else "row"
        return in_file(super().place(row, step), self.file_of(self.first_row + row), unit)

    def share(self, rank: int, size: int) -> list[ChunkRange]:
        """Return the chunks of one of `size` processes, about as many rows for each.

        Runs (see `runs`) are not divided. The shares of all processes in order are all chunks in
        order; some are empty where runs are few.

        Parameters
        ----------
        rank : int
        size : int

        Returns
        -------
        list of ChunkRange
        """
        n_rows, before = max(1, len(self)), 0
        own: list[ChunkRange] = []
        for run in self.runs:
            after = before + sum(one.n_rows for one in run)
            # A run goes to the process whose equal share of the rows holds the run's middle.
            if (before + after) * size // (2 * n_rows) == rank:
                own += run
            before = after
        return own

    def sample(self, n: int, seed: int, schema: Schema | None = None) -> Dataset:
        """Return rows drawn uniformly, in memory, with their labels when there are some.

        Parameters
        ----------
        n : int
            All rows where there are fewer; rows of skipped chunks are missing.
        seed : int
        schema : Schema, optional
            As for `take`.

        Returns
        -------
        Dataset
        """
        return self.take(self.draw(n, seed), schema=schema)

    def at_most(
        self,
        n: int,
        seed: int | Sequence[int],
        y: Any = None,
        *,
        label: bool = True,
        schema: Schema | None = None,
    ) -> tuple[Any, Any]:
        """Return instances drawn uniformly, `n` or all, and their labels where asked for.

        Parameters
        ----------
        n, seed, y, label, schema
            See `take` and `draw`; `y` is not used.

        Returns
        -------
        instances : array or DataFrame
        labels : array or None
        """
        drawn = self.take(self.draw(n, seed), label=label, schema=schema)
        return drawn.X, drawn.y

    def labelled_chunks(self, y: Any) -> Iterator[Chunk]:
        """Read all chunks with their labels.

        Parameters
        ----------
        y : None
            Not used: the labels are the stream's own.

        Returns
        -------
        iterator of Chunk

        Raises
        ------
        DataError
            When there are no labels to read.
        """
        self.check_labelled()
        return self.chunks(label=True, keys=bool(self.group_columns))

    def map(self, function: Callable[[Any], B]) -> Iterable[B]:
        """Apply a function to the instances of each chunk, lazily.

        Parameters
        ----------
        function : callable

        Returns
        -------
        iterator
        """
        return (function(chunk.X) for chunk in self.chunks())

    def gather(self, function: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Apply a function that gives one row per instance to each chunk; return one array.

        Parameters
        ----------
        function : callable

        Returns
        -------
        array of shape (n, ...)
        """
        return joined_chunks(len(self), self.map(function))

    def checked(self, check: Callable[[Any], np.ndarray]) -> Self:
        """Return the stream: its instances are checked when they are read.

        Parameters
        ----------
        check : callable
            Not called.

        Returns
        -------
        Stream
        """
        return self
