"""Chunks that a stream is read in: described, read ahead, and rows drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from isthmus.data.instances import Chunk
from isthmus.errors import ShardError

if TYPE_CHECKING:
    import pyarrow as pa

    from isthmus.data.preprocessing import Preprocessor
    from isthmus.data.schema import Schema

#: Rows in a part, and bytes of them, at most.
MOST_ROWS = 131_072
MOST_BYTES = 2**26
#: What the error of a damaged file ends with, and a list of what was left out need not.
HOW_TO_SKIP = ", or leave it out with on_bad_shard='skip' (on the command line --on-bad-shard skip)"


@dataclass(frozen=True)
class ChunkRange:
    """A bounded piece of one file.

    Attributes
    ----------
    index : int
        Its number in the stream; it stays the same when a part before it is skipped.
    source : str
        The file, or of a folder of images the first of them.
    first_row : int
        Number of its first row in the stream.
    n_rows : int
    """

    index: int
    source: str
    first_row: int
    n_rows: int


@dataclass(frozen=True)
class SkippedChunk:
    """A file or part that could not be used and was left out.

    Attributes
    ----------
    source : str
    n_rows : int or None
        Rows lost; None when the file does not say how many it had.
    reason : str
    """

    source: str
    n_rows: int | None
    reason: str

    @classmethod
    def because(cls, source: str, n_rows: int | None, error: ShardError) -> SkippedChunk:
        """Return what was left out because of an error."""
        return cls(source, n_rows, str(error).removesuffix(HOW_TO_SKIP))


@dataclass(frozen=True)
class KnownFacts:
    """What reading a stream has shown; another process that is told need not read for it.

    Attributes
    ----------
    bad_parts : dict
        Parts that turned out to be damaged and are skipped, by index.
    learned : tuple of Schema and Preprocessor, optional
    """

    bad_parts: dict[int, SkippedChunk] = field(default_factory=dict)
    learned: tuple[Schema, Preprocessor] | None = None


@dataclass(frozen=True)
class RowRange:
    """Where a part lies.

    Attributes
    ----------
    files : tuple of str
        One, or of a folder of images as many as rows.
    groups : tuple of int
        Row groups of a Parquet file.
    start, stop : int
        Rows, counting from the first of the row groups, or of the file; of a long table windows.
    cut_of : int
        Rows in the row group that was too large for one part; 0 where none was cut.
    """

    files: tuple[str, ...]
    groups: tuple[int, ...]
    start: int
    stop: int
    cut_of: int = 0

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def follows(self) -> bool:
        """Whether it is quickest to read after the part before it.

        A row group can only be read from its beginning.
        """
        return self.cut_of > 0 and self.start > 0


class Reader(Protocol):
    """How one kind of file is laid out in parts and read."""

    kind: str

    @property
    def has_labels(self) -> bool:
        """Whether there are labels to read."""

    @property
    def channels(self) -> tuple[str, ...] | None:
        """Names of a series' channels, None when they have none."""

    def lay_out(self, source: str) -> list[RowRange]:
        """Return the parts of a file, by its footer or header; ShardError when it is bad."""

    def read(self, part: RowRange, label: bool, keys: bool) -> Chunk:
        """Read a part; its first row is not known here, and 0."""

    def key_types(self) -> dict[str, pa.DataType]:
        """Return the key columns that `read` gives, and their types in the first file."""

    def stamp(self, source: str) -> dict[str, Any]:
        """Return plain values that differ once a file was written anew."""

    def describe(self) -> str:
        """Return what a row is, such as "rows of 30 columns"."""


A = TypeVar("A")
B = TypeVar("B")


def prefetch(make: Callable[[A], B], items: Iterable[A]) -> Generator[B, None, None]:
    """Yield `make(item)` of each item in order, the next one being made in another thread.

    At most two results are there at any time: the one given out and the next.

    Examples
    --------
    >>> list(prefetch(lambda x: x * x, [1, 2, 3]))
    [1, 4, 9]
    """
    with ThreadPoolExecutor(1, "isthmus-ahead") as thread:
        waiting = None
        for item in items:
            coming = thread.submit(make, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
