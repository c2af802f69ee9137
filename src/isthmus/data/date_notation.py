"""Dates in other ways of writing than ISO 8601, and the formats that read them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

#: Names and abbreviations of months, as a pattern.
MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    "sep(?:tember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_TIME = (
    r"(?P<time>(?P<between>[ T]|, )\d{1,2}:\d{2}(?P<seconds>:\d{2}(?P<fraction>[.,]\d{1,9})?)?"
    r"(?P<half>\s*[AP]M)?(?P<zone> ?(?:Z|[+-]\d{2}:?\d{2}))?)?"
)
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAYS = re.compile(rf"(\d{{1,4}})([./-])(\d{{1,2}})\2(\d{{2,4}}){_TIME}", re.IGNORECASE)
_WEEKDAY = r"(?:(?P<weekday>(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*)(?P<comma>,? ))?"
_DAY_AND_MONTH = re.compile(
    rf"{_WEEKDAY}(?P<day>\d{{1,2}})(?P<first>\. |[ ./-])(?P<month>{MONTHS})(?P<second>, |[ ./-])"
    rf"(?P<year>\d{{4}}|\d{{2}}){_TIME}",
    re.IGNORECASE,
)
_MONTH_AND_DAY = re.compile(
    rf"{_WEEKDAY}(?P<month>{MONTHS})(?P<first>[ ./-])(?P<day>\d{{1,2}})(?P<second>, |[ ./-])"
    rf"(?P<year>\d{{4}}){_TIME}",
    re.IGNORECASE,
)
# Dates that one format reads, without a choice; and times of day in two halves.
_FIXED = [
    (re.compile(pattern, re.IGNORECASE), date_format)
    for pattern, date_format in (
        (r"\d{8} \d{6}", "%Y%m%d %H%M%S"),
        (r"\d{8}T\d{6}", "%Y%m%dT%H%M%S"),
        (r"\d{8}T\d{6}Z", "%Y%m%dT%H%M%SZ"),
        (r"\d{8} \d{1,2}:\d{2}", "%Y%m%d %H:%M"),
        (r"\d{8} \d{1,2}:\d{2}:\d{2}", "%Y%m%d %H:%M:%S"),
        (r"(?:1[5-9]|2[01])\d{2}-\d{1,2}", "%Y-%m"),
        (r"(?:1[5-9]|2[01])\d{2}/\d{1,2}", "%Y/%m"),
        (r"\d{1,2}/\d{4}", "%m/%Y"),
        (r"\d{1,2}-\d{4}", "%m-%Y"),
        (rf"(?:{MONTHS}) \d{{4}}", "%B %Y"),
        (rf"(?:{MONTHS}) \d{{4}}", "%b %Y"),
        (rf"(?:{MONTHS})-\d{{4}}", "%b-%Y"),
        (r"\d{4}年\d{1,2}月\d{1,2}日", "%Y年%m月%d日"),
        (r"\d{4}\. ?\d{1,2}\. ?\d{1,2}\.", "%Y. %m. %d."),
        (r"\d{1,2}\.\d{1,2}\.\d{4}\.", "%d.%m.%Y."),
        (rf"[a-z]{{3}} (?:{MONTHS}) +\d{{1,2}} [\d:]{{8}} \d{{4}}", "%a %b %d %H:%M:%S %Y"),
        (rf"\d{{2}}/(?:{MONTHS})/\d{{4}}:[\d:]{{8}}", "%d/%b/%Y:%H:%M:%S"),
        (rf"\d{{2}}/(?:{MONTHS})/\d{{4}}:[\d:]{{8}} [+-]\d{{4}}", "%d/%b/%Y:%H:%M:%S %z"),
        (r"\d{1,2}:\d{2}[AP]M", "%I:%M%p"),
        (r"\d{1,2}:\d{2} [AP]M", "%I:%M %p"),
        (r"\d{1,2}:\d{2}:\d{2}[AP]M", "%I:%M:%S%p"),
        (r"\d{1,2}:\d{2}:\d{2} [AP]M", "%I:%M:%S %p"),
    )
]
# Of dates that no calendar has; 123-45-6789 and 99-45-77 are names.
_YEAR = re.compile(r"^(?!\d{3}\D).*(?<!\d)(?:1[5-9]|2[01])\d{2}(?!\d)")
# A number, a word and a number, as in the dates of many languages.
_DATE_IN_WORDS = re.compile(
    r"(\d{1,4})(?:st|nd|rd|th|er|º|ª)?(?:[ ./-]+(?:de |of )?)([^\W\d_]{3,12})\.?,?"
    r"(?:[ ./-]+(?:de |del )?)'?(\d{2,4})(?:\s*г\.?)?(?:,?[ T]\d{1,2}:\d{2}.*)?",
    re.IGNORECASE,
)
_WORD_DAY_YEAR = re.compile(
    r"(?:[^\W\d_]{2,10}\.?,? )?([^\W\d_]{3,12})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})"
)
#: From so many whole numbers on, all of which are dates, they are no quantity.
_MIN_DAYS = 20


def date_formats(texts: Sequence[str], enough: float) -> list[str]:
    """Return the formats that read text as dates, several where the day or the month may be first.

    Parameters
    ----------
    texts : sequence of str
        As often as they occur, without spaces around them.
    enough : float
        How many of them a format reads at least.

    Returns
    -------
    list of str
        In the terms of `datetime.strptime`; empty for words, and for dates in ISO 8601.

    Examples
    --------
    >>> date_formats(["17.05.2024", "01.06.2024"], 2), date_formats(["02/05/2024"], 1)
    (['%d.%m.%Y'], ['%d/%m/%Y', '%m/%d/%Y'])
    >>> date_formats(["2024-05-17", "2024-02-30"], 2)
    []
    """
    counts = Counter(texts)
    if sum(n for text, n in counts.items() if _ISO_DAY.match(text)) >= enough:
        return []
    for candidates in _candidates(counts, enough):
        found = {one: _count_read(counts, one) for one in candidates}
        best = max(found.values(), default=0)
        if best >= enough:
            return [one for one, n in found.items() if n == best]
    return []


def mixed_notations(counts: Mapping[str, int], enough: float) -> list[str]:
    """Return a date of each notation that text is written in, where no single one reads enough.

    Parts of a number with points or dashes between them, such as 1.12.3, are no dates.

    Parameters
    ----------
    counts : mapping of str to int
        How often each text occurs.
    enough : float
        How many of them are dates at least.

    Returns
    -------
    list of str
        Empty for other text, and for dates of one notation.

    Examples
    --------
    >>> mixed_notations({"17.05.2024": 2, "2024-05-18": 3, "19/05/24": 1}, 6)
    ['17.05.2024', '2024-05-18', '19/05/24']
    >>> mixed_notations({"1.12.3": 5, "2.10.14": 5}, 10)
    []
    """
    notations: dict[str, list[str]] = {}
    for text in counts:
        notation = re.sub(r"[^\W\d_]+", "a", re.sub(r"\d{1,2}(?!\d)", "0", text))
        if "/" in text or re.search(r"(?<!\d)\d{4}(?!\d)", text):
            notations.setdefault(re.sub(r"\d{4}", "0000", notation), []).append(text)
    examples, n_dates = [], 0
    for texts in notations.values():
        once = dict.fromkeys(texts, 1)
        formats = [one for candidates in _candidates(once, len(texts)) for one in candidates]
        read = pd.Series(False, range(len(texts)))
        for one in formats:
            found = pd.to_datetime(
                pd.Series(texts, dtype=object), format=one, errors="coerce", utc="%z" in one
            ).notna()
            if (found & ~read).any():
                examples.append(texts[int((found & ~read).argmax())])
                read |= found
        n_dates += sum(counts[text] for text, there in zip(texts, read, strict=True) if there)
    return examples if len(examples) > 1 and n_dates >= enough else []


def looks_like_date(text: str) -> bool:
    """Return whether a text is written as a date, of the calendar or not.

    Examples
    --------
    >>> looks_like_date("2024-02-30"), looks_like_date("30 Feb 2024"), looks_like_date("1.5")
    (True, True, False)
    """
    return any(one.fullmatch(text) for one in (_DAYS, _DAY_AND_MONTH, _MONTH_AND_DAY))


def is_impossible_date(text: str) -> bool:
    """Return whether a text is written as a date that no calendar has, such as February 30.

    Examples
    --------
    >>> [is_impossible_date(text) for text in ("2024-02-30", "17.05.2024", "5/32/2024", "soon")]
    [True, False, True, False]
    """
    text = text.strip()
    if not looks_like_date(text):
        return False
    formats = [one for candidates in _candidates({text: 1}, 1) for one in candidates]
    return not any(_count_read({text: 1}, one) for one in formats)


def are_impossible_dates(counts: Counter[str], enough: float) -> bool:
    """Return whether at least `enough` of texts, by number, are dates that no calendar has.

    Examples
    --------
    >>> are_impossible_dates(Counter(["2023-02-30", "2023-13-01"]), 2)
    True
    """
    # Ends at the first texts that are too many, as reading a date takes long.
    tolerated = counts.total() - enough
    for text, n in counts.items():
        if not (_YEAR.search(text) and is_impossible_date(text)):
            tolerated -= n
            if tolerated < 0:
                return False
    return True


def are_dates_in_words(counts: Counter[str], enough: float) -> bool:
    """Return whether at least `enough` of texts, by number, are dates with a word for the month.

    Examples
    --------
    >>> are_dates_in_words(Counter(["17 mai 2024", "1 juin 2024"]), 2)
    True
    """
    found = [match for text in counts if (match := _DATE_IN_WORDS.fullmatch(text))]
    words = {match[2].lower() for match in found}
    days = [sorted((match[1], match[3]), key=len) for match in found]
    if not found:
        found = [match for text in counts if (match := _WORD_DAY_YEAR.fullmatch(text))]
        words = {match[1].lower() for match in found}
        days = [[match[2], match[3]] for match in found]
    # Part numbers such as 12-ABC-34 have more words, or greater numbers.
    dated = all(1 <= int(day) <= 31 and len(year) in (2, 4) for day, year in days)
    n_found = sum(counts[match.string] for match in found)
    return bool(found) and n_found >= enough and dated and len(words) <= 24


def are_days(values: np.ndarray) -> bool:
    """Return whether whole numbers are dates such as 20240517, ten or more of them.

    Parameters
    ----------
    values : integer array of shape (n,)

    Returns
    -------
    bool
        False of fewer than 20, and of years before 1900 and after 2099.

    Examples
    --------
    >>> are_days(np.arange(20240501, 20240531)), are_days(np.arange(20240599, 20240630))
    (True, False)
    """
    if len(values) < _MIN_DAYS or values.min() < 1900_01_01 or values.max() > 2099_12_31:
        return False
    days = np.unique(values)
    read = pd.to_datetime(pd.Series(days.astype(str)), format="%Y%m%d", errors="coerce")
    return len(days) >= _MIN_DAYS // 2 and bool(read.notna().all())


def _candidates(counts: Mapping[str, int], enough: float) -> Iterator[list[str]]:
    """Yield formats that dates may be in, those of one pattern at a time."""
    for pattern, formats in (
        (_DAYS, _formats_of_numbers),
        (_DAY_AND_MONTH, _formats_of_words),
        (_MONTH_AND_DAY, _formats_of_words),
    ):
        found = [(match, n) for text, n in counts.items() if (match := pattern.fullmatch(text))]
        if found and sum(n for _, n in found) >= enough:
            yield formats([match for match, _ in found])
    for pattern, date_format in _FIXED:
        if sum(n for text, n in counts.items() if pattern.fullmatch(text)) >= enough:
            yield [date_format]


def _count_read(counts: dict[str, int], date_format: str) -> int:
    texts = pd.Series(list(counts), dtype=object)
    read = pd.to_datetime(
        texts, format=date_format, errors="coerce", utc="%z" in date_format
    ).notna()
    return sum(n for n, there in zip(counts.values(), read, strict=True) if there)


def _formats_of_numbers(days: Sequence[re.Match[str]]) -> list[str]:
    first, mark = days[0], days[0][2]
    time = _format_of_time(first)
    if len(first[1]) == 4:
        return [mark.join(("%Y", "%m", "%d")) + time]
    year = "%Y" if max(len(match[4]) for match in days) == 4 else "%y"
    orders = [("%d", "%m", year), ("%m", "%d", year)]
    if year == "%y" and mark != ".":
        orders.append(("%y", "%m", "%d"))
    if mark == "." and not any(int(match[3]) > 12 for match in days):
        orders = orders[:1]  # with points the day comes first everywhere
    return [mark.join(order) + time for order in orders]


def _formats_of_words(days: Sequence[re.Match[str]]) -> list[str]:
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
    return [weekday + date + _format_of_time(first)]


def _format_of_time(match: re.Match[str]) -> str:
    if not match["time"]:
        return ""
    hour = "%I" if match["half"] else "%H"
    fraction = f"{match['fraction'][0]}%f" if match["fraction"] else ""
    time = f"{match['between']}{hour}:%M" + (":%S" if match["seconds"] else "") + fraction
    zone = match["zone"] or ""
    return time + (" %p" if match["half"] else "") + (zone and "%z".rjust(2 + zone.count(" ")))
