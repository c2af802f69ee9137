"""Rows of long tables in files that are in no window, told once all files are open."""

from __future__ import annotations

import warnings

from isthmus.data.left_out import LeftOut
from isthmus.data.window_table import too_short
from isthmus.errors import DataError


class Uncut:
    """What is in no window of any file.

    Parameters
    ----------
    window : int
        Rows in a window.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._lost = LeftOut()
        # Of files without a window: rows of the longest stretch, file, group, whether it has gaps.
        self._short: list[tuple[int, str, str, bool]] = []

    def add(self, lost: LeftOut) -> None:
        """Take in what a file with windows leaves out."""
        self._lost += lost

    def add_file(self, source: str, longest: int, group: str, has_gaps: bool) -> None:
        """Take in a file without a window, whose longest stretch has so many rows of a group."""
        self._short.append((longest, source, group, has_gaps))

    def tell(self, name: str, n_cut: int) -> None:
        """Warn of it.

        Parameters
        ----------
        name : str
            What to call all files.
        n_cut : int
            Files with windows.

        Raises
        ------
        DataError
            When no file has a window; it names the longest.
        """
        if self._short and not n_cut:
            rows, source, group, has_gaps = max(self._short, key=lambda one: one[0])
            n = len(self._short)
            where = source if n == 1 else f"{n} files, in {source},"
            raise DataError(too_short(where, rows, group, self.window, has_gaps))
        said = self._lost.in_words(self.window)
        if self._short:
            n = len(self._short)
            said.insert(
                0,
                f"{n:,} of {n + n_cut:,} files hold{'s' if n == 1 else ''} no window, with fewer "
                f"than {self.window} rows of a group without a gap, such as {self._short[0][1]}",
            )
        if said:
            warnings.warn(f"{name}: {'; '.join(said)}", stacklevel=7)  # whoever called `load`
