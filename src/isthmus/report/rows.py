"""Which instances are shown, and what a label is called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.labels import is_missing, label_text


def a_share(n: int, most: int, seed: int) -> np.ndarray:
    """Return all row numbers, or `most` of them drawn at random, sorted.

    Examples
    --------
    >>> a_share(3, 5, 0).tolist(), len(a_share(100, 5, 0))
    ([0, 1, 2], 5)
    """
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, 5]).choice(n, most, replace=False))


def in_short(value: Any) -> str:
    """Return a value of a table as text.

    Examples
    --------
    >>> in_short(1234.5678), in_short(float("nan")), in_short("copper")
    ('1235', 'missing', 'copper')
    """
    if isinstance(value, float | np.floating):
        return "missing" if np.isnan(value) else f"{value:.4g}"
    return "missing" if value is None or value is pd.NaT else str(value)


def label_of(label: Any) -> str | None:
    """Return a label as text, None where there is none.

    Examples
    --------
    >>> label_of(np.int64(3)), label_of(3.0), label_of(None), label_of(float("nan")), label_of(" ")
    ('3', '3', None, None, None)
    """
    return None if is_missing(label) else label_text(label)
