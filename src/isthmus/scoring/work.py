"""Parts of a stream scored one after the other: what a worker does, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.data.codes import RESIDUAL, ROW_HASH
from isthmus.data.stream import Part, Skipped, Stream
from isthmus.data.stream.ahead import ahead
from isthmus.errors import DataError, ShardError
from isthmus.export import Exported
from isthmus.scoring.columns import Columns
from isthmus.scoring.keys import key_arrays
from isthmus.scoring.output import PartFiles, Written


@dataclass(frozen=True)
class Work:
    """All that a worker needs to know; it can be sent to another machine.

    Attributes
    ----------
    stream : Stream
    graph : bytes
        `model.onnx`.
    keys : pyarrow.Schema
    columns : Columns
    files : PartFiles
    """

    stream: Stream
    graph: bytes
    keys: pa.Schema
    columns: Columns
    files: PartFiles


@dataclass(frozen=True)
class Done:
    """A part that was written, or passed over.

    Attributes
    ----------
    part : Part
    written : Written or None
    skipped : Skipped or None
    """

    part: Part
    written: Written | None
    skipped: Skipped | None = None


@dataclass(frozen=True)
class _Ready:
    """A part as the graph takes it."""

    part: Part
    keys: list[pa.Array]
    rows: dict[str, np.ndarray]
    inputs: np.ndarray | None  # as the network sees them, for what heads need beside codes


class Worker:
    """One session of the graph, and the parts that go through it.

    Parameters
    ----------
    work : Work
    threads : int, default=0
        Of ONNX Runtime; 0 is one a core.
    """

    def __init__(self, work: Work, threads: int = 0) -> None:
        self.work = work
        self.exported = Exported(work.graph, threads)

    def run(self, parts: Sequence[Part]) -> Iterator[Done]:
        """Score parts in order: while one is in the graph the next is read and the last written.

        Yields
        ------
        Done
            For each part, once its file is there.

        Raises
        ------
        ShardError
            When a part cannot be used, unless bad ones are to be skipped.
        ScoringError
            When a part cannot be written.
        """
        ready = ahead(self._read, parts)
        yield from ahead(self._write, (self._decide(one) for one in ready))

    def _read(self, part: Part) -> _Ready | Done:
        stream = self.work.stream
        found = self.work.files.find(part)
        if found is not None:
            return Done(part, found)
        try:
            piece = stream.read(part, keys=True)
            try:
                rows = self.exported.feed(piece.X)
                heads = self.work.columns.for_heads
                inputs = self.exported.prepared(piece.X) if heads else None
            except DataError as error:
                last = part.first_row + part.n_rows - 1
                raise ShardError(
                    f"rows {part.first_row:,} to {last:,}, of {part.source}, cannot be decided "
                    f"on: {error}"
                ) from error
            return _Ready(part, key_arrays(self.work.keys, piece, part.source), rows, inputs)
        except ShardError as error:
            if stream.on_bad_shard == "fail":
                raise
            return Done(part, None, Skipped.because(part.source, part.n_rows, error))

    def _decide(self, ready: _Ready | Done) -> tuple[_Ready, dict[str, Any]] | Done:
        if isinstance(ready, Done):
            return ready
        found = self.exported.run_fed(ready.rows, self.work.columns.outputs)
        if ready.inputs is not None:
            found |= _beside(ready.inputs, found.pop("reconstruction"))
        return ready, found

    def _write(self, decided: tuple[_Ready, dict[str, Any]] | Done) -> Done:
        if isinstance(decided, Done):
            return decided
        ready, found = decided
        columns = self.work.columns
        arrays = [*ready.keys, *columns.of(found)]
        return Done(ready.part, self.work.files.write(ready.part, arrays, columns.counts(found)))


def _beside(inputs: np.ndarray, outputs: np.ndarray) -> dict[str, np.ndarray]:
    """Return the hash and the residual of each row, as a detector takes them."""
    import torch  # only for this: decisions and codes need none

    from isthmus.autoencoder.seen import row_hashes
    from isthmus.heads.views import summary

    residuals = summary(torch.from_numpy(inputs - outputs))
    return {ROW_HASH: row_hashes(inputs), RESIDUAL: residuals.numpy()}
