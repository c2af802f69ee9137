"""Calibration: rows set aside, p-values and thresholds from their scores.

The p-value of a score is its conformal rank among the scores of `n` calibration rows, which
are normal and which nothing was trained on::

    p(s) = (1 + #{calibration scores >= s}) / (n + 1)

When a new normal instance and the calibration rows are exchangeable, P(p <= a) <= a for every
a and every n, whatever the score (Vovk, Gammerman and Shafer, 2005). With one calibration set
for many instances these p-values are positively dependent (PRDS), so Benjamini and Hochberg's
selection holds its false-discovery rate (Bates, Candès, Lei, Romano and Sesia, Annals of
Statistics 51, 2023).

The same row gets another last digit as a graph, in a batch of another size or on another
processor, and a threshold that is itself the score of a row would make that digit decide.
`Calibration.with_tolerance` therefore counts a score as no higher than a calibration score that
it exceeds by less than a tolerance. Both guarantees stay exact: each calibration score is raised
by a fixed increasing function of itself alone, so that calibration rows stay exchangeable, p can
only grow, and the argument for the selection, in which calibration scores are replaced by larger
ones, still applies.
"""

from __future__ import annotations

import math
import warnings
from typing import Self

import numpy as np
from scipy.special import gammaln

from isthmus.errors import CalibrationError, CalibrationWarning

#: The false-alarm rate that `"auto"` stands for, where the calibration rows can hold it.
USUAL_RATE = 0.01
#: A score that exceeds a calibration score by less counts as equal to it: relative to the larger
#: of 1 and the calibration score. As much as an exported graph may be off.
TOLERANCE = 1e-4
#: Anomaly scores are rounded to so many decimals.
DECIMALS = 6


