"""The worker: scores chunks one after the other, and builds the columns that are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from isthmus.data import (
    MISSING_FLAGS,
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
from isthmus.scoring.output_folder import PartFiles, WrittenChunk

#: Outputs that prediction sets are made of: of all instances, and within each class.
P_VALUES, BY_CLASS = "class_p_values", "class_p_values_by_class"
#: Column of row numbers, counting from 0, for streams without key columns.
ROW_NUMBER = "row"


def key_schema(stream: Stream, written: pa.Schema) -> pa.Schema:
    """Return names and types of the key columns, as in the first file.

    Raises
    ------
    DataError
        When a key column has the name of a column that is `written` too.
    """
    types = stream.reader.key_types()
    for name in types:
        if name in written.names:
            raise DataError(
                f"the key column {name!r} has the name of a column that is written too "
                f"({', '.join(written.names)}); give it another name in the files, or leave it out "
                "(drop=, on the command line --drop)"
            )
    numbered = not stream.reader.identifies_rows and ROW_NUMBER not in types
    front = [(ROW_NUMBER, pa.int64())] if numbered else []
    return pa.schema([*front, *((name, _plain(type_)) for name, type_ in types.items())])


def key_arrays(schema: pa.Schema, chunk: Chunk, source: str, first_row: int) -> list[pa.Array]:
    """Return the key columns of a chunk, or the number of each row, of which the first is given.

    Raises
    ------
    ShardError
        When a value does not fit the type in the first file.
    """
    keys = pd.DataFrame() if chunk.keys is None else chunk.keys
    arrays = []
    for field in schema:
        if field.name not in keys:
            arrays.append(pa.array(first_row + np.arange(len(chunk)), type=pa.int64()))
            continue
        try:
            arrays.append(_of_type(keys[field.name], field.type))
        except pa.ArrowException as error:
            raise ShardError(
                f"the key column {field.name!r} of {source} holds values that are no {field.type}, "
                f"as in the first file ({str(error).splitlines()[0]}); write the file again"
            ) from error
    return arrays


def _of_type(values: pd.Series, type_: pa.DataType) -> pa.Array:
    if not pa.types.is_decimal(type_) and not isinstance(values.dropna().head(1).max(), Decimal):
        return pa.Array.from_pandas(values, type=type_)
    # Whole numbers of one file may be decimals of another one.
    return pa.Array.from_pandas(values).cast(type_)


def _plain(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return _plain(type_.value_type)
    return pa.string() if pa.types.is_null(type_) else type_


@dataclass(frozen=True)
class OutputColumns:
    """The columns that are written, and the outputs of the graph they are built from.

    Attributes
    ----------
    outputs : tuple of str
        To compute; the graph computes nothing else.
    schema : pyarrow.Schema
        Of the columns.
    classes : tuple
        In the order of the probabilities.
    alpha : float or None
        Of prediction sets.
    """

    outputs: tuple[str, ...]
    schema: pa.Schema
    classes: tuple[object, ...] = ()
    alpha: float | None = None

    def build(
        self, found: Mapping[str, np.ndarray], reasons: pd.DataFrame | None = None
    ) -> list[pa.Array]:
        """Return the columns for outputs of the graph, in the order of the schema.

        Parameters
        ----------
        found : mapping of str to array
            The outputs by name.
        reasons : DataFrame, optional
            Columns that explain the decisions.
        """
        if "code" in self.outputs:
            values: list[np.ndarray] = list(found["code"].T)
            beside = (ROW_HASH, RESIDUAL, MISSING_FLAGS)
            values += [found[name] for name in beside if name in found]
        else:
            columns = prediction_columns(_with_p_values(found), self.classes, reasons, self.alpha)
            values = list(columns.values())
        return [
            rows_to_arrow(column) if column.ndim == 2 else pa.array(column, type=field.type)
            for column, field in zip(values, self.schema, strict=True)
        ]

    @property
    def for_heads(self) -> bool:
        """Whether row hashes and residuals are written beside the codes."""
        return RESIDUAL in self.schema.names

    def counts(self, found: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Return the number of rows of each decision; empty for codes."""
        return decision_counts(found)


