"""Time series in `.ts` files, as sktime and aeon write them."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus._core import gunzip, read_bytes
from isthmus.data.csv_options import is_number
from isthmus.data.dataset import Dataset
from isthmus.data.labels import as_labels
from isthmus.data.preprocessing import describe_filled, interpolate
from isthmus.data.schema import Schema
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


_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")


def load_ts(path: Path) -> Dataset:
    r"""Load a `.ts` file, gzipped or not: the series of one file, with their classes.

    The header's lines begin with `#` or `@`. After `@data` comes one series a line: values
    separated by commas, channels by colons, and after the last colon the class, where
    `@classLabel true` (or `@targetLabel true`) says so. `?` and NaN are missing values:
    they are filled on a straight line between the values before and after them, at the
    ends with the nearest one, and a warning counts them. Of a file `..._TRAIN.ts` the
    `..._TEST.ts` beside it is not read: load both.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Dataset
        Of kind "series"; `X` is (n, t, c), float64, so that nothing is rounded before the
        channels are standardised. `y` is integers when all classes are whole numbers,
        otherwise strings (numbers for `@targetLabel`), and None without classes.

    Raises
    ------
    DataError
        Naming file and line: of a value that is no number, channels of unlike length, a
        channel without any value, a class that the header does not declare, time stamps.
        Also when the series are not all of one length.

    Warns
    -----
    UserWarning
        When missing values were filled.

    References
    ----------
    https://www.aeon-toolkit.org/en/stable/api_reference/data_format.html

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> text = "@univariate true\n@classLabel true up down\n@data\n1,2,3:up\n3,2,1:down\n"
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "slopes.ts"
    ...     _ = path.write_text(text)
    ...     data = load_ts(path)
    >>> data, data.y.tolist()
    (Dataset('slopes.ts', 2 series of 3 time steps, 2 classes), ['up', 'down'])
    """
    lines = iter(enumerate(_text(path).splitlines(), start=1))
    stripped = ((number, line.strip()) for number, line in lines)
    header = read_header(stripped, path)
    series, labels, numbers = [], [], []
    for number, line in stripped:
        if not line or line.startswith("#"):
            continue
        where = f"line {number} of {path}"
        channels = line.split(":")
        if header.labelled:
            labels.append(_label(channels, header, where))
        header.n_channels = header.n_channels or len(channels)
        if len(channels) != header.n_channels:
            raise DataError(
                f"{where} has {len(channels)} channel{'s' * (len(channels) > 1)} (separated by "
                f"colons), expected "
                f"{header.n_channels}"
                + ("" if header.labelled else " (and no class, as @classLabel is not true)")
            )
        series.append(_values(channels, where))
        numbers.append(number)
    if not series:
        raise DataError(f"{path} holds no series after @data; expected one a line")
    _check_lengths(series, numbers, path)
    X = np.stack(series)  # (n, t, c)
    n_missing = int(np.isnan(X).sum())
    if n_missing:
        warnings.warn(f"{path}: {describe_filled(n_missing, X.size)}", stacklevel=2)
        X = np.stack([interpolate(values) for values in series])
    y = _labels(labels, header.are_targets) if header.labelled else None
    return Dataset(X, y, Schema.learn(X, "series"), name=path.name)


def _text(path: Path) -> str:
    content = gunzip(read_bytes(path), path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8 text: byte 0x{content[error.start]:02x} in line {line}; "
            "save it again as UTF-8"
        ) from error


def _label(channels: list[str], header: TsHeader, where: str) -> str | None:
    """Take the class off the end of a line."""
    label = channels.pop().strip()
    if not channels or not label:
        raise DataError(
            f"{where} has no class after a last colon, and the header says that it has; "
            "add the class, or write @classLabel false"
        )
    if label == "?":
        return None
    if header.are_targets and not is_number(label):
        raise DataError(f"{where} has the label {label!r}, expected a number as in @targetLabel")
    if header.classes and not any(_same(label, declared) for declared in header.classes):
        close = difflib.get_close_matches(label, header.classes, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DataError(
            f"{where} has the class {label!r}, which @classLabel does not declare; {hint}"
            f"it declares {', '.join(header.classes)}"
        )
    return label


def _same(label: str, declared: str) -> bool:
    if label == declared:
        return True
    # Files there are that declare 1 and write 1.0.
    both_whole = _WHOLE.fullmatch(label) and _WHOLE.fullmatch(declared)
    return bool(both_whole) and float(label) == float(declared)


def _values(channels: Sequence[str], where: str) -> np.ndarray:
    """Return one series as (t, c)."""
    columns = [_numbers(text, where) for text in channels]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        odd = next(at for at, length in enumerate(lengths) if length != lengths[0])
        raise DataError(
            f"{where}: channel {odd + 1} has {lengths[odd]} values and channel 1 has "
            f"{lengths[0]}; expected as many in each"
        )
    values = np.stack(columns, axis=1)
    empty = np.isnan(values).all(axis=0)
    if empty.any():
        raise DataError(
            f"{where}: all values of channel {int(empty.argmax()) + 1} are missing; "
            "leave the series out"
        )
    return values


def _numbers(text: str, where: str) -> np.ndarray:
    if "(" in text:
        raise DataError(
            f"{where} holds (time, value) pairs, which isthmus does not read from .ts; "
            "write the values alone, or one long table with a time column"
        )
    words = text.replace("?", "nan").split(",")
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError:
        bad = next(word for word in words if not is_number(word))
        raise DataError(
            f"{where} holds {bad.strip()!r}, expected a number, or ? for a missing value"
        ) from None
    if np.isinf(values).any():
        raise DataError(f"{where} holds an infinite value; put a number there, or ? for missing")
    return values


def _check_lengths(series: list[np.ndarray], numbers: list[int], path: Path) -> None:
    lengths = np.array([len(values) for values in series])
    shortest, longest = int(lengths.argmin()), int(lengths.argmax())
    if lengths[shortest] < lengths[longest]:
        raise DataError(
            f"{path} holds series of {lengths[shortest]} time steps (line {numbers[shortest]}) to "
            f"{lengths[longest]} (line {numbers[longest]}), expected one length; cut or pad "
            "them, or write them as one long table with a group column and load that with window="
        )


def _labels(labels: list[str | None], are_targets: bool) -> np.ndarray:
    if are_targets:
        return np.array([np.nan if label is None else float(label) for label in labels])
    if all(label is None or _WHOLE.fullmatch(label) for label in labels):
        return as_labels([None if label is None else int(float(label)) for label in labels])
    return as_labels(labels)
