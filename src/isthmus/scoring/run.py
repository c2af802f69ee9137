"""What a run of scoring is: of which bundle, of which files, and what is written of each row."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from isthmus.data.codes import codes_facts
from isthmus.data.stream import Stream
from isthmus.data.stream.cut import WindowReader
from isthmus.versions import version_folder

if TYPE_CHECKING:
    from isthmus.bundle import Bundle

Plain = dict[str, Any]


def describe_run(
    bundle: Bundle, head: str | None, what: str, stream: Stream, schema: pa.Schema
) -> Plain:
    """Return a run as plain values: two that are equal write the same rows.

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
    described |= _of_codes(bundle) if head is None else _of_head(bundle, head)
    described["columns"] = [{"name": field.name, "type": str(field.type)} for field in schema]
    if isinstance(stream.reader, WindowReader):
        described["cutting"] = stream.reader.cutting
    parts = [part for part in stream.parts if part.n_rows]
    sources = dict.fromkeys(part.source for part in parts)
    described["sources"] = {source: stream.reader.stamp(source) for source in sources}
    described["parts"] = [
        {"index": part.index, "source": part.source, "row": part.first_row, "n_rows": part.n_rows}
        for part in parts
    ]
    return described


def digest(run: Plain) -> str:
    """Return the SHA-256 of a run."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()


_NAMED = ("what", "encoder", "identity", "head", "head_version", "head_files", "columns", "cutting")


def differences(before: Plain, now: Plain) -> list[str]:
    """Say in what two runs differ, a few words each."""
    found = [
        f"{name} (there {_short(before.get(name))}, now {_short(now.get(name))})"
        for name in _NAMED
        if before.get(name) != now.get(name)
    ]
    old, new = before.get("sources", {}), now["sources"]
    for source in [*new, *(source for source in old if source not in new)]:
        if source not in old or source not in new:
            found.append(f"the file {source} ({'new' if source in new else 'no longer there'})")
        elif old[source] != new[source]:
            found.append(f"the file {source} (changed since)")
    if not found and before.get("parts") != now["parts"]:
        found.append(
            f"the parts that files are read in (there {len(before.get('parts', []))}, "
            f"now {len(now['parts'])})"
        )
    return found


def _of_codes(bundle: Bundle) -> Plain:
    from isthmus.heads.identity import encoder_identity  # needs torch, which a worker does not

    encoder = bundle.encoder
    names = list(encoder.get_feature_names_out())
    return codes_facts(encoder.digest_, encoder_identity(encoder), names)


def _of_head(bundle: Bundle, head: str) -> Plain:
    version = bundle.manifest["heads"][head]["version"]
    begins = f"{Path(version_folder(head, version)).as_posix()}/"
    files = {name: sha for name, sha in bundle.manifest["files"].items() if name.startswith(begins)}
    return {"head_version": version, "head_files": digest(files)}


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{one['name']} {one['type']}" for one in value)
    return repr(value[:12] if isinstance(value, str) and len(value) == 64 else value)
