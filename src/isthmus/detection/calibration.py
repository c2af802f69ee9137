"""Conformal calibration: which rows calibrate, and p-values and thresholds from their scores.

A false-alarm rate becomes a threshold in `Calibration.threshold_for_rate`; what the rate `"auto"`
means stands in `choose_rate`.

The p-value of a score is its conformal rank among the scores of `n` calibration rows, which
are normal and on which nothing was trained::

    p(s) = (1 + #{calibration scores >= s}) / (n + 1)

When a new normal instance and the calibration rows are exchangeable, P(p <= a) <= a for every
a and every n, whatever the score (Vovk, Gammerman and Shafer, 2005). With one calibration set
for many instances these p-values are positively dependent (PRDS), so Benjamini and Hochberg's
selection (`selection.py`) holds its false-discovery rate (Bates, Candès, Lei, Romano and Sesia,
Annals of Statistics 51, 2023).

The last digit of a row's score depends on the batch size, the processor, and on whether the
library or an exported graph computed it. A threshold equal to the score of a row would let that
digit decide. `Calibration.with_tolerance` therefore counts a score as no higher than a calibration
score that it exceeds by less than a tolerance. Both guarantees stay exact: each calibration score
is raised by a fixed increasing function of itself alone, so calibration rows stay exchangeable,
p-values can only grow, and the argument for the selection, in which calibration scores are replaced
by larger ones, still applies.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Self

import numpy as np
from scipy.special import gammaln

from isthmus._core import shown
from isthmus.errors import CalibrationError, CalibrationWarning

#: The false-alarm rate that `"auto"` means where the calibration rows can hold it.
DEFAULT_RATE = 0.01
#: A score that exceeds a calibration score by less counts as equal to it: relative to the larger
#: of 1 and the calibration score. An exported graph may differ from the library by as much.
TOLERANCE = 1e-4
#: Decimals to which anomaly scores are rounded.
DECIMALS = 6
#: Number of normal rows from which `"auto"` splits: a fifth of them can then be spared.
MIN_ROWS_FOR_SPLIT = 2000
#: More calibration rows than this hardly reduce the variance of the threshold.
MAX_CALIBRATION_ROWS = 2000
#: Share of the points of a series that count as high where clusters of them are measured, and
#: their least number.
CLUSTER_SHARE = 0.05
MIN_CLUSTER_POINTS = 100
MAX_FOLDS = 5
MIN_ROWS = 4


class Calibration:
    """The sorted anomaly scores of calibration rows, with p-values and thresholds from them.

    Parameters
    ----------
    scores : array of shape (n,)
        Anomaly scores of normal rows, higher is more abnormal. Compared as they are;
        `with_tolerance` raises them first.

    Examples
    --------
    >>> import numpy as np
    >>> calibration = Calibration(np.arange(99.0))
    >>> calibration.p_values(np.array([98.0, 200.0])).tolist()
    [0.02, 0.01]
    >>> calibration.at_least(np.array([98.0, 200.0])).tolist()
    [1, 0]
    >>> calibration.conditional_p_values(np.array([98.0, 200.0])).round(2).tolist()
    [0.06, 0.05]
    >>> calibration.threshold_for_rate(0.01), calibration.choose_rate("auto")
    (98.0, 0.01)
    """

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = np.sort(np.asarray(scores, dtype=np.float64))

    @classmethod
    def with_tolerance(cls, scores: np.ndarray) -> Self:
        """Return a calibration whose p-values do not depend on rounding errors of scores.

        Each calibration score c becomes `c + 1e-4 max(1, |c|)`, moved to the middle between two
        neighbouring numbers of six decimals, which no anomaly score equals. A calibration row
        that is scored again, or a row equal to one, then lies inside a step of the p-values and
        not at its edge. p-values are no smaller than without: see the top of this file.

        Parameters
        ----------
        scores : array of shape (n,)
            Anomaly scores of normal rows.

        Returns
        -------
        Calibration

        Examples
        --------
        >>> import numpy as np
        >>> calibration = Calibration.with_tolerance(np.array([1.5, 2.0]))
        >>> [round(float(score), 7) for score in calibration.scores]
        [1.5001505, 2.0002005]
        >>> calibration.p_values(np.array([1.500001, 1.51])).round(2).tolist()
        [1.0, 0.67]
        """
        return cls(raised_scores(scores))

    @property
    def n(self) -> int:
        """Number of calibration rows."""
        return len(self.scores)

    @property
    def smallest_rate(self) -> float:
        """Smallest false-alarm rate that these rows can hold: 1 / (n + 1)."""
        return 1 / (self.n + 1)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the conformal p-value of each anomaly score, in [1 / (n + 1), 1].

        Parameters
        ----------
        scores : array of shape (k,)
            Anomaly scores.

        Returns
        -------
        float64 array of shape (k,)
        """
        return (1 + self.at_least(scores)) / (self.n + 1)

    def at_least(self, scores: np.ndarray) -> np.ndarray:
        """Return the number of calibration scores that are at least as high as each score.

        Parameters
        ----------
        scores : array of shape (k,)

        Returns
        -------
        int array of shape (k,)
        """
        return self.n - np.searchsorted(self.scores, scores, side="left")

    def conditional_p_values(self, scores: np.ndarray, confidence: float = 0.9) -> np.ndarray:
        """Return p-values that are valid given this calibration set, not on average over sets.

        With probability `confidence` over the calibration rows, P(p <= a) <= a for all a at
        once, given those rows. They are larger than the usual ones.

        Parameters
        ----------
        scores : array of shape (k,)
            Anomaly scores.
        confidence : float in (0, 1)

        Returns
        -------
        float64 array of shape (k,)

        Notes
        -----
        The usual p-value i / (n + 1) is replaced by b_i, where b_1 <= ... <= b_n bound all
        order statistics of n uniform variables at once: Simes' adjustment with k = n / 2 of
        Bates et al. (2023), `b_(n+1-i) = 1 - delta^(1/k) (i ... (i-k+1) / n ... (n-k+1))^(1/k)`.
        """
        check_confidence(confidence)
        return _simes_bounds(self.n, 1 - confidence)[self.at_least(scores)]

    def threshold_for_rate(self, rate: float) -> float:
        """Return the anomaly score above which an instance is abnormal at a false-alarm rate.

        It is the k-th largest calibration score, k = floor(rate (n + 1)), raised where there is
        a tolerance: `score > threshold` exactly when `p_value <= rate`.

        Parameters
        ----------
        rate : float in (0, 1)

        Returns
        -------
        float

        Raises
        ------
        CalibrationError
            When the rate is not in (0, 1), or there are fewer than `rows_needed(rate)` rows.
        """
        check_rate(rate)
        k = _rank(rate, self.n)
        if k < 1:
            raise CalibrationError(
                f"a false-alarm rate of {rate:g} needs {rows_needed(rate)} calibration rows, "
                f"there are {self.n}; the smallest rate that they can hold is "
                f"{round_up(self.smallest_rate):.3g}: ask for that or more, or bring more normal "
                "rows"
            )
        return float(self.scores[self.n - k])

    def choose_rate(self, rate: float | str) -> float:
        """Return the false-alarm rate to hold: `choose_rate` for these calibration rows.

        Parameters
        ----------
        rate : float in (0, 1) or "auto"

        Returns
        -------
        float

        Raises
        ------
        CalibrationError
            When the rate is not in (0, 1), or needs more rows.

        Warns
        -----
        CalibrationWarning
            When `"auto"` has to take more than `DEFAULT_RATE`.
        """
        chosen = choose_rate(rate, self.n)
        if isinstance(rate, str) and chosen > DEFAULT_RATE:
            warnings.warn(
                f"false_alarm_rate is {round_up(chosen):.3g}, the smallest that {self.n} "
                f"calibration rows can hold; {DEFAULT_RATE:g} needs {rows_needed(DEFAULT_RATE)}",
                CalibrationWarning,
                stacklevel=3,
            )
        self.threshold_for_rate(chosen)  # raises when there are too few rows
        return chosen


