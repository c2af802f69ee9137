"""Numbers and dates in other ways of writing, and the options of a CSV file that read them."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.csv_options import (
    CsvOptions,
    in_words,
    is_number,
    parted_thousands,
    plain_marks,
    read_with,
)
from isthmus.data.date_notation import (
    MONTHS,
    are_dates_in_words,
    are_days,
    are_impossible_dates,
    date_formats,
    mixed_notations,
)

#: Share of a column's values from which another way to write numbers or dates is recognised.
MIN_RECOGNISED = 0.95
_SIGN = r"[+-]?"
# Numbers whose comma is the decimal mark; those in which a mark parts groups of three digits, or in
# India of two but for the last.
_DECIMAL_COMMA = re.compile(rf"{_SIGN}(\d{{1,3}}(\.\d{{3}})+|\d+),\d+([eE]{_SIGN}\d+)?")
_THOUSANDS = re.compile(
    rf"{_SIGN}\d{{1,3}}(?:([.' _])\d{{3}}(?:\1\d{{3}})*|(,)(?:\d{{2,3}},)*\d{{3}})"
    r"((?!\1)(?!\2)[.,]\d+)?"
)
# Of money the marks, and what is written before a number as well as behind it.
_MONEY = (
    r"[%‰$€£¥₹₽₩₺₴₫₪฿]|(?:US|AU?|CA?|NZ|HK|R)\$|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|"
    r"BRL|MXN|ZAR|CZK|HUF|RUB|TRY|Fr\.|Rs\.?|kr\.?|zł|Kč"
)
_UNIT = rf"{_MONEY}|°[CF]?"
_WORD = r"(?:[^\W\d_]|°|µ)(?:[^\W\d_]|[/°·^²³µ])*"
_DIGITS = r"\d(?:[\d.,' _]*\d)?(?:[eE][+-]?\d+)?"
_WITH_UNIT = re.compile(rf"({_SIGN})\s*({_UNIT})?\s*({_SIGN}{_DIGITS})\s*({_UNIT}|{_WORD})?")
_OF_PHYSICS = (
    r"[kMGTcdhmnpµμu]?"
    r"(?:g|s|m|l|L|V|A|W|Wh|VA|Hz|Pa|bar|B|b|bit|bps|J|N|Nm|Ω|F|H|K|C|mol|eV|Sv|lx|lm)"
)
_KNOWN_UNIT = re.compile(
    rf"(?:{_OF_PHYSICS})(?:[²³]|/(?:{_OF_PHYSICS}|h|min)[²³]?)?|°[CF]?|[lL]bs?|oz|[KMGT]iB|KB|Å|dBm?|"
    r"ft|in|yd|mi|mph|kph|rpm|Rpm|RPM|ppm|ppb|psi|px|pts?|sec|secs|seconds?|mins?|minutes?|h|hrs?|"
    r"hours?|d|days?|weeks?|months?|yrs?|years?|Stk|St|Std|Tage?|pcs"
)
_MULTIPLIER = re.compile(r"k|K|M|G|B|bn|mn|mio|Mio|mrd|Mrd|Tsd|million|billion|thousand|lakh|crore")
#: From so many distinct numbers on, one word behind all of them is a unit.
_MIN_DISTINCT = 10
#: What a number, or a date, may begin with.
NUMERIC_START = re.compile(
    rf"\s*[(<>~≤≥≈±–—‒+−='\"`\[{{-]?=?[\"']?\s*(?:{_UNIT})?\s*[(+−-]?\s*\d|"
    rf"\s*(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?(?:\d|(?:{MONTHS})[.-]? ?\d)|"
    rf"\s*[a-z]{{3}} (?:{MONTHS}) |\s*Q[1-4]\b",
    re.IGNORECASE,
)
_WHOLE = re.compile(rf"{_SIGN}\d+")
_PLAIN = re.compile(rf"{_SIGN}\d+(\.\d+)?")
_LIMITS = "limits such as <0.5"
# What no option reads, what it is called, and what to write instead.
_UNREADABLE = [
    (re.compile(pattern, re.IGNORECASE), what, instead)
    for pattern, what, instead in (
        (
            rf"-?\s*(?:{_UNIT})?\s*\(\s*(?:{_UNIT})?\s*{_DIGITS}\s*(?:{_UNIT})?\s*\)",
            "negative numbers in parentheses",
            "write (100) as -100",
        ),
        (rf"{_DIGITS}\s*-", "numbers with the minus behind them", "write 100- as -100"),
        (rf"[–—‒﹣－]\s*{_DIGITS}", "numbers with a dash as minus", "write a hyphen"),
        (
            rf"(?:[<>~≤≥≈±]=?|&[lg]t;)\s*{_DIGITS}(?:\s*(?:{_UNIT}|{_WORD}))?",
            _LIMITS,
            "write numbers, and the mark in a column of its own",
        ),
        (
            rf"=?(['\"`]){_SIGN}{_DIGITS}\1|'{_SIGN}{_DIGITS}",
            "numbers in quotes",
            "write them without quotes",
        ),
        (
            # An interval, such as (0, 10] of pd.cut, is a name.
            rf"{_SIGN}{_DIGITS}(?:[;|]{_SIGN}{_DIGITS})+|"
            rf"(?:\((?=.*\))|\[(?=.*\])|{{(?=.*}}))\s*{_SIGN}{_DIGITS}(?:[,;\s]+{_SIGN}{_DIGITS})*\s*[\])}}]",
            "several numbers in one cell",
            "give each number a column",
        ),
        (
            rf"{_SIGN}{_DIGITS}[+-]{_DIGITS}[ij]",
            "complex numbers",
            "give the real and the imaginary part a column each",
        ),
        (
            rf"{_SIGN}{_DIGITS}[.,]\d{{2}} ?(?-i:S|H|CR|DR|Cr|Dr|-)",
            "amounts with a mark for debit or credit",
            "write a minus before what is taken away",
        ),
        (
            rf"(?=.*[^\x00-\x7f]){_SIGN}{_DIGITS}",
            "numbers in digits of another script",
            "write the digits 0 to 9",
        ),
        (
            r".*\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d+)? ?(?-i:[A-Z]{3,4})(?: \d{4})?",
            "dates with the name of a time zone",
            "write its offset, such as 2024-05-17T12:30+02:00",
        ),
        (
            r"-?\d+:\d{2}(?::\d{2})?(?:[.,]\d+)?",
            "durations, which are read as times of day up to 24 hours only",
            "write them in seconds",
        ),
        (
            r"[NSEW]?\s*\d+°.*\d.*|\d+°.*[NSEW]",
            "angles in degrees and minutes",
            "write degrees with a decimal point",
        ),
        (
            r"Q[1-4][ /-]?\d{4}|\d{4}[ /-]?Q[1-4]|\d{4}-?W\d{2}(?:-\d)?",
            "quarters or weeks of a year",
            "write their first day, such as 2024-05-17",
        ),
        (
            rf"(?:(?:{MONTHS})[ '-]+\d{{2}}|\d{{1,2}}[ -](?:{MONTHS}))",
            "days or months without a year",
            "write them as 2024-05-17",
        ),
    )
]
# One number with its unit: no address (10.0.0.1), version (1.2.3) or pair (52.5, 13.4).
_GROUPS = r"\d{1,3}(?:(?P<mark>[.' _])\d{3}(?:(?P=mark)\d{3})*|,(?:\d{2,3},)*\d{3})"
_ONE_NUMBER = rf"(?:{_GROUPS}|\d+)(?:[.,]\d+)?(?:[eE]{_SIGN}\d+)?"
_WITH_MARKS = re.compile(rf"{_SIGN}(?:{_UNIT})?\s*{_SIGN}{_ONE_NUMBER}\s*(?:{_UNIT})?")
_ADDRESS = re.compile(r"(?:(?:\d{1,2}|1\d\d|2[0-4]\d|25[0-5])(?:\.(?!$)|$)){4}")
_MARK_FOR_MISSING = re.compile(
    r"\W+|\W*(?:n[./ ]?[ad]|none|null|nil|nan|missing|unknown|not available|k\.? ?a)\W*|#.*[!?]",
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
    texts = [plain_marks(value.strip()) for value in values]
    alternatives = _alternatives(texts)
    if not alternatives:
        return None
    if csv is not None:
        given = csv.notation
        if any(all(given.get(n) == v for n, v in one.items()) for one in alternatives):
            return None
        which = ", whichever the file means" if len(alternatives) > 1 else ""
        return read_with(*alternatives) + which
    options = alternatives[0]
    call = f"X[{column!r}]"
    if any(text != value.strip() for text, value in zip(texts, values, strict=True)):
        call += ".replace({r'\\s': ' ', '’': \"'\", '−': '-'}, regex=True)"
    for unit in sorted(options.get("unit", ()), key=len, reverse=True):
        call += f".str.replace({unit!r}, '')"
    if "thousands" in options:
        call += f".str.replace({options['thousands']!r}, '')"
    if "decimal" in options:
        call += f".str.replace({options['decimal']!r}, '.')"
    if "date_format" in options:
        zoned = ", utc=True" if "%z" in options["date_format"] else ""
        call = f"pd.to_datetime({call}, format={options['date_format']!r}{zoned})"
    else:
        call = f"pd.to_numeric({call})"
    either = "".join(f" (or format={one['date_format']!r})" for one in alternatives[1:])
    return (
        f"convert it, {call}{either}, or write it to a CSV file and read that with "
        f"{in_words(options)}"
    )


def options_for(values: Sequence[str]) -> dict[str, Any]:
    """Return the options of a CSV file that read text as numbers or dates, none for words.

    Examples
    --------
    >>> options_for(["1,5", "2", "k.A."] + ["3,25"] * 40)
    {'decimal': ','}
    """
    return next(iter(_alternatives([plain_marks(value.strip()) for value in values])), {})


def unreadable(values: Sequence[str]) -> tuple[str, str] | None:
    """Return what text is that looks like numbers or dates and that no option reads.

    Parameters
    ----------
    values : sequence of str
        As often as they occur.

    Returns
    -------
    (str, str) or None
        What it is called, and what to write instead; None for names.

    Examples
    --------
    >>> unreadable(["100", "(250)", "(75)"])
    ('negative numbers in parentheses', 'write (100) as -100')
    >>> unreadable(["17 mai 2024", "1 juin 2024"])
    ('dates with a word for the month', 'write them as 2024-05-17')
    >>> unreadable(["12a", "3b"])
    """
    counts: Counter[str] = Counter()
    for value, n in Counter(values).items():
        counts[plain_marks(value.strip())] += n
    enough = MIN_RECOGNISED * counts.total()
    numbers = sum(n for text, n in counts.items() if _WITH_MARKS.fullmatch(text))
    for pattern, what, instead in _UNREADABLE:
        found = [text for text in counts if pattern.fullmatch(text)]
        # Two bands, such as <10 and >10, are names.
        bands = what == _LIMITS and not numbers and len(found) < _MIN_DISTINCT
        if found and sum(counts[text] for text in found) + numbers >= enough and not bands:
            return what, instead
    if _are_mostly_missing(counts):
        return (
            "numbers, and marks for missing values in most rows",
            "leave these empty, or name the mark with na= (on the command line --na)",
        )
    if are_impossible_dates(counts, enough):
        return "dates that no calendar has", "correct them"
    if dates := mixed_notations(counts, enough):
        return f"dates in several notations ({', '.join(dates[:4])})", "write all as 2024-05-17"
    if are_dates_in_words(counts, enough):
        return "dates with a word for the month", "write them as 2024-05-17"
    return _unreadable_units(counts, enough)


def _are_mostly_missing(counts: Counter[str]) -> bool:
    others = [text for text in counts if not _WITH_MARKS.fullmatch(text)]
    n_numbers = len(counts) - len(others)
    return bool(others) and n_numbers > 1 and all(map(_MARK_FOR_MISSING.fullmatch, others))


def _unreadable_units(counts: Counter[str], enough: float) -> tuple[str, str] | None:
    matches = [match for text in counts if (match := _WITH_UNIT.fullmatch(text))]
    if sum(counts[match.string] for match in matches) < enough:
        return None
    found = [match for match in matches for _ in range(counts[match.string])]
    words = Counter(match[4] for match in found if match[4])
    if not words or not _are_numbers(found, enough):
        return None
    if _are_codes(found):
        return None
    if all(_MULTIPLIER.fullmatch(word) for word in words):
        if _has_quantities(found):
            return "numbers with a word for thousands or millions", "write 1.5k as 1500"
        return None
    known = all(_KNOWN_UNIT.fullmatch(word) or _MULTIPLIER.fullmatch(word) for word in words)
    if len(words) > 1 and known and any(len(word) > 1 for word in words):
        names = ", ".join(sorted(words)[:5])
        return f"numbers in several units ({names})", "write them in one unit"
    return None


def _are_codes(found: Sequence[re.Match[str]]) -> bool:
    """Return whether digits with a word right behind them are codes rather than quantities.

    They are where one is written with leading zeros (00123x), which no quantity is, and where each
    has as many digits before one letter, which is no known unit, and occurs as often.
    """
    if not all(re.fullmatch(r"\d+[^\W\d]+", match[0]) for match in found):
        return False
    words = {match[4] for match in found}
    numbers = [match[3] for match in found]
    if any(len(word) > 1 and _KNOWN_UNIT.fullmatch(word) for word in words):
        return False
    if any(len(number) > 1 and number.startswith("0") for number in numbers):
        return True
    letters = all(len(word) == 1 and not _KNOWN_UNIT.fullmatch(word) for word in words)
    same_width = len({len(number) for number in numbers}) == 1
    return letters and same_width and len(set(Counter(numbers).values())) == 1


def _has_quantities(found: Sequence[re.Match[str]], *, spaced: bool = True) -> bool:
    """Return whether numbers before a word are quantities rather than parts of names (4WD).

    They are with ten distinct numbers or a decimal mark, and where `spaced` with a space too.
    """
    numbers = {match[3] for match in found}
    space = spaced and any(re.search(r"\d \S+$", match[0]) for match in found)
    return len(numbers) >= _MIN_DISTINCT or space or any(re.search("[.,]", n) for n in numbers)


def _alternatives(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the options that read text, several where it may mean one thing or another."""
    options = _options(texts)
    if options:
        return [options]
    formats = date_formats(texts, MIN_RECOGNISED * len(texts))
    return [{"date_format": one} for one in formats]


