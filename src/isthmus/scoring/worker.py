"""The worker: chunks of a stream scored one after the other, with keys and columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.data import (
    RESIDUAL,
    ROW_HASH,
    Chunk,
    decision_counts,
    prediction_columns,
    rows_to_arrow,
)
from isthmus.data.streaming import ChunkRange, SkippedChunk, Stream, prefetch
from isthmus.errors import DataError, ShardError
from isthmus.export import Exported
from isthmus.scoring.output_folder import PartFiles, WrittenPart

#: The column when no key was named: the number in the stream, counting from 0.
ROW = "row"


def key_schema(stream: Stream, beside: pa.Schema) -> pa.Schema:
    """Return the types of the key columns, which are those in the first file.

    Raises
    ------
    DataError
        When a key column is called like one that is written `beside` it.
    """
    types = stream.reader.key_types()
    for name in types:
        if name in beside.names:
            raise DataError(
                f"the key column {name!r} is called like a column that is written beside it "
                f"({', '.join(beside.names)}); give it another name in the files"
            )
    if not types:
        return pa.schema([(ROW, pa.int64())])
    return pa.schema([(name, _plain(type_)) for name, type_ in types.items()])


def key_arrays(schema: pa.Schema, chunk: Chunk, source: str) -> list[pa.Array]:
    """Return the key columns of a chunk.

    Raises
    ------
    ShardError
        When a value does not fit the type in the first file.
    """
    if chunk.keys is None:
        return [pa.array(chunk.first_row + np.arange(len(chunk)), type=pa.int64())]
    arrays = []
    for field in schema:
        try:
            arrays.append(pa.Array.from_pandas(chunk.keys[field.name], type=field.type))
        except pa.ArrowException as error:
            raise ShardError(
                f"the key column {field.name!r} of {source} holds values that are no {field.type}, "
                f"as in the first file ({str(error).splitlines()[0]}); write the file again"
            ) from error
    return arrays


def _plain(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return _plain(type_.value_type)
    if pa.types.is_decimal(type_):
        return pa.float64()
    return pa.string() if pa.types.is_null(type_) else type_


@dataclass(frozen=True)
class Columns:
    """Outputs of the graph, and the columns that are made of them.

    Attributes
    ----------
    outputs : tuple of str
        What to ask the graph for; it computes nothing else.
    schema : pyarrow.Schema
        Of the columns.
    classes : tuple
        That probabilities are of.
    """

    outputs: tuple[str, ...]
    schema: pa.Schema
    classes: tuple[object, ...] = ()

    def of(self, found: Mapping[str, np.ndarray]) -> list[pa.Array]:
        """Return the columns for what the graph gave, in the order of the schema."""
        if "code" in self.outputs:
            values: list[np.ndarray] = list(found["code"].T)
            values += [found[name] for name in (ROW_HASH, RESIDUAL) if name in found]
        else:
            values = list(prediction_columns(found, self.classes).values())
        return [
            rows_to_arrow(column) if column.ndim == 2 else pa.array(column, type=field.type)
            for column, field in zip(values, self.schema, strict=True)
        ]

    @property
    def for_heads(self) -> bool:
        """Whether row hashes and residuals stand beside the codes."""
        return RESIDUAL in self.schema.names

    def counts(self, found: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Return how many rows have each decision; of codes there are none."""
        return decision_counts(found)


def code_columns(names: Sequence[str], n_residuals: int = 0) -> Columns:
    """Return the columns of `isthmus encode`: the code's numbers by name, and more for heads.

    Parameters
    ----------
    names : sequence of str
    n_residuals : int, default=0
        Length of an instance's residual; 0 for codes alone.
    """
    fields: list[tuple[str, pa.DataType]] = [(name, pa.float32()) for name in names]
    if not n_residuals:
        return Columns(("code",), pa.schema(fields))
    fields += [(ROW_HASH, pa.uint64()), (RESIDUAL, pa.list_(pa.float32(), n_residuals))]
    return Columns(("code", "reconstruction"), pa.schema(fields))


def decision_columns(facts: Mapping[str, Any], head: str) -> Columns:
    """Return the columns of `isthmus predict`.

    Parameters
    ----------
    facts : mapping
        Of an export with this one head.
    head : str
    """
    types = {one["what"]: one for one in facts["outputs"]}
    unused = ("code", *(("anomaly_score", "verdict") if "class" in types else ()))
    outputs = tuple(name for name in types if name not in unused)
    classes = tuple(facts["heads"][head].get("classes", ()))
    none = {name: np.empty((0, *types[name]["shape"]), types[name]["dtype"]) for name in outputs}
    columns = prediction_columns(none, classes)
    schema = pa.schema([(name, _arrow(column.dtype)) for name, column in columns.items()])
    return Columns(outputs, schema, classes)


def _arrow(dtype: np.dtype[Any]) -> pa.DataType:
    return pa.string() if dtype.kind == "U" else pa.from_numpy_dtype(dtype)


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
class ScoredPart:
    """A part that was written, or passed over.

    Attributes
    ----------
    part : Part
    written : Written or None
    skipped : Skipped or None
    """

    part: ChunkRange
    written: WrittenPart | None
    skipped: SkippedChunk | None = None


@dataclass(frozen=True)
class _Ready:
    """A part as the graph takes it."""

    part: ChunkRange
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

    def run(self, parts: Sequence[ChunkRange]) -> Iterator[ScoredPart]:
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
        ready = prefetch(self._read, parts)
        yield from prefetch(self._write, (self._decide(one) for one in ready))

    def _read(self, part: ChunkRange) -> _Ready | ScoredPart:
        stream = self.work.stream
        found = self.work.files.find(part)
        if found is not None:
            return ScoredPart(part, found)
        try:
            chunk = stream.read(part, keys=True)
            try:
                rows = self.exported.feed(chunk.X)
                heads = self.work.columns.for_heads
                inputs = self.exported.preprocess(chunk.X) if heads else None
            except DataError as error:
                last = part.first_row + part.n_rows - 1
                raise ShardError(
                    f"rows {part.first_row:,} to {last:,}, of {part.source}, cannot be decided "
                    f"on: {error}"
                ) from error
            return _Ready(part, key_arrays(self.work.keys, chunk, part.source), rows, inputs)
        except ShardError as error:
            if stream.on_bad_shard == "fail":
                raise
            return ScoredPart(part, None, SkippedChunk.because(part.source, part.n_rows, error))

    def _decide(self, ready: _Ready | ScoredPart) -> tuple[_Ready, dict[str, Any]] | ScoredPart:
        if isinstance(ready, ScoredPart):
            return ready
        found = self.exported.run_fed(ready.rows, self.work.columns.outputs)
        if ready.inputs is not None:
            found |= _beside(ready.inputs, found.pop("reconstruction"))
        return ready, found

    def _write(self, decided: tuple[_Ready, dict[str, Any]] | ScoredPart) -> ScoredPart:
        if isinstance(decided, ScoredPart):
            return decided
        ready, found = decided
        columns = self.work.columns
        arrays = [*ready.keys, *columns.of(found)]
        return ScoredPart(
            ready.part, self.work.files.write(ready.part, arrays, columns.counts(found))
        )


def _beside(inputs: np.ndarray, outputs: np.ndarray) -> dict[str, np.ndarray]:
    """Return the hash and the residual of each row, as a detector takes them."""
    import torch  # only for this: decisions and codes need none

    from isthmus.autoencoder import row_hashes
    from isthmus.detection import summary

    residuals = summary(torch.from_numpy(inputs - outputs))
    return {ROW_HASH: row_hashes(inputs), RESIDUAL: residuals.numpy()}
