"""Damaged files of every kind that is read: does each end in an error of isthmus that names it?"""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import io
import json
import lzma
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.hardening_parts.mutations import Outcome, in_processes, mutated
from common.hardening_parts.rows import Row, Setting, counted

N_MUTATIONS, BATCH = 20_000, 250
FOUND = "177 of 16,043"


def readers(setting: Setting) -> list[Row]:
    """Return how many of 20,000 damaged inputs end in other errors than those of isthmus."""
    write_samples(setting.folder, setting.seed)
    n = setting.times(N_MUTATIONS)
    found = in_processes(setting, try_batch, n, BATCH)
    what = f"errors of others {dict(found.foreign) or ''}".strip()
    return [
        counted("damaged inputs", found.n, sum(found.foreign.values()), what, FOUND, asked_n=n),
        counted(
            "damaged files", found.n, sum(found.unnamed.values()), "errors without the name",
            "not counted", asked_n=n,
        ),
        counted("damaged inputs", found.n, found.crashes, "crashes", "0", asked_n=n),
    ]  # fmt: skip


def try_batch(folder: Path, seed: int, n: int) -> Outcome:
    """Damage inputs and read them; each input is as often among them."""
    draw, found = random.Random(seed), Outcome()
    work = folder / f"work-{seed}"
    work.mkdir()
    samples = list(inputs(folder, work))
    for at in range(n):
        name, words, content, put, read = samples[(seed * BATCH + at) % len(samples)]
        put(mutated(content, draw))
        found.try_one(name, read, words)
        put(content)
    shutil.rmtree(work)
    return found


Input = tuple[str, str | None, bytes, Callable[[bytes], Any], Callable[[], Any]]


def inputs(folder: Path, work: Path) -> Iterator[Input]:
    """Yield every input: its name, what an error names, its content, a writer and a reader."""
    from isthmus import load, load_bundle, load_codes
    from isthmus.bundle import read_manifest
    from isthmus.serve import Limits, Notes, read_instances, read_queue
    from isthmus.training import Checkpoints

    for path in sorted((folder / "data").iterdir()):
        own = work / path.name
        yield path.name, own.name, path.read_bytes(), own.write_bytes, lambda own=own: load(own)
        if path.suffix in (".parquet", ".npy"):
            yield (
                f"{path.name}, in chunks", own.name, path.read_bytes(), own.write_bytes,
                lambda own=own: list(load(own, lazy=True).chunks()),
            )  # fmt: skip
    shutil.copytree(folder / "press", work / "press")
    for path in sorted((work / "press").rglob("*.*")):
        is_manifest = path.name == "manifest.json"
        put = path.write_bytes if is_manifest else functools.partial(put_with_digest, work, path)
        yield (
            f"bundle {path.name}", "press", path.read_bytes(), put,
            lambda: load_bundle(work / "press"),
        )  # fmt: skip
        if is_manifest:
            yield (
                "manifest",
                "press",
                path.read_bytes(),
                put,
                lambda: read_manifest(work / "press"),
            )
    for part in ("last", "best"):
        own = work / f"{part}.safetensors"
        content = (folder / "checkpoints" / own.name).read_bytes()
        # `last` is read whole, weights and header; the other by the same function.
        target = work / "last.safetensors"
        yield (
            f"checkpoint {own.name}", "last.safetensors", content, target.write_bytes,
            lambda: Checkpoints(work, {}, resume=True).epochs_done(),
        )  # fmt: skip
    codes, queue = work / "codes.parquet", work / "queue.jsonl"
    yield (
        "codes", codes.name, (folder / codes.name).read_bytes(), codes.write_bytes,
        lambda: load_codes(codes),
    )  # fmt: skip
    yield (
        "queue", queue.name, (folder / queue.name).read_bytes(), queue.write_bytes,
        lambda: read_queue(queue),
    )  # fmt: skip
    schemas = {name: load(folder / "data" / name).schema for name in ("a.parquet", "a.png")}
    for kind, name, content in bodies(folder):
        body = [content]
        yield (
            f"body {kind}", None, content, lambda new, body=body: body.__setitem__(0, new),
            lambda body=body, kind=kind, schema=schemas[name]: read_instances(
                body[0], kind, schema, Limits(), Notes()
            ),
        )  # fmt: skip


def put_with_digest(work: Path, path: Path, content: bytes) -> None:
    """Write a file of a bundle with its digest, as someone who means harm would."""
    path.write_bytes(content)
    manifest = json.loads((work / "press" / "manifest.json").read_text())
    name = path.relative_to(work / "press").as_posix()
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (work / "press" / "manifest.json").write_text(json.dumps(manifest))