def code_columns(names: Sequence[str], n_residuals: int = 0, n_features: int = 0) -> OutputColumns:
    """Return the columns of `isthmus encode`: codes, and for heads what detectors need beside.

    Parameters
    ----------
    names : sequence of str
        Of the code's components.
    n_residuals : int, default=0
        Length of an instance's residual; 0 for codes alone.
    n_features : int, default=0
        Columns of a table, whose missing values are stored; 0 for images and series.
    """
    fields: list[tuple[str, pa.DataType]] = [(name, pa.float32()) for name in names]
    if not n_residuals:
        return OutputColumns(("code",), pa.schema(fields))
    fields += [(ROW_HASH, pa.uint64()), (RESIDUAL, pa.list_(pa.float32(), n_residuals))]
    fields += [(MISSING_FLAGS, pa.list_(pa.bool_(), n_features))] if n_features else []
    return OutputColumns(("code", "reconstruction"), pa.schema(fields))


def decision_columns(
    facts: Mapping[str, Any],
    head: str,
    reasons: pd.DataFrame | None = None,
    *,
    alpha: float | None = None,
    by_class: bool = False,
) -> OutputColumns:
    """Return the columns of `isthmus predict`.

    Parameters
    ----------
    facts : mapping
        Of an export with this one head.
    head : str
    reasons : DataFrame, optional
        Columns that explain decisions, of any rows.
    alpha : float in (0, 1), optional
        Add prediction sets, `by_class` as in `CodeClassifier.predict_set`.
    """
    types = {one["what"]: one for one in facts["outputs"]}
    sets = set() if alpha is None else {BY_CLASS if by_class else P_VALUES}
    unused = {"code", P_VALUES, BY_CLASS} - sets
    unused |= {"anomaly_score", "verdict"} if "class" in types else set()
    outputs = tuple(name for name in types if name not in unused)
    classes = tuple(facts["heads"][head].get("classes", ()))
    no_rows = {name: np.empty((0, *types[name]["shape"]), types[name]["dtype"]) for name in outputs}
    none = None if reasons is None else reasons[:0]
    columns = prediction_columns(_with_p_values(no_rows), classes, none, alpha)
    schema = pa.schema([(name, _arrow(column.dtype)) for name, column in columns.items()])
    return OutputColumns(outputs, schema, classes, alpha)


