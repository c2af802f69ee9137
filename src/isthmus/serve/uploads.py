"""Files that clients upload: images in bodies, forms and base64, and what is noted of them."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import parquet_file
from isthmus.data import MISSING, Schema, arrow_to_frame, label_text, labels_from_text
from isthmus.errors import DataError
from isthmus.serve.refusals import Limits, Refusal, check_rows, refusal_of

MULTIPART = "multipart/form-data"
#: Content types of image files; the format is recognised by the content.
IMAGES = tuple(
    f"image/{name}" for name in ("png", "jpeg", "jpg", "webp", "gif", "bmp", "x-ms-bmp", "tiff")
)
#: Images of one request may have as many pixels together as so many of the largest.
LARGE_IMAGES = 4


@dataclass
class Notes:
    """What an answer states about the instances beside what was found.

    Attributes
    ----------
    warnings : list of str
    identifiers : list of dict, or None
        Of each instance: columns of a table that the fit did not use, `id` of a JSON body, and
        `file`, the name of a file that was sent.
    resized_from : list of (height, width) or None, or None
        The size of each image file, None where it was that at fit; None without such files.
    label : str or None
        The column of a table that holds labels, which is taken out of the instances.
    labels : list of str, int or None, or None
        What it holds, None in a row without a label.
    groups : list of str, int or None, or None
        Those of a JSON body, one for each instance; None without.
    """

    warnings: list[str] = field(default_factory=list)
    identifiers: list[dict[str, Any]] | None = None
    resized_from: list[tuple[int, int] | None] | None = None
    label: str | None = None
    labels: list[str | int | None] | None = None
    groups: list[str | int | None] | None = None

    def groups_in(self, columns: Sequence[str]) -> list[Any] | None:
        """Return the group of each instance: given, or in columns that the fit did not use.

        Parameters
        ----------
        columns : sequence of str
            Those that named the groups at fit.

        Returns
        -------
        list of str, int, float, tuple or None, or None
            Of several columns tuples; None where the instances bring no groups.
        """
        if self.groups is not None:
            return self.groups
        rows = self.identifiers or [{}]
        if not columns or not all(name in row for row in rows for name in columns):
            return None
        if len(columns) == 1:
            return [row[columns[0]] for row in rows]
        return [tuple(row[name] for name in columns) for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """Return the keys to add to an answer: `warnings`, and the others that are not empty.

        Returns
        -------
        dict
        """
        plain: dict[str, Any] = {"warnings": self.warnings}
        if self.identifiers is not None:
            plain["identifiers"] = self.identifiers
        if self.resized_from is not None and any(self.resized_from):
            plain["resized_from"] = self.resized_from
        return plain

    def take_labels(self, frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
        """Take the column of labels out of a table, unless it is one of the instances too.

        Parameters
        ----------
        frame : DataFrame
        schema : Schema

        Returns
        -------
        DataFrame

        Raises
        ------
        Refusal
            422 where there is no such column.
        """
        if self.label is None:
            return frame
        names = [str(name) for name in frame.columns]
        if self.label not in names:
            raise Refusal(
                422,
                f"a table without a column {self.label[:100]!r}",
                f"a column of labels among {names[:20]}",
                "name the column of labels in the query: ?label=COLUMN",
            )
        at = names.index(self.label)
        found = labels_from_text(frame.iloc[:, at])
        labelled = MISSING.has_label(found)
        self.labels = [
            _plain_label(label) if there else None
            for label, there in zip(found.tolist(), labelled, strict=True)
        ]
        if self.label in (schema.columns or ()):
            return frame
        return frame.drop(columns=frame.columns[at])

    def identify(self, identifiers: list[dict[str, Any]]) -> None:
        """Add identifiers of all instances.

        Parameters
        ----------
        identifiers : list of dict
        """
        pairs = zip(self.identifiers or [{}] * len(identifiers), identifiers, strict=True)
        self.identifiers = [one | other for one, other in pairs]


def _plain_label(label: Any) -> str | int:
    """Return a label as a queue holds it; one that is neither whole nor text as text."""
    if isinstance(label, int) and not isinstance(label, bool):
        return label
    return int(label) if isinstance(label, float) and label.is_integer() else label_text(label)


def decode_images(
    contents: Sequence[bytes], schema: Schema, limits: Limits, notes: Notes
) -> np.ndarray:
    """Return image files as an array of images of the size and channels at fit.

    A file of another size is resized, as `isthmus.data.load(resize=)` does; colour becomes grey,
    or grey colour, as it was at fit.

    Raises
    ------
    Refusal
        400 where a file is damaged or not an image, 413 where it has too many pixels, 422 where
        the channels at fit are not those of image files.
    """
    from isthmus.data.formats import TooManyPixelsError, decode_image, resize_pixels

    channels = schema.shape[2] if len(schema.shape) == 3 else 1
    if channels not in (1, 3, 4):
        raise Refusal(
            422,
            f"image files for images of {channels} channels",
            f"arrays of shape (n, {', '.join(map(str, schema.shape))})",
            "send them as a .npy file or JSON",
        )
    size = schema.shape[0], schema.shape[1]
    left, images = LARGE_IMAGES * limits.pixels, list[np.ndarray]()
    notes.resized_from = []
    for at, content in enumerate(contents):
        name = f"an image file (instance {at}, counting from 0)" if len(contents) > 1 else "a file"
        try:
            pixels = decode_image(content, name, min(left, limits.pixels), notes.warnings)
        except TooManyPixelsError as error:
            together = left < limits.pixels
            raise Refusal(
                413,
                f"{error} after others" if together else str(error),
                f"at most {limits.pixels} pixels an image, and {LARGE_IMAGES} times as many in one "
                "request",
                "send the images in several requests" if together else "send a smaller image",
            ) from error
        except DataError as error:
            raise refusal_of(error, 400) from error
        left -= pixels.shape[0] * pixels.shape[1]
        if channels == 1 and pixels.ndim == 3:
            if (pixels == pixels[..., :1]).all():  # grey, in a format that stores colour alone
                pixels = pixels[..., 0]
            else:
                notes.warnings.append(
                    f"instance {at} has colour and was converted to grey as at fit"
                )
                pixels = _grey(pixels)
        notes.resized_from.append(None if pixels.shape[:2] == size else pixels.shape[:2])
        pixels = resize_pixels(pixels, size)
        if channels > 1 and pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        if channels == 4:  # opaque: what is transparent was laid on white
            opaque = np.full_like(pixels[..., :1], 255 if pixels.dtype == np.uint8 else 1)
            pixels = np.concatenate([pixels, opaque], axis=-1)
        images.append(pixels.reshape(schema.shape))
    # Beside 16 bits, images of 8 bits have the same scale.
    if len({image.dtype for image in images}) > 1:
        images = [one / np.float32(255) if one.dtype == np.uint8 else one for one in images]
    return np.stack(images)


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Return the luma of colour by ITU-R BT.601, as Pillow weighs the channels."""
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    return np.rint(grey).astype(np.uint8) if pixels.dtype == np.uint8 else grey.astype(np.float32)


