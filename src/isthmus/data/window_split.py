"""A training and a test part of windows that share no row of the table they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from isthmus.data.windows import Windows
from isthmus.errors import DataError

# From so many groups on, whole groups are set aside.
MANY_GROUPS = 5


def split_windows(
    windows: Windows,
    test_fraction: float,
    random_state: int | None = None,
    y: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose windows for training and for testing.

    With five groups or more, a random share of the groups is for testing, whole; of
    labelled windows that share of the groups of each label, at least one group where there
    are two (a group is of the label that most of its windows have). With fewer groups, or
    none, the last windows of each group are: what comes later is predicted from what came
    before. Training windows that share a row with a test window are in neither part.

    Parameters
    ----------
    windows : Windows
    test_fraction : float in (0, 1)
        Share of the groups, or of the windows of each group: at least one of them.
    random_state : int or None
        Which groups are set aside; with fewer than five nothing is random.
    y : array of shape (n,) or None
        Labels of the windows.

    Returns
    -------
    train, test : int array
        Positions, in order.

    Raises
    ------
    DataError
        When one of the parts would be empty.

    Examples
    --------
    >>> first = np.arange(0, 20, 2)
    >>> train, test = split_windows(Windows(first, first + 3), 0.2)
    >>> first[train].tolist(), first[test].tolist()
    ([0, 2, 4, 6, 8, 10, 12], [16, 18])
    """
    n = len(windows)
    if not 0 < test_fraction < 1:
        raise DataError(
            f"cannot set {test_fraction:.0%} of {n} windows aside; expected a fraction between "
            "0 and 1"
        )
    codes = np.zeros(n, dtype=np.int64)
    if windows.group is not None:
        codes = pd.factorize(windows.group)[0]
    n_groups = int(codes.max()) + 1
    if n_groups >= MANY_GROUPS:
        tested = np.isin(codes, _draw_groups(codes, y, test_fraction, random_state))
    else:
        tested = np.zeros(n, dtype=bool)
        for group in range(n_groups):
            inside = np.flatnonzero(codes == group)
            later = inside[np.argsort(windows.first_row[inside], kind="stable")]
            count = max(1, round(len(inside) * test_fraction)) if len(inside) > 1 else 0
            tested[later[len(later) - count :]] = True
    kept = ~tested & ~_overlapping(windows, codes, tested)
    if not kept.any() or not tested.any():
        raise DataError(
            f"cannot set {test_fraction:.0%} of {n} windows aside: no window is left that shares "
            "no row with the test windows; pass a shorter window or a longer table"
        )
    return np.flatnonzero(kept), np.flatnonzero(tested)


def _draw_groups(
    codes: np.ndarray, y: np.ndarray | None, test_fraction: float, random_state: int | None
) -> np.ndarray:
    """Return the codes of the groups that are for testing."""
    order = np.random.default_rng(random_state).permutation(int(codes.max()) + 1)
    if y is not None:
        labels = pd.Series(pd.factorize(y)[0]).groupby(codes).agg(lambda found: found.mode()[0])
        of_label = [order[labels[order] == label] for label in labels.unique()]
        drawn = [
            some[: min(max(1, round(len(some) * test_fraction)), len(some) - 1)]
            for some in of_label
        ]
        if sum(map(len, drawn)):
            return np.concatenate(drawn)
    return order[: min(max(1, round(len(order) * test_fraction)), len(order) - 1)]


def _overlapping(windows: Windows, codes: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Return which windows share a row with a test window of their group, boolean (n,)."""
    shared = np.zeros(len(codes), dtype=bool)
    for group in np.unique(codes[tested]):
        inside = np.flatnonzero(codes == group)
        test = inside[tested[inside]]
        # Within a group rows come in order, so windows share one exactly when their spans meet:
        # when more test windows have begun by a window's end than had ended before its start.
        begun = np.searchsorted(np.sort(windows.first_row[test]), windows.last_row[inside], "right")
        ended = np.searchsorted(np.sort(windows.last_row[test]), windows.first_row[inside], "left")
        shared[inside] = begun > ended
    return shared
