"""Windows of series: cut, labelled, and split without shared rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from isthmus._core import shown
from isthmus.data.labels import MISSING, is_missing
from isthmus.data.predictions import are_normal
from isthmus.errors import DataError


@dataclass(frozen=True, eq=False)
class Windows:
    """Where each window lies in the long table that it was cut from.

    Attributes
    ----------
    first_row, last_row : int array of shape (n,)
        Rows of the table, counted from 0, both part of the window.
    group : array of shape (n,) or None
        The group of each window, None when the table had no group column; of several group
        columns, tuples of their values.
    first_time, last_time : array of shape (n,) or None
        The time in these rows, None when the table had no time column.
    group_columns : tuple of str
        Names of the group columns.
    label_rule : {"any", "majority", "last"} or None
        How the label of a window follows from those of its rows, see `deciding_rows`; None
        without labels.
    first_position : int array of shape (n,) or None
        Position of the first row of each window among the `TimePoints` of the data set.

    Examples
    --------
    >>> at = Windows(np.array([0, 2]), np.array([3, 5]))
    >>> at.take(np.array([1])).last_row.tolist(), len(at)
    ([5], 2)
    """

    first_row: np.ndarray
    last_row: np.ndarray
    group: np.ndarray | None = None
    first_time: np.ndarray | None = None
    last_time: np.ndarray | None = None
    group_columns: tuple[str, ...] = ()
    label_rule: str | None = None
    first_position: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.first_row)

    def take(self, rows: np.ndarray) -> Windows:
        """Return the windows at these positions (integers, or booleans of shape (n,)).

        Parameters
        ----------
        rows : integer array of shape (k,), or boolean array of shape (n,)

        Returns
        -------
        Windows
        """

        def take(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[rows]

        return replace(
            self,
            first_row=self.first_row[rows],
            last_row=self.last_row[rows],
            group=take(self.group),
            first_time=take(self.first_time),
            last_time=take(self.last_time),
            first_position=take(self.first_position),
        )

    @classmethod
    def joined(cls, parts: Sequence[Windows]) -> Windows:
        """Concatenate windows of one table; all have the same optional fields."""

        def all_of(name: str) -> Any:
            columns = [getattr(part, name) for part in parts]
            return np.concatenate(columns) if isinstance(columns[0], np.ndarray) else columns[0]

        return cls(*(all_of(field.name) for field in fields(cls)))

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per window: group, first and last time.

        Several group columns have their own names. Without times the columns are the first and
        last row, counting from 0.

        Returns
        -------
        DataFrame of n rows
        """
        columns: dict[str, Any] = {}
        if len(self.group_columns) > 1 and self.group is not None:
            for at, name in enumerate(self.group_columns):
                columns[name] = pd.Series([value[at] for value in self.group])
        elif self.group is not None:
            columns["group"] = self.group
        if self.first_time is None:
            columns |= {"first_row": self.first_row, "last_row": self.last_row}
        else:
            columns |= {"first_time": self.first_time, "last_time": self.last_time}
        return pd.DataFrame(columns)


def windows(values: np.ndarray, window: int, stride: int | None = None) -> np.ndarray:
    """Cut one long series into windows.

    Parameters
    ----------
    values : array of shape (n, c) or (n,)
        One channel without the second axis.
    window : int
        Rows in a window, at least 2.
    stride : int or None
        Rows from the beginning of one window to the next; None is `window`, so that no
        two share a row.

    Returns
    -------
    array of shape (n_windows, window, c)
        A contiguous copy. Rows left over at the end are in no window.

    Raises
    ------
    DataError
        When the series is shorter than the window, or a number is out of range.

    Examples
    --------
    >>> windows(np.arange(6), window=4, stride=2)[..., 0]
    array([[0, 1, 2, 3],
           [2, 3, 4, 5]])
    """
    values = np.asarray(values)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"got a series of shape {values.shape}, expected (n, c) or (n,)")
    window, stride = check_window(window, stride)
    if len(values) < window:
        raise DataError(
            f"got window={window} and a series of {len(values)} rows; pass a window of "
            f"{len(values)} rows at most"
        )
    return cut(values, [(0, len(values))], window, stride)


def check_window(window: Any, stride: Any) -> tuple[int, int]:
    """Return window and stride as integers; a stride of None is the window.

    Parameters
    ----------
    window : int of 2 or more
    stride : int of 1 or more, or None

    Returns
    -------
    window, stride : int

    Raises
    ------
    DataError
        When the window is not an integer of 2 or more, or the stride not an integer of 1 or more.

    Examples
    --------
    >>> check_window(64, None)
    (64, 64)
    """
    if window is None:
        raise DataError(
            "got no window; say how many rows make one window, such as window=64 (on the command "
            "line --window 64)"
        )
    stride = window if stride is None else stride
    for name, value, minimum in (("window", window, 2), ("stride", stride, 1)):
        whole = hasattr(value, "__index__") and not isinstance(value, bool)
        if not whole or int(value) < minimum:
            raise DataError(
                f"got {name}={shown(value)}, expected a whole number of {minimum} or more"
            )
    return int(window), int(stride)


