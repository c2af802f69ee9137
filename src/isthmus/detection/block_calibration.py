"""Calibration on blocks of a series: rates of time points and of alarms, measured and bounded.

Time points that follow each other have almost the same score, so a calibration set of n points
holds fewer than n independent ones. `mean_cluster_size` is the mean number of points that are
high together, one over the extremal index by the intervals estimator of Ferro and Segers (Journal
of the Royal Statistical Society B 65, 2003). `block_calibration` keeps one score of each so many,
from the highest down, and hands these to the conformal calibration of `calibration.py`: were the
points of a cluster exactly equal, and the clusters exchangeable with those of a later normal
stretch, the rate of false alarms among its points would be at most the one asked, on average.

Thresholds for a rate of alarms stand in `alarm_rates.py`. Neither promise is exact for a series,
whose blocks depend on their neighbours. What the threshold of all other blocks gives on each block
is measured and reported, and a drift between blocks is tested and warned of.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import betabinom, kruskal, norm, rankdata

from isthmus.detection.alarm_rates import AlarmCounts, AlarmRate, AlarmThreshold
from isthmus.detection.alarms import alarm_levels
from isthmus.detection.calibration import (
    DEFAULT_RATE,
    TOLERANCE,
    Calibration,
    check_rate,
    choose_rate,
    mean_cluster_size,
    round_up,
    rows_needed,
    thinned,
)
from isthmus.detection.timeline import MIN_BATCHES, batch_means
from isthmus.errors import CalibrationError, CalibrationWarning

#: Stretches in turn held out to measure the realised rate.
MAX_FOLDS_IN_TIME = 10
#: Level of each of the two tests of drift.
DRIFT_LEVEL = 0.001
#: A drift is warned of when a stretch realises more than so many times the rate asked.
DRIFT_FACTOR = 2.0


@dataclass(frozen=True, eq=False)
class BlockCalibration:
    """Scores of the time points of held-out normal blocks, as `block_calibration` returns them.

    Attributes
    ----------
    scores : float64 array of shape (n,)
        Of the points of all blocks that have a score, one block after the other.
    blocks : int array of shape (b, 2)
        First and end (exclusive) position of each block in `scores`.
    groups : tuple
        The group of each block, or empty.
    window : int
        Time points of a window.
    mean_cluster : float, at least 1
        Mean number of points that are high together.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.random.default_rng(0).normal(size=1000)
    >>> blocks = block_calibration(scores, np.array([[0, 500], [500, 1000]]), window=1)
    >>> blocks.p_values(np.array([0.0, 4.0])).round(3).tolist()
    [0.467, 0.001]
    >>> rate = blocks.choose_rate("auto")
    >>> rate, blocks.holds(rate), round(blocks.threshold_for_rate(rate), 2)
    (0.01, True, 2.28)
    >>> blocks.band(rate, n_points=1000)[1] < 0.02, blocks.warn_of_drift(blocks.realised(rate))
    (True, False)
    >>> found = blocks.alarm_threshold(AlarmRate.parse("1 per 500 points"))
    >>> found.n_alarms, int((scores > found.threshold).sum())
    (1, 1)
    """

    scores: np.ndarray
    blocks: np.ndarray
    groups: tuple[Any, ...]
    window: int
    mean_cluster: float

    @property
    def n_points(self) -> int:
        """Number of time points with a score."""
        return len(self.scores)

    @cached_property
    def calibration(self) -> Calibration:
        """Conformal calibration on one score of each `mean_cluster` points."""
        return thinned(self.scores, self.mean_cluster)

    @property
    def n_independent(self) -> int:
        """Number of calibration scores that are left: about that many points are independent."""
        return self.calibration.n

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the conformal p-value of each anomaly score; NaN where there is none.

        Parameters
        ----------
        scores : array of shape (k,)

        Returns
        -------
        float64 array of shape (k,), in (0, 1] or NaN
        """
        return np.where(np.isnan(scores), np.nan, self.calibration.p_values(scores))

    def threshold_for_rate(self, rate: float) -> float:
        """Return the anomaly score above which a time point is abnormal at a false-alarm rate.

        Where the blocks hold too few points for the rate it is the highest score among them.

        Parameters
        ----------
        rate : float in (0, 1)

        Returns
        -------
        float

        Raises
        ------
        CalibrationError
            When the rate is not in (0, 1).
        """
        check_rate(rate)
        if not self.holds(rate):
            return float(self.calibration.scores[-1])
        return self.calibration.threshold_for_rate(rate)

    def holds(self, rate: float) -> bool:
        """Return whether the blocks hold enough independent time points for a rate.

        Parameters
        ----------
        rate : float in (0, 1)

        Returns
        -------
        bool
        """
        return rate >= self.calibration.smallest_rate - 1e-12

    def choose_rate(self, rate: float | str) -> float:
        """Return the false-alarm rate to hold; `"auto"` is 0.01 or the smallest that is held.

        Parameters
        ----------
        rate : float in (0, 1) or "auto"

        Returns
        -------
        float

        Raises
        ------
        CalibrationError
            When the rate is not in (0, 1).

        Warns
        -----
        CalibrationWarning
            When `"auto"` has to take more than 0.01, or the blocks hold too few points for the
            rate asked, so that the threshold is the highest score among them.
        """
        chosen = choose_rate(rate, self.n_independent)
        asked = DEFAULT_RATE if isinstance(rate, str) else chosen
        if not self.holds(asked):
            needed = int(np.ceil(rows_needed(asked) * self.mean_cluster))
            smallest = f"{round_up(self.calibration.smallest_rate):.3g}"
            what = (
                f"false_alarm_rate is {smallest}, the smallest that they can hold"
                if isinstance(rate, str)
                else f"the threshold is the highest score among them, which promises {smallest}"
            )
            warnings.warn(
                f"a false-alarm rate of {asked:g} needs about {needed:,} normal time points held "
                f"out, and there are {self.n_points:,}, of which {self.mean_cluster:.3g} that "
                f"follow each other count as one: {what}; bring more normal data",
                CalibrationWarning,
                stacklevel=3,
            )
        return chosen

    def band(self, rate: float, n_points: int, confidence: float = 0.9) -> tuple[float, float]:
        """Return between which shares a new normal stretch is realised with a probability.

        Beta-binomial, as for exchangeable instances, of which a cluster of high points is one here
        and in the new stretch. Sizes of clusters are taken for geometric.

        Parameters
        ----------
        rate : float in (0, 1)
            Asked; the smallest rate that is held where that is larger.
        n_points : int
            Time points of the new stretch.
        confidence : float in (0, 1)

        Returns
        -------
        low, high : float in [0, 1]
        """
        rate = max(rate, self.calibration.smallest_rate)
        above = float((self.scores > self.threshold_for_rate(rate)).mean())  # less where tied
        size = 2 * self.mean_cluster - 1  # of geometric clusters, mean square over mean
        n = self.n_points / size
        n_new = max(1, round(n_points / size))
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        shares = np.array([min(rate, max(above, 1e-9)), rate])  # a beta distribution needs some
        low, high = betabinom.ppf(tails, n_new, shares * (n + 1), (1 - shares) * (n + 1)) / n_new
        return float(low), float(high)

    def realised(self, rate: float) -> dict[str, Any]:
        """Return the share of abnormal points on each stretch at the threshold of all others.

        Parameters
        ----------
        rate : float in (0, 1)

        Returns
        -------
        dict
            `asked`; `realised`, the share over all points; `blocks`, of each held-out stretch
            in order `n` time points and their `share`; `lowest` and `highest` of them; with
            groups `by_group`, share by the name of the group. `at_highest` counts the stretches
            for which the others are too few: their threshold is the highest score of the others.
        """
        flags = np.zeros(self.n_points, dtype=bool)
        at_highest = 0
        fold = self.fold
        for one in range(fold.max() + 1):
            held_out = fold == one
            others = thinned(self.scores[~held_out], self.mean_cluster)
            fits = rate >= others.smallest_rate
            at_highest += not fits
            threshold = others.threshold_for_rate(rate) if fits else others.scores[-1]
            flags[held_out] = self.scores[held_out] > threshold
        return self._facts(rate, flags.astype(float)) | {"at_highest": at_highest}

    def alarm_threshold(
        self,
        rate: AlarmRate | float,
        *,
        merge_gap: int = 0,
        min_length: int = 1,
        step: float | None = None,
    ) -> AlarmThreshold:
        """Return the lowest threshold that holds a rate of false alarms, and all above it.

        Where the blocks are too short for the rate it is the highest score among them.

        Parameters
        ----------
        rate : AlarmRate, or float
            A number is alarms per time point.
        merge_gap, min_length : int
            See `find_alarms`.
        step : float, optional
            Seconds between time points, for a rate in time.

        Returns
        -------
        AlarmThreshold

        Warns
        -----
        CalibrationWarning
            When the blocks are too short for the rate.
        """
        asked = rate if isinstance(rate, AlarmRate) else AlarmRate(float(rate), 1.0, "points")
        per_point = asked.per_point(step)
        cell = merge_gap + min_length
        held = per_point * (self.n_points + cell) >= 1 - 1e-9
        if not held:
            text = asked.needs_more(self.n_points, cell, step)
            warnings.warn(text, CalibrationWarning, stacklevel=3)
        levels = alarm_levels(self.scores, self.blocks, merge_gap=merge_gap, min_length=min_length)
        alarms = AlarmCounts(levels, self.blocks, self.fold)
        folds = np.arange(self.fold.max() + 1)
        threshold = alarms.lowest_threshold(folds, per_point, cell)
        held_out = np.zeros(self.n_points)
        for one in folds:
            of_others = alarms.lowest_threshold(folds[folds != one], per_point, cell)
            own = self.fold == one
            held_out[own] = alarms.begins(of_others, self.n_points)[own]
        n_alarms = int(alarms.begins(threshold, self.n_points).sum())
        return AlarmThreshold(
            threshold=threshold,
            asked=asked,
            per_point=per_point,
            n_alarms=n_alarms,
            n_points=self.n_points,
            share_of_points=float((self.scores > threshold).mean()),
            realised=self._facts(per_point, held_out),
            held=held,
        )

    @cached_property
    def fold(self) -> np.ndarray:
        """Stretch of each point, from 0: up to ten of about equal length, in order."""
        middle = np.arange(self.n_points) + 0.5
        length = max(2 * self.window, self.n_points / MAX_FOLDS_IN_TIME)
        n_folds = max(2, int(self.n_points / length + 1e-9))
        if len(self.blocks) > 1:  # whole blocks where they are short, parts of them where long
            lengths = np.diff(self.blocks, axis=1).ravel()
            parts = np.maximum(1, np.round(lengths * n_folds / self.n_points)).astype(int)
            edges = np.concatenate(
                [
                    np.linspace(first, end, n + 1)[:-1]
                    for (first, end), n in zip(self.blocks, parts, strict=True)
                ]
            ).astype(int)
            part = np.searchsorted(edges, np.arange(self.n_points), side="right") - 1
            ends = np.append(edges[1:], self.n_points)
            middle = ((edges + ends) / 2)[part]
        fold = (middle * n_folds / self.n_points).astype(int)
        return np.unique(fold, return_inverse=True)[1]

    @cached_property
    def drift(self) -> dict[str, Any]:
        """Tests of whether the scores of held-out stretches differ by more than chance.

        Time points are batched so that batches are hardly correlated, and the mean of each batch
        of -ln of the rank from above is taken. Kruskal and Wallis' test compares the stretches,
        Mann and Kendall's (by group, Hirsch et al., 1982) tests for a trend in time.

        Returns
        -------
        dict
            `batch`, time points of a batch, and `n_batches`; `p_blocks` and `p_trend`, None where
            there are too few batches to test; `drifts`, whether one is at most `DRIFT_LEVEL`.
        """
        ranks = rankdata(-np.round(self.scores, -round(np.log10(TOLERANCE))))
        surprise = -np.log(ranks / (self.n_points + 1))
        of_blocks = self.fold, self.blocks[:, 0], self.groups, self.window
        means, fold, group, size = batch_means(surprise, *of_blocks)
        p_blocks = p_trend = None
        samples = [means[fold == one] for one in np.unique(fold)]
        samples = [sample for sample in samples if len(sample) >= MIN_BATCHES]
        if len(samples) > 1 and np.ptp(np.concatenate(samples)) > 0:
            p_blocks = float(kruskal(*samples).pvalue)
        trend, variance = 0.0, 0.0
        for one in np.unique(group):
            ordered = means[group == one]
            n = len(ordered)
            trend += float(np.triu(np.sign(ordered[None, :] - ordered[:, None])).sum())
            variance += n * (n - 1) * (2 * n + 5) / 18
        if len(means) >= 2 * MIN_BATCHES and variance > 0:
            p_trend = float(2 * norm.sf(max(0.0, abs(trend) - 1) / np.sqrt(variance)))
        tested = [p for p in (p_blocks, p_trend) if p is not None]
        return {
            "batch": size,
            "n_batches": len(means),
            "p_blocks": p_blocks,
            "p_trend": p_trend,
            "drifts": any(p <= DRIFT_LEVEL for p in tested),
        }

    def warn_of_drift(
        self, realised: dict[str, Any], asked: AlarmRate | None = None, step: float | None = None
    ) -> bool:
        """Warn where stretches differ by more than chance, and one has more than twice the rate.

        Parameters
        ----------
        realised : dict
            As `realised` gives it, or an `AlarmThreshold` holds it.
        asked : AlarmRate, optional
            When the rate is one of alarms: the warning uses its units, and one alarm more than
            twice as many as asked are no reason for it.
        step : float, optional
            Seconds between time points, for a rate in time.

        Returns
        -------
        bool
            Whether there was a warning.

        Warns
        -----
        CalibrationWarning
            When `drift` finds that stretches differ, and one realises more than `DRIFT_FACTOR`
            times the rate asked.
        """
        most = DRIFT_FACTOR * realised["asked"]
        excess = [one["share"] - (asked is not None) / one["n"] for one in realised["blocks"]]
        if not self.drift["drifts"] or max(excess) <= most:
            return False
        names = ("lowest", "highest", "asked")
        low, high, rate = (
            f"{realised[name]:.3g}" if asked is None else f"'{asked.like(realised[name], step)}'"
            for name in names
        )
        warnings.warn(
            "normal data drift: on one held-out stretch after the other, at the threshold of the "
            f"other ones, the realised rate of false alarms is between {low} and {high}, where "
            f"{rate} is asked; later data may be as far off: fit on data like those to come, or "
            "ask for a lower rate",
            CalibrationWarning,
            stacklevel=3,
        )
        return True

    def _facts(self, asked: float, counts: np.ndarray) -> dict[str, Any]:
        """Return realised rates per point, in all, by stretch and by group."""
        n = np.bincount(self.fold)
        shares = np.bincount(self.fold, counts) / n
        facts: dict[str, Any] = {
            "asked": asked,
            "realised": float(counts.mean()),
            "blocks": [
                {"n": int(n), "share": float(share)} for n, share in zip(n, shares, strict=True)
            ],
            "lowest": float(shares.min()),
            "highest": float(shares.max()),
        }
        if self.groups:
            lengths = np.diff(self.blocks, axis=1).ravel()
            sums = np.add.reduceat(counts, self.blocks[:, 0])
            names = [str(group) for group in self.groups]
            facts["by_group"] = {
                name: float(
                    sum(s for s, own in zip(sums, names, strict=True) if own == name)
                    / sum(length for length, own in zip(lengths, names, strict=True) if own == name)
                )
                for name in dict.fromkeys(names)
            }
        return facts


