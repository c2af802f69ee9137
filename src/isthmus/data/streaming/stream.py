"""Streams: instances in files, read chunk by chunk, that need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
import pandas as pd

from isthmus.data.dataset import Dataset, check_part
from isthmus.data.instances import Chunk, Instances, joined_chunks, rows_of
from isthmus.data.schema import Kind, Schema
from isthmus.data.streaming.chunks import (
    ChunkRange,
    KnownFacts,
    Reader,
    RowRange,
    SkippedChunk,
    prefetch,
)
from isthmus.data.windows import Windows
from isthmus.errors import DataError, ShardError

if TYPE_CHECKING:
    from isthmus.data.preprocessing import Preprocessor

T = TypeVar("T")


class Stream(Instances):
    """Instances in files, of which a part at a time is in memory.

    `isthmus.load` makes one of a folder of Parquet files. `Autoencoder.fit`, `transform` and
    what else takes instances take a stream as well.

    Attributes
    ----------
    name : str
        What `load` was given.
    kind : {"images", "series", "table"}
    parts : tuple of Part
        Bounded pieces of the files, in order: row groups of Parquet, at most 131,072 rows or
        64 MB of them; of tables that are cut into windows so many of these.
    skipped : tuple of Skipped
        Files and parts left out with `on_bad_shard="skip"`.
    schema : Schema
        Of all instances, learned at first use in one pass over the files.
    preprocessor : Preprocessor
        Learned in the same pass.

    Examples
    --------
    >>> import tempfile
    >>> from isthmus import load
    >>> folder = tempfile.TemporaryDirectory()
    >>> for at in range(3):
    ...     table = pd.DataFrame({"a": np.arange(4.0) + at, "b": [0.0, 1.0, 0.0, 1.0]})
    ...     table.to_parquet(f"{folder.name}/{at}.parquet")
    >>> stream = load(f"{folder.name}/*.parquet", label="b")
    >>> len(stream), [part.n_rows for part in stream.parts], stream.schema.maximum
    (12, [4, 4, 4], 5.0)
    >>> [piece.first_row for piece in stream.pieces()]
    [0, 4, 8]
    >>> sample = stream.sample(8, seed=0)
    >>> sample.X.shape, sample.class_names
    ((8, 1), ('0', '1'))
    >>> folder.cleanup()
    """

    in_memory: ClassVar[Literal[False]] = False
    test: None = None
    """None: nothing was set aside."""
    known: KnownFacts
    """What reading has shown so far."""

    def __init__(
        self,
        name: str,
        reader: Reader,
        slices: Sequence[RowRange],
        skipped: Sequence[SkippedChunk] = (),
        on_bad_shard: str = "fail",
        left_out: np.ndarray | None = None,
    ) -> None:
        self.name, self.reader, self.on_bad_shard = name, reader, on_bad_shard
        self._slices, self._unopened = tuple(slices), tuple(skipped)
        self._left_out = np.empty(0, np.int64) if left_out is None else left_out
        self._starts = np.cumsum([0, *(part.n_rows for part in slices)])
        # Rows of each part that are left out lie between these positions.
        self._gaps = np.searchsorted(self._left_out, self._starts)
        self.known = KnownFacts()
        own = self._starts - self._gaps
        self._all = tuple(
            ChunkRange(at, part.files[0], int(own[at]), int(own[at + 1] - own[at]))
            for at, part in enumerate(slices)
        )

    def __repr__(self) -> str:
        return (
            f"Stream({self.name!r}, {len(self):,} {self.reader.describe()} in "
            f"{len(self.parts)} {'part' if len(self.parts) == 1 else 'parts'}"
            + (f", {len(self.skipped)} skipped)" if self.skipped else ")")
        )

    def __len__(self) -> int:
        return sum(part.n_rows for part in self.parts)

    @property
    def kind(self) -> Kind:
        """`"images"`, `"series"` or `"table"`."""
        return self.reader.kind  # type: ignore[return-value]

    @property
    def parts(self) -> tuple[ChunkRange, ...]:
        """The pieces that can be read, in order."""
        if not self.known.bad_parts:
            return self._all
        return tuple(part for part in self._all if part.index not in self.known.bad_parts)

    @property
    def n_rows(self) -> int:
        """Rows that were counted when the files were opened: those numbered, skipped ones too."""
        return int(self._starts[-1] - len(self._left_out))

    @property
    def skipped(self) -> tuple[SkippedChunk, ...]:
        """What was left out, with the reason."""
        return (*self._unopened, *self.known.bad_parts.values())

    @property
    def runs(self) -> list[list[ChunkRange]]:
        """Parts that are quickest to read one after the other, such as those of one row group."""
        runs: list[list[ChunkRange]] = []
        for part in self.parts:
            if runs and self._slices[part.index].follows:
                runs[-1].append(part)
            else:
                runs.append([part])
        return runs

    def share(self, rank: int, size: int) -> list[ChunkRange]:
        """Return the parts of one of `size` workers: as many rows each, as nearly as runs allow.

        The shares of all are all parts in order. Some are empty where runs are few.
        """
        n_rows, before = max(1, len(self)), 0
        own: list[ChunkRange] = []
        for run in self.runs:
            after = before + sum(part.n_rows for part in run)
            # A run goes to the worker into whose equal stretch of the rows its middle falls.
            if (before + after) * size // (2 * n_rows) == rank:
                own += run
            before = after
        return own

    def part(self, name: str) -> Stream:
        """Return the stream itself: it has one part; see `Splits.part`."""
        check_part(name)
        return self

    @property
    def train(self) -> Stream:
        """The stream itself, so that all that `load` returns has a `train`."""
        return self

    @property
    def held(self) -> Stream:
        """The stream itself."""
        return self

    @property
    def has_labels(self) -> bool:
        """Whether labels can be read."""
        return self.reader.has_labels

    def check_labelled(self) -> None:
        """Check that there are labels to read.

        Raises
        ------
        DataError
            When there are none.
        """
        if not self.has_labels:
            raise DataError(
                f"{self.name} has no labels; name their column with load(..., label=COLUMN) (on "
                "the command line --label COLUMN)"
            )

    @property
    def schema(self) -> Schema:
        """What the instances look like."""
        return self._learned[0]

    @property
    def preprocessor(self) -> Preprocessor:
        """How instances become what a network works on."""
        return self._learned[1]

    @property
    def _learned(self) -> tuple[Schema, Preprocessor]:
        from isthmus.data.streaming.statistics import Facts, median_rows

        if self.known.learned is None:
            facts, drawn = (
                Facts(self.name, self.kind, self.reader.channels),
                median_rows(self.n_rows),
            )
            for piece in self.pieces():
                facts.update(piece, drawn)
            self.known = replace(self.known, learned=facts.result())
        assert self.known.learned is not None
        return self.known.learned

    def read(self, part: ChunkRange, *, label: bool = False, keys: bool = False) -> Chunk:
        """Read one part.

        Parameters
        ----------
        part : Part
            One of `parts`.
        label, keys : bool
            Read the labels and the key columns as well; otherwise they are never looked at.

        Returns
        -------
        Piece

        Raises
        ------
        ShardError
            When the file is damaged.
        DataError
            When it cannot be reached.
        """
        piece = self.reader.read(self._slices[part.index], label, keys)
        begin, end = self._gaps[part.index], self._gaps[part.index + 1]
        if end > begin:
            gaps = self._left_out[begin:end] - self._starts[part.index]
            piece = piece.take(np.delete(np.arange(len(piece)), gaps))
        return replace(piece, first_row=part.first_row)

    def pieces(
        self, parts: Sequence[ChunkRange] | None = None, *, label: bool = False, keys: bool = False
    ) -> Iterator[Chunk]:
        """Read all parts in order, or those given, the next one while a piece is worked on.

        With `on_bad_shard="skip"` parts that turn out to be damaged are passed over, and
        `skipped` says so.

        Yields
        ------
        Piece
        """
        yield from self._read_all(self.parts if parts is None else parts, label, keys)

    def take(
        self, rows: np.ndarray, *, label: bool = True, schema: Schema | None = None
    ) -> Dataset:
        """Return some rows as a data set in memory, in the order of their numbers.

        Parameters
        ----------
        rows : integer array of shape (k,)
            Sorted, each once, from 0 to `n_rows - 1`.
        label : bool
            Read their labels as well.
        schema : Schema, optional
            Of the data set, such as that of an encoder which it is for. Without one it is the
            stream's own, for which all files are read once.
        """
        wanted = [
            part
            for part in self.parts
            if np.searchsorted(rows, part.first_row)
            < np.searchsorted(rows, part.first_row + part.n_rows)
        ]
        taken = [piece.take(rows_of(rows, piece)) for piece in self._read_all(wanted, label, False)]
        if not taken:
            raise DataError(f"{self.name} has none of the {len(rows)} rows asked for")
        if isinstance(taken[0].X, pd.DataFrame):
            X: Any = pd.concat([piece.X for piece in taken], ignore_index=True)
        else:
            X = np.concatenate([piece.X for piece in taken])
        y = None
        if taken[0].y is not None:
            y = np.concatenate([piece.y for piece in taken if piece.y is not None])
        places = [piece.windows for piece in taken if piece.windows is not None]
        return Dataset(
            X,
            y,
            self.schema if schema is None else schema,
            name=self.name,
            windows=Windows.joined(places) if places else None,
        )

    def sample(self, n: int, seed: int, schema: Schema | None = None) -> Dataset:
        """Return rows drawn uniformly, in memory, with their labels when there are some.

        Parameters
        ----------
        n : int
            All rows when there are no more; rows of parts that are skipped are missing.
        seed : int
        schema : Schema, optional
            As for `take`.
        """
        return self.take(self.draw(n, seed), schema=schema)

    def without(self, rows: np.ndarray) -> Stream:
        """Return the same stream without some rows; the others are numbered anew.

        Parameters
        ----------
        rows : integer array
            Sorted, each once.
        """
        # From numbers in this stream to numbers in the files.
        before = self._left_out - np.arange(len(self._left_out))
        in_files = rows + np.searchsorted(before, rows, side="right")
        left_out = np.union1d(self._left_out, in_files)
        rest = Stream(
            self.name, self.reader, self._slices, self._unopened, self.on_bad_shard, left_out
        )
        rest.known = KnownFacts(dict(self.known.bad_parts))
        return rest

    def at_most(
        self,
        n: int,
        seed: int | Sequence[int],
        y: Any = None,
        *,
        label: bool = True,
        schema: Schema | None = None,
    ) -> tuple[Any, Any]:
        """Return instances drawn uniformly, `n` or all, and their labels where asked for."""
        drawn = self.take(self.draw(n, seed), label=label, schema=schema)
        return drawn.X, drawn.y

    def labelled_pieces(self, y: Any) -> Iterator[Chunk]:
        """Read all parts with their labels.

        Raises
        ------
        DataError
            When there are no labels to read.
        """
        self.check_labelled()
        return self.pieces(label=True)

    def map(self, function: Callable[[Any], T]) -> Iterable[T]:
        """Apply a function to the instances of each part, as the results are asked for."""
        return (function(piece.X) for piece in self.pieces())

    def gather(self, function: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Apply a function that gives a row an instance to each part; return one array."""
        return joined_chunks(len(self), self.map(function))

    def checked(self, check: Callable[[Any], np.ndarray]) -> Stream:
        """Return the stream: its instances are checked when they are read."""
        return self

    def reading_facts(self) -> dict[str, Any]:
        """Return as plain values which files and parts were skipped so far, and why."""
        return {"skipped": [asdict(part) for part in self.skipped]}

    def _read_all(self, parts: Sequence[ChunkRange], label: bool, keys: bool) -> Iterator[Chunk]:
        def read(part: ChunkRange) -> Chunk | ShardError:
            try:
                return self.read(part, label=label, keys=keys)
            except ShardError as error:
                return error

        for part, piece in zip(parts, prefetch(read, parts), strict=True):
            if isinstance(piece, Chunk):
                if len(piece):
                    yield piece
                continue
            if self.on_bad_shard == "fail":
                raise piece
            skipped = SkippedChunk.because(part.source, part.n_rows, piece)
            self.known.bad_parts[part.index] = skipped
