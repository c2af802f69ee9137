"""Fit and score with the clock running, the same way for every method."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def try_out(
    fit: Callable[[], Any], score: Callable[[Any], np.ndarray]
) -> tuple[Any, np.ndarray, dict[str, float]]:
    """Return what `fit` returns, what `score` makes of it, and the seconds that each took."""
    started = time.perf_counter()
    fitted = fit()
    between = time.perf_counter()
    scores = score(fitted)
    ended = time.perf_counter()
    return fitted, scores, {"seconds_fit": between - started, "seconds_score": ended - between}
