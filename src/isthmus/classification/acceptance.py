"""Which predictions can be accepted at a stated share of wrong ones: a bound for all thresholds.

Let R(t) be the share of wrong predictions among instances whose nonconformity is below t. Of n
calibration instances, sorted from the most certain on, the first that are below t hold w wrong
and r right ones. A threshold is accepted where w is at most g(r), g a step function that does not
decrease, chosen so that a walk of n steps, each wrong with the constant probability
`max_error`, ever has w <= g(r) with a probability of at most 1 - `confidence`.

Then P(any threshold t with R(t) > max_error is accepted) <= 1 - confidence, for every
distribution and every head, and any of the accepted thresholds may be taken: here the largest. For
let F be the distribution of the nonconformity, and move each wrong instance from its quantile
among the wrong ones to the quantile of the measure max_error x F, each right one to that of
(1 - max_error) x F, those in excess of either to the other. The moved instances are
independent, and wrong with the probability `max_error` whatever their place: the walk. Below a
t with R(t) > max_error the wrong ones hold more mass than max_error x F, so that they are moved up,
and the right ones hold less, and are moved down. There the walk has no more wrong and no fewer
right ones than the instances, and has w <= g(r) wherever these have. The bound is attained where
R is constant.

Testing from the most certain instances on until one test fails (Learn then test, Angelopoulos et
al., 2021) accepts nothing when one of the first is wrong. Selection with guaranteed risk (Geifman
and El-Yaniv, NeurIPS 2017) shares the level out among the thresholds of a binary search; the
walk takes into account that neighbouring thresholds have most instances in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import beta, binom, nbinom

#: Numbers of right predictions at which the largest number of wrong ones may grow.
N_STEPS = 50
#: Halvings of the interval in which the level of a single threshold is sought.
N_HALVINGS = 16


@dataclass(frozen=True)
class Acceptance:
    """The instances whose predicted class is wrong at most so often, see `ClassCalibration.accept`.

    Attributes
    ----------
    max_error : float
        Largest share of wrong predictions among the accepted that was asked for.
    confidence : float
        Probability, over calibration sets, with which it holds.
    threshold : float
        Instances with a lower nonconformity of the predicted class are accepted; minus infinity
        where none can be.
    share : float
        Of the calibration instances, how many are accepted.
    n : int
        Calibration instances that are accepted, and `n_wrong` of them predicted wrongly.
    n_wrong : int
    bound : float
        Upper bound of the share of wrong predictions among the accepted by Clopper and Pearson
        (1934), at the level that is left to one threshold where all are tested; 1 where none are
        accepted.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus.classification import accept_most_certain
    >>> nonconformity = np.linspace(0, 1, 1000)
    >>> right = nonconformity < 0.9  # the most uncertain tenth is predicted wrongly
    >>> found = accept_most_certain(nonconformity, right, max_error=0.05, confidence=0.95)
    >>> found.n, found.n_wrong, found.bound <= found.max_error
    (930, 30, True)
    """

    max_error: float
    confidence: float
    threshold: float
    share: float
    n: int
    n_wrong: int
    bound: float


def accept_most_certain(
    nonconformity: np.ndarray, right: np.ndarray, max_error: float, confidence: float
) -> Acceptance:
    """Return the largest threshold that holds `max_error`, of predictions known to be right or not.

    Parameters
    ----------
    nonconformity : array of shape (n,)
        Of each calibration instance with its predicted class; lower is more certain.
    right : boolean array of shape (n,)
    max_error, confidence : float in (0, 1)

    Returns
    -------
    Acceptance

    Examples
    --------
    One wrong prediction among the most certain of 200:

    >>> certain = np.arange(200.0)
    >>> found = accept_most_certain(certain, (certain != 3) & (certain < 150), 0.1, 0.95)
    >>> found.n, found.n_wrong
    (156, 7)
    """
    n = len(nonconformity)
    order = np.argsort(nonconformity, kind="stable")
    ordered = np.asarray(nonconformity, np.float64)[order]
    wrong = np.cumsum(~np.asarray(right, bool)[order])
    columns, most_wrong, level = largest_wrong(n, max_error, confidence)
    column = np.searchsorted(columns, np.arange(1, n + 1) - wrong, "right") - 1
    allowed = np.where(column >= 0, np.r_[most_wrong, -1][column], -1)
    thresholds = np.r_[ordered[1:], np.inf]
    found = np.flatnonzero((wrong <= allowed) & (ordered < thresholds))
    if not len(found):
        return Acceptance(max_error, confidence, -np.inf, 0.0, 0, 0, 1.0)
    last = int(found[-1])
    k, w = last + 1, int(wrong[last])
    bound = min(max_error, float(beta.ppf(1 - level, w + 1, k - w)))
    return Acceptance(max_error, confidence, float(thresholds[last]), k / n, k, w, bound)


def labels_needed(max_error: float, confidence: float) -> int:
    """Return how many labels, all predicted rightly, the smallest acceptance needs.

    Examples
    --------
    >>> labels_needed(0.01, 0.95)
    299
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_error) - 1e-9)


