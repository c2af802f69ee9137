"""Text of a CSV file above its rows: encoding, comments, separator and header."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from isthmus.data.csv_options import is_number
from isthmus.errors import DataError

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
    """
    if encoding is None and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
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


def skip_to_header(content: bytes) -> tuple[bytes, int, str]:
    """Leave out what stands above the header.

    Returns
    -------
    content : bytes
        From the header on.
    skipped_lines : int
        Lines left out.
    separator : str
        Of the cells.
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
    separator = _separator(above) if stated is None else stated
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
            )


def _separator(header: str) -> str:
    if "," in header:
        return ","
    counts = {mark: header.count(mark) for mark in ";\t|"}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _are_counts(names: list[str]) -> bool:
    """Tell numbered columns (0, 1, 2 ... or 1990, 1991 ...) from a row of data."""
    return all(name.isdecimal() for name in names) and len(set(names)) == len(names)
