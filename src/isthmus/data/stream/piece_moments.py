"""Moments of the pieces of a stream, each by itself until all are there."""

from __future__ import annotations

from array import array

import numpy as np

from isthmus.data.preprocessing.moments import Moments


class PieceMoments:
    """Moments of values that come in pieces, some of which another process may have.

    In which order pieces are put together shows in the last bits. So they are kept apart, 48
    bytes a piece and column, and put together in the order of the rows.

    Parameters
    ----------
    shape : tuple of int
        () for values of shape (n,), (m,) for columns of (n, m).

    Examples
    --------
    >>> first, second = PieceMoments(), PieceMoments()
    >>> first.update(np.array([1.0, 2.0]))
    >>> second.update(np.array([6.0]))
    >>> first.extend(second)
    >>> float(first.together().mean)
    3.0
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.shape = shape
        self._lengths, self._known = array("q"), array("d")

    def update(self, values: np.ndarray) -> None:
        """Take in a piece, float64, none missing."""
        if not len(values):
            return
        own = Moments()
        own.update(values)
        self._lengths.append(own.n)
        known = np.array([own.mean, own.variance, own.low, own.high, own.rest], np.float64)
        self._known.frombytes(known.tobytes())

    def extend(self, later: PieceMoments) -> None:
        """Take in what is known of pieces after these."""
        self._lengths += later._lengths
        self._known += later._known

    def together(self) -> Moments:
        """Return the moments of all values."""
        moments = Moments()
        known = np.frombuffer(self._known).reshape(len(self._lengths), 5, *self.shape)
        for n, (mean, variance, low, high, rest) in zip(self._lengths, known, strict=True):
            moments.add(n, mean, variance, low, high, rest)
        return moments
