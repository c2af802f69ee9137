"""Drift: tests of new codes, errors and columns against those of a reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp
from sklearn.metrics import pairwise_distances

from isthmus._core import isolated_from_host
from isthmus.data import Column
from isthmus.errors import DataError
from isthmus.monitoring import wilson_interval

#: Values that differ by less than this share of the larger count as equal: a network's output for
#: the same instance differs in the last digits between batch sizes.
ROUNDING = 1e-5
#: Assignments of instances to samples whose statistics are computed at a time.
ASSIGNMENTS = 128


def _parts(groups: np.ndarray) -> Iterator[np.ndarray]:
    """Yield assignments (k, n), some at a time, as their statistics take memory."""
    for first in range(0, len(groups), ASSIGNMENTS):
        yield groups[first : first + ASSIGNMENTS]


def permute(n: int, m: int, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Permute the assignment of n + m instances to two samples.

    Returns
    -------
    boolean array of shape (n_permutations + 1, n + m)
        Which instances belong to the first sample: the original assignment, then permuted ones.
    """
    original = np.arange(n + m) < n
    copies = np.tile(original, (n_permutations, 1))
    return np.vstack([original, rng.permuted(copies, axis=1)])


def permutation_p_value(statistics: np.ndarray) -> float:
    """Return the p-value of a permutation test.

    Parameters
    ----------
    statistics : array of shape (n_permutations + 1,)
        The first is that of the original samples; higher means a larger difference.

    Returns
    -------
    float in [1 / (n_permutations + 1), 1]
        (b + 1) / (n_permutations + 1), where b permutations reach the first value. When both
        samples come from one source, it is at most p with a probability of at most p, for any
        number of instances (Phipson and Smyth, 2010).

    Examples
    --------
    >>> permutation_p_value(np.array([3.0, 1.0, 3.0, 4.0, 2.0]))
    0.6
    """
    found = statistics[0]
    reached = statistics >= found - 1e-9 * abs(found)  # equal but for the order of sums
    return float(reached.mean())