def cut(
    values: np.ndarray, segments: Sequence[tuple[int, int]], window: int, stride: int
) -> np.ndarray:
    """Cut each segment of a series into windows.

    Parameters
    ----------
    values : array of shape (n, c)
    segments : sequence of (first, end)
        Rows that follow one another; `end` is not part of it. No window crosses a border.
    window, stride : int
        See `windows`.

    Returns
    -------
    array of shape (n_windows, window, c)
    """
    counts = [window_count(end - first, window, stride) for first, end in segments]
    X = np.empty((sum(counts), window, values.shape[1]), dtype=values.dtype)
    at = 0
    for (first, end), count in zip(segments, counts, strict=True):
        if count:
            # (n, c, window): the window's own axis comes last.
            views = sliding_window_view(values[first:end], window, axis=0)[::stride]
            X[at : at + count] = views.transpose(0, 2, 1)
        at += count
    return X


def window_count(length: int, window: int, stride: int) -> int:
    """Return the number of windows in a segment of `length` rows.

    Parameters
    ----------
    length, window, stride : int

    Returns
    -------
    int

    Examples
    --------
    >>> window_count(10, 4, 3)
    3
    """
    return 0 if length < window else (length - window) // stride + 1


#: Rules for the label of a window, see `deciding_rows`.
LABEL_RULES = ("any", "majority", "last")


def deciding_rows(
    y: np.ndarray,
    first: np.ndarray,
    window: int | np.ndarray,
    rule: str | None = None,
    normal: Any = None,
) -> np.ndarray:
    """Return the row of each window whose label becomes the label of the window.

    Rows without a label do not count, but for the rule "last".

    Parameters
    ----------
    y : array of shape (n,)
        Labels of the rows; those without one see `isthmus.data.MISSING`.
    first : int array of shape (n_windows,)
        First row of each window.
    window : int, or int array of shape (n_windows,)
        Rows in a window, of each one where they differ.
    rule : {"any", "majority", "last"} or None
        "any": the most frequent abnormal label, where a row is abnormal; otherwise as "majority".
        "majority": the most frequent label, and of equally frequent ones the one that occurs
        last. "last": the label of the last row. None is "any" where `normal` is given or a
        label is the number -1, otherwise "majority".
    normal : str, int, float, bool or None
        The label that means normal; any other is abnormal. Without it, -1 is (as a number).

    Returns
    -------
    int array of shape (n_windows,)
        One row per window; an unlabelled row when the whole window is unlabelled.

    Examples
    --------
    >>> y = np.array([1, 1, 0, 0, 1, -1])
    >>> y[deciding_rows(y, np.array([0, 1, 2]), 4)].tolist()
    [0, 1, -1]
    >>> y = np.array(["ok", "ok", "leak", "ok", "ok"])
    >>> y[deciding_rows(y, np.array([0, 1, 2]), 3, "any", normal="ok")].tolist()
    ['leak', 'leak', 'leak']
    """
    rows = first + window - 1
    if rule == "last":
        return rows
    codes, distinct = pd.factorize(y)
    codes[~MISSING.has_label(np.asarray(y))] = -1
    abnormal = np.zeros(len(distinct) + 1, dtype=bool)
    if rule != "majority":
        abnormal[:-1] = _are_abnormal(np.asarray(distinct).tolist(), normal)
    # Cumulative count of label changes: a window is mixed where it grows inside the window.
    changes = np.concatenate([[0], np.cumsum(codes[1:] != codes[:-1])])
    mixed = np.flatnonzero(changes[rows] != changes[first])
    for at in mixed:
        inside = codes[first[at] : rows[at] + 1]
        rows[at] = first[at] + _deciding(inside, abnormal)
    return rows


def label_rule(labels: Collection[Any], rule: str | None, normal: Any) -> str:
    """Return the rule that `deciding_rows` follows.

    Parameters
    ----------
    labels : collection
        All distinct labels of the rows.
    rule, normal
        As for `deciding_rows`.

    Returns
    -------
    str

    Raises
    ------
    DataError
        When the rule is "any" and it is not known which labels are abnormal.
    """
    signs = any(_is_sign(label) and label == -1 for label in labels)
    if rule == "any" and normal is None and not signs and not set(labels) <= {1}:
        listed = ", ".join(shown(label) for label in sorted(labels, key=str)[:5])
        raise DataError(
            f"got window_label='any' and labels such as {listed}, of which none is known to be "
            "normal; pass the one that is with normal= (on the command line --normal VALUE)"
        )
    return rule or ("any" if normal is not None or signs else "majority")


