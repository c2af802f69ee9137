"""How files write numbers, dates and missing values: options that read them, recognised by text."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from isthmus.errors import DataError, DataWarning

#: Cells that stand for a missing value, as Arrow and pandas have them.
NO_VALUE = (
    *("", "NA", "N/A", "n/a", "NaN", "-NaN", "nan", "-nan", "NULL", "null"),
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"),
)
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
# In the terms of RE2, which Arrow uses: what it casts to a number.
_NUMBER = r"^[+-]?(?i:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan)$"
_TOO_SHORT_FOR_A_DATE = "^[0-9]{1,7}$"
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
    unit : tuple of str
        What stands before or behind numbers and is left out, such as "%" or "$": 12% is 12.

    Raises
    ------
    DataError
        When a mark is none, both are the same, or the date format or the encoding is unknown.
    """

    decimal: str = "."
    thousands: str | None = None
    date_format: str | None = None
    encoding: str | None = None
    na: tuple[str, ...] = ()
    unit: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "na", tuple(map(str, self.na)))
        for unit in self.unit:
            if not unit.strip() or re.search(r"[\d.,+-]", unit):
                raise DataError(
                    f"got unit={unit!r}, expected what stands before or behind numbers, such as "
                    "'%', '$' or 'kg'"
                )
        for name in ("decimal", "thousands"):
            mark = getattr(self, name)
            if mark is not None and (len(mark) != 1 or mark.isalnum()):
                raise DataError(f"got {name}={mark!r}, expected one mark such as ',' or '.'")
        if self.date_format is not None:
            _check_date_format(self.date_format)
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
        return self.decimal != "." or self.thousands is not None or bool(self.unit)

    @property
    def notation(self) -> dict[str, Any]:
        """How numbers and dates are written, where it is not the default."""
        names = ("unit", "decimal", "thousands", "date_format")
        values = vars(self) | {"unit": list(self.unit)}
        return {name: values[name] for name in names if name in self.given}

    def example_of(self, type_: Literal["number", "date"]) -> str:
        """Return what a number or a date should look like, for an error.

        Examples
        --------
        >>> CsvOptions(decimal=",").example_of("number")
        "a number (read with decimal=',')"
        >>> CsvOptions(date_format="%d.%m.%Y").example_of("date")
        'a date such as 17.05.2024'
        """
        if type_ == "date":
            return f"a date such as {date(2024, 5, 17).strftime(self.date_format or '%Y-%m-%d')}"
        marks = {name: value for name, value in self.notation.items() if name != "date_format"}
        return f"a number (read with {_in_python(marks)})" if marks else "a number"

    def without_marks(self, cells: Any) -> tuple[Any, Any]:
        """Return cells without their unit and the marks between thousands.

        Parameters
        ----------
        cells : pyarrow array of text, of shape (n,)
            Without spaces around them.

        Returns
        -------
        plain : pyarrow array of text, of shape (n,)
            The decimal mark is left as it is.
        grouped : pyarrow array of bool, of shape (n,), or None
            Where marks part thousands; None without `thousands`.
        """
        from pyarrow import compute

        plain = cells
        if self.unit:
            units = "|".join(map(re.escape, sorted(self.unit, key=len, reverse=True)))
            plain = compute.replace_substring_regex(plain, rf"^([+-]?)\s*(?:{units})\s*", r"\1")
            plain = compute.replace_substring_regex(plain, rf"\s*(?:{units})$", "")
        if self.thousands is None:
            return plain, None
        mark = re.escape(self.thousands)
        # Without this check 1.50, or 17.05.2024, with the mark "." would be 150 and 17052024.
        grouped = compute.match_substring_regex(
            plain, rf"^[+-]?[1-9][0-9]{{0,2}}({mark}[0-9]{{2,3}})*{mark}[0-9]{{3}}([^0-9]|$)"
        )
        whole = compute.replace_substring(plain, self.thousands, "")
        return compute.if_else(grouped, whole, plain), grouped

    def numbers_in(self, cells: Any) -> np.ndarray:
        """Return which of n cells, a pyarrow array of text, are numbers; False for missing."""
        from pyarrow import compute

        plain = self.without_marks(compute.utf8_trim_whitespace(cells))[0]
        plain = compute.replace_substring(plain, self.decimal, ".")
        found = compute.match_substring_regex(plain, _NUMBER)
        return np.asarray(compute.fill_null(found, False), dtype=bool)

    def dates_in(self, cells: Any) -> tuple[pd.Series, np.ndarray]:
        """Return n cells as dates in `date_format`, and which of them are.

        Whole numbers are dates only where they have the digits of a day, as 20240517 has.

        Parameters
        ----------
        cells : pyarrow array of text, of shape (n,)

        Returns
        -------
        dates : Series of shape (n,), datetime
        found : boolean array of shape (n,)
            All False without `date_format`.
        """
        from pyarrow import compute

        if self.date_format is None:
            return pd.Series(pd.NaT, range(len(cells))), np.zeros(len(cells), dtype=bool)
        short = compute.fill_null(
            compute.match_substring_regex(cells, _TOO_SHORT_FOR_A_DATE), False
        )
        text = pd.Series(cells.to_pylist(), dtype=object)
        dates = pd.to_datetime(text, format=self.date_format, errors="coerce")
        return dates, dates.notna().to_numpy() & ~np.asarray(short, dtype=bool)


