"""Row groups too large to be read at once, a stretch of rows at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.stream.part import Slice

#: Row groups that stay open in the middle: going there again means decoding all before it.
_MOST_OPEN = 8
#: Rows decoded at a time.
_BATCH = 16_384


class OpenGroup:
    """One row group, read from its beginning.

    Parameters
    ----------
    file : binary file
        Closed by `close`.
    group : int
    columns : sequence of str
    """

    def __init__(self, file: IO[bytes], group: int, columns: Sequence[str]) -> None:
        self.file = file
        self.batches = pq.ParquetFile(file, buffer_size=2**18, pre_buffer=False).iter_batches(
            _BATCH, row_groups=[group], columns=list(columns), use_threads=False
        )
        self.left: list[pa.RecordBatch] = []

    def take(self, n_rows: int) -> pa.Table:
        """Return the next rows, fewer at the end."""
        taken: list[pa.RecordBatch] = []
        missing = n_rows
        while missing > 0:
            batch = self.left.pop() if self.left else next(self.batches, None)
            if batch is None:
                break
            taken.append(batch.slice(0, missing))
            if len(batch) > missing:
                self.left.append(batch.slice(missing))
            missing -= len(taken[-1])
        return pa.Table.from_batches(taken)

    def skip(self, n_rows: int) -> None:
        """Pass over rows."""
        while n_rows > 0:
            n_rows -= self.take(min(n_rows, _BATCH)).num_rows

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class OpenGroups:
    """The row groups read last, each at the row where reading stopped."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Any, OpenGroup] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # What is open here cannot be sent to another process, which opens its own.
        return OpenGroups, ()

    def pop(self, part: Slice, columns: Sequence[str]) -> OpenGroup | None:
        """Return the row group that stands where a part begins, if it is open."""
        with self._lock:
            return self._groups.pop(_key(part, part.start, columns), None)

    def keep(self, part: Slice, columns: Sequence[str], group: OpenGroup) -> None:
        """Keep a row group from which a part was just read."""
        with self._lock:
            same = self._groups.pop(_key(part, part.stop, columns), None)
            self._groups[_key(part, part.stop, columns)] = group
            oldest = self._groups.popitem(last=False)[1] if len(self._groups) > _MOST_OPEN else None
        for closed in (same, oldest):
            if closed is not None:
                closed.close()


def _key(part: Slice, row: int, columns: Sequence[str]) -> tuple[Any, ...]:
    return (part.files[0], part.groups[0], row, *columns)