class Calibration:
    """The sorted anomaly scores of calibration rows, and what follows from them.

    Parameters
    ----------
    scores : array of shape (n,)
        Anomaly scores (higher is more abnormal) of rows that are normal. Compared as they are;
        `with_tolerance` raises them first.

    Examples
    --------
    >>> import numpy as np
    >>> calibration = Calibration(np.arange(99.0))
    >>> calibration.p_values(np.array([98.0, 200.0])).tolist()
    [0.02, 0.01]
    >>> calibration.threshold(0.01)
    98.0
    """

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = np.sort(np.asarray(scores, dtype=np.float64))

    @classmethod
    def with_tolerance(cls, scores: np.ndarray) -> Self:
        """Return a calibration in which rounding decides nothing about rows of these scores.

        Each calibration score c becomes `c + 1e-4 max(1, |c|)`, moved to the middle between two
        neighbouring numbers of six decimals, which no anomaly score is. A calibration row that
        is scored again, or a row equal to one, then lies inside a step of the p-values, not at
        its edge. p-values are no smaller than without: see the head of this file.

        Parameters
        ----------
        scores : array of shape (n,)
            Anomaly scores of rows that are normal.

        Examples
        --------
        >>> import numpy as np
        >>> calibration = Calibration.with_tolerance(np.array([1.5, 2.0]))
        >>> [round(float(score), 7) for score in calibration.scores]
        [1.5001505, 2.0002005]
        >>> calibration.p_values(np.array([1.500001, 1.51])).round(2).tolist()
        [1.0, 0.67]
        """
        scores = np.asarray(scores, dtype=np.float64)
        raised = scores + TOLERANCE * np.maximum(1, np.abs(scores))
        unit = 10.0**-DECIMALS
        return cls((np.floor(raised / unit + 1e-3) + 0.5) * unit)

    @property
    def n(self) -> int:
        """Number of calibration rows."""
        return len(self.scores)

    @property
    def smallest_rate(self) -> float:
        """The smallest false-alarm rate that these rows can hold: 1 / (n + 1)."""
        return 1 / (self.n + 1)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the conformal p-value of each anomaly score, in [1 / (n + 1), 1]."""
        at_least = self.n - np.searchsorted(self.scores, scores, side="left")
        return (1 + at_least) / (self.n + 1)

    def conditional_p_values(self, scores: np.ndarray, confidence: float = 0.9) -> np.ndarray:
        """Return p-values that hold for this very calibration set, not on average over sets.

        With probability `confidence` over the calibration rows, P(p <= a) <= a for all a at
        once, given those rows. They are larger than the usual ones.

        Parameters
        ----------
        scores : array of shape (k,)
            Anomaly scores.
        confidence : float in (0, 1)

        Notes
        -----
        The usual p-value i / (n + 1) is replaced by b_i, where b_1 <= ... <= b_n bound all
        order statistics of n uniform variables at once: Simes' adjustment with k = n / 2 of
        Bates et al. (2023), `b_(n+1-i) = 1 - delta^(1/k) (i ... (i-k+1) / n ... (n-k+1))^(1/k)`.
        """
        if not 0 < confidence < 1:
            raise CalibrationError(f"got confidence={confidence!r}, expected a number in (0, 1)")
        at_least = self.n - np.searchsorted(self.scores, scores, side="left")
        return _simes_bounds(self.n, 1 - confidence)[at_least]

    def threshold(self, rate: float) -> float:
        """Return the anomaly score above which an instance is abnormal.

        It is the k-th largest calibration score, k = floor(rate (n + 1)), raised where there is
        a tolerance: `score > threshold` exactly when `p_value <= rate`.

        Raises
        ------
        CalibrationError
            When the rate is not in (0, 1), or fewer than `rows_needed(rate)` rows are there.
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

    def settle_rate(self, rate: float | str) -> float:
        """Return the rate asked for, checked; for `"auto"` `USUAL_RATE`, or the smallest reachable.

        Warns
        -----
        CalibrationWarning
            When `"auto"` has to take more than `USUAL_RATE`.
        """
        if isinstance(rate, str) and rate == "auto":
            if rows_needed(USUAL_RATE) <= self.n:
                return USUAL_RATE
            warnings.warn(
                f"false_alarm_rate is {round_up(self.smallest_rate):.3g}, the smallest that "
                f"{self.n} calibration rows can hold; {USUAL_RATE:g} needs "
                f"{rows_needed(USUAL_RATE)}",
                CalibrationWarning,
                stacklevel=3,
            )
            return self.smallest_rate
        self.threshold(rate)  # type: ignore[arg-type]
        return float(rate)


def rows_needed(rate: float) -> int:
    """Return how many calibration rows a rate needs: the least n with rate (n + 1) >= 1.

    Examples
    --------
    >>> rows_needed(0.01), rows_needed(0.05)
    (99, 19)
    """
    return max(0, math.ceil(1 / rate - 1 - 1e-9))


def round_up(rate: float) -> float:
    """Return a rate with three digits that is no smaller: whoever asks for it is not refused.

    Examples
    --------
    >>> round_up(1 / 20), round(round_up(1 / 37), 6)
    (0.05, 0.0271)
    """
    unit = 10.0 ** (math.floor(math.log10(rate)) - 2)
    return math.ceil(rate / unit - 1e-9) * unit


def check_rate(rate: float, name: str = "false_alarm_rate") -> None:
    """Check that a rate is a number strictly between 0 and 1."""
    number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
    if not number or not 0 < rate < 1:
        raise CalibrationError(
            f"got {name}={rate!r}, expected a number above 0 and below 1, such as {USUAL_RATE:g}"
        )


def benjamini_hochberg(p_values: np.ndarray, fdr: float) -> np.ndarray:
    """Select with the false-discovery rate held at `fdr` (Benjamini and Hochberg, 1995).

    Parameters
    ----------
    p_values : array of shape (k,)
    fdr : float in (0, 1)
        Largest expected share of normal instances among those selected.

    Returns
    -------
    boolean array of shape (k,)

    Examples
    --------
    >>> import numpy as np
    >>> benjamini_hochberg(np.array([0.01, 0.6, 0.02, 0.9]), fdr=0.1).tolist()
    [True, False, True, False]
    """
    check_rate(fdr, "fdr")
    k = len(p_values)
    ordered = np.sort(p_values)
    passed = np.flatnonzero(ordered <= fdr * np.arange(1, k + 1) / k + 1e-12)
    return p_values <= (ordered[passed[-1]] if len(passed) else -1.0)