def _with_p_values(found: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return outputs with the p-values by class, where they were computed, under `P_VALUES`."""
    return {**found, P_VALUES: found[BY_CLASS]} if BY_CLASS in found else found


def _arrow(dtype: np.dtype[Any]) -> pa.DataType:
    return pa.string() if dtype.kind in "UO" else pa.from_numpy_dtype(dtype)


@dataclass(frozen=True)
class ScoringJob:
    """All that a worker needs; it can be sent to another machine.

    Attributes
    ----------
    stream : Stream
    graph : bytes
        `model.onnx`.
    keys : pyarrow.Schema
    columns : OutputColumns
    files : PartFiles
    explain : callable, optional
        Returns the columns that explain the decisions on instances; it is not sent to workers.
    """

    stream: Stream
    graph: bytes
    keys: pa.Schema
    columns: OutputColumns
    files: PartFiles
    explain: Callable[[Any], pd.DataFrame] | None = None


@dataclass(frozen=True)
class ScoredChunk:
    """A chunk that was written or skipped.

    Attributes
    ----------
    chunk : ChunkRange
    written : WrittenChunk or None
    skipped : SkippedChunk or None
    """

    chunk: ChunkRange
    written: WrittenChunk | None
    skipped: SkippedChunk | None = None


@dataclass(frozen=True)
class _PreparedChunk:
    """A chunk as inputs of the graph."""

    chunk: ChunkRange
    keys: list[pa.Array]
    rows: dict[str, np.ndarray]
    network: tuple[np.ndarray, np.ndarray] | None  # its inputs, and what row hashes are made from
    X: Any  # to be explained


_DecidedChunk = tuple[_PreparedChunk, dict[str, Any], pd.DataFrame | None]


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Worker:
    """A session of the graph that scores chunks.

    Parameters
    ----------
    job : ScoringJob
    threads : int, default=0
        Each runs a batch of its own; 0 is one a core.
    """

    def __init__(self, job: ScoringJob, threads: int = 0) -> None:
        self.job = job
        self.threads = threads or n_cores()
        # Threads that share a batch wait for each other at each of its many small operations.
        self.exported = Exported(job.graph, threads=1)

    def run(self, chunks: Sequence[ChunkRange]) -> Iterator[ScoredChunk]:
        """Score chunks in order; reading, computing and writing overlap.

        Yields
        ------
        ScoredChunk
            For each chunk, once its file is written.

        Raises
        ------
        ShardError
            When a chunk cannot be used, unless the stream skips bad ones.
        ScoringError
            When a file cannot be written.
        """
        prepared = prefetch(self._read, chunks)
        yield from prefetch(self._write, (self._decide(one) for one in prepared))

    def _read(self, chunk: ChunkRange) -> _PreparedChunk | ScoredChunk:
        stream = self.job.stream
        first = stream.first_row + chunk.first_row
        found = self.job.files.find(chunk)
        if found is not None:
            return ScoredChunk(chunk, found)
        try:
            content = stream.read(chunk, keys=True)
            try:
                rows = self.exported.feed(
                    content.X, content.groups if self.exported.group_input else None
                )
                heads = self.job.columns.for_heads
                network = self._prepare_for_heads(content.X) if heads else None
            except DataError as error:
                last = first + chunk.n_rows - 1
                raise ShardError(
                    f"rows {first:,} to {last:,}, of {chunk.source}, cannot be scored: {error}"
                ) from error
            keys = key_arrays(self.job.keys, content, chunk.source, first)
            X = content.X if self.job.explain is not None else None
            return _PreparedChunk(chunk, keys, rows, network, X)
        except ShardError as error:
            if stream.on_bad_shard == "fail":
                raise
            skipped = SkippedChunk.because(chunk.source, chunk.n_rows, error)
            return ScoredChunk(chunk, None, skipped)

    def _prepare_for_heads(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs of the network, and what row hashes are computed from."""
        checked, prepare = self.exported.schema.check(X), self.exported.preprocessor
        return prepare.to_network(checked), prepare.to_hash(checked)

    def _decide(self, prepared: _PreparedChunk | ScoredChunk) -> _DecidedChunk | ScoredChunk:
        if isinstance(prepared, ScoredChunk):
            return prepared
        found = self.exported.run_fed(prepared.rows, self.job.columns.outputs, self.threads)
        if prepared.network is not None:
            inputs, hashed = prepared.network
            found |= _hashes_and_residuals(hashed, inputs - found.pop("reconstruction"))
            if self.exported.schema.kind == "table":
                found[MISSING_FLAGS] = self.exported.missing(prepared.rows)
        reasons = None if self.job.explain is None else self.job.explain(prepared.X)
        return prepared, found, reasons

    def _write(self, decided: _DecidedChunk | ScoredChunk) -> ScoredChunk:
        if isinstance(decided, ScoredChunk):
            return decided
        prepared, found, reasons = decided
        columns = self.job.columns
        arrays = [*prepared.keys, *columns.build(found, reasons)]
        missing = self.exported.count_missing(prepared.rows)
        plain = None if missing is None else missing.tolist()
        counts, groups = columns.counts(found), dict[str, dict[str, int]]()
        if self.exported.group_input is not None:
            groups = _counts_by_group(found, prepared.rows[self.exported.group_input.name])
        n_empty = self.exported.count_empty(prepared.rows)
        entry = WrittenChunk(prepared.chunk.n_rows, counts, plain, groups, n_empty)
        return ScoredChunk(prepared.chunk, self.job.files.write(prepared.chunk, arrays, entry))


def _counts_by_group(
    found: Mapping[str, np.ndarray], groups: np.ndarray
) -> dict[str, dict[str, int]]:
    """Return the number of rows of each decision in each group."""
    decided = {name: found[name] for name in ("class", "verdict") if name in found}
    names, codes, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(sizes)[:-1])
    return {
        str(name): decision_counts({key: values[own] for key, values in decided.items()})
        for name, own in zip(names, rows, strict=True)
    }


def _hashes_and_residuals(hashed: np.ndarray, residuals: np.ndarray) -> dict[str, np.ndarray]:
    """Return hash and residual of each row, which detectors are fitted on."""
    import torch  # here, because decisions and codes do without torch

    from isthmus.autoencoder import row_hashes
    from isthmus.detection import pool_residuals

    pooled = pool_residuals(torch.from_numpy(residuals))
    return {ROW_HASH: row_hashes(hashed), RESIDUAL: pooled.numpy()}