def bodies(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield bodies of requests: content type, a file of the same schema, content."""
    frame = pd.read_parquet(folder / "data" / "a.parquet")
    rows = json.loads(frame.to_json(orient="records"))
    yield "application/json", "a.parquet", json.dumps({"instances": rows}).encode()
    yield "application/x-ndjson", "a.parquet", "\n".join(map(json.dumps, rows)).encode()
    yield "text/csv", "a.parquet", frame.to_csv(index=False).encode()
    yield "text/csv; charset=utf-16", "a.parquet", frame.to_csv(index=False).encode("utf-16")
    yield (
        "application/vnd.apache.parquet", "a.parquet",
        (folder / "data" / "a.parquet").read_bytes(),
    )  # fmt: skip
    file = io.BytesIO()
    np.save(file, np.zeros((2, 9, 9, 3), np.uint8))
    yield "application/x-npy", "a.png", file.getvalue()
    for ending in ("png", "jpg", "webp", "gif", "bmp", "tif"):
        kind = {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending)
        yield f"image/{kind}", "a.png", (folder / "data" / f"a.{ending}").read_bytes()
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
    content = (folder / "data" / "a.png").read_bytes()
    yield "multipart/form-data; boundary=x", "a.png", part + content + b"\r\n--x--\r\n"


def write_samples(folder: Path, seed: int) -> None:
    """Write a small input of every kind."""
    from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, save_bundle
    from isthmus.encoding import encoder_identity

    data = folder / "data"
    data.mkdir()
    write_data(data, np.random.default_rng(seed))
    X = np.random.default_rng(seed).normal(size=(120, 4))
    checkpoints = folder / "checkpoints"
    encoder = Autoencoder(2, max_epochs=2, random_state=0, checkpoint_dir=checkpoints).fit(X)
    detector = AnomalyDetector(encoder, "neighbours", 0.1, "split", random_state=0)
    heads = {
        "normal": detector.fit(X + 0.01),
        "linear": CodeClassifier(encoder).fit(X[:40], X[:40, 0] > 0),
        "mlp": CodeClassifier(encoder, "mlp").fit(X[:40], X[:40, 0] > 0),
    }
    save_bundle(folder / "press", encoder, heads)
    write_codes(folder / "codes.parquet", encoder.transform(X), encoder_identity(encoder))
    line = {"time": "2026-01-01T00:00:00+00:00", "bundle": "press", "digest": "d",
            "encoder_digest": "e", "head": "linear", "label": "up"}  # fmt: skip
    rows = [json.dumps(line | {"instance": row}) + "\n" for row in X[:5].tolist()]
    (folder / "queue.jsonl").write_text("".join(rows))


def write_codes(path: Path, codes: np.ndarray, identity: str) -> None:
    """Write stored codes as `isthmus encode` does."""
    import pyarrow.parquet as pq

    from isthmus.data import StoredCodes

    names = [f"code_{at}" for at in range(codes.shape[1])]
    table = StoredCodes(codes, "digest", identity, np.arange(len(codes), dtype=np.uint64))
    pq.write_table(table.to_arrow(names), path, write_page_checksum=True)


def write_data(folder: Path, rng: np.random.Generator) -> None:
    """Write a small file of every format that is read."""
    import pyarrow as pa
    from PIL import Image

    table = pd.DataFrame(
        {
            "width": rng.normal(size=40),
            "hue": rng.choice(["red", "blue"], 40),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 40), unit="D"),
            "ok": rng.random(40) < 0.5,
        }
    )
    table.to_csv(folder / "a.csv", index=False)
    text = (folder / "a.csv").read_bytes()
    (folder / "a.csv.gz").write_bytes(gzip.compress(text))
    (folder / "a.csv.bz2").write_bytes(bz2.compress(text))
    (folder / "a.csv.xz").write_bytes(lzma.compress(text))
    (folder / "a.csv.zst").write_bytes(pa.compress(text, "zstd", asbytes=True))
    with zipfile.ZipFile(folder / "a.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", text)
    table.to_parquet(folder / "a.parquet")
    table.to_feather(folder / "a.feather")
    table.to_excel(folder / "a.xlsx", index=False)
    table.to_json(folder / "a.jsonl", orient="records", lines=True, date_format="iso")
    np.save(folder / "a.npy", rng.normal(size=(6, 3)))
    np.savez_compressed(folder / "a.npz", X=rng.normal(size=(6, 3)), y=np.arange(6))
    idx = bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2, *range(12)])
    (folder / "a-idx3-ubyte").write_bytes(idx)
    (folder / "b-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    head = "@problemName a\n@univariate true\n@classLabel true 1 2\n@data\n"
    (folder / "a.ts").write_text(head + "1,2,3:1\n4,5,6:2\n7,8,9:1\n")
    pixels = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    for ending in ("png", "jpg", "webp", "gif", "bmp", "tif", "ppm", "tga", "ico", "dds", "sgi"):
        pixels.save(folder / f"a.{ending}")
