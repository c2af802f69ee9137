"""Which rows calibrate: a part set aside, or every row once."""

from __future__ import annotations

import math

import numpy as np

from isthmus.errors import CalibrationError
from isthmus.heads.calibration import USUAL_RATE, check_rate, round_up, rows_needed

#: From so many normal rows on a fifth of them can be spared for calibration.
SPLIT_FROM = 2000
#: More calibration rows than this make the threshold hardly steadier.
MOST_CALIBRATION = 2000
N_FOLDS = 5
FEWEST_ROWS = 4


def choose_calibration(calibration: str, n_rows: int) -> str:
    """Return `"split"` or `"cross"`: for `"auto"`, split from 2,000 normal rows on.

    Raises
    ------
    CalibrationError
        When the name is not known or there are fewer than four rows.
    """
    if calibration not in ("auto", "split", "cross"):
        raise CalibrationError(
            f"got calibration={calibration!r}, expected 'auto', 'split' or 'cross'"
        )
    if n_rows < FEWEST_ROWS:
        raise CalibrationError(
            f"got {n_rows} samples that are not labelled abnormal, expected at least "
            f"{FEWEST_ROWS}; some are to learn from and some to calibrate on"
        )
    if calibration == "auto":
        return "split" if n_rows >= SPLIT_FROM else "cross"
    return calibration


def n_folds(n_rows: int) -> int:
    """Return into how many folds cross calibration deals so many rows."""
    return min(N_FOLDS, n_rows // 2)


def calibration_rows(
    calibration: str, n_rows: int, rate: float | str, rng: np.random.Generator
) -> list[np.ndarray]:
    """Choose calibration rows among `n_rows` normal ones.

    Parameters
    ----------
    calibration : {"split", "cross"}
    n_rows : int
    rate : float or "auto"
        The false-alarm rate that they must be able to hold.
    rng : numpy Generator

    Returns
    -------
    list of integer arrays
        For `"split"` one: a fifth of the rows, 2,000 at most, but never fewer than the rate
        needs while half of the rows remain. For `"cross"` five folds that hold every row once.

    Raises
    ------
    CalibrationError
        When the rate needs more rows than can be had.
    """
    asked = USUAL_RATE if rate == "auto" else rate
    check_rate(asked)  # type: ignore[arg-type]
    needed = rows_needed(float(asked))
    order = rng.permutation(n_rows)
    most = n_rows if calibration == "cross" else n_rows // 2
    if needed > most and rate != "auto":
        total = needed if calibration == "cross" else 2 * needed
        other = "" if calibration == "cross" else ", or pass calibration='cross'"
        raise CalibrationError(
            f"a false-alarm rate of {asked:g} needs {needed} calibration rows, and "
            f"calibration={calibration!r} finds at most {most} among {n_rows} normal rows; bring "
            f"{total} normal rows or more, ask for a rate of {round_up(1 / (most + 1)):.3g} or "
            f"more{other}"
        )
    if calibration == "cross":
        return [np.sort(part) for part in np.array_split(order, n_folds(n_rows))]
    size = min(math.ceil(n_rows / 5), MOST_CALIBRATION)
    return [np.sort(order[: min(max(size, needed), most)])]
