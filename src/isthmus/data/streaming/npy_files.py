"""NumPy's `.npy` files, a stretch of rows at a time."""

from __future__ import annotations

import math
import warnings
from typing import IO, Any

import numpy as np

from isthmus.data.formats import check_npy, read_npy_layout
from isthmus.data.instances import Chunk
from isthmus.data.streaming.chunks import MAX_CHUNK_BYTES, MAX_CHUNK_ROWS, FileRange
from isthmus.data.streaming.filesystem import FileStore
from isthmus.errors import DataError, ShardError

#: Sides in pixels of an image in a file of its own, and numbers of channels in its last axis.
_MIN_SIDE, _MAX_SIDE = 8, 4096
_CHANNELS = (1, 3, 4)
_KINDS = {2: "table", 3: "images", 4: "images"}


class NumpyReader:
    """Reads arrays whose instances have the shape and dtype of those in the first file.

    Parameters
    ----------
    store : FileStore
    kind : {"auto", "images", "series", "table"}
    """

    channels = None
    identifies_rows = False

    def __init__(self, store: FileStore, kind: str) -> None:
        self.store, self.kind = store, kind
        self._first: tuple[str, tuple[int, ...], np.dtype] | None = None
        self._begins: dict[str, int] = {}
        self._shapes: dict[tuple[int, ...], int] = {}

    @property
    def has_labels(self) -> bool:
        """Arrays bring no labels."""
        return False

    def lay_out(self, source: str) -> list[FileRange]:
        """Divide a file into chunks of bounded size."""
        with self.store.open(source) as file:
            shape, dtype = _header(file, source)
            begins = file.tell()
        self._check(source, shape, dtype)
        n_rows, row_bytes = shape[0], max(1, math.prod(shape[1:]) * dtype.itemsize)
        expected, got = begins + n_rows * row_bytes, self.store.size(source)
        if got < expected:
            raise ShardError(
                f"{source} has {got:,} bytes, and its header says {expected:,}: it is cut off; "
                "write it again"
            )
        self._begins[source] = begins
        self._shapes[shape] = self._shapes.get(shape, 0) + 1
        step = max(1, min(MAX_CHUNK_ROWS, MAX_CHUNK_BYTES // row_bytes))
        return [
            FileRange((source,), (), first, min(first + step, n_rows))
            for first in range(0, n_rows, step)
        ]

    def read(self, file_range: FileRange, label: bool, keys: bool) -> Chunk:
        """Read some rows."""
        assert self._first is not None
        _, shape, dtype = self._first
        row_bytes = math.prod(shape) * dtype.itemsize
        source = file_range.files[0]
        with self.store.open(source) as file:
            file.seek(self._begins[source] + file_range.start * row_bytes)
            content = bytearray(file.read(file_range.n_rows * row_bytes))
        if len(content) < file_range.n_rows * row_bytes:
            raise ShardError(f"{source} has become shorter than its header says; write it again")
        return Chunk(0, np.frombuffer(content, dtype).reshape(file_range.n_rows, *shape))

    def warn_of_single_images(self, source: str) -> None:
        """Warn where each file may be one image and is read as many instances."""
        shape, n = next(iter(self._shapes.items()))
        if len(self._shapes) > 1 or n < 2 or not is_one_image(shape):
            return
        what = "rows of a table" if len(shape) == 2 else f"images of {shape[1]}x{shape[2]}"
        warnings.warn(
            f"{source}: {n} .npy files of shape {shape} are taken as {shape[0]} {what} each; pass "
            "kind='images' (on the command line --kind images) where each file is one image, and "
            f"kind={self.kind!r} where not",
            stacklevel=5,
        )

    def key_types(self) -> dict[str, Any]:
        """Return nothing: arrays have no columns."""
        return {}

    def stamp(self, source: str) -> dict[str, Any]:
        """Return size and time of a file."""
        return self.store.stamp(source)

    def describe(self) -> str:
        """Return what an instance looks like."""
        assert self._first is not None
        _, shape, dtype = self._first
        if self.kind == "table":
            return f"rows of {shape[0]} columns"
        if self.kind == "series":
            return f"series of {shape[0]} time steps"
        return f"images of {'x'.join(map(str, shape))} {dtype}"

    def _check(self, source: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        if self._first is None:
            if self.kind == "auto":
                if len(shape) not in _KINDS:
                    raise DataError(
                        f"{source} holds an array of shape {shape}, expected (n, m), (n, h, w) or "
                        "(n, h, w, c)"
                    )
                self.kind = _KINDS[len(shape)]
            self._first = source, shape[1:], dtype
            return
        first, inner, expected = self._first
        if shape[1:] != inner or dtype != expected:
            raise ShardError(
                f"{source} holds instances of shape {shape[1:]} and dtype {dtype}, and {first} "
                f"of shape {inner} and dtype {expected}; expected the same in both"
            )


def is_one_image(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape can be one image, (h, w) or (h, w, c).

    Examples
    --------
    >>> is_one_image((28, 28)), is_one_image((28, 28, 3)), is_one_image((500, 28, 28))
    (True, True, False)
    """
    if len(shape) not in (2, 3) or not _MIN_SIDE <= min(shape[:2]) <= max(shape[:2]) <= _MAX_SIDE:
        return False
    return len(shape) == 2 or shape[2] in _CHANNELS


def _header(file: IO[bytes], source: str) -> tuple[tuple[int, ...], np.dtype]:
    try:
        shape, fortran, dtype = read_npy_layout(file, source)
        check_npy(shape, dtype, source)
    except DataError as error:
        raise ShardError(str(error)) from error
    if fortran and len(shape) > 1:
        raise ShardError(
            f"{source} is stored column by column, expected row by row; save it again with "
            "np.save(path, np.ascontiguousarray(X))"
        )
    if not shape:
        raise ShardError(f"{source} holds a single number, expected an array of instances")
    return shape, dtype