def _check_date_format(date_format: Any) -> None:
    """Refuse what pandas reads no date with."""
    example = datetime(2024, 5, 17, 12, 30, tzinfo=UTC)
    reason = "it names no part of a date"
    if isinstance(date_format, str) and "%" in date_format:
        try:
            pd.to_datetime(pd.Series([example.strftime(date_format)]), format=date_format)
            return
        except (ValueError, re.error) as error:
            reason = str(error)
    raise DataError(
        f"got date_format={date_format!r} ({reason}), expected the terms of datetime.strptime; "
        "write 17.05.2024 as '%d.%m.%Y', 5/17/2024 12:30 as '%m/%d/%Y %H:%M' and 17 May 2024 as "
        "'%d %B %Y'"
    )


DEFAULT_OPTIONS = CsvOptions()


def is_number(text: str) -> bool:
    """Return whether text is a number as Python writes it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def count_cells(table: Any, texts: Collection[str]) -> dict[str, int]:
    """Return in how many cells of a table of text each of some texts stands alone."""
    from pyarrow import compute

    return {
        text: sum(compute.sum(compute.equal(one, text)).as_py() or 0 for one in table.columns)
        for text in texts
    }


def text_of_dates(column: Any) -> Any:
    """Return a column that may hold dates as text; None for other types."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return column.cast("string")
    return column if pa.types.is_string(column.type) else None


def labels_there(
    cells: pd.Series, path: Path | str, normal: str | None = None, na: Sequence[str] = ()
) -> pd.Series:
    """Return the cells of a column of labels, None where one stands for no label.

    Parameters
    ----------
    cells : Series of shape (n,)
        As they are written.
    path : Path or str
        The file, for the warning.
    normal : str, optional
        The label that means normal, which is one even where it is among `NO_VALUE`.
    na : sequence of str
        Further cells that stand for no label.

    Warns
    -----
    DataWarning
        When cells are not empty and count as no label, with their number.

    Examples
    --------
    >>> labels_there(pd.Series(["NA", "", "worn"]), "rows.csv", normal="NA").tolist()
    ['NA', None, 'worn']
    """
    stated = cells.isin(na)
    unstated = cells.isin([text for text in NO_VALUE if text != normal]) & ~stated
    words = cells[unstated & (cells != "")]
    if len(words):
        warnings.warn(
            f"{len(words):,} of {len(cells):,} cells of the column of labels {cells.name!r} of "
            f"{path} read {words.iloc[0]!r} or the like, and count as no label; leave them "
            "empty if that is meant, pass normal= (on the command line --normal) if it means "
            "normal, and otherwise give the class another name",
            DataWarning,
            stacklevel=3,
        )
    return cells.astype(object).where(~(stated | unstated) & cells.notna(), None)


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
    >>> options_for(["$1,500.25", "$3"])
    "unit=['$'], thousands=',' (on the command line --unit '$' --thousands ,)"
    >>> options_for(["nut", "bolt"])
    """
    options = _options([value.strip() for value in values])
    return _in_words(options) if options else None


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
    >>> how_to_read(["7 %"], "share", csv=DEFAULT_OPTIONS)
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
        return None if as_given else _read_with(options)
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
    return f"convert it, {call}, or write it to a CSV file and read that with {_in_words(options)}"


def how_to_mark_missing(cell: str, csv: CsvOptions) -> str:
    """Return how to say that a cell of a CSV file stands for a missing value, for an error.

    Examples
    --------
    >>> how_to_mark_missing("k.A.", DEFAULT_OPTIONS)
    "leave it empty or read the file with na=['k.A.'] (on the command line --na k.A.)"
    """
    if len(cell) > 40:
        return "leave it empty"
    return f"leave it empty or {_read_with({'na': [*csv.na, cell]})}"


def _read_with(options: dict[str, Any]) -> str:
    return f"read the file with {_in_words(options)}"


def _in_python(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def _in_words(options: dict[str, Any]) -> str:
    shell = " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(one)}"
        for name, value in options.items()
        for one in ([value] if isinstance(value, str) else value)
    )
    return f"{_in_python(options)} (on the command line {shell})"


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