def _rank(rate: float, n: int) -> int:
    return min(n, math.floor(rate * (n + 1) + 1e-9))  # a rate a hair below 1 is no n + 1


def _simes_bounds(n: int, delta: float) -> np.ndarray:
    """Return b_1, ..., b_n and 1: the conditional p-values of ranks 1 to n + 1."""
    k = max(1, n // 2)
    i = np.arange(n, 0, -1)  # of b_1, ..., b_n
    enough = i >= k  # otherwise the product holds a zero, and the bound is 1
    above = i[enough]
    falling = gammaln(above + 1) - gammaln(above - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    bounds = np.ones(n + 1)
    bounds[:n][enough] = 1 - np.exp((np.log(delta) + falling) / k)
    return bounds


#: From so many normal rows on a fifth of them can be spared for calibration.
SPLIT_FROM = 2000
#: More calibration rows than this make the threshold hardly steadier.
MOST_CALIBRATION = 2000
N_FOLDS = 5
FEWEST_ROWS = 4


def choose_calibration(calibration: str, n_rows: int) -> str:
    """Return `"split"` or `"cross"`: for `"auto"`, split from 2,000 normal rows on.

    Raises
    ------
    CalibrationError
        When the name is not known or there are fewer than four rows.
    """
    if calibration not in ("auto", "split", "cross"):
        raise CalibrationError(
            f"got calibration={calibration!r}, expected 'auto', 'split' or 'cross'"
        )
    if n_rows < FEWEST_ROWS:
        raise CalibrationError(
            f"got {n_rows} samples that are not labelled abnormal, expected at least "
            f"{FEWEST_ROWS}; some are to learn from and some to calibrate on"
        )
    if calibration == "auto":
        return "split" if n_rows >= SPLIT_FROM else "cross"
    return calibration


def n_folds(n_rows: int) -> int:
    """Return into how many folds cross calibration deals so many rows."""
    return min(N_FOLDS, n_rows // 2)


def calibration_rows(
    calibration: str, n_rows: int, rate: float | str, rng: np.random.Generator
) -> list[np.ndarray]:
    """Choose calibration rows among `n_rows` normal ones.

    Parameters
    ----------
    calibration : {"split", "cross"}
    n_rows : int
    rate : float or "auto"
        The false-alarm rate that they must be able to hold.
    rng : numpy Generator

    Returns
    -------
    list of integer arrays
        For `"split"` one: a fifth of the rows, 2,000 at most, but never fewer than the rate
        needs while half of the rows remain. For `"cross"` five folds that hold every row once.

    Raises
    ------
    CalibrationError
        When the rate needs more rows than can be had.
    """
    asked = USUAL_RATE if rate == "auto" else rate
    check_rate(asked)  # type: ignore[arg-type]
    needed = rows_needed(float(asked))
    order = rng.permutation(n_rows)
    most = n_rows if calibration == "cross" else n_rows // 2
    if needed > most and rate != "auto":
        total = needed if calibration == "cross" else 2 * needed
        other = "" if calibration == "cross" else ", or pass calibration='cross'"
        raise CalibrationError(
            f"a false-alarm rate of {asked:g} needs {needed} calibration rows, and "
            f"calibration={calibration!r} finds at most {most} among {n_rows} normal rows; bring "
            f"{total} normal rows or more, ask for a rate of {round_up(1 / (most + 1)):.3g} or "
            f"more{other}"
        )
    if calibration == "cross":
        return [np.sort(part) for part in np.array_split(order, n_folds(n_rows))]
    size = min(math.ceil(n_rows / 5), MOST_CALIBRATION)
    return [np.sort(order[: min(max(size, needed), most)])]