def block_calibration(
    scores: np.ndarray,
    blocks: np.ndarray,
    *,
    window: int,
    groups: Sequence[Any] = (),
    mean_cluster: float | None = None,
) -> BlockCalibration:
    """Calibrate on the scores of the time points of blocks that nothing was trained on.

    Parameters
    ----------
    scores : array of shape (m,)
        Anomaly scores of time points; NaN where there is none.
    blocks : int array of shape (b, 2)
        First and end (exclusive) position in `scores` of each block, in order; none overlap.
    window : int
        Time points of a window.
    groups : sequence of length b, optional
        The group of each block, such as its machine.
    mean_cluster : float, optional
        Number of points that count as one; by default `mean_cluster_size` of the scores.

    Raises
    ------
    CalibrationError
        When fewer than two points have a score.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.repeat(np.random.default_rng(0).normal(size=300), 10)
    >>> found = block_calibration(scores, np.array([[0, 3000]]), window=10)
    >>> found.n_points, 150 < found.n_independent < 450
    (3000, True)
    """
    scores = np.asarray(scores, dtype=np.float64)
    blocks = np.asarray(blocks, dtype=np.int64).reshape(-1, 2)
    scored = [scores[first:end] for first, end in blocks]
    scored = [part[~np.isnan(part)] for part in scored]
    kept = [i for i, part in enumerate(scored) if len(part)]
    lengths = [len(scored[i]) for i in kept]
    if sum(lengths) < 2:
        raise CalibrationError(
            f"got {sum(lengths)} time points with a score to calibrate on, expected at least 2; "
            "bring more normal data, or a smaller window (on the command line --window)"
        )
    ends = np.cumsum(lengths)
    values = np.concatenate([scored[i] for i in kept])
    if mean_cluster is None:
        # Of equal scores none is high: those of a window count as one.
        mean_cluster = mean_cluster_size(values) if np.ptp(values) > 0 else window
    return BlockCalibration(
        scores=values,
        blocks=np.column_stack([ends - lengths, ends]),
        groups=tuple(groups[i] for i in kept) if len(groups) else (),
        window=window,
        mean_cluster=max(1.0, float(mean_cluster)),
    )
