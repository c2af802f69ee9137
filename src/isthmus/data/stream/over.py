"""Methods that give an array with a row for each instance, over a stream's pieces."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numpy as np

from isthmus.data.stream.stream import Stream

M = TypeVar("M", bound=Callable[..., Any])


def over_pieces(method: M) -> M:
    """Let a method `(self, X, ...) -> array` take a stream: piece by piece, one array out."""

    @functools.wraps(method)
    def either(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(X, Stream):
            return method(self, X, *args, **kwargs)
        return joined(len(X), (method(self, piece.X, *args, **kwargs) for piece in X.pieces()))

    return cast(M, either)


def joined(n_rows: int, arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Put arrays of `n_rows` rows in all, or fewer, after each other in memory taken once.

    Examples
    --------
    >>> joined(4, [np.array([1, 2]), np.array([3])])
    array([1, 2, 3])
    """
    whole: np.ndarray | None = None
    filled = 0
    for array in arrays:
        if whole is None or array.dtype != whole.dtype:
            # Text may become longer from one piece to the next.
            dtype = array.dtype if whole is None else np.promote_types(whole.dtype, array.dtype)
            wider = np.empty((n_rows, *array.shape[1:]), dtype)
            if whole is not None:
                wider[:filled] = whole[:filled]
            whole = wider
        whole[filled : filled + len(array)] = array
        filled += len(array)
    return np.empty(0) if whole is None else whole[:filled]
