"""The output folder: one part file for each chunk, written whole or not at all, and a manifest.

::

    out.parquet/
      part-00000.parquet   the stream's first chunk: keys, and decisions or codes
      part-00001.parquet
      _manifest.json       bundle, source files and chunks of the run, and whether it is finished
      .lock                held by the process that writes

A chunk is finished when its file exists; the file's footer holds the digest of the run.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from isthmus import __version__
from isthmus._core import parquet_file, read_parquet, reading, write_bytes, write_json
from isthmus.bundle import version_folder
from isthmus.data import codes_facts
from isthmus.data.streaming import ChunkRange, SkippedChunk, Stream, WindowReader
from isthmus.errors import ScoringError, is_disk_full

if TYPE_CHECKING:
    from isthmus.bundle import Bundle

Plain = dict[str, Any]
_COMPARED_KEYS = (
    "what",
    "encoder",
    "identity",
    "head",
    "head_version",
    "head_files",
    "columns",
    "cutting",
)
MANIFEST, LOCK = "_manifest.json", ".lock"
FORMAT_VERSION = 1
_EXPLAINED = re.compile("file|prediction|anomaly_score|p_value|(reason|share)_[0-9]|nearest_normal")
_METADATA_KEY = b"isthmus"


def describe_run(
    bundle: Bundle, head: str | None, what: str, stream: Stream, schema: pa.Schema
) -> Plain:
    """Describe a run by plain values; runs with equal descriptions write the same rows.

    Parameters
    ----------
    bundle : Bundle
    head : str or None
        None for codes.
    what : {"predict", "encode"}
    stream : Stream
    schema : pyarrow.Schema
        Of what is written.
    """
    described: Plain = {"what": what, "encoder": bundle.encoder.digest_, "head": head}
    described |= _describe_codes(bundle) if head is None else _describe_head(bundle, head)
    described["columns"] = [{"name": field.name, "type": str(field.type)} for field in schema]
    if isinstance(stream.reader, WindowReader):
        described["cutting"] = stream.reader.cutting
    chunks = [chunk for chunk in stream.chunk_ranges if chunk.n_rows]
    sources = dict.fromkeys(chunk.source for chunk in chunks)
    described["sources"] = {source: stream.reader.stamp(source) for source in sources}
    described["parts"] = [
        {
            "index": chunk.index,
            "source": chunk.source,
            "row": stream.first_row + chunk.first_row,
            "n_rows": chunk.n_rows,
        }
        for chunk in chunks
    ]
    return described


def digest(run: Plain) -> str:
    """Return the SHA-256 of a run's description."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()


def differences(before: Plain, now: Plain) -> list[str]:
    """Return the differences of two runs as short phrases."""
    found = [
        f"{name} (there {_short(before.get(name))}, now {_short(now.get(name))})"
        for name in _COMPARED_KEYS
        if before.get(name) != now.get(name)
    ]
    old, new = before.get("sources", {}), now["sources"]
    for source in [*new, *(source for source in old if source not in new)]:
        if source not in old or source not in new:
            found.append(f"the file {source} ({'new' if source in new else 'no longer there'})")
        elif old[source] != new[source]:
            found.append(f"the file {source} (changed since)")
    if not found and before.get("parts") != now["parts"]:
        n_then, n_now = len(before.get("parts", [])), len(now["parts"])
        how = f"there {n_then}, now {n_now}"
        how = "of other rows, or in another order" if n_then == n_now else how
        found.append(f"the chunks that files are read in ({how})")
    return found


def _describe_codes(bundle: Bundle) -> Plain:
    from isthmus.encoding import encoder_identity  # imports torch, which workers do without

    encoder = bundle.encoder
    names = list(encoder.get_feature_names_out())
    return codes_facts(encoder.digest_, encoder_identity(encoder), names)


def _describe_head(bundle: Bundle, head: str) -> Plain:
    version = bundle.manifest["heads"][head]["version"]
    prefix = f"{Path(version_folder(head, version)).as_posix()}/"
    files = {name: sha for name, sha in bundle.manifest["files"].items() if name.startswith(prefix)}
    return {"head_version": version, "head_files": digest(files)}


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{one['name']} {one['type']}" for one in value)
    return repr(value[:12] if isinstance(value, str) and len(value) == 64 else value)


@dataclass(frozen=True)
class WrittenChunk:
    """What is stored of a finished chunk.

    Attributes
    ----------
    n_rows : int
    counts : dict of str to int
        Number of rows of each decision.
    missing : list of int or None
        Number of rows without a value in each column; None where it was not counted.
    groups : dict of str to dict
        The counts of each group, as it is written at fit; empty where no groups decide.
    n_empty : int
        Rows of a table without any value.
    """

    n_rows: int
    counts: dict[str, int]
    missing: list[int] | None = None
    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    n_empty: int = 0


@dataclass(frozen=True)
class PartFiles:
    """The part files of one run.

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

    def path(self, chunk: ChunkRange) -> Path:
        """Return the path of a chunk's file; names sort in the order of the rows."""
        return self.folder / f"part-{chunk.index:05d}.parquet"

    def find(self, chunk: ChunkRange) -> WrittenChunk | None:
        """Read the footer of a chunk's file; None where the file does not exist.

        Raises
        ------
        ScoringError
            When the file is another run's, or is damaged.
        """
        path = self.path(chunk)
        if not path.exists():
            return None
        fix = "it was not written by isthmus, or is damaged: delete it and run again with resume"
        with reading(path, ScoringError, fix):
            with parquet_file(path) as file:
                footer = file.metadata
            facts = json.loads((footer.metadata or {})[_METADATA_KEY])
            is_same_run = facts["run"] == self.run
        if not is_same_run:
            raise ScoringError(
                f"{path} was written by another run; delete it and run again with resume"
            )
        beside = facts.get("missing"), facts.get("groups", {}), facts.get("n_empty", 0)
        return WrittenChunk(footer.num_rows, facts["counts"], *beside)

    def write(
        self, chunk: ChunkRange, arrays: Sequence[pa.Array], written: WrittenChunk
    ) -> WrittenChunk:
        """Write the file of a chunk, with what is stored of it, which is returned.

        Raises
        ------
        ScoringError
            When there is no space left, or the folder may not be written to.
        """
        stored = {key: value for key, value in asdict(written).items() if key != "n_rows"}
        entry = json.dumps({"run": self.run} | stored).encode()
        table = pa.Table.from_arrays(
            list(arrays), schema=self.schema.with_metadata({_METADATA_KEY: entry})
        )
        content = io.BytesIO()
        pq.write_table(table, content, write_page_checksum=True)
        try:
            write_bytes(self.path(chunk), content.getbuffer())
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        return written


