"""The folder that scoring writes: part files, each whole or not there, and what they are of.

::

    out.parquet/
      part-00000.parquet   of the stream's first part: keys, and decisions or codes
      part-00001.parquet
      _manifest.json       of which bundle and files, which rows, finished or not
      .lock                held by the process that writes

A part is finished when its file is there; its footer says of which run it is.
"""

from __future__ import annotations

import io
import json
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from isthmus._version import __version__
from isthmus.data.stream import Part, Skipped
from isthmus.errors import ScoringError
from isthmus.scoring.run import Plain, differences, digest
from isthmus.storage import no_space, write_bytes, write_json

MANIFEST, LOCK = "_manifest.json", ".lock"
FORMAT_VERSION = 1
_ENTRY = b"isthmus"


@dataclass(frozen=True)
class Written:
    """A part that is there.

    Attributes
    ----------
    n_rows : int
    counts : dict of str to int
        Rows of each decision.
    """

    n_rows: int
    counts: dict[str, int]


@dataclass(frozen=True)
class PartFiles:
    """Where the parts of one run go.

    Attributes
    ----------
    folder : Path
    run : str
        The run's digest.
    schema : pyarrow.Schema
    """

    folder: Path
    run: str
    schema: pa.Schema

    def path(self, part: Part) -> Path:
        """Return the file of a part; their names are in the order of the rows."""
        return self.folder / f"part-{part.index:05d}.parquet"

    def find(self, part: Part) -> Written | None:
        """Return a finished part of this run, None when it is not there.

        Raises
        ------
        ScoringError
            When the file is another run's, or no longer what was written.
        """
        path = self.path(part)
        if not path.exists():
            return None
        try:
            footer = pq.read_metadata(path)
            facts = json.loads((footer.metadata or {})[_ENTRY])
            same = facts["run"] == self.run
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise ScoringError(
                f"{path} is damaged or was not written by isthmus ({error}); delete it and run "
                "again with resume"
            ) from error
        if not same:
            raise ScoringError(
                f"{path} was written by another run; delete it and run again with resume"
            )
        return Written(footer.num_rows, facts["counts"])

    def write(self, part: Part, arrays: Sequence[pa.Array], counts: Mapping[str, int]) -> Written:
        """Write a part.

        Raises
        ------
        ScoringError
            When there is no space left, or the folder may not be written to.
        """
        entry = json.dumps({"run": self.run, "counts": counts}).encode()
        table = pa.Table.from_arrays(
            list(arrays), schema=self.schema.with_metadata({_ENTRY: entry})
        )
        content = io.BytesIO()
        pq.write_table(table, content)
        try:
            write_bytes(self.path(part), content.getbuffer())
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        return Written(table.num_rows, dict(counts))


@contextmanager
def open_output(folder: Path, run: Plain, schema: pa.Schema, resume: bool) -> Iterator[PartFiles]:
    """Take a folder for a run, as the only one who writes there, and write its manifest.

    Raises
    ------
    ScoringError
        When another process writes there; when something is there already and `resume` was not
        asked for; when what is there is of another run.
    """
    if folder.exists() and not folder.is_dir():
        raise ScoringError(
            f"{folder} is a file, expected a folder to write part files into; choose another path"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Held by the operating system: a process that was killed holds nothing.
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise ScoringError(
            f"{folder} is being written by {_who(folder)}; wait for it, or choose another path"
        ) from error
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        _check(folder, run, resume)
        for left in folder.glob(".part-*"):  # half written when a process died
            left.unlink(missing_ok=True)
        _write_manifest(folder, run, {"finished": False} | _me())
        yield PartFiles(folder, digest(run), schema)
    finally:
        lock.release()


def finish(files: PartFiles, run: Plain, skipped: Sequence[Skipped]) -> Plain:
    """Count what is there and write the manifest as finished.

    Returns
    -------
    dict
        `n`, the rows; `counts` of each decision; `skipped`.

    Raises
    ------
    ScoringError
        When a part is missing that was not skipped.
    """
    counts: Counter[str] = Counter()
    n_rows = n_files = 0
    gone: list[str] = []
    for facts in run["parts"]:
        part = Part(facts["index"], facts["source"], facts["row"], facts["n_rows"])
        found = files.find(part)
        if found is None:
            gone.append(part.source)
            continue
        counts.update(found.counts)
        n_rows, n_files = n_rows + found.n_rows, n_files + 1
    unexplained = [source for source in gone if source not in {one.source for one in skipped}]
    if unexplained:
        raise ScoringError(
            f"{files.folder} lacks the rows of {unexplained[0]}, which were written before; run "
            "again with resume"
        )
    facts = {
        "n": n_rows,
        "n_parts": n_files,
        "counts": dict(sorted(counts.items())),
        "skipped": [asdict(one) for one in skipped],
    }
    _write_manifest(files.folder, run, {"finished": True} | facts)
    return facts


def _check(folder: Path, run: Plain, resume: bool) -> None:
    held = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if not held:
        return
    if not resume:
        raise ScoringError(
            f"{folder} exists and holds {len(held)} files; go on with resume (on the command line "
            "--resume) when they are of this run, or choose another path"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        before = manifest["run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScoringError(
            f"{folder} holds files, and no {MANIFEST} that says of which run; choose another path"
        ) from error
    different = differences(before, run)
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise ScoringError(
            f"{folder} is of another run; it differs in {', '.join(different[:3])}{more}; use the "
            "same bundle, data and options, or choose another path"
        )


def _write_manifest(folder: Path, run: Plain, facts: Plain) -> None:
    head = {
        "format_version": FORMAT_VERSION,
        "isthmus_version": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        write_json(folder / MANIFEST, head | facts | {"run": run})
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _me() -> Plain:
    return {"writing": {"process": os.getpid(), "host": socket.gethostname()}}


def _who(folder: Path) -> str:
    try:
        who: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["writing"]
        return f"process {who['process']} on {who['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _cannot_write(folder: Path, error: OSError) -> ScoringError:
    if no_space(error):
        return ScoringError(
            f"no space left for {folder}; the parts that are there stay: make room, and go on "
            "with resume (on the command line --resume)"
        )
    return ScoringError(
        f"cannot write to {folder} ({error.strerror or error}); see that the folder is there and "
        "may be written to, and go on with resume (on the command line --resume)"
    )
