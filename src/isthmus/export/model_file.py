"""The file of an exported graph: read, and its digest written and checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

from isthmus._core import recover_folder
from isthmus.errors import ExportError

#: Key of the entry that ends the graph's file: the SHA-256 of all bytes before it, of so many
#: hexadecimal digits.
_OWN_DIGEST, _N_DIGITS = "sha256", 64


def with_digest(content: bytes) -> bytes:
    """Return the content of a model's file with its SHA-256 as the last entry of the metadata.

    Examples
    --------
    >>> content = with_digest(b"")
    >>> content[-64:].decode() == hashlib.sha256(content[:-64]).hexdigest()
    True
    """
    content += _DIGEST_ENTRY
    return content + hashlib.sha256(content).hexdigest().encode()


def _digest_entry(key: bytes) -> bytes:
    """Return the bytes that make a digest after them an entry of the metadata.

    It is field 14 of a `ModelProto`, so that every reader of ONNX opens the file.
    """
    inner = bytes([0x0A, len(key)]) + key + bytes([0x12, _N_DIGITS])
    return bytes([0x72, len(inner) + _N_DIGITS]) + inner


_DIGEST_ENTRY = _digest_entry(_OWN_DIGEST.encode())


def check_digest(content: bytes, file: str) -> bool:
    """Return whether a model's file ends with its digest; exports of an earlier isthmus have none.

    Raises
    ------
    ExportError
        When it is another file's.
    """
    body, stated = content[:-_N_DIGITS], content[-_N_DIGITS:]
    if not body.endswith(_DIGEST_ENTRY):
        return False
    if hashlib.sha256(body).hexdigest().encode() != stated:
        raise changed_file(file)
    return True


def changed_file(file: str) -> ExportError:
    """Return the error for a file that is not as it was written."""
    return ExportError(
        f"{file} is damaged or was changed: its SHA-256 is not the one at its end; copy it or "
        "export the bundle again"
    )


def read_model(path: Path) -> tuple[str, bytes]:
    """Return path and content of the graph at a path, of a folder of its `model.onnx`."""
    recover_folder(path)
    file = path / "model.onnx" if path.is_dir() else path
    if not file.is_file():
        raise ExportError(
            f"{path} holds no exported graph; write one with: isthmus export BUNDLE -o {path}"
        )
    return str(file), file.read_bytes()