@contextmanager
def open_output(folder: Path, run: Plain, schema: pa.Schema, resume: bool) -> Iterator[PartFiles]:
    """Lock a folder for a run, and write its manifest.

    Raises
    ------
    ScoringError
        When another process writes there; when the folder is not empty and `resume` is False;
        when its files are of another run.
    """
    if folder.exists() and not folder.is_dir():
        raise ScoringError(
            f"{folder} is a file, expected a folder to write part files into; choose another path"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A lock of the operating system, which releases it when the process is killed.
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise ScoringError(
            f"{folder} is being written by {_describe_writer(folder)}; wait for it, or choose "
            "another path"
        ) from error
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        _check(folder, run, resume)
        for unfinished in folder.glob(".part-*"):  # of a process that was killed
            unfinished.unlink(missing_ok=True)
        _write_manifest(folder, run, {"finished": False} | _this_process())
        yield PartFiles(folder, digest(run), schema)
    finally:
        lock.release()


def finish(files: PartFiles, run: Plain, skipped: Sequence[SkippedChunk]) -> Plain:
    """Sum up the part files and mark the manifest as finished.

    Returns
    -------
    dict
        `n`, the rows; `counts` of each decision; `skipped`; of tables `n_missing`, the number of
        rows without a value in each column; where a detector decides by group `groups`, the counts
        of each group, "" of rows without one; `n_empty_rows`, where rows of a table have no value.

    Raises
    ------
    ScoringError
        When the file of a chunk is missing that was not skipped.
    """
    counts: Counter[str] = Counter()
    groups: dict[str, Counter[str]] = {}
    n_rows = n_files = n_empty = 0
    missing: list[str] = []
    n_missing: list[list[int] | None] = []
    for facts in run["parts"]:
        chunk = ChunkRange(facts["index"], facts["source"], facts["row"], facts["n_rows"])
        found = files.find(chunk)
        if found is None:
            missing.append(chunk.source)
            continue
        counts.update(found.counts)
        for group, own in found.groups.items():
            groups.setdefault(group, Counter()).update(own)
        n_missing.append(found.missing)
        n_empty += found.n_empty
        n_rows, n_files = n_rows + found.n_rows, n_files + 1
    unexplained = [source for source in missing if source not in {one.source for one in skipped}]
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
    counted = [one for one in n_missing if one is not None]
    if counted and len(counted) == len(n_missing):
        facts["n_missing"] = [sum(column) for column in zip(*counted, strict=True)]
    if n_empty:
        facts["n_empty_rows"] = n_empty
    if groups:
        facts["groups"] = {group: dict(groups[group]) for group in sorted(groups)}
    _write_manifest(files.folder, run, {"finished": True} | facts)
    return facts


def most_abnormal(folder: Path, n: int, keys: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows of an output with the greatest anomaly scores, with their explanations.

    Parameters
    ----------
    folder : Path
        Written by `isthmus.scoring.score` with `explain=True`.
    n : int
    keys : sequence of str
        Key columns to carry along.

    Returns
    -------
    DataFrame of n rows or fewer
        The greatest first. Its index is the number of each row among those of all files.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    best = pd.DataFrame()
    for part in manifest["run"]["parts"]:
        path = folder / f"part-{part['index']:05d}.parquet"
        if not path.exists():  # skipped
            continue
        with reading(path, ScoringError, fix="delete it and run again with resume"):
            with parquet_file(path) as file:
                names = [
                    name
                    for name in file.schema_arrow.names
                    if name in keys or _EXPLAINED.fullmatch(name)
                ]
            table = read_parquet(path, names).to_pandas()
        found = table.set_axis(part["row"] + table.index)
        best = pd.concat([best, found]) if len(best) else found
        best = best.nlargest(n, "anomaly_score")
    return best


def _check(folder: Path, run: Plain, resume: bool) -> None:
    existing = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if not existing:
        return
    if not resume:
        raise ScoringError(
            f"{folder} exists and holds {len(existing)} files; go on with resume (on the command "
            "line --resume) when they are of this run, or choose another path"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        before = manifest["run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScoringError(
            f"{folder} holds files, and no {MANIFEST} of the run that wrote them; choose another "
            "path"
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


def _this_process() -> Plain:
    return {"writing": {"process": os.getpid(), "host": socket.gethostname()}}


def _describe_writer(folder: Path) -> str:
    try:
        writer: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["writing"]
        return f"process {writer['process']} on {writer['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _cannot_write(folder: Path, error: OSError) -> ScoringError:
    if is_disk_full(error):
        return ScoringError(
            f"no space left for {folder}; finished parts are kept: free some space, and go on "
            "with resume (on the command line --resume)"
        )
    return ScoringError(
        f"cannot write to {folder} ({error.strerror or error}); check that the folder exists and "
        "is writable, and go on with resume (on the command line --resume)"
    )
