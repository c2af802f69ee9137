"""The header of a `.ts` file: what its lines of data will hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import DataError

# A line and its number, from 1.
Lines = Iterator[tuple[int, str]]


@dataclass
class TsHeader:
    """What the header declares.

    Attributes
    ----------
    labelled : bool
        Whether what follows the last colon of a line is a label.
    are_targets : bool
        Whether the labels are numbers to predict (`@targetLabel`), not classes.
    classes : tuple of str
        The classes declared, empty when none were.
    n_channels : int or None
        None when the header does not say.
    """

    labelled: bool = False
    are_targets: bool = False
    classes: tuple[str, ...] = ()
    n_channels: int | None = None


def read_header(lines: Lines, path: Path) -> TsHeader:
    """Read up to `@data`, and leave the iterator at the first line of data.

    Raises
    ------
    DataError
        When there is no `@data`, a value is not one the key can have, or the series come
        with time stamps.
    """
    header = TsHeader()
    for number, line in lines:
        if not line or line.startswith("#"):
            continue
        if not line.startswith("@"):
            raise DataError(
                f"line {number} of {path} is {line!r:.60} where the header belongs; expected a "
                "line that begins with # or @, and @data before the first series"
            )
        key, _, rest = line[1:].partition(" ")
        if key.lower() == "data":
            return header
        _take(header, key.lower(), rest.split(), f"line {number} of {path}")
    raise DataError(f"{path} has no line @data; put it between the header and the series")


def _take(header: TsHeader, key: str, words: list[str], where: str) -> None:
    if key == "timestamps" and _is_true(key, words, where):
        raise DataError(
            f"{where} says that the series carry time stamps, which isthmus does not read from "
            ".ts; write the values alone, or one long table with a time column"
        )
    if key == "univariate" and _is_true(key, words, where):
        header.n_channels = 1
    if key in ("dimension", "dimensions"):
        if len(words) != 1 or not words[0].isdecimal() or int(words[0]) < 1:
            raise DataError(f"{where}: got @{key} {' '.join(words)}, expected a whole number")
        header.n_channels = int(words[0])
    if key in ("classlabel", "targetlabel"):
        header.labelled = _is_true(key, words, where)
        header.are_targets = header.labelled and key == "targetlabel"
        header.classes = tuple(words[1:]) if key == "classlabel" else ()


def _is_true(key: str, words: list[str], where: str) -> bool:
    said = words[0].lower() if words else ""
    if said not in ("true", "false"):
        raise DataError(f"{where}: got @{key} {' '.join(words)}, expected true or false")
    return said == "true"
