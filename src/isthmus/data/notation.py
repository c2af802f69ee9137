"""Numbers and dates in other ways of writing, and the options of a CSV file that read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from isthmus.data.csv_options import CsvOptions, in_words, is_number, read_with

#: Share of a column's values from which another way to write numbers or dates is recognised.
MIN_RECOGNISED = 0.95
_SIGN = r"[+-]?"
# Numbers whose comma is the decimal mark; those in which a mark parts groups of three digits.
_DECIMAL_COMMA = re.compile(rf"{_SIGN}(\d{{1,3}}(\.\d{{3}})+|\d+),\d+(e{_SIGN}\d+)?")
_THOUSANDS = re.compile(rf"{_SIGN}\d{{1,3}}(?:([,.' \u00a0\u202f])\d{{3}})(?:\1\d{{3}})*([.,]\d+)?")
_UNIT = r"[%‰$€£¥₹₽₩]|°[CF]?|US\$|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|BRL|MXN|ZAR"
_WITH_UNIT = re.compile(
    rf"({_SIGN})\s*({_UNIT})?\s*({_SIGN}\d(?:[\d.,' \u00a0\u202f]*\d)?)\s*({_UNIT})?"
)
_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    "sep(?:tember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
#: What a number, or a date, may begin with.
NUMERIC_START = re.compile(
    rf"\s*[+-]?\s*(?:{_UNIT})?\s*[+-]?\d|\s*(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?"
    rf"(?:\d|(?:{_MONTHS})\.? \d)",
    re.IGNORECASE,
)
_WHOLE = re.compile(rf"{_SIGN}\d+")
_PLAIN = re.compile(rf"{_SIGN}\d+(\.\d+)?")
_TIME = r"(?P<time>(?P<between>[ T]|, )\d{1,2}:\d{2}(?P<seconds>:\d{2})?(?P<half>\s*[AP]M)?)?"
_DAYS = re.compile(rf"(\d{{1,4}})([./-])(\d{{1,2}})\2(\d{{2,4}}){_TIME}", re.IGNORECASE)
_WEEKDAY = r"(?:(?P<weekday>(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*)(?P<comma>,? ))?"
_DAY_AND_MONTH = re.compile(
    rf"{_WEEKDAY}(?P<day>\d{{1,2}})(?P<first>\. |[ ./-])(?P<month>{_MONTHS})(?P<second>, |[ ./-])"
    rf"(?P<year>\d{{4}}|\d{{2}}){_TIME}",
    re.IGNORECASE,
)
_MONTH_AND_DAY = re.compile(
    rf"{_WEEKDAY}(?P<month>{_MONTHS})(?P<first>[ ./-])(?P<day>\d{{1,2}})(?P<second>, |[ ./-])"
    rf"(?P<year>\d{{4}}){_TIME}",
    re.IGNORECASE,
)


def how_to_read(values: Sequence[str], column: str, *, csv: CsvOptions | None) -> str | None:
    """Return what reads text as numbers or dates, for an error; None for words.

    None too where the file was read with these options.

    Parameters
    ----------
    values : sequence of str
    column : str
        Its name.
    csv : CsvOptions or None
        What its file was read with; None where it is of no CSV file.

    Examples
    --------
    >>> how_to_read(["7 %"], "share", csv=CsvOptions())
    "read the file with unit=['%'] (on the command line --unit %)"
    >>> how_to_read(["7 %"], "share", csv=None).partition(", or")[0]
    "convert it, pd.to_numeric(X['share'].str.replace('%', ''))"
    """
    options = _options([value.strip() for value in values])
    if not options:
        return None
    if csv is not None:
        given = csv.notation
        as_given = all(given.get(name) == value for name, value in options.items())
        return None if as_given else read_with(options)
    call = f"X[{column!r}]"
    for unit in options.get("unit", ()):
        call += f".str.replace({unit!r}, '')"
    if "thousands" in options:
        call += f".str.replace({options['thousands']!r}, '')"
    if "decimal" in options:
        call += f".str.replace({options['decimal']!r}, '.')"
    if "date_format" in options:
        call = f"pd.to_datetime({call}, format={options['date_format']!r})"
    else:
        call = f"pd.to_numeric({call})"
    return f"convert it, {call}, or write it to a CSV file and read that with {in_words(options)}"


def _options(texts: Sequence[str]) -> dict[str, Any]:
    """Return the options of `options_for`, none for words and plain numbers."""
    enough = MIN_RECOGNISED * len(texts)
    decimals = [text for text in texts if _DECIMAL_COMMA.fullmatch(text)]
    groups = [match for text in texts if (match := _THOUSANDS.fullmatch(text))]
    whole = sum(_WHOLE.fullmatch(text) is not None for text in texts)
    marks = {match[1] for match in groups}
    # No thousands begin with 0: where 0,126 occurs, 1,203 is a number with a decimal mark too.
    fractions = any(match[0].lstrip("+-").startswith("0") for match in groups)
    # A point is no decimal mark where it parts thousands.
    plain = whole if "." in marks else sum(_PLAIN.fullmatch(text) is not None for text in texts)
    if groups and len(groups) + plain >= enough and len(marks) == 1 and not fractions:
        mark = marks.pop()
        point = {match[2][0] for match in groups if match[2]}
        if mark == "." and point == {","}:
            return {"decimal": ",", "thousands": "."}
        if mark == "," or mark not in ",.":
            return {"thousands": mark}
        if not point:
            return {}  # 1.268 is a number as it stands
    if decimals and len(decimals) + whole >= enough:
        thousands = {"thousands": "."} if any("." in text for text in decimals) else {}
        return {"decimal": ",", **thousands}
    for pattern, date_format in (
        (_DAYS, _format_of_numbers),
        (_DAY_AND_MONTH, _format_of_words),
        (_MONTH_AND_DAY, _format_of_words),
    ):
        days = [match for text in texts if (match := pattern.fullmatch(text))]
        if days and len(days) >= enough:
            return {"date_format": date_format(days)}
    return _units(texts, enough)


def _units(texts: Sequence[str], enough: float) -> dict[str, Any]:
    """Return the options that read numbers with a unit, such as 12% and $1.50; or none."""
    found = [match for text in texts if (match := _WITH_UNIT.fullmatch(text))]
    units = {unit for match in found for unit in (match[2], match[4]) if unit}
    if not units or len(found) < enough:
        return {}
    numbers = [match[1] + match[3] for match in found]
    options = _options(numbers)
    if not options and sum(map(is_number, numbers)) < enough:
        return {}
    return {"unit": sorted(units), **options}


def _format_of_numbers(days: Sequence[re.Match[str]]) -> str:
    """Return the format of dates; where both would do, the day comes first."""
    first, mark = days[0], days[0][2]
    year = "%Y" if max(len(match[4]) for match in days) == 4 else "%y"
    if len(first[1]) == 4:
        day = mark.join(("%Y", "%m", "%d"))
    elif any(int(match[3]) > 12 for match in days):
        day = mark.join(("%m", "%d", year))
    else:
        day = mark.join(("%d", "%m", year))
    return day + _format_of_time(first)


def _format_of_words(days: Sequence[re.Match[str]]) -> str:
    """Return the format of dates with the name of the month."""
    first = days[0]
    names = [match["month"] for match in days]
    parts = {"day": "%d", "month": "%B" if max(map(len, names)) > 3 else "%b"}
    order = sorted(parts, key=lambda part: first.start(part))
    year = "%Y" if len(first["year"]) == 4 else "%y"
    weekday = ""
    if first["weekday"]:
        weekday = ("%A" if len(first["weekday"]) > 3 else "%a") + first["comma"]
    date = parts[order[0]] + first["first"] + parts[order[1]] + first["second"] + year
    return weekday + date + _format_of_time(first)


def _format_of_time(match: re.Match[str]) -> str:
    if not match["time"]:
        return ""
    hour = "%I" if match["half"] else "%H"
    time = f"{match['between']}{hour}:%M" + (":%S" if match["seconds"] else "")
    return time + (" %p" if match["half"] else "")
