"""What images must be like to be learned from, in words that say how to mend it."""

from __future__ import annotations

import numpy as np

from isthmus.errors import DataError


def check_images(X: np.ndarray) -> None:
    """Check that `X` holds images: uint8 of 0..255, or floats in [0, 1], none missing.

    Parameters
    ----------
    X : array of shape (n, h, w) or (n, h, w, c)

    Raises
    ------
    DataError
        Naming the first image at fault and the call that mends it.
    """
    if X.ndim not in (3, 4):
        raise DataError(f"got images of shape {X.shape}, expected (n, h, w) or (n, h, w, c)")
    if 0 in X.shape:
        raise DataError(f"got no images: an array of shape {X.shape}; expected at least one pixel")
    if X.ndim == 4 and X.shape[1] in (1, 3) and X.shape[3] > 4:
        raise DataError(
            f"got images of shape {X.shape}, which looks like channels first; "
            "expected (n, h, w, c): use X.transpose(0, 2, 3, 1)"
        )
    if X.dtype == np.uint8:
        return
    if X.dtype.kind != "f":
        raise DataError(
            f"got images of dtype {X.dtype}, expected uint8 (0..255) or float in [0, 1]; "
            f"use {_image_fix(X)}"
        )
    # One pass each, without a boolean array as large as the data when all is well.
    low, high = float(X.min()), float(X.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = ~np.isfinite(X).reshape(len(X), -1).all(axis=1)
        raise DataError(
            f"{int(bad.sum())} of {len(X)} images hold NaN or infinite pixels, "
            f"the first is image {int(bad.argmax())}, counting from 0; "
            "drop them or fill the pixels"
        )
    if low < 0 or high > 1:
        fix = "X / 255" if low >= 0 and high <= 255 else "(X - X.min()) / (X.max() - X.min())"
        raise DataError(
            f"got float images with values from {low:.4g} to {high:.4g}, "
            f"expected [0, 1]; scale them with {fix}, or say kind='series' when they are "
            "windows of time series (n, t, c)"
        )


def _image_fix(X: np.ndarray) -> str:
    if X.dtype.kind == "b":
        return "X.astype('uint8') * 255"
    if X.dtype.kind not in "iu":
        return "numbers"
    low, high = int(X.min()), int(X.max())
    # A plain cast would wrap values that a byte cannot hold.
    if low >= 0 and high <= 255:
        return "X.astype('uint8')"
    return f"X / {high}" if low >= 0 else "(X - X.min()) / (X.max() - X.min())"