def weighted_p_values(
    scores: np.ndarray,
    weights: np.ndarray,
    calibration_scores: np.ndarray,
    calibration_weights: np.ndarray,
) -> np.ndarray:
    """Return conformal p-values of instances from a source that calibration rows are not from.

    ::

        p(s, w) = (w + sum of w_i over calibration scores s_i >= s) / (w + sum of all w_i)

    With weights in proportion to the likelihood ratio of the later to the calibration source,
    P(p <= a) <= a for a later instance (Tibshirani, Barber, Candès and Ramdas, "Conformal
    prediction under covariate shift", 2019, lemma 3). With equal weights they are those of
    `Calibration.p_values`.

    Parameters
    ----------
    scores, weights : arrays of shape (k,)
        Of the instances.
    calibration_scores, calibration_weights : arrays of shape (n,)

    Examples
    --------
    >>> calibration = np.arange(3.0)
    >>> weighted_p_values(np.array([1.5]), np.ones(1), calibration, np.ones(3)).tolist()
    [0.5]
    >>> weighted_p_values(np.array([1.5]), np.ones(1), calibration, np.array([0, 0, 3])).tolist()
    [1.0]
    """
    order = np.argsort(calibration_scores, kind="stable")
    above = np.append(np.cumsum(calibration_weights[order][::-1])[::-1], 0.0)
    at_least = above[np.searchsorted(calibration_scores[order], scores, side="left")]
    return np.asarray((weights + at_least) / (weights + above[0]))


