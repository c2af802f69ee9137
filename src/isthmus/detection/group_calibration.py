"""Calibration by group: a false-alarm rate that holds on each machine, and not on average over all.

Scores of machines differ in scale, so that with one threshold for all of them some get several
times the rate that was asked for and others none. A calibration by group compares a score with
those of calibration rows of its own group alone (Mondrian conformal prediction; Vovk, Lindsay,
Nouretdinov and Gammerman, 2003; Vovk, Gammerman and Shafer, 2005, section 4.5): when the rows of a
group are exchangeable with its later ones, P(p <= a) <= a holds in every group.

A rate needs calibration rows, 99 for 0.01, and some groups have fewer. The rule, for a rate that
needs m of them:

1. A group with m calibration rows or more has a calibration of its own.
2. Groups with fewer share one, of the rows of all of these, where together they have m.
3. Otherwise, and of a group that was not there at fit or is missing, the calibration of all rows
   decides.

Of 2 the rate holds on average over the small groups, in the mix in which they were there at fit;
of 3 it is promised for no group. Which group is which depends on the number of rows and on the
rate, never on scores, so that the first promise is exact. How many rows and groups are in which
case is said once in a warning and is in the facts.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.stats import betabinom

from isthmus.data import NO_GROUP, Instances, as_instances, group_codes, read_groups
from isthmus.detection.calibration import (
    MAX_CALIBRATION_ROWS,
    Calibration,
    choose_rate,
    draw_calibration_rows,
    n_folds,
    rows_needed,
)
from isthmus.errors import CalibrationWarning, DataError

#: Which calibration a group has: its own, that of all small groups, or that of all rows.
OWN, SMALL, ALL = "group", "small groups", "all rows"
#: Share of a group that calibrates with "split", where that is enough for the rate.
SHARE = 0.2
#: Groups that a warning names, at most.
MAX_NAMED = 5


class GroupCalibration:
    """Calibration scores by group, with p-values and thresholds for a rate.

    Parameters
    ----------
    scores : array of shape (n,)
        Of all calibration rows, as `Calibration.with_tolerance` raises them.
    codes : int array of shape (n,)
        Group of each row, a position in `names`; -1 of a row without a group.
    names : sequence of str
        Groups at fit, sorted, also those without a calibration row.
    rate : float in (0, 1)
        The false-alarm rate, by which the number of rows that a group needs follows.

    Attributes
    ----------
    calibrations : list of Calibration
        Those in use: of each group with its own, of the small groups where they have one, and
        last that of all rows.
    positions : int array of shape (len(names),)
        Which of them each group has.
    how : list of str
        `"group"`, `"small groups"` or `"all rows"`, of each group.

    Examples
    --------
    >>> scores = np.concatenate([np.arange(99.0), 10 * np.arange(99.0), [7.0]])
    >>> codes = np.repeat([0, 1, 2], [99, 99, 1])
    >>> by_group = GroupCalibration(scores, codes, ["a", "b", "c"], rate=0.01)
    >>> by_group.how
    ['group', 'group', 'all rows']
    >>> groups = np.array(["a", "b", "new"], dtype=object)
    >>> by_group.p_values(np.full(3, 500.0), groups).round(3).tolist()
    [0.01, 0.5, 0.25]
    >>> by_group.thresholds(groups).tolist()
    [98.0, 980.0, 970.0]
    """

    def __init__(
        self, scores: np.ndarray, codes: np.ndarray, names: Sequence[str], rate: float
    ) -> None:
        self.scores = np.asarray(scores, dtype=np.float64)
        self.codes = np.asarray(codes, dtype=np.int64)
        self.names, self.rate = tuple(names), float(rate)
        self.needed = rows_needed(rate)
        self.counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        own = self.counts >= self.needed
        small = np.isin(self.codes, np.flatnonzero(~own))
        pooled = int(small.sum()) >= self.needed and not own.all()
        self.calibrations = [
            Calibration(self.scores[self.codes == at]) for at in np.flatnonzero(own)
        ]
        if pooled:
            self.calibrations.append(Calibration(self.scores[small]))
        self.calibrations.append(Calibration(self.scores))
        rest = len(self.calibrations) - (2 if pooled else 1)
        self.positions = np.full(len(self.names), rest)
        self.positions[own] = np.arange(int(own.sum()))
        self.how = [OWN if one else SMALL if pooled else ALL for one in own.tolist()]

    @classmethod
    def of(cls, scores: np.ndarray, groups: np.ndarray, names: Sequence[str], rate: float) -> Self:
        """Return the calibration of scores as they are, with the tolerance of `Calibration`.

        Parameters
        ----------
        scores : array of shape (n,)
            Anomaly scores of normal rows.
        groups : object array of shape (n,)
            Text, empty where a row has no group.
        names : sequence of str
            All groups at fit.
        rate : float in (0, 1)
        """
        positions = {name: at for at, name in enumerate(names)}
        codes = np.array([positions.get(one, -1) for one in groups.tolist()], dtype=np.int64)
        order = np.argsort(scores, kind="stable")  # raising keeps the order
        raised = np.empty(len(scores))
        raised[order] = Calibration.with_tolerance(scores).scores
        return cls(raised, codes, names, rate)

    def at_rate(self, rate: float) -> GroupCalibration:
        """Return the calibration for another rate, for which other groups may be too small."""
        return GroupCalibration(self.scores, self.codes, self.names, rate)

    def places(self, groups: np.ndarray) -> np.ndarray:
        """Return which of `calibrations` each instance has, int array of shape (k,).

        Parameters
        ----------
        groups : object array of shape (k,)
        """
        position = dict(zip(self.names, self.positions.tolist(), strict=True))
        last = len(self.calibrations) - 1
        return np.array([position.get(one, last) for one in groups.tolist()], dtype=np.int64)

    def p_values(self, scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return the conformal p-value of each anomaly score in its group, shape (k,)."""
        return self._by_place(scores, groups, lambda one, own: one.p_values(own))

    def conditional_p_values(
        self, scores: np.ndarray, groups: np.ndarray, confidence: float = 0.9
    ) -> np.ndarray:
        """Return p-values that are valid given the calibration rows, see `Calibration`."""
        return self._by_place(
            scores, groups, lambda one, own: one.conditional_p_values(own, confidence)
        )

    def thresholds(self, groups: np.ndarray) -> np.ndarray:
        """Return the score above which an instance of each group is abnormal, shape (k,)."""
        return self.threshold_of_place()[self.places(groups)]

    def threshold_of_place(self) -> np.ndarray:
        """Return the threshold of each of `calibrations`."""
        return np.array([one.threshold_for_rate(self.rate) for one in self.calibrations])

    def _by_place(self, scores: np.ndarray, groups: np.ndarray, function: Any) -> np.ndarray:
        places, found = self.places(groups), np.empty(len(scores))
        for place in np.unique(places):
            own = places == place
            found[own] = function(self.calibrations[place], scores[own])
        return found

    def counts_of(self, groups: np.ndarray) -> dict[str, Any]:
        """Return how many instances are decided in which way.

        Parameters
        ----------
        groups : object array of shape (k,)

        Returns
        -------
        dict
            `n_own`, by the calibration of their group; `n_small_groups`, by that of the small
            groups; `n_all_rows`, by that of all rows, among them `n_unseen`, of a group that was
            not there at fit, and `n_missing`, without a group; `unseen`, up to five of the groups.
        """
        how = dict(zip(self.names, self.how, strict=True))
        found = pd.Series(groups, dtype=object).value_counts()
        counts = {OWN: 0, SMALL: 0, ALL: 0}
        unseen = [str(one) for one in found.index if one not in how and one != NO_GROUP]
        for group, n in found.items():
            counts[how.get(str(group), ALL)] += int(n)
        return {
            "n_own": counts[OWN],
            "n_small_groups": counts[SMALL],
            "n_all_rows": counts[ALL],
            "n_unseen": int(found.reindex(unseen).sum()),
            "n_missing": int(found.get(NO_GROUP, 0)),
            "unseen": sorted(unseen)[:MAX_NAMED],
        }

    def warn_of_unseen(self, groups: np.ndarray) -> None:
        """Warn of instances whose group was not there at fit, or is missing.

        Warns
        -----
        CalibrationWarning
            That they are decided by the calibration of all rows.
        """
        counts = self.counts_of(groups)
        n = counts["n_unseen"] + counts["n_missing"]
        if not n:
            return
        named = ", ".join(map(repr, counts["unseen"]))
        parts = [f"{counts['n_unseen']:,} of groups that were not there at fit ({named})"]
        parts = parts if counts["n_unseen"] else []
        parts += [f"{counts['n_missing']:,} without a group"] if counts["n_missing"] else []
        warnings.warn(
            f"{' and '.join(parts)}, of {len(groups):,} instances, are decided by the threshold of "
            "all groups together, which promises no rate for them; fit with normal rows of these "
            "groups",
            CalibrationWarning,
            stacklevel=4,
        )

    def warn_of_small(self) -> None:
        """Warn of groups that have too few calibration rows for the rate, and of rows without one.

        Warns
        -----
        CalibrationWarning
            Which they are, how they are pooled, and what they need; how many rows have no group.
        """
        if n := int((self.codes < 0).sum()):
            warnings.warn(
                f"{n:,} of {len(self.codes):,} calibration rows have no group: they calibrate only "
                "where all rows do; give each row its group, or fit without groups where there "
                "are none",
                CalibrationWarning,
                stacklevel=4,
            )
        small = [at for at, how in enumerate(self.how) if how != OWN]
        if not small:
            return
        named = ", ".join(f"{self.names[at]!r}: {self.counts[at]}" for at in small[:MAX_NAMED])
        more = ", ..." if len(small) > MAX_NAMED else ""
        if self.how[small[0]] == SMALL:
            n = int(self.counts[small].sum())
            pooled = f"share one calibration of their {n:,} rows, which holds the rate on average "
            pooled += "over these groups and not in each"
        else:
            pooled = f"are decided by the calibration of all {len(self.scores):,} rows, which "
            pooled += "promises no rate for them"
        warnings.warn(
            f"{len(small):,} of {len(self.names):,} groups have fewer than the {self.needed} "
            f"calibration rows that a false-alarm rate of {self.rate:g} needs ({named}{more}): "
            f"they {pooled}; bring more normal rows of these groups, or ask for a larger rate",
            CalibrationWarning,
            stacklevel=4,
        )

    def facts(self) -> dict[str, Any]:
        """Return what each group is calibrated on, as plain values for JSON.

        Returns
        -------
        dict
            `rate`; `rows_needed`, calibration rows that it needs; `n_groups`; `n_own`,
            `n_small_groups` and `n_all_rows`, how many groups are calibrated in which way;
            `n_without_group`, calibration rows of no group; `groups`, of each `name`, `n`
            calibration rows, `calibration` ("group", "small groups" or "all rows") and
            `threshold`.
        """
        thresholds = self.threshold_of_place()
        return {
            "rate": self.rate,
            "rows_needed": self.needed,
            "n_groups": len(self.names),
            "n_own": self.how.count(OWN),
            "n_small_groups": self.how.count(SMALL),
            "n_all_rows": self.how.count(ALL),
            "n_without_group": int((self.codes < 0).sum()),
            "groups": [
                {
                    "name": name,
                    "n": int(self.counts[at]),
                    "calibration": self.how[at],
                    "threshold": float(thresholds[self.positions[at]]),
                }
                for at, name in enumerate(self.names)
            ],
        }

    def state(self) -> dict[str, Any]:
        """Return arrays and plain values from which `from_state` rebuilds the calibration."""
        return {"scores": self.scores, "codes": self.codes, "names": list(self.names)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], rate: float) -> Self:
        """Rebuild from what `state` returned, for the rate of the detector."""
        return cls(state["scores"], state["codes"], state["names"], rate)


