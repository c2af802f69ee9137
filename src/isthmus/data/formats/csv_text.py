"""Text of a CSV file above its rows: encoding, comments, separator and header."""

from __future__ import annotations

import codecs
import csv
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.csv_options import is_number
from isthmus.data.places import describe_row
from isthmus.errors import DataError, DataWarning

if TYPE_CHECKING:
    import pandas as pd

#: What is wrong with a column that has values and no name.
NO_NAME = (
    "has no name; give it one in the header; if it is an index that pandas wrote, write the file "
    "again with index=False"
)
#: Bytes in which the first lines are looked for.
_LOOKED_AT = 2**16
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_OTHER_SEPARATORS = (":", "~", "^", "\x01", "\x1f", "\u00a6")
_CHARSET = "send UTF-8, or state the encoding: Content-Type: text/csv; charset=windows-1252"


def as_utf8(content: bytes, path: Path | str, encoding: str | None) -> bytes:
    """Return the content of a file in UTF-8, without a byte order mark.

    Parameters
    ----------
    content : bytes
    path : Path or str
        The file, for the errors.
    encoding : str or None
        None is UTF-8, or UTF-16 where the file begins with its mark.

    Raises
    ------
    DataError
        When the content is in another encoding.

    Warns
    -----
    DataWarning
        When the content is UTF-8 and an encoding of single bytes is stated.
    """
    if encoding is None and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif encoding is not None:
        _check_encoding(content, path, encoding)
    try:
        if encoding is not None:
            content = content.decode(encoding).encode()
        elif not content.isascii():
            content.decode("utf-8")
    except UnicodeError as error:
        place = getattr(error, "start", 0)
        line = content.count(b"\n", 0, place) + 1
        if encoding is not None:
            raise DataError(
                f"{path} is not {encoding} text ({error}); state its encoding with "
                "encoding= (on the command line --encoding)",
                request_fix=_CHARSET,
            ) from error
        raise DataError(
            f"{path} is not UTF-8 text: byte 0x{content[place]:02x} in line {line}; "
            "state its encoding, such as encoding='cp1252' of Windows in Western Europe (on "
            "the command line --encoding cp1252), or save it again as UTF-8",
            request_fix=_CHARSET,
        ) from error
    if b"\0" in content[:1000]:
        raise DataError(
            f"{path} holds zero bytes, which no CSV file in UTF-8 has; state its "
            "encoding, such as encoding='utf-16-le' (on the command line --encoding utf-16-le)",
            request_fix=_CHARSET,
        )
    return content.removeprefix(b"\xef\xbb\xbf")


def _check_encoding(content: bytes, path: Path | str, encoding: str) -> None:
    """Refuse an encoding in which another one would be read as other letters.

    Warns
    -----
    DataWarning
        When the content is UTF-8 and an encoding of single bytes is stated.
    """
    name = codecs.lookup(encoding).name
    fix = f"leave encoding={encoding!r} (--encoding) out"
    if name.startswith(("utf-16", "utf-32")):
        if content[:1000].isascii() and b"\0" not in content[:1000]:
            raise DataError(f"{path} is ASCII text and not {encoding}; {fix}", request_fix=_CHARSET)
    elif content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(
            f"{path} begins with the mark of UTF-16 and is not {encoding}; {fix}",
            request_fix=_CHARSET,
        )
    elif not name.startswith("utf") and not content.isascii():
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            return
        warnings.warn(
            f"{path} is UTF-8 text, and is read as {encoding} with other letters; {fix}",
            DataWarning,
            stacklevel=4,
        )


def skip_to_header(content: bytes, path: Path | str) -> tuple[bytes, int, str]:
    """Leave out what stands above the header.

    Parameters
    ----------
    content : bytes
        In UTF-8.
    path : Path or str
        The file, for the errors.

    Returns
    -------
    content : bytes
        From the header on.
    skipped_lines : int
        Lines left out.
    separator : str
        Of the cells.

    Raises
    ------
    DataError
        When the columns are parted by spaces or another mark, or cells are quoted in another way.
    """
    stated, comment, skipped = None, b"", 0
    while content:
        first, _, rest = content.partition(b"\n")
        line = first.strip()
        if stated is None and line[:4].lower() == b"sep=" and len(line) == 5:
            stated = line[4:].decode()
        elif line.startswith(b"#"):
            comment = line
        elif line:
            break
        content, skipped = rest, skipped + 1
    above = content.partition(b"\n")[0].decode("utf-8")
    lines = _first_lines(content)
    separator = _separator(lines) if stated is None else stated
    if stated is None and lines:
        _check_separator(lines, path)
    # NumPy and loggers write the header as a comment too, above the first row of numbers.
    names = comment.decode("utf-8").lstrip("# ").split(separator)
    cells = above.strip().split(separator)
    if comment and len(names) == len(cells) and all(map(is_number, cells)):
        header = separator.join(names).encode()
        content = header + b"\n" + content
        skipped -= 1
    return content, skipped, separator


def check_header(names: Sequence[str], path: Path | str) -> None:
    """Refuse a header of numbers, or with a name twice; columns without a name are left alone.

    Raises
    ------
    DataError
    """
    named = [name for name in names if name]
    if named and all(is_number(name) for name in named) and not _are_counts(named):
        raise DataError(
            f"the first line of {path} holds numbers where column names belong; "
            "put a line with the column names on top"
        )
    for name, count in Counter(named).items():
        if count > 1:
            raise DataError(
                f"{path} has more than one column called {name!r}; give each its own name"
                + is_number(name) * ", and put a line with the names on top if these are a row"
            )