def raised_scores(scores: np.ndarray) -> np.ndarray:
    """Return scores as `Calibration.with_tolerance` holds them, in the order given."""
    scores = np.asarray(scores, dtype=np.float64)
    raised = scores + TOLERANCE * np.maximum(1, np.abs(scores))
    unit = 10.0**-DECIMALS
    return np.asarray((np.floor(raised / unit + 1e-3) + 0.5) * unit)


def choose_rate(rate: float | str, n_rows: int) -> float:
    """Return the false-alarm rate to hold with up to so many calibration rows.

    Parameters
    ----------
    rate : float in (0, 1) or "auto"
        A number is returned as it is. `"auto"` is `DEFAULT_RATE`, or the smallest rate that the
        rows can hold, 1 / (n_rows + 1), where that is larger.
    n_rows : int

    Raises
    ------
    CalibrationError
        When the rate is neither `"auto"` nor in (0, 1).

    Examples
    --------
    >>> choose_rate(0.05, 10), choose_rate("auto", 99), choose_rate("auto", 19)
    (0.05, 0.01, 0.05)
    """
    if isinstance(rate, str) and rate == "auto":
        return DEFAULT_RATE if rows_needed(DEFAULT_RATE) <= n_rows else 1 / (n_rows + 1)
    check_rate(rate)
    return float(rate)


def rows_needed(rate: float) -> int:
    """Return the number of calibration rows that a rate needs: the least n, rate (n + 1) >= 1.

    Examples
    --------
    >>> rows_needed(0.01), rows_needed(0.05)
    (99, 19)
    """
    return max(0, math.ceil(1 / rate - 1 - 1e-9))


def round_up(rate: float) -> float:
    """Round a rate up to three digits, so that the rate named in an error can be held.

    Examples
    --------
    >>> round_up(1 / 20), round(round_up(1 / 37), 6)
    (0.05, 0.0271)
    """
    unit = 10.0 ** (math.floor(math.log10(rate)) - 2)
    return math.ceil(rate / unit - 1e-9) * unit


def check_rate(rate: Any, name: str = "false_alarm_rate") -> None:
    """Check that a rate is a number strictly between 0 and 1.

    Raises
    ------
    CalibrationError
        When it is not.
    """
    number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
    if not number or not 0 < rate < 1:
        raise CalibrationError(
            f"got {name}={shown(rate)}, expected a number above 0 and below 1, such as "
            f"{DEFAULT_RATE:g}"
        )


def check_confidence(confidence: Any) -> None:
    """Check that a confidence is a number strictly between 0 and 1.

    Raises
    ------
    CalibrationError
        When it is not.
    """
    number = isinstance(confidence, int | float | np.number) and not isinstance(confidence, bool)
    if not number or not 0 < confidence < 1:
        raise CalibrationError(f"got confidence={shown(confidence)}, expected a number in (0, 1)")


def choose_calibration(calibration: str, n_rows: int, most: int = MIN_ROWS_FOR_SPLIT) -> str:
    """Return `"split"` or `"cross"`; `"auto"` is split from `most` normal rows on.

    Raises
    ------
    CalibrationError
        When the name is unknown or there are fewer than four rows.
    """
    if calibration not in ("auto", "split", "cross"):
        raise CalibrationError(
            f"got calibration={calibration!r}, expected 'auto', 'split' or 'cross'"
        )
    if n_rows < MIN_ROWS:
        raise CalibrationError(
            f"got {n_rows} samples that are not labelled abnormal, expected at least "
            f"{MIN_ROWS}, to fit on some and calibrate on the others"
        )
    if calibration == "auto":
        return "split" if n_rows >= most else "cross"
    return calibration


