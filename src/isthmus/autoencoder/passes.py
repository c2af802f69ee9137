"""Passes over a stream: by the first worker for all, or by all, each through a share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from isthmus.data.preprocessing import Preprocessor
from isthmus.data.schema import Schema
from isthmus.data.stream import Piece, Skipped, Stream
from isthmus.data.stream.learn import Facts, median_rows
from isthmus.workers import Gathered, Needless, Workers, made_by_first, made_together

T = TypeVar("T")
G = TypeVar("G", bound=Gathered)


def read_by_first(stream: Stream, read: Callable[[], T]) -> T:
    """Return what `read` makes of a stream for the first worker; the others leave its files alone.

    Raises
    ------
    DataError
        As `read` does; also when another worker has other files.
    """
    workers = _of_the_same_files(stream)
    found, stream.known = made_by_first(workers, lambda: (read(), stream.known))
    return found


def read_together(
    stream: Stream, own: G, take: Callable[[G, Piece], None], finish: Callable[[G], T]
) -> T:
    """Go through a stream once, each worker through a share of its parts, none twice.

    Parameters
    ----------
    stream : Stream
    own : Gathered
        Empty. What it holds in the end must not depend on how the pieces were divided.
    take : callable
        Adds a piece to it; pieces of a share come in order.
    finish : callable
        From what was gathered of all pieces to what is returned, to all workers.

    Raises
    ------
    DataError
        As `take` and `finish` do, the same that one worker alone meets first; also when another
        worker has other files.
    """
    workers = _of_the_same_files(stream)
    parts = stream.share(workers.rank, workers.size)

    def gather(share: _Share[G], needless: Needless) -> None:
        for piece in stream.pieces(parts):
            if needless():
                return
            take(share.own, piece)

    found, bad_parts = made_together(
        workers,
        _Share(own, stream.known.bad_parts),
        gather,
        lambda whole: (finish(whole.own), whole.bad_parts),
    )
    stream.known = replace(stream.known, bad_parts=bad_parts)
    return found


def learned(stream: Stream) -> tuple[Schema, Preprocessor]:
    """Return schema and preprocessing of a stream, which all workers learn together.

    Raises
    ------
    DataError
        As `Schema.learn` and `learn_preprocessor` do.
    """
    known = read_by_first(stream, lambda: stream.known.learned)
    if known is None:
        drawn = median_rows(stream.n_rows)
        facts = Facts(stream.name, stream.kind, stream.reader.channels)
        known = read_together(
            stream, facts, lambda own, piece: own.update(piece, drawn), Facts.result
        )
        stream.known = replace(stream.known, learned=known)
    return known


class _Share(Generic[G]):
    """What was gathered of some parts, and which of them are damaged."""

    def __init__(self, own: G, bad_parts: dict[int, Skipped]) -> None:
        self.own, self.bad_parts = own, bad_parts

    def extend(self, later: _Share[G]) -> None:
        self.own.extend(later.own)
        self.bad_parts = self.bad_parts | later.bad_parts


def _of_the_same_files(stream: Stream) -> Workers:
    """Return the workers, after checking that all are about to read the same."""
    workers = Workers.find()
    files = [(part.source, part.n_rows) for part in stream.parts]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    workers.check_same({"instances": len(stream), "files with digest": digest})
    return workers
