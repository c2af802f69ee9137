"""The groups of a long table, numbered as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.columns.place import Where, quote
from isthmus.errors import DataError


class Groups:
    """Groups told by a column, or one without a name where there is none.

    Parameters
    ----------
    column : str or None
        Name of the column.

    Attributes
    ----------
    names : list
        Each group's value in the column; its position is the group's code.

    Examples
    --------
    >>> groups = Groups("machine")
    >>> groups.codes(pd.Series(["b", "a", "b"]), "readings").tolist()
    [0, 1, 0]
    >>> groups.codes(pd.Series(["a", "c"]), "readings").tolist(), groups.of(2)
    ([1, 2], "group 'c': ")
    """

    def __init__(self, column: str | None) -> None:
        self.column = column
        self.names: list[Any] = []
        self._codes: dict[Any, int] = {}

    def codes(
        self,
        column: pd.Series,
        source: str | Path,
        where: Where = lambda row: f"row {row + 1}",
    ) -> np.ndarray:
        """Return the codes of more rows, int64 of shape (n,); new groups get the next ones.

        Raises
        ------
        DataError
            When a row is of no group.
        """
        codes, found = pd.factorize(column)
        if (codes < 0).any():
            raise DataError(
                f"the group is missing in {where(int((codes < 0).argmax()))} (column "
                f"{self.column!r} of {source}); fill it in or leave the row out"
            )
        known = np.empty(len(found), dtype=np.int64)
        for at, value in enumerate(found):
            known[at] = self._codes.setdefault(value, len(self.names))
            if known[at] == len(self.names):
                self.names.append(value)
        return known[codes]

    def name(self, code: Any) -> str:
        """Return a group for an error, or nothing where there are none."""
        return "" if self.column is None else f"group {quote(self.names[code])}"

    def of(self, code: Any) -> str:
        """Return "group 'A': ", or nothing where there are none."""
        return "" if self.column is None else f"{self.name(code)}: "
