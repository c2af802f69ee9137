"""Two samples, one question: could they have come from the same source? By permutations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import pairwise_distances

#: Values that differ by less than this share of the larger were rounded differently: a network
#: gives the same instance another last digit in a batch of another size.
ROUNDING = 1e-5


def shuffled(n: int, m: int, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Deal the n instances of the first sample and the m of the second out anew.

    Returns
    -------
    boolean array of shape (n_permutations + 1, n + m)
        Which instances count as the first sample: as they came, then shuffled.
    """
    as_they_came = np.arange(n + m) < n
    dealt = np.tile(as_they_came, (n_permutations, 1))
    return np.vstack([as_they_came, rng.permuted(dealt, axis=1)])


def permutation_p_value(statistics: np.ndarray) -> float:
    """Return how often shuffled samples look at least as unlike as the true ones do.

    Parameters
    ----------
    statistics : array of shape (n_permutations + 1,)
        The first is that of the samples as they came; higher is more unlike.

    Returns
    -------
    float in [1 / (n_permutations + 1), 1]
        (b + 1) / (n_permutations + 1), where b permutations reach the first value. When both
        samples come from one source it is at most p with a probability of at most p, however
        few instances there are (Phipson and Smyth, 2010).

    Examples
    --------
    >>> permutation_p_value(np.array([3.0, 1.0, 3.0, 4.0, 2.0]))
    0.6
    """
    found = statistics[0]
    reached = statistics >= found - 1e-9 * abs(found)  # equal but for the order of sums
    return float(reached.mean())


def energy(codes: np.ndarray, dealt: np.ndarray) -> np.ndarray:
    """Return the energy statistic of every way to deal instances out to two samples.

    nm / (n + m) times the energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|, which is zero
    for equal distributions and for no others (Székely and Rizzo, 2013). Components are
    standardised over both samples together, so that no one of them rules the distances and
    the permutations stay exact.

    Parameters
    ----------
    codes : array of shape (n + m, n_components)
    dealt : boolean array of shape (k, n + m)

    Returns
    -------
    array of shape (k,)

    Examples
    --------
    >>> energy(np.array([[0.0], [0.0], [4.0], [4.0]]), np.array([[True, True, False, False]]))
    array([4.])
    """
    codes = np.asarray(codes, dtype=np.float64)
    spread = codes.std(axis=0)
    varies = spread > ROUNDING * np.abs(codes).max(axis=0)
    standardised = (codes[:, varies] - codes[:, varies].mean(axis=0)) / spread[varies]
    if not varies.any():
        return np.zeros(len(dealt))
    distances = pairwise_distances(standardised)
    first = dealt.astype(np.float64)
    n = first.sum(axis=1)
    m = first.shape[1] - n
    within_first = np.einsum("ki,ki->k", first @ distances, first)
    from_first = first @ distances.sum(axis=1)
    between = from_first - within_first
    within_second = distances.sum() - 2 * from_first + within_first
    unlike: np.ndarray = 2 * between / (n * m) - within_first / n**2 - within_second / m**2
    return unlike * n * m / (n + m)


def anderson_darling(values: np.ndarray, dealt: np.ndarray) -> np.ndarray:
    """Return the Anderson–Darling statistic of every way to deal values out to two samples.

    The squared difference of the two distribution functions, weighted so that the tails count as
    much as the middle: sensitive to a shift as to another spread (Scholz and Stephens, 1987, the
    discrete form of their equation 6, for two samples).

    Parameters
    ----------
    values : array of shape (n + m,)
        0 or more, as errors are.
    dealt : boolean array of shape (k, n + m)

    Returns
    -------
    array of shape (k,)
    """
    order = np.argsort(values, kind="stable")
    ordered, first = values[order], dealt[:, order]
    last_of_equals = np.flatnonzero(np.diff(ordered) > ROUNDING * ordered[1:])
    total = len(values)
    n = first.sum(axis=1, keepdims=True)
    upto = last_of_equals + 1.0
    count = np.diff(last_of_equals, prepend=-1)
    first_upto = np.cumsum(first, axis=1)[:, last_of_equals]
    unlike = count * (total * first_upto - upto * n) ** 2 / (upto * (total - upto))
    found: np.ndarray = unlike.sum(axis=1) / (n * (total - n))[:, 0]
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that all that are at most a level hold together.

    Rejecting where the adjusted value is at most `level` makes one false alarm or more with a
    probability of at most `level`, whatever the tests have to do with each other (Holm, 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return [float(value) for value in adjusted]