def band(
    rate: float, n_calibration: int, n_new: int, confidence: float = 0.9
) -> tuple[float, float]:
    """Return between which shares of new normal rows are called abnormal, with a probability.

    Given n calibration rows the share of later rows above the k-th largest of their scores, with
    k = floor(rate (n + 1)), has the beta distribution with parameters k and n + 1 - k (Vovk, 2012),
    so that the number among m rows is beta-binomial.

    Parameters
    ----------
    rate : float in (0, 1)
        Asked; with fewer rows than it needs the smallest that they hold.
    n_calibration, n_new : int
        Calibration rows, and new ones.
    confidence : float in (0, 1)

    Examples
    --------
    >>> low, high = band(0.05, 199, 1000)
    >>> round(low, 3), round(high, 3)
    (0.025, 0.08)
    """
    k = max(1, min(n_calibration, int(rate * (n_calibration + 1) + 1e-9)))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = betabinom.ppf(tails, n_new, k, n_calibration + 1 - k) / n_new
    return float(low), float(high)


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
    """Return the groups of rows as arrays and plain values, empty where there are none."""
    if groups is None:
        return {}
    names, codes = group_codes(groups)
    return {"groups": {"names": list(names), "codes": codes}}


def groups_from_state(state: Mapping[str, Any]) -> np.ndarray | None:
    """Return the groups of rows from what `groups_state` returned.

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
