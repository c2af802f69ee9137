"""How files write numbers, dates and missing values: options that read them, recognised by text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields

from isthmus.errors import DataError

#: Share of a column's values from which another way to write numbers or dates is recognised.
MIN_RECOGNISED = 0.95
_SIGN = r"[+-]?"
# Numbers whose comma is the decimal mark; those in which a mark parts groups of three digits.
_DECIMAL_COMMA = re.compile(rf"{_SIGN}(\d{{1,3}}(\.\d{{3}})+|\d+),\d+(e{_SIGN}\d+)?")
_THOUSANDS = re.compile(rf"{_SIGN}\d{{1,3}}(?:([,.' \u00a0\u202f])\d{{3}})(?:\1\d{{3}})*([.,]\d+)?")
NUMERIC_START = re.compile(r"\s*[+-]?\d")
_WHOLE = re.compile(rf"{_SIGN}\d+")
_DAYS = re.compile(
    r"(\d{1,4})([./-])(\d{1,2})\2(\d{2,4})([ T]\d{1,2}:\d{2}(:\d{2})?)?(\s*[AP]M)?", re.IGNORECASE
)


@dataclass(frozen=True)
class CsvOptions:
    """How numbers, dates and missing values are written in a CSV file.

    Attributes
    ----------
    decimal : str
        The decimal mark, "." or ",".
    thousands : str or None
        The mark between thousands, such as "," or ".".
    date_format : str or None
        Of dates other than ISO 8601, in the terms of `datetime.strptime`: "%d.%m.%Y".
    encoding : str or None
        Of the text; None is UTF-8, or UTF-16 where the file begins with its mark.
    na : tuple of str
        Further cells that stand for a missing value, such as "-999".

    Raises
    ------
    DataError
        When a mark is none, both are the same, or the encoding is unknown.
    """

    decimal: str = "."
    thousands: str | None = None
    date_format: str | None = None
    encoding: str | None = None
    na: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "na", tuple(map(str, self.na)))
        for name in ("decimal", "thousands"):
            mark = getattr(self, name)
            if mark is not None and (len(mark) != 1 or mark.isalnum()):
                raise DataError(f"got {name}={mark!r}, expected one mark such as ',' or '.'")
        if self.decimal == self.thousands:
            raise DataError(
                f"got the mark {self.decimal!r} for decimals and for thousands, expected two "
                "different ones"
            )
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError as error:
                raise DataError(
                    f"got encoding={self.encoding!r}, which is unknown; expected one such as "
                    "'cp1252', 'latin-1' or 'utf-16'"
                ) from error

    @property
    def given(self) -> list[str]:
        """Names of the options that are not the default."""
        return [one.name for one in fields(self) if getattr(self, one.name) != one.default]

    @property
    def converts(self) -> bool:
        """Whether numbers are written in another way than Arrow reads."""
        return self.decimal != "." or self.thousands is not None


DEFAULT_OPTIONS = CsvOptions()


def is_number(text: str) -> bool:
    """Return whether text is a number as Python writes it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def options_for(values: Sequence[str]) -> str | None:
    """Return the options of `isthmus.load` that read text as numbers or dates; None for words.

    Parameters
    ----------
    values : sequence of str

    Returns
    -------
    str or None
        In words, for Python and for the command line.

    Examples
    --------
    >>> options_for(["0,1", "12,75", "3"])
    "decimal=',' (on the command line --decimal ,)"
    >>> options_for(["17.05.2024"])
    "date_format='%d.%m.%Y' (on the command line --date-format %d.%m.%Y)"
    >>> options_for(["nut", "bolt"])
    """
    texts = [value.strip() for value in values]
    decimals = [text for text in texts if _DECIMAL_COMMA.fullmatch(text)]
    groups = [match for text in texts if (match := _THOUSANDS.fullmatch(text))]
    whole = sum(_WHOLE.fullmatch(text) is not None for text in texts)
    enough = MIN_RECOGNISED * len(texts)
    marks = {match[1] for match in groups}
    # No thousands begin with 0: where 0,126 occurs, 1,203 is a number with a decimal mark too.
    fractions = any(match[0].lstrip("+-").startswith("0") for match in groups)
    if groups and len(groups) + whole >= enough and len(marks) == 1 and not fractions:
        mark = marks.pop()
        point = {match[2][0] for match in groups if match[2]}
        if mark == "." and point == {","}:
            return _in_words(decimal=",", thousands=".")
        if mark == "," or mark not in ",.":
            return _in_words(thousands=mark)
        if not point:
            return None  # 1.268 is a number as it stands
    if decimals and len(decimals) + whole >= enough:
        thousands = {"thousands": "."} if any("." in text for text in decimals) else {}
        return _in_words(decimal=",", **thousands)
    days = [match for text in texts if (match := _DAYS.fullmatch(text))]
    if days and len(days) >= enough:
        return _in_words(date_format=_date_format(days))
    return None


def _date_format(days: Sequence[re.Match[str]]) -> str:
    """Return the format of dates; where both would do, the day comes first."""
    first, mark = days[0], days[0][2]
    year = "%Y" if max(len(match[4]) for match in days) == 4 else "%y"
    if len(first[1]) == 4:
        date = mark.join(("%Y", "%m", "%d"))
    elif any(int(match[3]) > 12 for match in days):
        date = mark.join(("%m", "%d", year))
    else:
        date = mark.join(("%d", "%m", year))
    if not first[5]:
        return date
    hour = "%I" if first[7] else "%H"
    time = f"{first[5][0]}{hour}:%M" + (":%S" if first[6] else "")
    return date + time + (" %p" if first[7] else "")


def _in_words(**options: str) -> str:
    python = ", ".join(f"{name}={value!r}" for name, value in options.items())
    shell = " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in options.items()
    )
    return f"{python} (on the command line {shell})"