def check_no_row(
    frame: pd.DataFrame, path: Path | str, line: Callable[[int], int | None] = lambda _: None
) -> pd.DataFrame:
    """Return a table; refuse one whose header is a row, or stands among the rows again.

    Parameters
    ----------
    frame : DataFrame of shape (n, m)
    path : Path or str
    line : callable, optional
        Returns the line of the file that a row (from 0) begins on.

    Returns
    -------
    DataFrame

    Raises
    ------
    DataError
        When the header has numbers, and a text that its column holds below; or when rows equal
        the header, as where files were joined.
    """
    names = [str(name) for name in frame]
    numbers = [name for name in names if is_number(name)]
    for name in names if numbers else ():
        if not is_number(name) and (frame[name] == name).any():
            raise DataError(
                f"the first line of {path} holds {numbers[0]!r}, and {name!r} as rows below do, "
                "where column names belong; put a line with the column names on top"
            )
    rows = np.arange(len(frame))
    for at, name in enumerate(names):
        column = frame.iloc[rows, at]
        if column.dtype.kind in "biufM":
            return frame
        rows = rows[(column.astype(str).str.strip() == name.strip()).to_numpy(dtype=bool)]
        if not len(rows):
            return frame
    if len(names) < 2:  # of one column the name may well be a value
        return frame
    more = f" and in {len(rows) - 1:,} more" if len(rows) > 1 else ""
    raise DataError(
        f"the header of {path} stands again in {describe_row(int(rows[0]), line(int(rows[0])))}"
        f"{more}, as where files were joined; delete it there"
    )


def _first_lines(content: bytes) -> list[str]:
    """Return the header and the first lines below it, without quoted cells that break lines."""
    lines = content[:_LOOKED_AT].decode("utf-8", "ignore").splitlines()
    if len(content) > _LOOKED_AT:
        lines = lines[:-1] or lines
    return list(islice(filter(str.strip, lines), 6))


def _separator(lines: Sequence[str]) -> str:
    """Return the separator: of those in the header the one that parts the lines below alike."""
    header, *below = [_QUOTED.sub("", line) for line in lines] or [""]
    found = [mark for mark in ",;\t|" if mark in header]
    if len(found) < 2:
        return found[0] if found else ","
    alike = [mark for mark in found if {line.count(mark) for line in below} == {header.count(mark)}]
    if alike or "," in found:
        return (alike or [","])[0]
    return max(found, key=header.count)


def _check_separator(lines: Sequence[str], path: Path | str) -> None:
    """Refuse a header that is one name by the separators known, and that others would part."""
    header, *below = [line.strip() for line in lines]
    if header.startswith("'") and re.fullmatch(r"'[^']*'(?:\s*([,;\t|])\s*'[^']*')*", header):
        raise DataError(
            f"the header of {path} is quoted with single quotes, expected double ones or none; "
            f"write it again: {_rewritten(path, quotechar=chr(39))}"
        )
    if not below:
        return
    names = next(csv.reader([header]), [])
    if len(names) == 1 and header.startswith('"'):
        for inner in (one for one in ",;\t|" if one in names[0]):
            if all(re.fullmatch(f'"[^"]*{re.escape(inner)}.*"', line) for line in below):
                raise DataError(
                    f"each line of {path} is one cell in quotes, expected a cell for each of its "
                    f"columns {', '.join(names[0].split(inner)[:5])}; take away the quotes around "
                    "the lines"
                )
    if any(mark in header for mark in ",;\t|") or re.fullmatch('"[^"]*"', header):
        return
    for mark in (None, *_OTHER_SEPARATORS):
        n_names = len(header.split(mark))
        cells = [line.split(mark) for line in below]
        # R writes no name above its row names.
        alike = {len(row) for row in cells} in ({n_names}, {n_names + 1})
        numbers = (any(is_number(one.replace(",", ".")) for one in row) for row in cells)
        if n_names > 1 and alike and all(numbers):
            how = (
                "write it again: " + _rewritten(path, sep=r"\s+")
                if mark is None
                else f"put a first line sep={mark} above the header"
            )
            raise DataError(
                f"{path} seems to part its {len(cells[0])} columns by "
                f"{'spaces' if mark is None else repr(mark)}, expected commas, semicolons, tabs or "
                f"bars; {how}; where each line is one cell, put the name in the header in double "
                "quotes"
            )


def _rewritten(path: Path | str, **options: str) -> str:
    """Return the call of pandas that writes a file again with commas and double quotes."""
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"pd.read_csv({str(path)!r}, {given}).to_csv({str(path)!r}, index=False)"


def _are_counts(names: list[str]) -> bool:
    """Tell numbered columns (0, 1, 2 ... or 1990, 1991 ...) from a row of data."""
    return all(name.isdecimal() for name in names) and len(set(names)) == len(names)


def without_nameless(table: Any, path: Path | str) -> Any:
    """Return a pyarrow Table without columns that have no name and are empty or number the rows.

    Raises
    ------
    DataError
        When another column has no name.
    """
    keep, n = [], table.num_rows
    for position, name in enumerate(table.column_names):
        if name:
            keep.append(position)
            continue
        column = table.column(position)
        if column.null_count == table.num_rows:
            continue
        if position == 0 and column.to_pylist() in (list(range(n)), list(range(1, n + 1))):
            continue  # pandas numbers rows from 0, R from 1
        raise DataError(f"column {position + 1} of {path} {NO_NAME}")
    return table.select(keep)