def n_folds(n_rows: int) -> int:
    """Return the number of folds of cross calibration on so many rows."""
    return min(MAX_FOLDS, n_rows // 2)


def draw_calibration_rows(
    calibration: str, n_rows: int, rate: float | str, rng: np.random.Generator
) -> list[np.ndarray]:
    """Draw the calibration rows among `n_rows` normal ones at random.

    Parameters
    ----------
    calibration : {"split", "cross"}
    n_rows : int
    rate : float or "auto"
        The false-alarm rate that they must be able to hold; see `choose_rate`.
    rng : numpy Generator

    Returns
    -------
    list of integer arrays
        For `"split"` one: a fifth of the rows, 2,000 at most, but never fewer than the rate
        needs while half of the rows remain. For `"cross"` five folds that hold every row once.

    Raises
    ------
    CalibrationError
        When the rate needs more rows than there are.
    """
    order = rng.permutation(n_rows)
    most = n_rows if calibration == "cross" else n_rows // 2
    chosen = choose_rate(rate, most)
    needed = rows_needed(chosen)
    if needed > most:
        total = needed if calibration == "cross" else 2 * needed
        other = "" if calibration == "cross" else ", or pass calibration='cross'"
        raise CalibrationError(
            f"a false-alarm rate of {chosen:g} needs {needed} calibration rows, and "
            f"calibration={calibration!r} finds at most {most} among {n_rows} normal rows; bring "
            f"{total} normal rows or more, ask for a rate of {round_up(1 / (most + 1)):.3g} or "
            f"more{other}"
        )
    if calibration == "cross":
        return [np.sort(part) for part in np.array_split(order, n_folds(n_rows))]
    size = max(min(math.ceil(n_rows / 5), MAX_CALIBRATION_ROWS), needed)
    return [np.sort(order[: min(size, most)])]


def mean_cluster_size(scores: np.ndarray) -> float:
    """Return the mean number of successive points that are high together, at least 1.

    One over the extremal index, by the intervals estimator of Ferro and Segers (2003): from the
    times between successive points above a quantile, 95 % or with few points a lower one.

    Parameters
    ----------
    scores : array of shape (n,)
        In the order of time.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(size=4000)
    >>> mean_cluster_size(noise) < 1.3, 6 < mean_cluster_size(np.repeat(noise, 10)) < 14
    (True, True)
    >>> mean_cluster_size(np.arange(1000.0))  # the 100 high points are one run
    100.0
    """
    n_above = max(CLUSTER_SHARE * len(scores), min(MIN_CLUSTER_POINTS, len(scores) / 4))
    above = np.flatnonzero(scores > np.quantile(scores, 1 - n_above / len(scores)))
    between = np.diff(above).astype(np.float64)
    if len(between) < 2:
        return 1.0
    if between.max() < len(scores) / len(above):
        # None is as far from the next as independent ones are on average: all are one cluster.
        return float(len(above))
    top = 2 * (between - 1).sum() ** 2
    index = top / (len(between) * ((between - 1) * (between - 2)).sum())
    return 1 / min(1.0, float(index))


def thinned(scores: np.ndarray, mean_cluster: float) -> Calibration:
    """Return a calibration with one of each `mean_cluster` scores, from the highest down.

    Examples
    --------
    >>> [round(score) for score in thinned(np.arange(10.0), 3).scores]
    [0, 3, 6, 9]
    """
    n = math.ceil(len(scores) / mean_cluster - 1e-9)
    at = np.minimum((np.arange(n) * mean_cluster).astype(int), len(scores) - 1)
    return Calibration.with_tolerance(np.sort(scores)[::-1][at])


def _rank(rate: float, n: int) -> int:
    return min(n, math.floor(rate * (n + 1) + 1e-9))  # a rate just below 1 would give n + 1


def _simes_bounds(n: int, delta: float) -> np.ndarray:
    """Return b_1, ..., b_n and 1: the conditional p-values of ranks 1 to n + 1."""
    k = max(1, n // 2)
    i = np.arange(n, 0, -1)  # of b_1, ..., b_n
    below_one = i >= k  # otherwise a factor of the product is zero, and the bound is 1
    above = i[below_one]
    falling = gammaln(above + 1) - gammaln(above - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    bounds = np.ones(n + 1)
    bounds[:n][below_one] = 1 - np.exp((np.log(delta) + falling) / k)
    return bounds
