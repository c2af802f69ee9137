"""Where a served graph comes from: an export, or a bundle that is exported in another process."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from isthmus._version import __version__
from isthmus.errors import ServeError
from isthmus.manifest import MANIFEST, read_manifest
from isthmus.storage import file_digest

#: Counted up when an export of the same bundle has more in it than before.
EXPORTS = 2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

#: Exports that the cache keeps: those used last.
KEPT = 16
#: What this process serves from the cache, by bundle; it deletes none of these.
_served: dict[Path, Path] = {}


class Source:
    """A bundle or export on disk, under the name it is served by.

    Parameters
    ----------
    word : str
        A path, or `name=path`; without a name the folder's counts.

    Attributes
    ----------
    name : str

    Raises
    ------
    ServeError
        When the path is neither bundle nor export, or the name cannot stand in a URL.

    Examples
    --------
    >>> Source("press=nowhere")
    Traceback (most recent call last):
        ...
    isthmus.errors.ServeError: nowhere is neither a bundle nor an export; write one with: isthmus fit DATA -o nowhere
    """  # noqa: E501

    def __init__(self, word: str) -> None:
        name, found, path = word.partition("=")
        if not found or "/" in name:
            name, path = "", word
        self.path = Path(path)
        self.name = name or self.path.absolute().name.removesuffix(".onnx")
        self._watched = self._find()
        if not _NAME.fullmatch(self.name):
            raise ServeError(
                f"got the name {self.name!r}, expected letters, digits, dots, - and _; "
                f"give it one: NAME={path}"
            )

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when a new version lies there; empty while none does."""
        try:
            facts = self._watched.stat()
        except OSError:
            return ()
        return facts.st_mtime_ns, facts.st_size, facts.st_ino

    def graph(self) -> Path:
        """Return the graph's file; of a bundle, export it first, in another process.

        Raises
        ------
        ServeError
            When the bundle cannot be exported, in the words of that process.
        BundleError
            When it is damaged.
        """
        if self._watched.name != MANIFEST:
            return self._watched
        for _ in range(3):
            read_manifest(self.path)
            version = file_digest(self._watched)
            target = _cache() / f"{__version__}-{EXPORTS}" / version[:32]
            if not (target / "model.onnx").is_file():
                self._export(target)
            # The bundle may have been replaced while it was exported.
            if self._watched.is_file() and file_digest(self._watched) == version:
                _served[self.path.absolute()] = target
                _tidy(target)
                return target / "model.onnx"
        raise ServeError(f"{self.path} changes all the time; serve it when it stands still")

    def _export(self, target: Path) -> None:
        words = [sys.executable, "-m", "isthmus", "export", str(self.path), "-o", str(target)]
        done = subprocess.run([*words, "--residual"], capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["error: no word of why"]
            raise ServeError(
                f"{self.path} cannot be exported to be served: {said[-1].removeprefix('error: ')}"
            )

    def _find(self) -> Path:
        if self.path.is_file() and self.path.suffix == ".onnx":
            return self.path
        for name in ("model.onnx", MANIFEST):
            if (self.path / name).is_file():
                return self.path / name
        raise ServeError(
            f"{self.path} is neither a bundle nor an export; write one with: "
            f"isthmus fit DATA -o {self.path}"
        )


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("isthmus")) / "exports"


def _tidy(used: Path) -> None:
    """Mark an export as used now, and delete those that were not used for longest."""
    with contextlib.suppress(OSError):  # the cache may be another user's
        os.utime(used)
    folders = []
    for folder in used.parent.iterdir():
        with contextlib.suppress(OSError):  # another process may tidy up at the same time
            folders.append((folder.stat().st_mtime_ns, folder))
    folders.sort(reverse=True)
    for _, folder in folders[KEPT:]:
        if folder in _served.values():
            continue
        # Renamed first, so that nobody finds half of it; whoever serves it has read it whole.
        gone = folder.with_name(f".{folder.name}.gone")
        with contextlib.suppress(OSError):
            folder.rename(gone)
            shutil.rmtree(gone)
