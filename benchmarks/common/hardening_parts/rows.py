"""What a part of `hardening.py` is given, and what it returns."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Setting:
    """What a part is given.

    Attributes
    ----------
    folder : Path
        Empty, for whatever the part writes.
    seed : int
    seconds : float
        How long the part may take, from when the setting is made.
    scale : float
        How often each case is tried, as a share of the whole benchmark.
    """

    folder: Path
    seed: int = 0
    seconds: float = 300.0
    scale: float = 1.0
    began: float = field(default_factory=time.monotonic)

    def has_time(self) -> bool:
        """Return whether there is time for another try."""
        return time.monotonic() - self.began < self.seconds

    def times(self, n: int, least: int = 1) -> int:
        """Return how often to try a case that the whole benchmark tries n times."""
        return max(least, round(n * self.scale))


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes
    ----------
    case : str
        What was tried.
    n : int
        How often.
    found : str
        What came of it before it was mended.
    asked, now : str
    holds : bool
    """

    case: str
    n: int
    found: str
    asked: str
    now: str
    holds: bool


def counted(case: str, n: int, bad: int, what: str, found: str, *, asked_n: int = 1) -> Row:
    """Return the row of a case in which something must happen in none of n tries.

    Parameters
    ----------
    case : str
    n : int
        Tries made. With fewer than `asked_n` the row does not hold.
    bad : int
        Tries in which it happened.
    what : str
        What must not happen.
    found : str
        As in `Row`.
    asked_n : int
        Tries wanted.

    Examples
    --------
    >>> row = counted("six writers", 200, 0, "lost", "4 of 6 lost", asked_n=200)
    >>> row.now, row.holds
    ('0 of 200 lost', True)
    """
    now = f"{bad} of {n} {what}"
    return Row(case, n, found, f"0 of {asked_n} {what}", now, bad == 0 and n >= asked_n)