@lru_cache(maxsize=256)
def largest_wrong(
    n: int, max_error: float, confidence: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return how many of the most certain predictions may be wrong, by how many are right.

    Parameters
    ----------
    n : int
        Calibration instances.
    max_error, confidence : float in (0, 1)

    Returns
    -------
    columns : int array of shape (m,)
        Numbers of right predictions, increasing; at most `N_STEPS`, none where n is too small.
    most_wrong : int array of shape (m,)
        From each of them on, the largest number of wrong ones; -1 where none may be accepted.
    level : float
        Of the binomial test of a single threshold, at most 1 - `confidence`: the largest found
        such that all thresholds together have that level.

    Examples
    --------
    >>> columns, most_wrong, level = largest_wrong(400, 0.05, 0.95)
    >>> int(columns[0]), int(most_wrong.max()), 0.01 < level < 0.05
    (59, 10, True)
    """
    total = 1 - confidence
    first = labels_needed(max_error, confidence)
    if first > n:
        return np.empty(0, np.int64), np.empty(0, np.int64), total
    columns = np.unique(np.linspace(first, n, N_STEPS).astype(np.int64))
    low, level = 0.0, total
    most_wrong = _single(columns, n, max_error, level)
    if crossing_probability(columns, most_wrong, n, max_error) > total:
        high = total
        for _ in range(N_HALVINGS):
            level = (low + high) / 2
            tried = _single(columns, n, max_error, level)
            if crossing_probability(columns, tried, n, max_error) <= total:
                low = level
            else:
                high = level
        level = low
        most_wrong = _single(columns, n, max_error, level)
    return columns, most_wrong, level


def _single(columns: np.ndarray, n: int, max_error: float, level: float) -> np.ndarray:
    """Return the largest w with P(Bin(r + w, max_error) <= w) <= level for each r, or -1."""
    if not level:
        return np.full(len(columns), -1)
    low, high = np.full(len(columns), -1), n - columns
    while (low < high).any():
        middle = (low + high + 1) // 2
        passes = binom.cdf(middle, columns + middle, max_error) <= level
        low, high = np.where(passes, middle, low), np.where(passes, high, middle - 1)
    return low


def crossing_probability(
    columns: np.ndarray, most_wrong: np.ndarray, n: int, max_error: float
) -> float:
    """Return how probably a walk of constant error ever has as few wrong predictions as allowed.

    The walk has w wrong steps before its r-th right one, which come as a negative binomial number.
    As w does not decrease, it is enough to look where r reaches one of the `columns`.

    Parameters
    ----------
    columns, most_wrong : int arrays of shape (m,)
        See `largest_wrong`.
    n : int
        Steps of the walk.
    max_error : float
        Probability that a step is wrong.

    Returns
    -------
    float in [0, 1]

    Examples
    --------
    >>> at_most_none = crossing_probability(np.array([10]), np.array([0]), 20, 0.1)
    >>> round(at_most_none, 6) == round(0.9**10, 6)
    True
    """
    size = int(most_wrong.max()) + 1
    if size < 1:
        return 0.0
    convolve = np.convolve
    if size >= 512:
        from scipy.signal import fftconvolve  # loading it takes longer than what is less

        convolve = fftconvolve
    wrong = np.arange(size)
    chances, crossed, before = np.zeros(size), 0.0, 0
    chances[0] = 1.0
    for r, most in zip(columns, most_wrong, strict=True):
        steps = nbinom.pmf(wrong, r - before, 1 - max_error)
        chances, before = np.maximum(convolve(chances, steps)[:size], 0.0), r
        crossed += float(chances[: max(0, most + 1)].sum())
        chances[: max(0, most + 1)] = 0.0
    return crossed
