"""Groups of the rows that a detector is fitted on: which calibrate, and how they are stored."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.data import (
    NO_GROUP,
    Instances,
    as_instances,
    group_codes,
    group_text,
    match_groups,
    read_groups,
    warn_of_order,
)
from isthmus.data.windows import TimePoints
from isthmus.detection.calibration import (
    MAX_CALIBRATION_ROWS,
    choose_rate,
    draw_calibration_rows,
    n_folds,
    rows_needed,
)
from isthmus.errors import CalibrationWarning, DataError

#: Share of a group that calibrates with "split", where that is enough for the rate.
SHARE = 0.2


def draw_by_group(
    calibration: str, groups: np.ndarray, rate: float | str, rng: np.random.Generator
) -> list[np.ndarray]:
    """Draw the calibration rows among normal ones in each group.

    Parameters
    ----------
    calibration : {"split", "cross"}
    groups : object array of shape (n,)
        Of the normal rows; those without a group are drawn from as one more.
    rate : float or "auto"
        The false-alarm rate that the rows must be able to hold; see `choose_rate`.
    rng : numpy Generator

    Returns
    -------
    list of int arrays
        For `"split"` one, sorted: a fifth of each group, 2,000 rows at most, but never fewer than
        the rate needs while half of the group remains. Of groups of which half are too few for the
        rate a fifth is drawn, or as large a share, up to half, as together makes what it needs.
        For `"cross"` five folds that hold every row once, and about as many of each group.

    Raises
    ------
    CalibrationError
        When the rate needs more rows than there are in all groups together.

    Examples
    --------
    >>> groups = np.repeat(np.array(["a", "b", "c"], dtype=object), [1000, 200, 10])
    >>> (rows,) = draw_by_group("split", groups, 0.01, np.random.default_rng(0))
    >>> np.unique(groups[rows], return_counts=True)[1].tolist()
    [200, 99, 5]
    """
    n = len(groups)
    most = n if calibration == "cross" else n // 2
    draw_calibration_rows(calibration, n, rate, rng)  # raises when there are too few
    needed = rows_needed(choose_rate(rate, most))
    _, codes = group_codes(groups)
    order = rng.permutation(n)
    order = order[np.argsort(codes[order], kind="stable")]
    if calibration == "cross":
        k = n_folds(n)
        return [np.sort(order[at::k]) for at in range(k)]
    sizes = np.bincount(codes + 1)
    halves, small = sizes // 2, sizes // 2 < needed
    share = max(SHARE, min(0.5, needed / max(1, int(sizes[small].sum()))))
    usual = np.minimum(np.ceil(SHARE * sizes), MAX_CALIBRATION_ROWS)
    wanted = np.where(small, np.ceil(share * sizes), np.maximum(usual, needed))
    wanted = np.minimum(wanted, halves).astype(np.int64)
    begins = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.arange(n) - np.repeat(begins, sizes)
    chosen = rank < np.repeat(wanted, sizes)
    # Many groups of one row, half of which is none, may leave fewer than the rate needs.
    left = rng.permutation(np.flatnonzero(~chosen))
    chosen[left[: max(0, needed - int(chosen.sum()))]] = True
    return [np.sort(order[chosen])]


def read_groups_at_fit(
    X: Any, y: Any, groups: Any
) -> tuple[Instances, np.ndarray | None, tuple[str, ...]]:
    """Return instances, their groups, and the columns that name them.

    Groups of a stream are None here: they come with the rows that are drawn of it.

    Raises
    ------
    DataError
        When groups are given beside a long table, which has its own, or see `read_groups`.
    """
    columns = groups if isinstance(groups, tuple) else (groups,)
    named = bool(columns) and all(isinstance(one, str) for one in columns)
    instances, of_rows = as_instances(X, y), None
    warn_of_order(X, groups, "groups")
    if groups is not None and instances.points is not None:
        raise DataError(
            "got groups= beside windows of a long table; name their column when it is loaded, "
            "load(..., kind='series', group=COLUMN) (on the command line --group COLUMN)"
        )
    if groups is not None or instances.in_memory:
        instances, of_rows = read_groups(X, groups)
    if named and groups is not None:
        return instances, of_rows, columns
    return instances, of_rows, tuple(getattr(X, "group_columns", ()))


def groups_of_both(fitted: np.ndarray | None, calibrating: np.ndarray | None) -> np.ndarray | None:
    """Return the groups of rows to fit on followed by those of calibration rows.

    Raises
    ------
    DataError
        When one has groups and the other has none.
    """
    if fitted is None and calibrating is None:
        return None
    if fitted is None or calibrating is None:
        which = "X_calibration" if calibrating is None else "X"
        raise DataError(
            f"got no groups of {which}, and those of the other rows; pass both, groups= for X and "
            "groups_calibration= for X_calibration, or neither"
        )
    return np.concatenate([fitted, calibrating])


def groups_state(groups: np.ndarray | None) -> dict[str, Any]:
    """Return the groups of rows as arrays and plain values, empty where there are none.

    Parameters
    ----------
    groups : object array of shape (n,) or None

    Returns
    -------
    dict
    """
    if groups is None:
        return {}
    names, codes = group_codes(groups)
    return {"groups": {"names": list(names), "codes": codes}}


def groups_from_state(state: Mapping[str, Any]) -> np.ndarray | None:
    """Return the groups of rows from what `groups_state` returned.

    Parameters
    ----------
    state : mapping

    Returns
    -------
    object array of shape (n,) or None

    Examples
    --------
    >>> groups = np.array(["a", "", "b"], dtype=object)
    >>> groups_from_state(groups_state(groups)).tolist(), groups_from_state({})
    (['a', '', 'b'], None)
    """
    if "groups" not in state:
        return None
    names = np.array([*state["groups"]["names"], NO_GROUP], dtype=object)
    return names[state["groups"]["codes"]]  # -1 is the last


def splits_well(groups: np.ndarray, rate: float | str) -> bool:
    """Return whether half of each group holds a rate wherever all of the group would.

    Otherwise cross calibration gives more groups a calibration of their own.

    Examples
    --------
    >>> groups = np.repeat(np.array(["a", "b"], dtype=object), [1000, 150])
    >>> splits_well(groups, 0.01), splits_well(groups, 0.02)
    (False, True)
    """
    needed = rows_needed(choose_rate(rate, len(groups)))
    sizes = np.bincount(group_codes(groups)[1] + 1)[1:]
    return not ((sizes >= needed) & (sizes // 2 < needed)).any()


def warn_of_unused_groups(name: str, columns: Sequence[str]) -> None:
    """Warn that instances have groups, and that the detector that decides on them has none.

    Parameters
    ----------
    name : str
        Of the instances.
    columns : sequence of str
        Of the groups.

    Warns
    -----
    CalibrationWarning
        With the way to fit by group.
    """
    warnings.warn(
        f"the groups of {name} (the column {', '.join(map(repr, columns))}) decide nothing: the "
        "detector was fitted without groups and has one threshold; fit it with groups= (on the "
        "command line fit --group COLUMN)",
        CalibrationWarning,
        stacklevel=4,
    )


def warn_of_unseen_points(points: TimePoints, names: Sequence[str]) -> None:
    """Warn of time points whose group was not there at fit, where one threshold is of all groups.

    Parameters
    ----------
    points : TimePoints
        Without group columns nothing is warned of.
    names : sequence of str
        The groups at fit, as text.

    Warns
    -----
    CalibrationWarning
        With their number and what decides on them.

    Examples
    --------
    >>> import pandas as pd
    >>> from isthmus import load
    >>> table = pd.DataFrame({"pump": ["a"] * 30 + ["b"] * 20, "flow": range(50)})
    >>> points = load(table, kind="series", group="pump", window=8).points
    >>> with warnings.catch_warnings(record=True, action="always") as issued:
    ...     warn_of_unseen_points(points, ["a"])
    >>> print(str(issued[0].message).partition(",")[0])
    20 of 50 time points are of groups that were not there at fit ('b')
    """
    if not points.group_columns:
        return
    written = np.array([group_text(one) for one in points.groups], dtype=object)
    known = np.isin(match_groups(written, tuple(dict.fromkeys(names))), names)
    if known.all():
        return
    n = int((~known)[points.codes].sum())
    unseen = written[~known].tolist()
    warnings.warn(
        f"{n:,} of {len(points.codes):,} time points are of groups that were not there at fit "
        f"({', '.join(map(repr, unseen[:5]))}{', ...' * (len(unseen) > 5)}), and are decided by "
        "the threshold of those that were, which promises no rate for them; fit with normal data "
        "of such groups",
        CalibrationWarning,
        stacklevel=4,
    )
