"""Streams: instances in files, read chunk by chunk, that need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data.array_checks import Kind
from isthmus.data.dataset import Dataset
from isthmus.data.instances import Chunk, rows_of
from isthmus.data.places import as_range, check_part
from isthmus.data.schema import Schema
from isthmus.data.streaming.chunks import (
    ChunkedInstances,
    ChunkRange,
    FileRange,
    Reader,
    SkippedChunk,
    StreamState,
    prefetch,
)
from isthmus.data.windows import Windows
from isthmus.errors import DataError, ShardError

if TYPE_CHECKING:
    from isthmus.data.preprocessing import Preprocessor

#: Instances of a stream that are taken into memory at most, drawn at random, to fit or test on.
MAX_SAMPLED = 100_000


class Stream(ChunkedInstances):
    """Instances in files, of which one chunk at a time is in memory.

    `isthmus.load` makes one of a folder of Parquet files. `Autoencoder.fit`, `transform` and
    what else takes instances take a stream as well.

    Parameters
    ----------
    name : str
        What `load` was given.
    reader : Reader
        Reads files of one format.
    file_ranges : sequence of FileRange
        The parts of the files that are chunks, in order.
    skipped : sequence of SkippedChunk
        Files that could not be opened.
    on_bad_shard : {"fail", "skip"}, default="fail"
    excluded : int array, optional
        Rows of the files that are left out, sorted.
    first_row : int, default=0
        Number, among the rows of all files, of the first one; 0 unless `take_range` left some out.
    is_range : bool, default=False
        Whether it is what `take_range` returned.

    Attributes
    ----------
    kind : {"images", "series", "table"}
    chunk_ranges : tuple of ChunkRange
        The chunks of the files, in order: row groups of Parquet, at most 131,072 rows or
        64 MB of them; of tables that are cut into windows so many of these.
    skipped : tuple of SkippedChunk
        Files and chunks skipped with `on_bad_shard="skip"`.
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
    >>> len(stream), [one.n_rows for one in stream.chunk_ranges], stream.schema.maximum
    (12, [4, 4, 4], 5.0)
    >>> [chunk.first_row for chunk in stream.chunks()]
    [0, 4, 8]
    >>> sample = stream.sample(8, seed=0)
    >>> sample.X.shape, sample.class_names
    ((8, 1), ('0', '1'))
    >>> stream.take(np.array([0, 11])).X["a"].tolist(), stream.read(stream.chunk_ranges[0]).y
    ([0.0, 5.0], None)
    >>> len(stream.without(np.array([0]))), len(stream.take_range("2:6")), len(stream.part("all"))
    (11, 4, 12)
    >>> stream.check_labelled(), [chunk.y.tolist() for chunk in stream.labelled_chunks(None)][0]
    (None, [0.0, 1.0, 0.0, 1.0])
    >>> len(stream.at_most(5, seed=0)[0]), stream.place(3), stream.draw(2, seed=0).tolist()
    (5, 'row 3, counting from 0 (row 3 of 0.parquet)', [8, 10])
    >>> list(stream.map(len))
    [4, 4, 4]
    >>> stream.gather(lambda X: X["a"].to_numpy()).shape, stream.checked(np.asarray) is stream
    ((12,), True)
    >>> len(stream.share(rank=0, size=3)), stream.reading_facts()
    (1, {'skipped': []})
    >>> folder.cleanup()
    """

    in_memory: ClassVar[Literal[False]] = False
    test: None = None
    """None: nothing was set aside."""
    state: StreamState
    """Damaged chunks found, and what was learned, so far."""

    def __init__(
        self,
        name: str,
        reader: Reader,
        file_ranges: Sequence[FileRange],
        skipped: Sequence[SkippedChunk] = (),
        on_bad_shard: str = "fail",
        excluded: np.ndarray | None = None,
        first_row: int = 0,
        is_range: bool = False,
    ) -> None:
        self.name, self.reader, self.on_bad_shard = name, reader, on_bad_shard
        self.first_row, self.is_range = first_row, is_range
        self._file_ranges, self._skipped_files = tuple(file_ranges), tuple(skipped)
        self._excluded = np.empty(0, np.int64) if excluded is None else excluded
        self._starts = np.cumsum([0, *(one.n_rows for one in file_ranges)])
        # Excluded rows of chunk i are at gaps[i]:gaps[i + 1] of `_excluded`.
        self._gaps = np.searchsorted(self._excluded, self._starts)
        self.state = StreamState()
        first = self._starts - self._gaps
        self._all_ranges = tuple(
            ChunkRange(at, one.files[0], int(first[at]), int(first[at + 1] - first[at]))
            for at, one in enumerate(file_ranges)
        )

    def __repr__(self) -> str:
        return (
            f"Stream({self.name!r}, {len(self):,} {self.reader.describe()} in "
            f"{len(self.chunk_ranges)} {'chunk' if len(self.chunk_ranges) == 1 else 'chunks'}"
            + (f", {len(self.skipped)} skipped)" if self.skipped else ")")
        )

    def __len__(self) -> int:
        return sum(one.n_rows for one in self.chunk_ranges)

    @property
    def kind(self) -> Kind:
        """`"images"`, `"series"` or `"table"`."""
        return self.reader.kind  # type: ignore[return-value]

    @property
    def chunk_ranges(self) -> tuple[ChunkRange, ...]:
        """The chunks that can be read, in order: all but those found damaged."""
        if not self.state.damaged:
            return self._all_ranges
        return tuple(one for one in self._all_ranges if one.index not in self.state.damaged)

    @property
    def n_rows(self) -> int:
        """Rows that were counted when the files were opened: those numbered, skipped ones too."""
        return int(self._starts[-1] - len(self._excluded))

    @property
    def skipped(self) -> tuple[SkippedChunk, ...]:
        """Files and chunks that were skipped, with the reason."""
        return (*self._skipped_files, *self.state.damaged.values())

    @property
    def runs(self) -> list[list[ChunkRange]]:
        """Chunks to be read one after the other, such as those of one large row group."""
        runs: list[list[ChunkRange]] = []
        for chunk_range in self.chunk_ranges:
            if runs and self._file_ranges[chunk_range.index].follows:
                runs[-1].append(chunk_range)
            else:
                runs.append([chunk_range])
        return runs

    def part(self, name: str) -> Stream:
        """Return the stream itself: it has one part; see `Splits.part`.

        Parameters
        ----------
        name : {"train", "test", "all"}

        Returns
        -------
        Stream
        """
        check_part(name)
        return self

    @property
    def train(self) -> Stream:
        """The stream itself: whatever `load` returns has a `train`."""
        return self

    @property
    def held(self) -> Stream:
        """The stream itself."""
        return self

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the channels of series, None when they have none."""
        return self.reader.channels

    @property
    def group_columns(self) -> tuple[str, ...]:
        """Columns that name the group of a row, see `load`; its chunks have `groups`."""
        return getattr(self.reader, "group_columns", ())

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
    def window_label(self) -> str | None:
        """The rule for labels of windows, see `load`; None of other data, and without labels."""
        return getattr(self.reader, "label_rule", None)

    @property
    def _learned(self) -> tuple[Schema, Preprocessor]:
        from isthmus.data.preprocessing import issue_warnings
        from isthmus.data.streaming.statistics import StreamStatistics, median_rows

        if self.state.learned is None:
            channels, first_row = self.reader.channels, self.first_row
            statistics = StreamStatistics(self.name, self.kind, channels, first_row)
            drawn = median_rows(self.n_rows)
            for chunk in self.chunks():
                statistics.update(chunk, drawn)
            learned = statistics.result()
            self.state = replace(self.state, learned=learned)
            issue_warnings(statistics.warnings(*learned))
        assert self.state.learned is not None
        return self.state.learned

    def read(self, chunk_range: ChunkRange, *, label: bool = False, keys: bool = False) -> Chunk:
        """Read one chunk.

        Parameters
        ----------
        chunk_range : ChunkRange
            One of `chunk_ranges`.
        label, keys : bool
            Read the labels and the key columns as well; otherwise they are not read.

        Returns
        -------
        Chunk

        Raises
        ------
        ShardError
            When the file is damaged.
        DataError
            When it cannot be reached.
        """
        chunk = self.reader.read(self._file_ranges[chunk_range.index], label, keys)
        begin, end = self._gaps[chunk_range.index], self._gaps[chunk_range.index + 1]
        if end > begin:
            gaps = self._excluded[begin:end] - self._starts[chunk_range.index]
            chunk = chunk.take(np.delete(np.arange(len(chunk)), gaps))
        return replace(chunk, first_row=chunk_range.first_row)

    def chunks(
        self,
        ranges: Sequence[ChunkRange] | None = None,
        *,
        label: bool = False,
        keys: bool = False,
    ) -> Iterator[Chunk]:
        """Read all chunks in order, or those given; the next one is read in the background.

        With `on_bad_shard="skip"` damaged chunks are skipped and added to `skipped`.

        Parameters
        ----------
        ranges : sequence of ChunkRange, optional
        label, keys : bool, default=False
            See `read`.

        Yields
        ------
        Chunk
        """
        yield from self._read_all(self.chunk_ranges if ranges is None else ranges, label, keys)

    def take(
        self, rows: np.ndarray, *, label: bool = True, schema: Schema | None = None
    ) -> Dataset:
        """Return rows by their numbers as a data set in memory, in ascending order.

        Parameters
        ----------
        rows : integer array of shape (k,)
            Sorted, each once, from 0 to `n_rows - 1`.
        label : bool
            Read their labels as well.
        schema : Schema, optional
            Of the data set returned, such as that of the encoder it is for. Default: the
            stream's own, which is learned from all files once.

        Returns
        -------
        Dataset

        Raises
        ------
        DataError
            When none of the rows can be read.
        """
        wanted = [
            one
            for one in self.chunk_ranges
            if np.searchsorted(rows, one.first_row)
            < np.searchsorted(rows, one.first_row + one.n_rows)
        ]
        with_keys = bool(self.reader.key_types())
        read = self._read_all(wanted, label, with_keys)
        taken, numbers = [], []
        for chunk in read:
            at = rows_of(rows, chunk)
            taken.append(chunk.take(at))
            numbers.append(self.first_row + chunk.first_row + at)
        if not taken:
            raise DataError(f"{self.name} has none of the {len(rows)} rows asked for")
        if isinstance(taken[0].X, pd.DataFrame):
            X: Any = pd.concat([chunk.X for chunk in taken], ignore_index=True)
        else:
            X = np.concatenate([chunk.X for chunk in taken])
        y = None
        if taken[0].y is not None:
            y = np.concatenate([chunk.y for chunk in taken if chunk.y is not None])
        places = [chunk.windows for chunk in taken if chunk.windows is not None]
        keys = [chunk.keys for chunk in taken if chunk.keys is not None]
        return Dataset(
            X,
            y,
            self.schema if schema is None else schema,
            name=self.name,
            windows=Windows.joined(places) if places else None,
            keys=pd.concat(keys, ignore_index=True) if keys else None,
            reading=self.reading,
            rows=np.concatenate(numbers),
            file_of=self.file_of,
            group_columns=self.group_columns,
        )

    def without(self, rows: np.ndarray) -> Stream:
        """Return the same stream without some rows; the others are renumbered.

        Parameters
        ----------
        rows : integer array
            Sorted, each once.

        Returns
        -------
        Stream
        """
        excluded = np.union1d(self._excluded, self._in_files(rows))
        rest = Stream(
            self.name,
            self.reader,
            self._file_ranges,
            self._skipped_files,
            self.on_bad_shard,
            excluded,
            self.first_row,
        )
        rest.state = StreamState(dict(self.state.damaged))
        return rest

    def take_range(self, rows: slice | str) -> Stream:
        """Return a range of the instances, as a stream of the chunks that hold them.

        Parameters
        ----------
        rows : slice or str
            Such as `slice(100, 200)` or "100:200", counting from 0.

        Returns
        -------
        Stream

        Raises
        ------
        DataError
            When it is no range or has a step, or there is no instance in it.
        """
        start, stop, step = as_range(rows).indices(self.n_rows)
        if step != 1:
            raise DataError(
                f"got rows={shown(rows)} with a step, and data read in chunks is taken row by row; "
                "leave the step out, or read one file into memory"
            )
        if stop <= start:
            raise DataError(
                f"rows={shown(rows)} names none of the {self.n_rows} instances of {self.name}"
            )
        first, last = (int(row) for row in self._in_files(np.array([start, stop - 1])))
        begin, end = np.searchsorted(self._starts, [first, last], side="right")
        own = slice(begin - 1, end)
        before, after = int(self._starts[begin - 1]), int(self._starts[end])
        inner = self._excluded[(self._excluded > first) & (self._excluded < last)]
        ends = [np.arange(before, first), np.arange(last + 1, after)]
        part = Stream(
            self.name,
            self.reader,
            self._file_ranges[own],
            self._skipped_files,
            self.on_bad_shard,
            np.union1d(inner, np.concatenate(ends)) - before,
            self.first_row + start,
            is_range=True,
        )
        damaged = {at - own.start: one for at, one in self.state.damaged.items()}
        part.state = StreamState(
            {at: damaged[at] for at in range(end - own.start) if at in damaged}
        )
        return part

    def _in_files(self, rows: np.ndarray) -> np.ndarray:
        """Return row numbers of this stream as row numbers in its files."""
        before = self._excluded - np.arange(len(self._excluded))
        return rows + np.searchsorted(before, rows, side="right")

    def reading_facts(self) -> dict[str, Any]:
        """Return as plain values which files and chunks were skipped so far, and why.

        Also `reading`, see there.

        Returns
        -------
        dict
        """
        facts: dict[str, Any] = {"skipped": [asdict(one) for one in self.skipped]}
        return facts | ({"reading": self.reading} if self.reading else {})

    @property
    def reading(self) -> dict[str, Any] | None:
        """What reading did not take or changed, and a range that was taken; see `Dataset`.

        Of tables `columns_not_carried`, where files differ in columns that a model does not take.
        """
        facts = getattr(self.reader, "facts", None) or {}
        if self.is_range:
            last = self.first_row + self.n_rows - 1
            facts = facts | {"rows": {"first": self.first_row, "last": last, "n": self.n_rows}}
        return facts or None

    def _read_all(self, ranges: Sequence[ChunkRange], label: bool, keys: bool) -> Iterator[Chunk]:
        def read(chunk_range: ChunkRange) -> Chunk | ShardError:
            try:
                return self.read(chunk_range, label=label, keys=keys)
            except ShardError as error:
                return error

        for chunk_range, found in zip(ranges, prefetch(read, ranges), strict=True):
            if isinstance(found, Chunk):
                if len(found):
                    yield found
                continue
            if self.on_bad_shard == "fail":
                raise found
            self.state.damaged[chunk_range.index] = SkippedChunk.because(
                chunk_range.source, chunk_range.n_rows, found
            )
