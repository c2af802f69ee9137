"""Which instances to look at next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from isthmus._core import shown

#: So many times more instances than asked for are considered, the most doubtful first.
CANDIDATES = 10


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
    if n < 1:
        raise ValueError(f"got n={shown(n)}, expected 1 or more")
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
    return 1 - (ordered[:, -1] - ordered[:, -2])


def suggested_classes(
    classes: Sequence[object] | np.ndarray, probabilities: np.ndarray, codes: np.ndarray, n: int
) -> pd.DataFrame:
    """Choose instances between whose likeliest classes a classifier hardly decides.

    Parameters
    ----------
    classes : sequence of n_classes
    probabilities : array of shape (k, n_classes)
    codes : array of shape (k, n_components)
    n : int

    Returns
    -------
    DataFrame
        A row each, in the order chosen: `row`, `doubt`, `reason`.
    """
    doubt = class_doubt(probabilities)
    rows = most_informative(doubt, codes, n)
    likeliest = np.argsort(-probabilities[rows], axis=1, kind="stable")[:, :2]
    reasons = [
        " or ".join(f"{classes[place]} ({probabilities[row, place]:.0%})" for place in two)
        for row, two in zip(rows, likeliest, strict=True)
    ]
    return pd.DataFrame({"row": rows, "doubt": doubt[rows], "reason": reasons})
