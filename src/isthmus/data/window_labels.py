"""One label for a window, from the labels of its rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from isthmus.data.labels import MISSING


def deciding_rows(y: np.ndarray, first: np.ndarray, window: int) -> np.ndarray:
    """Return the row whose label is the window's.

    Where all rows have one label it is that. Where they differ, -1 (abnormal) anywhere
    decides when labels are numbers; otherwise the label that most rows have, of those
    equally frequent the one that comes last. Rows without a label have no say.

    Parameters
    ----------
    y : array of shape (n,)
        Labels of the rows; those without one see `isthmus.data.labels.MISSING`.
    first : int array of shape (n_windows,)
        First row of each window.
    window : int
        Rows in a window.

    Returns
    -------
    int array of shape (n_windows,)
        A row of each window; one without a label when no row of the window has one.

    Examples
    --------
    >>> y = np.array([1, 1, 0, 0, 1, -1])
    >>> y[deciding_rows(y, np.array([0, 1, 2]), 4)].tolist()
    [0, 1, -1]
    """
    codes, distinct = pd.factorize(y)
    codes[~MISSING.has_label(np.asarray(y))] = -1
    rows = first + window - 1
    # Whether a row's label differs from the one before: sums of it tell which windows are mixed.
    changes = np.concatenate([[0], np.cumsum(codes[1:] != codes[:-1])])
    mixed = np.flatnonzero(changes[rows] != changes[first])
    abnormal = -1
    if np.issubdtype(np.asarray(distinct).dtype, np.number):
        found = np.flatnonzero(np.asarray(distinct) == -1)
        abnormal = int(found[0]) if len(found) else -1
    for at in mixed:
        inside = codes[first[at] : first[at] + window]
        rows[at] = first[at] + _deciding(inside, abnormal)
    return rows


def _deciding(codes: np.ndarray, abnormal: int) -> int:
    """Return the position in one window whose label decides."""
    if abnormal >= 0 and (codes == abnormal).any():
        wanted = codes == abnormal
    else:
        counts = np.bincount(codes[codes >= 0])
        wanted = (codes >= 0) & (np.append(counts, 0)[codes] == counts.max())
    return int(np.flatnonzero(wanted)[-1])
