"""Checks of images, series and numbers in arrays, and the calls that make them as at fit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from isthmus.data.places import Place
from isthmus.errors import DataError

Kind = Literal["images", "series", "table"]
#: How images of another scale become those at fit, for messages.
SAME_CONSTANT = "by the same constant at fit and after (X / 255 for 8 bits, X / 65535 for 16)"
#: How far rounding, of half precision at most, puts a pixel outside of [0, 1].
_ROUNDING = 1e-3
#: Share by which the usual step in time of new series may differ from that at fit.
MAX_STEP_CHANGE = 0.2


def check_images(X: np.ndarray) -> tuple[float, float]:
    """Check that `X` holds images: uint8 of 0..255, or floats in [0, 1], none missing.

    Parameters
    ----------
    X : array of shape (n, h, w) or (n, h, w, c)

    Returns
    -------
    low, high : float
        The least and the greatest pixel.

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
    if X.dtype != np.uint8 and X.dtype.kind != "f":
        raise DataError(
            f"got images of dtype {X.dtype}, expected uint8 (0..255) or float in [0, 1]; "
            f"use {_image_fix(X.dtype)}"
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
    if X.dtype != np.uint8 and (low < 0 or high > 1):
        fix = f"divide them {SAME_CONSTANT}"
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:
            fix = "rounding has put them outside: np.clip(X, 0, 1)"
        elif low < 0:
            fix = "scale them by two constants, the same at fit and after: (X - LOW) / (HIGH - LOW)"
        raise DataError(
            f"got float images with values from {low:.4g} to {high:.4g}, "
            f"expected [0, 1]; {fix}, or say kind='series' when they are "
            "windows of time series (n, t, c)"
        )
    return low, high


def _image_fix(dtype: np.dtype) -> str:
    """Return what makes images of a dtype; constants, never such as this batch suggests."""
    if dtype.kind == "b":
        return "X.astype('uint8') * 255"
    if dtype == np.uint16:
        return (
            "X / 65535, the same at fit and after (or another constant that the camera cannot "
            "exceed, such as 4095 for 12 bits)"
        )
    if dtype.kind not in "iu":
        return "numbers"
    return (
        "X.astype('uint8') for values of 0..255, X / 65535 for values of 16 bits, "
        "X.astype('float32') for 0 and 1, and the same at fit and after"
    )


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


def shape_fix(kind: Kind, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Return the call that turns an array into instances of the shape at fit."""
    batch = (-1, *expected)
    if shape == expected:
        return "for one instance pass it as a batch of one, X[None]"
    if kind == "table":
        fits = tuple(side for side in shape[1:] if side != 1) == expected
        return f"use X.reshape({batch})" if fits else "pass the same columns as at fit"
    colour = kind == "images" and len(expected) == 3 and expected[-1] > 1
    if len(shape) in (1, 2) and shape[-1] == int(np.prod(expected)):
        planes = (-1, expected[-1], *expected[:2])
        other = f", of channels first X.reshape({planes}).transpose(0, 2, 3, 1)" if colour else ""
        return f"the number of values fits: X.reshape({batch}){other}"
    # An axis of one may stand anywhere; all others are in the same order.
    if [side for side in shape[1:] if side != 1] == [side for side in expected if side != 1]:
        return f"the number of values fits: X.reshape({batch})"
    orders = itertools.permutations(range(len(shape)))
    if len(shape) == len(batch):
        for order in orders:  # the first is the one that moves least
            if tuple(shape[axis] for axis in order[1:]) == expected:
                return f"the axes are in another order: X.transpose{order}"
    elif len(shape) == len(expected):
        for order in orders:
            if tuple(shape[axis] for axis in order) == expected:
                return f"for one instance, with its axes in order: X.transpose{order}[None]"
    if kind == "series":
        return "pass windows of as many time steps and channels"
    return _channels_fix(shape, expected) or (
        f"resize the images to {expected[0]}x{expected[1]} (height x width) as at fit, or "
        f"load(X, resize={expected[:2]}).X does, on the command line --resize "
        f"{expected[0]}x{expected[1]}"
    )


def _channels_fix(shape: tuple[int, ...], expected: tuple[int, ...]) -> str | None:
    """Return the call that makes the channels those at fit, None where the sizes differ."""
    if shape[1:3] != expected[:2] or len(shape) not in (3, 4):
        return None
    given = shape[3] if len(shape) == 4 else 1
    if len(expected) == 2:
        first = "X[..., :3]" if given == 4 else "X"
        return (
            "these images have colour and those at fit are grey: for uint8 use "
            f"({first} @ [0.299, 0.587, 0.114]).round().astype('uint8'), for floats without the "
            "last two calls"
        )
    if given == 1:
        grey = "X[..., None]" if len(shape) == 3 else "X"
        return (
            f"these images are grey and those at fit have {expected[2]} channels: "
            f"np.repeat({grey}, {expected[2]}, axis=-1)"
        )
    if (given, expected[2]) == (4, 3):
        return "the fourth channel is transparency, which the fit had not: X[..., :3]"
    return f"pass images of {expected[2]} channels as at fit"


def check_no_infinity(values: np.ndarray, place: Place) -> None:
    """Check that numbers, shape (n,), are finite or missing.

    Parameters
    ----------
    values : float array of shape (n,)
    place : Place
        Of the column, for the error.

    Raises
    ------
    DataError
        Naming the first row that is not.

    Examples
    --------
    >>> check_no_infinity(np.array([1.0, np.nan]), Place("width"))
    """
    bad = np.isinf(values)
    if bad.any():
        row, count = int(bad.argmax()), int(bad.sum())
        more = f" ({count} such cells in this column)" if count > 1 else ""
        raise DataError(
            f"the value is {values[row]} in {place}, {place.where(row)}{more}, expected a finite "
            "number; leave it empty if it is missing, or leave the row out"
        )


def check_complete(missing: np.ndarray, names: Sequence[str] | None) -> None:
    """Check that no value (n, m) is missing where none was at fit.

    Parameters
    ----------
    missing : boolean array of shape (n, m)
    names : sequence of m str, or None
        Of the columns; without them the error has the number of the column.

    Raises
    ------
    DataError
        Naming column and row of the first.

    Examples
    --------
    >>> check_complete(np.zeros((3, 2), bool), ["width", "height"])
    """
    if missing.any():
        row, at = (int(i) for i in np.unravel_index(int(missing.argmax()), missing.shape))
        name = at if names is None else repr(names[at])
        raise DataError(
            f"got {int(missing.sum()):,} values missing in columns that were complete at fit, the "
            f"first in column {name}, row {row} of its batch, counting from 0; fill them or leave "
            "the rows out, or fit the detector with missing='unusual' or missing='ignore'"
        )


def check_step(step: float | None, at_fit: float | None) -> None:
    """Check that new series have the sampling rate at fit, where both are known.

    Parameters
    ----------
    step, at_fit : float or None
        Usual steps in time: in seconds, where times are numbers in their unit.

    Raises
    ------
    DataError
        When they differ by more than a fifth; with the width to resample to.

    Examples
    --------
    >>> check_step(1.1, 1.0)
    """
    if step is None or at_fit is None or abs(step - at_fit) <= MAX_STEP_CHANGE * at_fit:
        return
    raise DataError(
        f"got readings with a step of {step:.6g} in time, and those at fit had one of "
        f"{at_fit:.6g}: at another rate windows look unlike all that was learned; for dates pass "
        f"resample='{at_fit:.6g}s' (on the command line --resample {at_fit:.6g}s), for other times "
        "this number, or leave time out to take rows as they come",
        request_fix="name the width to resample to in the query, for dates "
        f"?resample={at_fit:.6g}s, for other times ?resample={at_fit:.6g}",
    )
