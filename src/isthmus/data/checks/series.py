"""What windows of series must be like to be learned from, in words that say how to mend it."""

from __future__ import annotations

import numpy as np

from isthmus.errors import DataError


def check_series(X: np.ndarray) -> None:
    """Check that `X` holds windows of series: finite numbers, at least two time steps.

    Parameters
    ----------
    X : array of shape (n, t, c)

    Raises
    ------
    DataError
        Naming the first window at fault and the call that mends it.
    """
    if X.ndim != 3:
        fix = "for one channel pass X[..., None]" if X.ndim == 2 else "one window is (t, c)"
        raise DataError(f"got series of shape {X.shape}, expected (n, t, c); {fix}")
    if 0 in X.shape or X.shape[1] < 2:
        raise DataError(
            f"got series of shape {X.shape}, expected (n, t, c) with at least two time steps"
        )
    if X.dtype.kind not in "fiu":
        raise DataError(
            f"got series of dtype {X.dtype}, expected real numbers; use X.astype('float64')"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        finite = X.dtype.kind != "f" or np.isfinite(X.sum(dtype=np.float64))
    if not finite and (bad := ~np.isfinite(X)).any():
        window, step, channel = np.unravel_index(int(bad.argmax()), bad.shape)
        raise DataError(
            f"got NaN or infinite values in {int(bad.any(axis=(1, 2)).sum())} of {len(X)} windows, "
            f"the first in window {window}, time step {step}, channel {channel}, counting "
            "from 0; drop those windows or interpolate"
        )
