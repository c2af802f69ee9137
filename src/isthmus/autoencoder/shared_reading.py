"""Reading of a stream by the processes of a group: by one for all, or each a share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from isthmus.data import Chunk, Schema
from isthmus.data.preprocessing import Preprocessor, issue_warnings
from isthmus.data.streaming import SkippedChunk, Stream, StreamStatistics, median_rows
from isthmus.distributed import (
    IsCancelled,
    PartialResult,
    ProcessGroup,
    run_on_all_ranks,
    run_on_rank_zero,
)

T = TypeVar("T")
P = TypeVar("P", bound=PartialResult)


def read_on_rank_zero(stream: Stream, read: Callable[[], T]) -> T:
    """Call `read` on rank 0 alone, and return its result to all; the others read no file.

    Parameters
    ----------
    stream : Stream
    read : callable
        Without arguments.

    Returns
    -------
    object
        What `read` returned.

    Raises
    ------
    DataError
        As `read` does; also when another process has other files.
    """
    group = _group_with_equal_files(stream)
    found, stream.state = run_on_rank_zero(group, lambda: (read(), stream.state))
    return found


def read_by_shares(
    stream: Stream, result: P, update: Callable[[P, Chunk], None], finish: Callable[[P], T]
) -> T:
    """Read a stream once, each process a share of its chunks, and return a result to all.

    Parameters
    ----------
    stream : Stream
    result : PartialResult
        Empty. The merged result must not depend on how the chunks were shared out.
    update : callable
        Adds a chunk to a result; the chunks of a share come in order.
    finish : callable
        From the merged result to what is returned.

    Raises
    ------
    DataError
        As `update` and `finish` do, the same that a single process raises first; also when another
        process has other files.
    """
    group = _group_with_equal_files(stream)
    parts = stream.share(group.rank, group.world_size)

    def work(share: _Share[P], is_cancelled: IsCancelled) -> None:
        for chunk in stream.chunks(parts):
            if is_cancelled():
                return
            update(share.result, chunk)

    found, damaged = run_on_all_ranks(
        group,
        _Share(result, stream.state.damaged),
        work,
        lambda merged: (finish(merged.result), merged.damaged),
    )
    stream.state = replace(stream.state, damaged=damaged)
    return found


def learn_from_stream(stream: Stream) -> tuple[Schema, Preprocessor]:
    """Return schema and preprocessing of a stream, which all processes learn together.

    Raises
    ------
    DataError
        As `Schema.learn` and `learn_preprocessor` do.
    """
    known = read_on_rank_zero(stream, lambda: stream.state.learned)
    if known is None:
        drawn = median_rows(stream.n_rows)
        channels, first_row = stream.reader.channels, stream.first_row
        facts = StreamStatistics(stream.name, stream.kind, channels, first_row)
        known, found = read_by_shares(
            stream, facts, lambda result, chunk: result.update(chunk, drawn), _learned
        )
        stream.state = replace(stream.state, learned=known)
        issue_warnings(found)
    return known


def _learned(
    statistics: StreamStatistics,
) -> tuple[tuple[Schema, Preprocessor], list[str]]:
    learned = statistics.result()
    return learned, statistics.warnings(*learned)


class _Share(Generic[P]):
    """The result of some chunks, and which of them are damaged."""

    def __init__(self, result: P, damaged: dict[int, SkippedChunk]) -> None:
        self.result, self.damaged = result, damaged

    def extend(self, later: _Share[P]) -> None:
        self.result.extend(later.result)
        self.damaged = self.damaged | later.damaged


def _group_with_equal_files(stream: Stream) -> ProcessGroup:
    """Return the process group, after checking that all processes read the same files."""
    group = ProcessGroup.find()
    files = [(part.source, part.n_rows) for part in stream.chunk_ranges]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    group.check_equal({"instances": len(stream), "files with digest": digest})
    return group
