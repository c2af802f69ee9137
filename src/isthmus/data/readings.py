"""The channels of a long table as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.data.columns.place import Where, quote
from isthmus.errors import DataError


def as_numbers(
    frame: pd.DataFrame,
    channels: Sequence[str],
    source: str | Path,
    where: Where,
    unsaid: Sequence[str] = (),
) -> np.ndarray:
    """Return the channels of some rows: (m, c), float64, NaN where a value is missing.

    Parameters
    ----------
    frame : DataFrame of m rows
    channels : sequence of str
        Columns.
    source : str or Path
        What to call the table in an error.
    where : callable
        Puts a row number (from 0) into words.
    unsaid : sequence of str
        What a column without numbers may be instead, such as "label".

    Raises
    ------
    DataError
        Naming the columns that hold no numbers, or the first value that is none.
    """
    values = np.empty((len(frame), len(channels)))
    without = []
    for at, name in enumerate(channels):
        numbers = _column(frame[name], name, source, where)
        if numbers is None:
            without.append(name)
            continue
        if (infinite := np.isinf(numbers)).any():
            row = int(infinite.argmax())
            raise DataError(
                f"the value is infinite in column {name!r}, {where(row)}, of "
                f"{source}; put a number there, or leave it empty for missing"
            )
        values[:, at] = numbers
    if without:
        raise DataError(_no_numbers(frame, without, source, unsaid))
    return values


def _column(column: pd.Series, name: str, source: str | Path, where: Where) -> np.ndarray | None:
    """Return a column as float64; None when not one of its values is a number."""
    kind = column.dtype
    if kind.kind in "mMc":  # a date converts to a number that nobody meant
        return None
    if pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    present = column.notna().to_numpy()
    numbers = pd.to_numeric(column.astype(object).where(present, None), errors="coerce")
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = present & np.isnan(values)
    if bad.any() and bad.sum() == present.sum():
        return None
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"column {name!r} of {source} holds {quote(column.iloc[row])} in "
            f"{where(row)}, expected a number; put a number there, or leave it empty "
            "for missing"
        )
    return values


def _no_numbers(
    frame: pd.DataFrame, without: Sequence[str], source: str | Path, unsaid: Sequence[str]
) -> str:
    first = without[0]
    value = quote(frame[first].dropna().iloc[0])
    names = ", ".join(repr(name) for name in without[:10])
    names += f" and {len(without) - 10} more" if len(without) > 10 else ""
    say = f"say which is {' or '.join(f'{role}=' for role in unsaid)}, or " if unsaid else ""
    return (
        f"{'columns' if len(without) > 1 else 'column'} {names} of {source} cannot be "
        f"{'channels' if len(without) > 1 else 'a channel'}: no numbers ({first!r} begins "
        f"with {value}); {say}drop {'them' if len(without) > 1 else 'it'}"
    )
