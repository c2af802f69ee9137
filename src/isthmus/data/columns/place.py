"""Where a value stands, in words that a person can find it by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# A row (from 0) in words that a person can find it by.
Where = Callable[[int], str]


@dataclass(frozen=True)
class Place:
    """A column, for the errors about it.

    Attributes
    ----------
    column : str
        Its name.
    table : str
        What to call its table, "" when there is but one.
    where : callable
        Puts a row number (from 0) into words.

    Examples
    --------
    >>> place = Place("width", "nuts.csv")
    >>> str(place), place.where(3)
    ("column 'width' of nuts.csv", 'row 3, counting from 0')
    """

    column: str
    table: str = ""
    where: Where = lambda row: f"row {row}, counting from 0"

    def __str__(self) -> str:
        return f"column {self.column!r}" + (f" of {self.table}" if self.table else "")


def quote(value: Any) -> str:
    """Return a value as an error shows it: at most 60 characters."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