def _options(texts: Sequence[str]) -> dict[str, Any]:
    """Return the options that read text as numbers, none for words and plain numbers."""
    enough = MIN_RECOGNISED * len(texts)
    if all(map(_ADDRESS.fullmatch, texts)):
        return {}  # addresses such as 192.168.178.101, no thousands
    decimals = [text for text in texts if _DECIMAL_COMMA.fullmatch(text)]
    groups = [match for text in texts if (match := _THOUSANDS.fullmatch(text))]
    whole = sum(_WHOLE.fullmatch(text) is not None for text in texts)
    marks = {match[1] or match[2] for match in groups}
    # No thousands begin with 0: where 0,126 occurs, 1,203 is a number with a decimal mark too.
    fractions = any(match[0].lstrip("+-").startswith("0") for match in groups)
    point = {match[3][0] for match in groups if match[3]}
    # A point is no decimal mark where it parts thousands.
    plain = whole if "." in marks else sum(_PLAIN.fullmatch(text) is not None for text in texts)
    if len(marks) == 1 and not fractions:
        mark = marks.pop()
        if mark not in ",.":
            comma = point == {","} or (not point and bool(decimals))
            if len(groups) + (len(decimals) + whole if comma else plain) >= enough:
                return {"decimal": ",", "thousands": mark} if comma else {"thousands": mark}
        elif len(groups) + plain >= enough:
            if mark == ",":
                return {"thousands": ","}
            if point == {","} or any(match[0].count(".") > 1 for match in groups):
                return {"decimal": ",", "thousands": "."}
            if not point:
                return {}  # 1.268 is a number as it stands
    if decimals and len(decimals) + whole >= enough:
        thousands = {"thousands": "."} if any("." in text for text in decimals) else {}
        return {"decimal": ",", **thousands}
    return _units(texts, enough)