def _is_sign(label: Any) -> bool:
    return isinstance(label, int | float) and not isinstance(label, bool) and label in (1, 0, -1)


def _are_abnormal(labels: list[Any], normal: Any) -> list[bool]:
    if normal is None:
        return [_is_sign(label) and label == -1 for label in labels]
    given = [label for label in labels if not is_missing(label)]
    normals = iter(are_normal(given, normal))
    return [not is_missing(label) and not next(normals) for label in labels]


def _deciding(codes: np.ndarray, abnormal: np.ndarray) -> int:
    """Return the position of the deciding label in one window; unlabelled rows have code -1."""
    counted = codes >= 0
    if abnormal[codes].any():
        counted = abnormal[codes]
    counts = np.append(np.bincount(codes[counted]), 0)
    # Codes that do not occur among those counted lie beyond the counts.
    most = counted & (counts[np.minimum(codes, len(counts) - 1)] == counts.max())
    return int(np.flatnonzero(most)[-1])


#: Minimum number of groups for a split by whole groups.
MIN_GROUPS = 5
#: Pairs of successive windows that are compared, at most, and the share of them that share rows
#: from which windows overlap: of windows drawn at random from a stream only some are successive.
MAX_COMPARED, MIN_OVERLAPPING = 200, 0.05


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
    if n_groups >= MIN_GROUPS:
        tested = np.isin(codes, _draw_groups(codes, y, test_fraction, random_state))
    else:
        tested = np.zeros(n, dtype=bool)
        for group in range(n_groups):
            inside = np.flatnonzero(codes == group)
            later = inside[np.argsort(windows.first_row[inside], kind="stable")]
            count = max(1, round(len(inside) * test_fraction)) if len(inside) > 1 else 0
            tested[later[len(later) - count :]] = True
    trained = ~tested & ~_overlapping(windows, codes, tested)
    if not trained.any() or not tested.any():
        raise DataError(
            f"cannot set {test_fraction:.0%} of {n} windows aside: no window is left that shares "
            "no row with the test windows; pass a shorter window or a longer table"
        )
    return np.flatnonzero(trained), np.flatnonzero(tested)


def overlapping_stride(X: np.ndarray) -> int | None:
    """Return the stride of windows in order that share rows with the next one, None without such.

    The end of a window is compared with the beginning of the next, in `MAX_COMPARED` pairs at
    most. Parts of equal rows are not counted, and matches as frequent between windows that are
    not next to each other are taken as chance.

    Parameters
    ----------
    X : array of shape (n, t, c)

    Examples
    --------
    >>> values = np.arange(12.0)[:, None] ** 2
    >>> overlapping_stride(windows(values, 4, 1)), overlapping_stride(windows(values, 4))
    (1, None)
    """
    n, steps = len(X) - 1, X.shape[1]
    if n < 1:
        return None
    at = np.unique(np.linspace(0, n - 1, min(n, MAX_COMPARED)).astype(np.intp))
    earlier, later = X[at], X[at + 1]
    apart = X[(at + 1 + (n + 1) // 2) % (n + 1)] if n > 2 else None
    found: int | None = None
    matched, by_chance = np.zeros(len(at), bool), np.zeros(len(at), bool)
    for stride in range(1, steps - 1):
        end = earlier[:, stride:]
        varies = (end != end[:, :1]).any(axis=(1, 2))
        same = varies & (end == later[:, :-stride]).all(axis=(1, 2))
        if same.any():
            found = stride if found is None else found
            matched |= same
            if apart is not None:
                by_chance |= varies & (end == apart[:, :-stride]).all(axis=(1, 2))
    return found if matched.mean() - by_chance.mean() >= MIN_OVERLAPPING else None


def _draw_groups(
    codes: np.ndarray, y: np.ndarray | None, test_fraction: float, random_state: int | None
) -> np.ndarray:
    """Draw the groups for testing and return their codes."""
    order = np.random.default_rng(random_state).permutation(int(codes.max()) + 1)
    if y is not None:
        labels = pd.Series(pd.factorize(y)[0]).groupby(codes).agg(lambda found: found.mode()[0])
        of_label = [order[labels[order] == label] for label in labels.unique()]
        drawn = [
            groups[: min(max(1, round(len(groups) * test_fraction)), len(groups) - 1)]
            for groups in of_label
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
