"""Which instances to label next, and which of those labelled a head has."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.autoencoder import TrainingRowHashes
from isthmus.data.preprocessing import issue_warnings
from isthmus.errors import DataError

#: So many times more instances than asked for are considered, the most doubtful first.
CANDIDATES = 10
#: Instances among which groups are looked for, at most: of more, so many are drawn.
MAX_GROUPED = 10_000
#: Steps of Lloyd's algorithm, at most.
LLOYD_STEPS = 30
#: Weight of an instance without doubt, beside 1 for the most.
LEAST_WEIGHT = 1e-6


def most_informative(doubt: np.ndarray, codes: np.ndarray, n: int) -> np.ndarray:
    """Choose instances that are in doubt and unlike each other.

    Of the `10 n` instances in most doubt, the most doubtful comes first, and then always the
    one whose distance to the nearest chosen code, times its share of doubt, is largest: the
    farthest-first traversal of core sets (Sener and Savarese, ICLR 2018), weighted.

    Parameters
    ----------
    doubt : array of shape (k,)
        Higher is less certain.
    codes : array of shape (k, n_components)
    n : int

    Returns
    -------
    integer array of shape (min(n, k),)
        Row numbers, in the order chosen.

    Raises
    ------
    ValueError
        When `n` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.array([[0.0], [0.1], [5.0], [9.0]])
    >>> most_informative(np.array([3.0, 2.9, 2.0, 1.0]), codes, 2).tolist()
    [0, 3]
    """
    _check_number(n)
    rows = np.argsort(-doubt, kind="stable")[: CANDIDATES * n]
    # Ranks, because doubt has no unit: from 1 for the first down to one half for the last.
    share = np.linspace(1, 0.5, len(rows))
    points = codes[rows].astype(np.float64)
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(n, len(rows)):
        gain = distance * share
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return rows[chosen]


def class_doubt(probabilities: np.ndarray) -> np.ndarray:
    """Return how close the two likeliest classes are: 1 less the gap between them.

    Margin sampling (Scheffer, Decomain and Wrobel, 2001).

    Parameters
    ----------
    probabilities : array of shape (n, n_classes)

    Returns
    -------
    array of shape (n,), in [0, 1]

    Examples
    --------
    >>> import numpy as np
    >>> class_doubt(np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    ordered = np.sort(probabilities, axis=1)
    # Probabilities that add up to a little more than 1 would give less than none.
    return np.clip(1 - (ordered[:, -1] - ordered[:, -2]), 0, 1)


def most_typical(
    codes: np.ndarray, n: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the most central instance of each of n groups of similar codes.

    The groups are those of k-means (Lloyd, IEEE Transactions on Information Theory 28, 1982), of
    10,000 instances drawn at random where there are more. Without weights they stand for all
    instances, which is what the first labels should do (TypiClust: Hacohen, Dekel and Weinshall,
    ICML 2022); weighted by doubt, for those that a head decides badly (Zhdanov, 2019).

    Parameters
    ----------
    codes : array of shape (k, n_components)
    n : int
    weights : array of shape (k,), 0 or more, optional
        What an instance counts; by default all count the same.

    Returns
    -------
    rows : integer array of shape (min(n, k),)
        Row numbers, that of the heaviest group first. The same for the same codes.
    shares : array of shape (min(n, k),)
        Share of each group in the sum of the weights.

    Raises
    ------
    ValueError
        When `n` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> rows, shares = most_typical(np.array([[0.0], [0.1], [0.3], [5.0]]), 2)
    >>> rows.tolist(), shares.tolist()
    ([1, 3], [0.75, 0.25])
    """
    from sklearn.cluster import KMeans  # takes a tenth of a second to load

    _check_number(n)
    rows = np.arange(len(codes))
    if len(codes) > max(MAX_GROUPED, n):
        rows = np.sort(np.random.default_rng(0).permutation(rows)[: max(MAX_GROUPED, n)])
    weight = np.ones(len(rows)) if weights is None else weights[rows] + LEAST_WEIGHT
    # Copies count together: k-means needs as many different instances as groups.
    points, of_point = np.unique(codes[rows].astype(np.float64), axis=0, return_inverse=True)
    of_point = of_point.reshape(-1)
    summed = np.bincount(of_point, weights=weight)
    means = KMeans(min(n, len(points)), n_init=1, max_iter=LLOYD_STEPS, random_state=0)
    distances = means.fit(points, sample_weight=summed).transform(points)
    heaviness = np.bincount(means.labels_, weights=summed, minlength=distances.shape[1])
    free, chosen = np.ones(len(points), bool), []
    order = np.argsort(-heaviness, kind="stable")
    for group in order:
        chosen.append(int(np.where(free, distances[:, group], np.inf).argmin()))
        free[chosen[-1]] = False
    first = np.full(len(points), len(rows))
    np.minimum.at(first, of_point, np.arange(len(rows)))
    found, shares = first[chosen], heaviness[order] / weight.sum()
    if len(found) < min(n, len(rows)):  # copies of instances fill up
        others = np.setdiff1d(np.arange(len(rows)), found)
        others = others[np.argsort(-weight[others], kind="stable")][: n - len(found)]
        found, shares = np.r_[found, others], np.r_[shares, np.zeros(len(others))]
    return rows[found], shares


def first_suggestions(codes: np.ndarray, n: int) -> pd.DataFrame:
    """Choose instances for the first labels of a classifier: `most_typical` of them all.

    Parameters
    ----------
    codes : array of shape (k, n_components)
    n : int

    Returns
    -------
    DataFrame
        A row each, in the order chosen: `row`, `share` (of its group in all), `reason`.
    """
    rows, shares = most_typical(standardised_codes(codes), n)
    reasons = [f"typical of {share:.1%}" for share in shares]
    return pd.DataFrame({"row": rows, "share": shares, "reason": reasons})


def standardised_codes(codes: np.ndarray) -> np.ndarray:
    """Return codes with the mean 0 and the standard deviation 1 in every column, in float64.

    Parameters
    ----------
    codes : array of shape (k, n_components)

    Returns
    -------
    array of shape (k, n_components)
    """
    deviation = codes.std(axis=0, dtype=np.float64)
    return (codes - codes.mean(axis=0, dtype=np.float64)) / np.maximum(deviation, 1e-12)


def suggested_classes(head: Any, codes: np.ndarray, n: int) -> pd.DataFrame:
    """Choose instances between whose likeliest classes a classifier hardly decides.

    Half of them are `most_typical` of all instances, weighted by doubt, and half of the ten times
    as many in most doubt. What a head of few labels doubts says little: the second half alone is
    worse than random instances on some data, and the first alone misses rare mistakes.

    Parameters
    ----------
    head : StandardisedHead
        Fitted.
    codes : array of shape (k, n_components)
    n : int

    Returns
    -------
    DataFrame
        A row each, by turns of the doubtful and the typical: `row`, `doubt`, `reason`.

    Raises
    ------
    DataError, ValueError
        When the head gives no probabilities; when `n` is below 1.
    """
    _check_number(n)
    if not hasattr(head.head_, "predict_proba"):
        raise DataError(
            f"the head {type(head.head_).__name__} gives no probabilities, so its uncertainty is "
            "unknown; take another one (on the command line with --head)"
        )
    classes, probabilities = head.classes_, head.predict_proba(codes)
    doubt, points = class_doubt(probabilities), standardised_codes(codes)
    halves = []
    rest = np.arange(len(points))
    for n_of_half, candidates in ((n // 2, len(points)), (n - n // 2, CANDIDATES * (n - n // 2))):
        if n_of_half and len(rest):
            rows = rest[np.argsort(-doubt[rest], kind="stable")[:candidates]]
            halves.append(rows[most_typical(points[rows], n_of_half, doubt[rows])[0]])
            rest = np.setdiff1d(rest, halves[-1])
    by_turns = zip_longest(*reversed(halves))
    rows = np.array([row for turn in by_turns for row in turn if row is not None], dtype=np.int64)
    likeliest = np.argsort(-probabilities[rows], axis=1, kind="stable")[:, :2]
    reasons = [
        " or ".join(f"{classes[place]} ({probabilities[row, place]:.0%})" for place in two)
        for row, two in zip(rows, likeliest, strict=True)
    ]
    return pd.DataFrame({"row": rows, "doubt": doubt[rows], "reason": reasons})


def _check_number(n: int) -> None:
    if n < 1:
        raise ValueError(f"got n={shown(n)}, expected 1 or more")


def find_known_rows(known: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return which labelled instances are rows that a head has, and not others that equal them.

    A label of a row that the head has replaces that of all rows that equal it. In a table whose
    rows repeat, as of counts, labels of a few new rows would so replace those of most others.

    Parameters
    ----------
    known : uint64 array of shape (m,)
        Hashes of the rows of the head, see `row_hashes`.
    hashes : uint64 array of shape (n,)
        Of the instances.

    Returns
    -------
    boolean array of shape (n,)
        Where rows repeat, none unless more are equal than those of new rows are by chance.

    Warns
    -----
    DataWarning
        When instances count as new that equal a row.
    """
    rows = TrainingRowHashes.from_hashes(known)
    equal = rows.overlap(hashes)
    found = equal if rows.identify else rows.trained_on(hashes)
    if n := int((equal & ~found).sum()):
        issue_warnings(
            [
                f"{n:,} of {len(hashes):,} labelled instances equal rows that the head has, as new "
                "rows of a table whose rows repeat do: they count as new ones, and those rows keep "
                "their labels; to change labels fit again"
            ]
        )
    return found