def _units(texts: Sequence[str], enough: float) -> dict[str, Any]:
    """Return the options that read numbers with a unit, such as 12%, $1.50 and 12 ms; or none."""
    found = [match for text in texts if (match := _WITH_UNIT.fullmatch(text))]
    units = {unit for match in found for unit in (match[2], match[4]) if unit}
    if not units or len(found) < enough or not _are_numbers(found, enough):
        return {}
    words = {unit for unit in units if not re.fullmatch(_UNIT, unit)}
    if words:
        having = sum(match[4] in words for match in found)
        if len({word.removesuffix("s") or word for word in words}) > 1 or having < enough:
            return {}
        if any(_MULTIPLIER.fullmatch(word) for word in words) or _are_codes(found):
            return {}
        known = all(map(_KNOWN_UNIT.fullmatch, words))
        if not (known and max(map(len, words)) > 1) and not _has_quantities(found, spaced=known):
            return {}
    return {"unit": sorted(units), **_options([match[1] + match[3] for match in found])}


def _are_numbers(found: Sequence[re.Match[str]], enough: float) -> bool:
    numbers = [match[1] + match[3] for match in found]
    return bool(_options(numbers)) or sum(map(is_number, numbers)) >= enough


def misread_numbers(
    frame: pd.DataFrame,
    cells: Callable[[str], pd.Series],
    start: bytes,
    options: CsvOptions,
    *,
    fitting: bool,
) -> list[str]:
    """Return a warning about each column of numbers that are probably others, dates or codes.

    Points of a column that part thousands (see `parted_thousands`); and at fit 20 whole numbers or
    more that are all dates from 1900 to 2099, written as 20240517, and whole numbers of three
    digits or more with leading zeros.

    Parameters
    ----------
    frame : DataFrame
        As read.
    cells : callable
        Returns the cells of a column as they are written.
    start : bytes
        Of the file: leading zeros are looked for where there are some.
    options : CsvOptions
        Where they state a mark, a point is none that parts thousands unstated.
    fitting : bool
        Whether no model has fixed yet what a column holds.

    Returns
    -------
    list of str

    Examples
    --------
    >>> frame = pd.DataFrame({"size": [754.0, 1.261, 2.45, 12.3]})
    >>> cells = {"size": pd.Series(["754", "1.261", "2.450", "12.300"])}
    >>> found = misread_numbers(frame, cells.get, b"size", CsvOptions(), fitting=True)
    >>> print(found[0].partition(":")[0])
    column 'size' holds '1.261' beside '754'
    """
    found, points = [], options.thousands is None and options.decimal == "."
    zeros = re.search(rb'[\s,;|"]0[0-9]{2,}[\s,;|"]', start) is not None
    for name, column in frame.items():
        values = column.dropna().to_numpy() if column.dtype.kind in "if" else np.empty(0)
        first = values[:1000]  # of most columns these suffice
        whole = all((one == np.round(one)).all() for one in (first, values))
        if not len(values) or not (whole or points):
            continue
        if column.dtype.kind == "i" and fitting and are_days(first) and are_days(values):
            found.append(
                f"column {name!r} holds {values[0]} and the like, which are dates, and are read as "
                "numbers; read the file with date_format='%Y%m%d' (on the command line "
                "--date-format %Y%m%d)"
            )
        elif whole and fitting and zeros:
            texts = cells(str(name)).dropna().map(str.strip)
            if len(codes := texts[texts.str.fullmatch(r"0\d{2,}")]):
                found.append(
                    f"column {name!r} holds {codes.iloc[0]!r} and the like, with leading zeros as "
                    "codes have, and is learned as a quantity; for codes pass "
                    f"category=[{name!r}] (on the command line --category {shlex.quote(str(name))})"
                )
        if not points or column.dtype.kind == "i":
            continue
        if all((np.round(one, 3) == one).all() for one in (first, values)):
            listed = [one for one in map(str.strip, cells(str(name)).dropna()) if is_number(one)]
            if pair := parted_thousands(listed):
                parted, beside = pair
                found.append(
                    f"column {name!r} holds {parted!r} beside {beside!r}: the point is read as a "
                    "decimal mark, and seems to part thousands; for "
                    f"{parted.replace('.', '')} read the file with decimal=',', thousands='.' (on "
                    "the command line --decimal , --thousands .)"
                )
    return found