def from_base64(instance: Any) -> bytes:
    """Return the bytes of a file in base64: the text, a data: URL, or {"b64": text}."""
    text = instance.get("b64") if isinstance(instance, dict) else instance
    if isinstance(text, str) and text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        if not isinstance(text, str) or not text:
            raise ValueError("no text")
        plain = re.sub(r"\s", "", text).translate(str.maketrans("-_", "+/"))
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error) as error:
        raise Refusal(
            422,
            "an instance that is neither nested lists of numbers nor an image file in base64",
            'numbers, base64 text, a URL data:image/png;base64,... or {"b64": "..."}',
            "encode the file's content in base64",
        ) from error


@dataclass
class Part:
    """A file of a multipart body, or a field of a form."""

    content: bytes
    content_type: str
    file: str | None
    charset: str | None = None


def split_multipart(content: bytes, content_type: str, limits: Limits) -> Iterator[Part]:
    """Yield the parts of a multipart/form-data body (RFC 7578).

    Raises
    ------
    Refusal
        400 when it is damaged, 413 when it has too many parts.
    """
    boundary = str(_header(content_type).get_param("boundary") or "")
    mark = b"--" + boundary.encode("latin-1", "replace")
    damaged = Refusal(
        400,
        "a multipart body that is damaged or cut short",
        "parts between lines of --BOUNDARY, with the boundary in the header Content-Type",
        "let the HTTP library make body and header: files=[...] in requests and httpx",
    )
    body = b"\r\n" + content
    if not boundary or len(boundary) > 100 or b"\r\n" + mark + b"--" not in body:
        raise damaged
    n = body.count(b"\r\n" + mark) - 1
    check_rows(max(n, 1), limits)
    for part in body.split(b"\r\n" + mark)[1:]:
        if part.startswith(b"--"):
            return
        head, found, value = part.partition(b"\r\n\r\n")
        if not found or len(head) > 10_000:
            raise damaged
        fields = BytesHeaderParser().parsebytes(head.lstrip(b" \t\r\n"))
        yield Part(value, fields.get_content_type() if "content-type" in fields else "",
                   fields.get_filename(), _charset(fields))  # fmt: skip