def energy(codes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the energy statistic of two samples, for each assignment of instances to them.

    nm / (n + m) times the energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|, which is zero
    for equal distributions and for no others (Székely and Rizzo, 2013). Components are
    standardised over both samples together, so that none of them dominates the distances and
    the permutation test stays exact.

    Parameters
    ----------
    codes : array of shape (n + m, n_components)
    groups : boolean array of shape (k, n + m)

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
        return np.zeros(len(groups))
    distances = pairwise_distances(standardised)
    from_each, total = distances.sum(axis=1), distances.sum()
    statistics = []
    for some in _parts(groups):
        in_first = some.astype(np.float64)
        n = in_first.sum(axis=1)
        m = in_first.shape[1] - n
        within_first = np.einsum("ki,ki->k", in_first @ distances, in_first)
        from_first = in_first @ from_each
        between = from_first - within_first
        within_second = total - 2 * from_first + within_first
        distance = 2 * between / (n * m) - within_first / n**2 - within_second / m**2
        statistics.append(distance * n * m / (n + m))
    return np.concatenate(statistics)


def anderson_darling(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the Anderson–Darling statistic of two samples, for each assignment of values to them.

    The squared difference of the two distribution functions, weighted so that the tails count as
    much as the middle: it detects a shift and a change of spread (Scholz and Stephens, 1987, the
    discrete form of their equation 6, for two samples).

    Parameters
    ----------
    values : array of shape (n + m,)
        0 or more, as errors are.
    groups : boolean array of shape (k, n + m)

    Returns
    -------
    array of shape (k,)
    """
    order = np.argsort(values, kind="stable")
    ordered, first = values[order], groups[:, order]
    last_of_equals = np.flatnonzero(np.diff(ordered) > ROUNDING * ordered[1:])
    total = len(values)
    n = first.sum(axis=1, keepdims=True)
    upto = last_of_equals + 1.0
    count = np.diff(last_of_equals, prepend=-1)
    first_upto = np.cumsum(first, axis=1)[:, last_of_equals]
    weighted = count * (total * first_upto - upto * n) ** 2 / (upto * (total - upto))
    statistic: np.ndarray = weighted.sum(axis=1) / (n * (total - n))[:, 0]
    return statistic


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple tests by Holm's method.

    Rejecting where the adjusted value is at most `level` makes one false alarm or more with a
    probability of at most `level`, however the tests depend on each other (Holm, 1979).

    Parameters
    ----------
    p_values : sequence of float

    Returns
    -------
    list of float

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


#: Instances of each sample that a test needs, and those it uses at most.
MIN_INSTANCES, MAX_TESTED = 20, 1000
#: Bootstrap samples for an interval, and instances of a sample that are used for it at most.
N_BOOTSTRAP, MAX_BOOTSTRAPPED = 999, 10_000
#: Components of the code that are listed in `moved`.
N_MOVED = 5
#: The quantile of the reference errors above which new errors count as high.
HIGH = 0.95


@isolated_from_host()
def measure_drift(
    reference_codes: np.ndarray,
    reference_errors: np.ndarray,
    codes: np.ndarray,
    errors: np.ndarray,
    *,
    level: float = 0.05,
    n_permutations: int = 999,
    seed: int = 0,
) -> dict[str, Any]:
    """Test whether new instances come from the source of the reference.

    Two permutation tests: of the energy distance between the codes (Székely and Rizzo, 2004,
    2013), which detects any change of their distribution, also of dependence between components;
    and of the Anderson–Darling distance between the reconstruction errors (Scholz and Stephens,
    1987), which detects a shift and a change of spread, where a rank-sum test detects a shift only.

    Both are exact: when reference and new instances are independent draws from one source (more
    generally, exchangeable), each p-value is at most p with a probability of at most p, for any
    number of instances. With Holm's correction (1979), the chance that one or both raise a
    false alarm is at most `level`. There is no guarantee for instances that depend on each other,
    such as overlapping windows, or for a reference that the encoder was trained on.

    Parameters
    ----------
    reference_codes : array of shape (n_reference, n_components)
    reference_errors : array of shape (n_reference,)
        0 or more. Both as in `Autoencoder.held_out_`.
    codes : array of shape (n, n_components)
    errors : array of shape (n,)
    level : float in (0, 1), default=0.05
        The chance of a false alarm.
    n_permutations : int, default=999
    seed : int, default=0
        Seed of the permutations, the bootstrap, and the 1,000 instances drawn of a larger sample.

    Returns
    -------
    dict
        Plain values. `level`; `n_reference` and `n`; `n_tested`, of the two. `drifted`, whether
        either test found a change. `codes` and `errors`, the tests: `statistic`, `p_value`,
        `adjusted` (Holm's p-value, to be compared with the level) and `changed`.
        `median_error` of the reference (`then`) and of the new instances (`now`), their `ratio`
        with its 95 % bootstrap `interval`, None where the reference's is 0; `mean_error`, the same
        for the means. `high`: `count` and `share` of the `n` new errors above `threshold`, the
        reference's 95th percentile, with the 95 % Wilson score `interval`, and the share
        `expected` without drift. `moved`, the five components of the code whose mean changed most:
        `component` (counted from 0) and `difference`, in standard deviations of the reference.

    Raises
    ------
    DataError
        When a sample has fewer than 20 instances, shapes do not match, values are not finite, or
        there are too few permutations for the level.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> codes, errors = rng.normal(size=(200, 4)), rng.gamma(5.0, size=200)
    >>> same = measure_drift(codes[:100], errors[:100], codes[100:], errors[100:])
    >>> same["drifted"], same["codes"]["adjusted"] <= same["level"]
    (False, False)
    >>> moved = codes[100:] + [0, 0, 1, 0]
    >>> other = measure_drift(codes[:100], errors[:100], moved, 2 * errors[100:])
    >>> other["drifted"], other["moved"][0]["component"], round(other["mean_error"]["ratio"])
    (True, 2, 2)
    """
    reference_codes, reference_errors = _checked(reference_codes, reference_errors, "reference")
    codes, errors = _checked(codes, errors, "new")
    if codes.shape[1] != reference_codes.shape[1]:
        raise DataError(
            f"got codes of {codes.shape[1]} components and a reference of "
            f"{reference_codes.shape[1]}; pass codes of the same encoder"
        )
    if not 0 < level < 1 or n_permutations + 1 < 2 / level:
        raise DataError(
            f"got level={level} and n_permutations={n_permutations}; expected a level in (0, 1) "
            "and at least 2 / level - 1 permutations, without which no p-value can reach the level"
        )
    rng = np.random.default_rng([seed, 6])
    tested = [_sample(len(reference_errors), rng), _sample(len(errors), rng)]
    both_codes = np.vstack([reference_codes[tested[0]], codes[tested[1]]])
    both_errors = np.concatenate([reference_errors[tested[0]], errors[tested[1]]])
    groups = permute(len(tested[0]), len(tested[1]), n_permutations, rng)
    of_errors = np.concatenate([anderson_darling(both_errors, some) for some in _parts(groups)])
    found = {"codes": energy(both_codes, groups), "errors": of_errors}
    p_values = [permutation_p_value(statistics) for statistics in found.values()]
    tests = {
        name: {
            "statistic": float(found[name][0]),
            "p_value": p_value,
            "adjusted": adjusted,
            "changed": adjusted <= level,
        }
        for name, p_value, adjusted in zip(found, p_values, holm(p_values), strict=True)
    }
    return {
        "level": level,
        "n_reference": len(reference_errors),
        "n": len(errors),
        "n_tested": [len(rows) for rows in tested],
        "drifted": any(test["changed"] for test in tests.values()),
        **tests,
        "median_error": _ratio(reference_errors, errors, np.median, rng),
        "mean_error": _ratio(reference_errors, errors, np.mean, rng),
        "high": _high_errors(reference_errors, errors),
        "moved": _largest_shifts(reference_codes, codes),
    }


def _checked(codes: np.ndarray, errors: np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
    codes, errors = np.asarray(codes), np.asarray(errors, dtype=np.float64)
    if codes.ndim != 2 or errors.shape != (len(codes),):
        raise DataError(
            f"got {side} codes of shape {codes.shape} and errors of shape {errors.shape}; "
            "expected (n, n_components) and (n,)"
        )
    if len(codes) < MIN_INSTANCES:
        raise DataError(
            f"got {len(codes)} {side} instances, expected at least {MIN_INSTANCES}, "
            "which a test for drift needs; pass more"
        )
    if not (np.isfinite(codes).all() and np.isfinite(errors).all()):
        raise DataError(
            f"{side} codes or errors are infinite or NaN; look for extreme values in the instances"
        )
    if errors.min() < 0:
        raise DataError(
            f"got a {side} error of {errors.min():.3g}, expected 0 or more, as "
            "reconstruction_error gives; pass score_samples with the sign turned"
        )
    return codes, errors


def _sample(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.arange(n) if n <= MAX_TESTED else np.sort(rng.choice(n, MAX_TESTED, replace=False))


def _ratio(
    then: np.ndarray, now: np.ndarray, statistic: Callable[..., Any], rng: np.random.Generator
) -> dict[str, Any]:
    """Return the ratio of medians or means of errors, with a percentile bootstrap interval."""
    before, after = float(statistic(then)), float(statistic(now))
    found: dict[str, Any] = {"then": before, "now": after, "ratio": None, "interval": None}
    if before == 0:
        return found
    found["ratio"] = after / before
    samples = [_bootstrap(then, statistic, rng), _bootstrap(now, statistic, rng)]
    if samples[0].min() > 0:
        found["interval"] = np.quantile(samples[1] / samples[0], [0.025, 0.975]).tolist()
    return found


def _bootstrap(
    errors: np.ndarray, statistic: Callable[..., Any], rng: np.random.Generator
) -> np.ndarray:
    sample = errors if len(errors) <= MAX_BOOTSTRAPPED else rng.choice(errors, MAX_BOOTSTRAPPED)
    step = max(1, 1_000_000 // len(sample))  # bootstrap samples at a time, to limit memory
    sizes = [min(step, N_BOOTSTRAP - first) for first in range(0, N_BOOTSTRAP, step)]
    return np.concatenate([statistic(rng.choice(sample, (k, len(sample))), axis=1) for k in sizes])


def _high_errors(then: np.ndarray, now: np.ndarray) -> dict[str, Any]:
    """Return the share of new errors above the 95th percentile of the reference.

    The k-th of n ordered values, k = ceil(0.95 (n + 1)), is exceeded by a new one of the same
    source with a probability of 1 - k / (n + 1) at most: the quantile of split conformal
    prediction.
    """
    n = len(then)
    k = min(n, math.ceil(HIGH * (n + 1)))
    threshold = float(np.sort(then)[k - 1])
    count = int((now > threshold).sum())
    return {
        "threshold": threshold,
        "count": count,
        "n": len(now),
        "share": count / len(now),
        "interval": wilson_interval(count, len(now)),
        "expected": 1 - k / (n + 1),
    }


def _largest_shifts(then: np.ndarray, now: np.ndarray) -> list[dict[str, Any]]:
    """Return the components whose mean changed most, the largest change first."""
    spread = then.std(axis=0, dtype=np.float64)
    flat = spread <= ROUNDING * np.abs(then).max(axis=0)
    if flat.any():  # constant in the reference: use the spread of the new instances
        spread[flat] = now[:, flat].std(axis=0, dtype=np.float64)
    difference = now.mean(axis=0, dtype=np.float64) - then.mean(axis=0, dtype=np.float64)
    difference /= np.where(spread > 0, spread, 1)
    farthest = np.argsort(-np.abs(difference), kind="stable")[:N_MOVED]
    return [{"component": int(at), "difference": float(difference[at])} for at in farthest]


@isolated_from_host()
def measure_column_drift(
    reference: np.ndarray,
    values: np.ndarray,
    names: Sequence[str],
    columns: Sequence[Column],
    *,
    level: float = 0.05,
) -> dict[str, Any]:
    """Test which columns of a table are distributed otherwise than in a reference.

    A Kolmogorov-Smirnov test of each column, which finds any change of a distribution; a missing
    value counts as one below all others, and a category by its position. Where values occur more
    than once the test is conservative. With Holm's correction (1979), the chance that one column
    or more is said to have moved where none has is at most `level`, for independent rows.

    Parameters
    ----------
    reference : float array of shape (k, m)
        NaN is missing, a category its position, a date in seconds since 1970: as
        `AnomalyDetector.reference_set_.columns` has them.
    values : float array of shape (n, m)
    names : sequence of m str
    columns : sequence of m Column
        Their types, as in `Schema.types`.
    level : float in (0, 1), default=0.05

    Returns
    -------
    dict
        Plain values. `level`, `n_reference`, `n`, `n_columns`; `moved`, the columns that did, the
        largest change first: `name`, `type`, `statistic`, from 0 to 1, the largest difference of
        the two distribution functions, `p_value`, `adjusted` (Holm's), `then` and `now`: of
        numbers the median, of dates it as text, of a category and of truth the share of the value
        `category` whose share changed most; `missing`, the shares `then` and `now`.

    Raises
    ------
    DataError
        When a sample has fewer than 20 rows, or the numbers of columns do not match.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> then, now = rng.normal(size=(2, 300, 3))
    >>> found = measure_column_drift(then, now + [0, 0.8, 0], ["a", "b", "c"], [Column()] * 3)
    >>> [(one["name"], one["now"] - one["then"] > 0.5) for one in found["moved"]]
    [('b', True)]
    """
    shapes = [np.shape(one)[1:] for one in (reference, values)]
    if set(shapes) != {(len(names),)} or len(columns) != len(names):
        raise DataError(
            f"got rows of shape {shapes[0]} and {shapes[1]}, {len(names)} names and {len(columns)} "
            "columns; expected as many of each"
        )
    if min(len(reference), len(values)) < MIN_INSTANCES:
        raise DataError(
            f"got {len(reference)} and {len(values)} rows, expected at least {MIN_INSTANCES} of "
            "each, which a test for drift needs; pass more"
        )
    tests = [_column_test(*pair) for pair in zip(reference.T, values.T, strict=True)]
    adjusted = holm([p_value for _, p_value in tests])
    moved = [
        {"name": str(names[at]), "type": columns[at].type}
        | {"statistic": tests[at][0], "p_value": tests[at][1], "adjusted": adjusted[at]}
        | _column_change(reference[:, at], values[:, at], columns[at])
        for at in range(len(names))
        if adjusted[at] <= level
    ]
    return {
        "level": level,
        "n_reference": len(reference),
        "n": len(values),
        "n_columns": len(names),
        "moved": sorted(moved, key=lambda one: -one["statistic"]),
    }


def _column_test(then: np.ndarray, now: np.ndarray) -> tuple[float, float]:
    """Return statistic and p-value of a Kolmogorov-Smirnov test, missing values the smallest."""
    present = np.concatenate([then, now])
    present = present[~np.isnan(present)]
    least = present.min() - 1 if len(present) else 0.0
    filled = [np.where(np.isnan(one), least, one) for one in (then, now)]
    found = ks_2samp(*filled, method="asymp")
    return float(found.statistic), float(found.pvalue)


def _column_change(then: np.ndarray, now: np.ndarray, column: Column) -> dict[str, Any]:
    """Return what a person can compare of a column: medians, or shares of one value."""
    pair = {"then": then, "now": now}
    found: dict[str, Any] = {"category": None}
    present = {when: one[~np.isnan(one)] for when, one in pair.items()}
    missing = {when: float(np.isnan(one).mean()) for when, one in pair.items()}
    if not all(len(one) for one in present.values()):
        found |= {"then": None, "now": None}
    elif column.type in ("category", "boolean"):
        kinds = np.unique(np.concatenate(list(present.values())))
        shares = {w: [float((one == k).mean()) for k in kinds] for w, one in present.items()}
        most = int(np.abs(np.subtract(shares["now"], shares["then"])).argmax())
        found |= {"category": _value_name(column, int(kinds[most]))}
        found |= {when: share[most] for when, share in shares.items()}
    else:
        medians = {when: float(np.median(one)) for when, one in present.items()}
        found |= medians if column.type == "number" else {w: _day(m) for w, m in medians.items()}
    return found | {"missing": missing}


def _value_name(column: Column, position: int) -> str:
    if column.type == "boolean":
        return str(bool(position)).lower()
    known = column.categories
    return str(known[position]) if position < len(known) else "a category not seen at fit"


def _day(seconds: float) -> str:
    return str(pd.Timestamp(seconds, unit="s").isoformat(sep=" ", timespec="minutes"))
