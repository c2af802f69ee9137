"""The rows of some spans of a file: read into order, and what is missing in them filled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from isthmus.data.missing import Beyond, empty_in_words, interpolate
from isthmus.data.stream.cut.cut_file import Spans
from isthmus.data.stream.cut.members import Members
from isthmus.data.window_table import row_in_words
from isthmus.errors import ShardError


def rows_of_spans(
    members: Members, spans: Spans, channels: Sequence[str], carried: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    """Read all rows of some spans, span after span.

    Parameters
    ----------
    members : Members
    spans : Spans
    channels, carried : sequence of str
        Columns that are numbers, and others.

    Returns
    -------
    values : array of shape (n, c)
        The channels, NaN where a value is missing.
    rows : int array of shape (n,)
        The number of each row in the file.
    beside : pyarrow.Table
        The other columns, without any an empty table.

    Raises
    ------
    ShardError
        When the file has other rows than when it was opened, or a channel holds what is no number.
    """
    n = int(spans.lengths.sum())
    values, rows = np.empty((n, len(channels))), np.empty(n, dtype=np.int64)
    ends = np.cumsum(spans.lengths)
    filled = ends - spans.lengths
    tables, places = [], []
    for found in members.read(spans, [*channels, *carried]):
        order = np.argsort(found.at, kind="stable")
        counts = np.bincount(found.at, minlength=len(ends))
        if (filled + counts > ends).any():
            break
        # The rows of a span follow those of it that were read before.
        begins = np.cumsum(counts) - counts
        place = np.empty(len(order), dtype=np.int64)
        place[order] = (filled - begins)[found.at[order]] + np.arange(len(order))
        filled += counts
        values[place], rows[place] = members.numbers(found, channels), found.rows
        tables.append(found.table.select(carried))
        places.append(place)
    if (filled != ends).any():
        raise ShardError(f"{members.source} has other rows than when it was opened; open it again")
    if not carried:
        return values, rows, pa.table({})
    order = np.argsort(np.concatenate(places))
    return values, rows, pa.concat_tables(tables).unify_dictionaries().take(pa.array(order))


def fill(values: np.ndarray, members: Members, spans: Spans, channels: Sequence[str]) -> None:
    """Fill what is missing in place, as it is filled when all rows of a stretch are at hand.

    Parameters
    ----------
    values : array of shape (n, c)
        Rows of the spans, span after span.

    Raises
    ------
    ShardError
        When a channel has no value in all of a stretch.
    """
    missing = np.isnan(values)
    if not missing.any():
        return
    end = np.cumsum(spans.lengths)
    for at, (a, b) in enumerate(zip(end - spans.lengths, end, strict=True)):
        here = missing[a:b]
        if not here.any():
            continue
        before = after = None
        if at == 0 and here[0].any():
            before = _beyond(members.before, spans, channels, here[0])
        if at == len(end) - 1 and here[-1].any():
            after = _beyond(members.after, spans, channels, here[-1])
        empty = here.all(axis=0)
        for beyond in (before, after):
            empty &= True if beyond is None else np.isnan(beyond.values)
        if empty.any():
            column = f"column {channels[int(empty.argmax())]!r} of {members.source}"
            raise ShardError(
                empty_in_words(
                    members.cut.groups.of(spans.codes[at]) + column,
                    row_in_words(int(spans.before[at])),
                    row_in_words(int(spans.after[at])),
                )
            )
        values[a:b] = interpolate(values[a:b], before, after)


def _beyond(
    look: Callable[[Spans, Sequence[str]], Beyond],
    spans: Spans,
    channels: Sequence[str],
    missing: np.ndarray,
) -> Beyond:
    """Look beyond an end for the channels that are missing there."""
    wanted = np.flatnonzero(missing).tolist()
    found = look(spans, [channels[at] for at in wanted])
    values = np.full(len(missing), np.nan)
    steps = np.ones(len(missing), dtype=np.int64)
    values[wanted], steps[wanted] = found.values, found.steps
    return Beyond(values, steps)
