"""From which width on a wider code gives little: two rules, each with its source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# A curve that dips less than this below the straight line from its first point to its last,
# both axes from 0 to 1, has no knee that a second run would find again.
LEAST_DIP = 0.05


def find_knee(widths: Sequence[int], errors: Sequence[float]) -> int | None:
    """Return the width at the knee of a falling curve of errors, or None.

    Kneedle (Satopää et al., Finding a "Kneedle" in a Haystack, 2011) for a whole curve: both
    axes are brought to 0..1, the widths by their logarithm, and the knee is the point
    farthest below the diagonal. The curve is not smoothed, for it has few points.

    Parameters
    ----------
    widths : sequence of int
        In increasing order.
    errors : sequence of float
        One for each width.

    Returns
    -------
    int or None
        None with fewer than three widths, and for a curve nowhere more than a twentieth below
        the diagonal.

    Examples
    --------
    >>> find_knee([1, 2, 4, 8, 16], [0.7, 0.4, 0.1, 0.09, 0.08])
    4
    >>> find_knee([1, 2, 4, 8, 16], [0.5, 0.4, 0.3, 0.2, 0.1]) is None  # straight
    True
    """
    x, y = np.log2(np.asarray(widths, dtype=float)), np.asarray(errors, dtype=float)
    if len(x) < 3 or np.ptp(y) == 0:
        return None
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y.min()) / np.ptp(y)
    dip = 1 - x - y
    best = int(dip.argmax())
    return int(widths[best]) if dip[best] > LEAST_DIP else None


def narrowest_sufficient(widths: Sequence[int], right: Sequence[np.ndarray]) -> int:
    """Return the narrowest width within one standard error of the best accuracy.

    The one-standard-error rule (Breiman et al., 1984) on paired differences to the best
    width. Which labels were drawn and which instances are held out both leave it uncertain;
    the two variances are added.

    Parameters
    ----------
    widths : sequence of int
        In increasing order.
    right : sequence of boolean arrays of shape (n_draws, n_held_out)
        For each width, whether a held-out instance was classified rightly after each draw.

    Examples
    --------
    >>> poor, good = np.eye(4) > 0, np.ones((4, 4)) > 0
    >>> narrowest_sufficient([2, 4, 8], [poor, good, good])
    4
    """
    means = [values.mean() for values in right]
    best = int(np.argmax(means))
    for width, values in zip(widths, right, strict=True):
        behind = right[best].astype(float) - values
        variance = _variance_of_mean(behind.mean(axis=1)) + _variance_of_mean(behind.mean(axis=0))
        if behind.mean() <= np.sqrt(variance):
            return int(width)
    raise AssertionError("the best width is never behind itself")


def _variance_of_mean(values: np.ndarray) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0
