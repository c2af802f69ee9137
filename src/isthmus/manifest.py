"""The outer form of a bundle: a folder whose `manifest.json` lists and vouches for the rest.

Nothing here needs torch, so a bundle can be looked into cheaply.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isthmus._extras import library_versions
from isthmus._version import __version__
from isthmus.errors import BundleError
from isthmus.storage import file_digest, refuse_address, replaced_folder, write_json

FORMAT_VERSION = 1
#: Keys of heads in bundles and exports of before, and what they are called today.
_RENAMED = {"score": "method", "unknown_rate": "rejection_rate", "novelty": "rejecter"}
#: The same digest as `encoder_digest`, twice.
_GONE = ("digest_before", "digest_after")
MANIFEST = "manifest.json"
_LIBRARIES = ("torch", "numpy", "scikit-learn", "safetensors", "skops")


@contextmanager
def new_bundle(path: str | Path) -> Iterator[Path]:
    """Give a folder to fill with a bundle; it replaces `path` only when complete.

    Raises
    ------
    BundleError
        When `path` holds something that is not a bundle: that is never overwritten.
    """
    target = check_target(path)
    with replaced_folder(target) as folder:
        yield folder


def check_target(path: str | Path) -> Path:
    """Check that a bundle may be written to `path`: worth doing before hours of training.

    Raises
    ------
    BundleError
        When something is there that is not a bundle, or the folder cannot be written to.
    DataError
        When it is an address, such as s3://bucket/press.
    """
    refuse_address(path)
    target = Path(path)
    if target.exists() and not _may_replace(target):
        raise BundleError(
            f"{target} exists and is not a bundle, so it is left alone; choose another path"
        )
    parent = next(folder for folder in (target.absolute().parents) if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise BundleError(f"{target} cannot be written: {parent} is read-only; choose another path")
    return target


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write `manifest.json`: the facts, the versions, and the digest of every other file."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    head = {
        "format_version": FORMAT_VERSION,
        "isthmus_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": library_versions(_LIBRARIES),
    }
    digests = {p.relative_to(folder).as_posix(): file_digest(p) for p in files}
    write_json(folder / MANIFEST, head | facts | {"files": digests})


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read a bundle's manifest.

    Raises
    ------
    BundleError
        When there is none, it is damaged, or its format is newer than this version knows.
    """
    file = Path(path) / MANIFEST
    if not file.is_file():
        raise BundleError(
            f"{path} is not a bundle: it has no {MANIFEST}; "
            "a bundle is the folder that `isthmus fit ... -o FOLDER` writes"
        )
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        found = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{file} is damaged ({error}); save the bundle again") from error
    if not isinstance(found, int) or found > FORMAT_VERSION:
        raise BundleError(
            f"{path} has bundle format {found}, this isthmus {__version__} reads up to "
            f"{FORMAT_VERSION}; update with: pip install --upgrade isthmus"
        )
    if not isinstance(manifest.get("files"), dict):
        raise BundleError(f"{file} is damaged (it lists no files); save the bundle again")
    for name, entry in manifest.get("heads", {}).items():
        manifest["heads"][name] = in_todays_words(entry)
    for name, entries in manifest.get("history", {}).items():
        manifest["history"][name] = [in_todays_words(entry) for entry in entries]
    return dict(manifest)


def in_todays_words(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a bundle or an export of before says of a head, under the keys of today.

    Examples
    --------
    >>> in_todays_words({"kind": "detector", "score": "blend", "digest_after": "5c0e"})
    {'kind': 'detector', 'method': 'blend'}
    """
    found = {_RENAMED.get(key, key): value for key, value in head.items() if key not in _GONE}
    if isinstance(found.get("parameters"), Mapping):
        found["parameters"] = in_todays_words(found["parameters"])
    if isinstance(found.get("rejecter"), Mapping):
        found["rejecter"] = in_todays_words(found["rejecter"])
    return found


def verify_files(path: str | Path, manifest: dict[str, Any]) -> None:
    """Check every file of a bundle against the manifest.

    Raises
    ------
    BundleError
        Naming the first file that is missing, not as it was written, or outside the bundle.
    """
    for name, expected in manifest["files"].items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(
                f"{Path(path) / MANIFEST} names {name!r}, a file outside the bundle; "
                "do not trust this bundle, get it again from where it was made"
            )
        file = Path(path) / name
        if not file.is_file():
            raise BundleError(f"{file} is missing from the bundle; copy the bundle again, whole")
        if file_digest(file) != expected:
            raise BundleError(
                f"{file} is damaged or was changed: its SHA-256 is not the one in {MANIFEST}; "
                "copy or save the bundle again"
            )


def _may_replace(target: Path) -> bool:
    if not target.is_dir():
        return False
    return (target / MANIFEST).is_file() or not any(target.iterdir())