#: Text encodings of Python that are no charsets of files.
_NO_CHARSETS = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf_7")


def split_content_type(content_type: str) -> tuple[str, str | None]:
    """Return the media type and the charset of a header Content-Type, in lower case.

    Examples
    --------
    >>> split_content_type('Text/CSV; charset="Latin-1"')
    ('text/csv', 'latin-1')
    """
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type, _charset(_header(content_type))


def decode_text(content: bytes, charset: str | None) -> bytes:
    """Return text of a charset in UTF-8; without one the content as it is.

    Raises
    ------
    Refusal
        415 for an unknown charset, 400 where the text is none of it.
    """
    if charset is None:
        return content
    try:
        if codecs.lookup(charset).name.replace("-", "_") in _NO_CHARSETS:
            raise LookupError(charset)
        return content.decode(charset).encode()
    except UnicodeError as error:
        raise Refusal(
            400,
            f"text that is not {charset[:100]} ({str(error)[:200]})",
            "text in the charset of the header Content-Type",
            "state the encoding that the text has, or send UTF-8",
        ) from error
    except (LookupError, ValueError) as error:  # a name with a null character is a ValueError
        raise Refusal(
            415,
            f"the charset {charset[:100]!r}",
            "one such as utf-8, utf-16, iso-8859-1 or windows-1252",
            "state the encoding of the text: Content-Type: text/csv; charset=windows-1252",
        ) from error


def _charset(fields: Message) -> str | None:
    return str(fields.get_param("charset") or "").strip().lower() or None


def _header(content_type: str) -> Message:
    line = f"Content-Type: {content_type}".replace("\n", " ").replace("\r", " ")
    return BytesHeaderParser().parsebytes(line.encode("latin-1", "replace") + b"\n")


def check_columns(content: bytes, schema: Schema) -> None:
    """Check that a CSV file has no header line of far too many columns."""
    header = content.lstrip(b"\xef\xbb\xbf\r\n").split(b"\n", 1)[0]
    max_columns = 10 * schema.n_features + 100
    if max(header.count(mark) for mark in (b",", b";", b"\t", b"|")) > max_columns:
        raise Refusal(
            422,
            "a header line of far too many columns",
            f"{schema.n_features} columns",
            "GET /schema names them",
        )


def rows_in(content: bytes) -> int:
    """Return about how many rows a CSV file has below its header line."""
    return content.count(b"\n") - content.count(b"\n\n") - 1


def parquet_frame(
    content: bytes, schema: Schema, limits: Limits, check: Callable[[int, Limits], None]
) -> pd.DataFrame:
    """Return the table of a Parquet file; `check` refuses too many rows."""
    import pyarrow as pa

    try:
        file = parquet_file(pa.BufferReader(content))
        check(file.metadata.num_rows, limits)
        if file.metadata.num_columns > 10 * schema.n_features + 100:
            raise Refusal(
                422,
                f"{file.metadata.num_columns} columns",
                f"{schema.n_features} columns",
                "GET /schema names them",
            )
        groups = range(file.metadata.num_row_groups)
        _check_size(sum(file.metadata.row_group(at).total_byte_size for at in groups), limits)
        batches, size = [], 0
        for batch in file.iter_batches(batch_size=1024):
            size += batch.nbytes
            _check_size(size, limits)
            batches.append(batch)
        frame = arrow_to_frame(pa.Table.from_batches(batches, file.schema_arrow))
    except Refusal:
        raise
    except Exception as error:  # Arrow raises many kinds of errors on damaged files
        raise Refusal(
            400, "a damaged Parquet file", "a whole Parquet file of a flat table", "write it again"
        ) from error
    check(len(frame), limits)
    return frame


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.decompressed_bytes:
        raise Refusal(
            413,
            f"a body that is {size} bytes or more when decompressed",
            f"at most {limits.decompressed_bytes}",
            "send the rows in several requests",
        )
