"""Options of a CSV file: how it writes numbers, dates, missing values and no label."""

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
_SPACES = "\u00a0\u2007\u2009\u202f"  # no-break, figure, thin and narrow no-break space
_PLAIN_MARKS = str.maketrans(dict.fromkeys(_SPACES, " ") | {"\u2019": "'", "\u2212": "-"})
# In the terms of RE2, which Arrow uses: what it casts to a number.
_NUMBER = r"^[+-]?(?i:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan)$"
# Of numbers below a million a point that may part thousands, and those that have none.
_PARTED = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_UP_TO_999 = re.compile(r"[+-]?(0|[1-9]\d{0,2})")
_TOO_SHORT_FOR_A_DATE = "^[0-9]{1,7}$"


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
            # A point ends an abbreviation, such as Fr.; elsewhere it is the mark of a number.
            if not unit.strip() or re.search(r"[\d,+()-]|(?<![^\W\d])\.", unit):
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
            See `plain_cells`.

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
        mark = re.escape(thousands := plain_marks(self.thousands))
        # Without this check 1.50, or 17.05.2024, with the mark "." would be 150 and 17052024.
        grouped = compute.match_substring_regex(
            plain, rf"^[+-]?[1-9][0-9]{{0,2}}({mark}[0-9]{{2,3}})*{mark}[0-9]{{3}}([^0-9]|$)"
        )
        whole = compute.replace_substring(plain, thousands, "")
        return compute.if_else(grouped, whole, plain), grouped

    def numbers_in(self, cells: Any) -> np.ndarray:
        """Return which of n cells, a pyarrow array of text, are numbers; False for missing."""
        from pyarrow import compute

        plain = self.without_marks(plain_cells(cells))[0]
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
        zoned = "%z" in self.date_format
        dates = pd.to_datetime(text, format=self.date_format, errors="coerce", utc=zoned)
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


def plain_cells(cells: Any) -> Any:
    """Return a pyarrow array of text without spaces around, and with plain marks in numbers.

    See `plain_marks`.
    """
    from pyarrow import compute

    plain = compute.utf8_trim_whitespace(cells)
    for marks, mark in ((f"[{_SPACES}]", " "), ("\u2019", "'"), ("\u2212", "-")):
        plain = compute.replace_substring_regex(plain, marks, mark)
    return plain


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


def parted_thousands(texts: Sequence[str]) -> tuple[str, str] | None:
    """Return a number whose point parts thousands and one without; None where points do not.

    All cells are numbers as they stand: whole ones of up to three digits beside some with three
    digits behind a point. With decimals of a fixed number the first would have them too, as
    754.000; otherwise some of the second would have fewer, and none would end in 0. Three such
    numbers are needed, or 30 where none ends in 0.

    Parameters
    ----------
    texts : sequence of str

    Returns
    -------
    (parted, whole) or None
        The first of each.

    Examples
    --------
    >>> parted_thousands(["754", "1.261", "2.450", "12.300"])
    ('1.261', '754')
    >>> parted_thousands(["754", "1.261", "2.45", "12.3"]) is None
    True
    """
    parted = [text for text in texts if _PARTED.fullmatch(text)]
    whole = [text for text in texts if _UP_TO_999.fullmatch(text)]
    enough = 3 if any(text.endswith("0") for text in parted) else 30
    if len(parted) < enough or not whole or len(parted) + len(whole) < len(texts):
        return None
    return parted[0], whole[0]


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
        When cells are not empty and count as no label, with their number, and when points part
        thousands in labels that are numbers (see `parted_thousands`), as 1.000 beside 500.

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
    labels = cells.astype(object).where(~(stated | unstated) & cells.notna(), None)
    texts = [label.strip() for label in labels.dropna() if isinstance(label, str)]
    if found := parted_thousands(texts):
        parted, beside = found
        warnings.warn(
            f"the column of labels {cells.name!r} of {path} holds {parted!r} beside {beside!r}: "
            f"the point is read as a decimal mark, {parted} as {float(parted):g}, and seems to "
            f"part thousands; write {parted.replace('.', '')} if that is meant",
            DataWarning,
            stacklevel=3,
        )
    return labels


def how_to_mark_missing(csv: CsvOptions, *cells: str) -> str:
    """Return how to say that cells of a CSV file stand for a missing value, for an error.

    Examples
    --------
    >>> how_to_mark_missing(DEFAULT_OPTIONS, "k.A.")
    "leave it empty or read the file with na=['k.A.'] (on the command line --na k.A.)"
    """
    if max(map(len, cells)) > 40:
        return "leave it empty"
    return f"leave it empty or {read_with({'na': [*csv.na, *cells]})}"


def read_with(*alternatives: dict[str, Any]) -> str:
    """Return how to read a CSV file with some options, or with others, for an error."""
    return f"read the file with {', or with '.join(map(in_words, alternatives))}"


def plain_marks(text: str) -> str:
    """Return text with the marks of numbers that a keyboard has: spaces, apostrophes and minus.

    Examples
    --------
    >>> plain_marks("\u22121\u202f500"), plain_marks("1\u2019500")
    ('-1 500', "1'500")
    """
    return text if text.isascii() else text.translate(_PLAIN_MARKS)


def _in_python(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def in_words(options: dict[str, Any]) -> str:
    """Return options as they are passed in Python and on the command line."""
    shell = " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(one)}"
        for name, value in options.items()
        for one in ([value] if isinstance(value, str) else value)
    )
    return f"{_in_python(options)} (on the command line {shell})"
