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

from isthmus.data import NO_GROUP, match_groups
from isthmus.detection.calibration import Calibration, rows_needed
from isthmus.errors import CalibrationWarning

#: Which calibration a group has: its own, that of all small groups, or that of all rows.
OWN, SMALL, ALL = "group", "small groups", "all rows"
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
    >>> by_group.places(by_group.matched(groups)).tolist(), by_group.counts_of(groups)["unseen"]
    ([0, 1, 2], ['new'])
    >>> by_group.at_rate(0.1).threshold_of_place().tolist()
    [89.0, 890.0, 790.0]
    >>> by_group.conditional_p_values(np.full(3, 500.0), groups).round(2).tolist()
    [0.05, 0.73, 0.36]
    >>> GroupCalibration.from_state(by_group.state(), 0.01).facts()["n_own"]
    2
    >>> full = GroupCalibration.of(scores[:198], np.repeat(groups[:2], 99), ["a", "b"], rate=0.01)
    >>> full.warn_of_small(), full.warn_of_unseen(groups[:2])  # nothing to warn of
    (None, None)
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

        Returns
        -------
        GroupCalibration
        """
        positions = {name: at for at, name in enumerate(names)}
        codes = np.array([positions.get(one, -1) for one in groups.tolist()], dtype=np.int64)
        order = np.argsort(scores, kind="stable")  # raising keeps the order
        raised = np.empty(len(scores))
        raised[order] = Calibration.with_tolerance(scores).scores
        return cls(raised, codes, names, rate)

    def at_rate(self, rate: float) -> GroupCalibration:
        """Return the calibration for another rate, for which other groups may be too small.

        Parameters
        ----------
        rate : float in (0, 1)

        Returns
        -------
        GroupCalibration
        """
        return GroupCalibration(self.scores, self.codes, self.names, rate)

    def matched(self, groups: np.ndarray) -> np.ndarray:
        """Return groups as those at fit are written, see `isthmus.data.match_groups`.

        Parameters
        ----------
        groups : object array of shape (k,)

        Returns
        -------
        object array of shape (k,)
            Text.
        """
        return match_groups(groups, self.names)

    def places(self, groups: np.ndarray) -> np.ndarray:
        """Return which of `calibrations` each instance has, int array of shape (k,).

        Parameters
        ----------
        groups : object array of shape (k,)

        Returns
        -------
        int array of shape (k,)
        """
        position = dict(zip(self.names, self.positions.tolist(), strict=True))
        last = len(self.calibrations) - 1
        return np.array(
            [position.get(one, last) for one in self.matched(groups).tolist()], dtype=np.int64
        )

    def p_values(self, scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return the conformal p-value of each anomaly score in its group, shape (k,).

        Parameters
        ----------
        scores : array of shape (k,)
            Anomaly scores.
        groups : object array of shape (k,)

        Returns
        -------
        float64 array of shape (k,), in (0, 1]
        """
        return self._by_place(scores, groups, lambda one, own: one.p_values(own))

    def conditional_p_values(
        self, scores: np.ndarray, groups: np.ndarray, confidence: float = 0.9
    ) -> np.ndarray:
        """Return p-values that are valid given the calibration rows, see `Calibration`.

        Parameters
        ----------
        scores : array of shape (k,)
            Anomaly scores.
        groups : object array of shape (k,)
        confidence : float in (0, 1), default=0.9
            See `Calibration.conditional_p_values`.

        Returns
        -------
        float64 array of shape (k,), in (0, 1]
        """
        return self._by_place(
            scores, groups, lambda one, own: one.conditional_p_values(own, confidence)
        )

    def thresholds(self, groups: np.ndarray) -> np.ndarray:
        """Return the score above which an instance of each group is abnormal, shape (k,).

        Parameters
        ----------
        groups : object array of shape (k,)

        Returns
        -------
        float64 array of shape (k,)
        """
        return self.threshold_of_place()[self.places(groups)]

    def threshold_of_place(self) -> np.ndarray:
        """Return the threshold of each of `calibrations`.

        Returns
        -------
        float64 array, one of each of `calibrations`
        """
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
        found = pd.Series(self.matched(groups), dtype=object).value_counts()
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

        Parameters
        ----------
        groups : object array of shape (k,)

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
        """Return arrays and plain values from which `from_state` rebuilds the calibration.

        Returns
        -------
        dict
            `scores` and `codes` (arrays) and `names` (list of str).
        """
        return {"scores": self.scores, "codes": self.codes, "names": list(self.names)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], rate: float) -> Self:
        """Rebuild from what `state` returned, for the rate of the detector.

        Parameters
        ----------
        state : mapping
            As `state` returned it.
        rate : float in (0, 1)
            The false-alarm rate of the detector.

        Returns
        -------
        GroupCalibration
        """
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

    Returns
    -------
    low, high : float
        Shares of the new rows.

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
