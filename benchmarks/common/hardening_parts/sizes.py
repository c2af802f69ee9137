"""Files that state or unpack to more than fits: is each refused within seconds and 2 GB?"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np

from common.hardening_parts.rows import Row, Setting, counted

SECONDS = 5.0
#: Of zeros that are packed; an archive repeats them.
BLOCK, N_BLOCKS = 64 * 2**20, 96
FOUND = "memory taken as stated"
#: Opens each path and prints a line: seconds, class of the error, its text.
SCRIPT = """
import json, sys, time
import pandas, pyarrow.csv, pyarrow.parquet, PIL.Image
from isthmus import load
if {torch}:
    from isthmus import load_bundle as load
from isthmus.errors import IsthmusError
import resource
pages = int(open("/proc/self/statm").read().split()[0]) if {torch} else 0
limit = 2 * 2**30 + pages * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    began, name, text = time.monotonic(), "read", ""
    try:
        load(path)
    except Exception as error:
        ours = isinstance(error, IsthmusError) and path.rsplit("/", 1)[-1] in str(error)
        name, text = ("ours" if ours else type(error).__name__), str(error)[:200]
    print(json.dumps([path, time.monotonic() - began, name, text]), flush=True)
"""


def sizes(setting: Setting) -> list[Row]:
    """Return what of the files ends otherwise than in an error of isthmus within five seconds."""
    rows = []
    files, bundles = setting.folder / "files", setting.folder / "bundles"
    files.mkdir()
    bundles.mkdir()
    write_files(files)
    write_bundles(bundles, setting.seed)
    for case, folder in (("sizes of files", files), ("sizes of networks", bundles)):
        paths = sorted(map(str, folder.iterdir()))
        script = SCRIPT.format(torch=folder == bundles)
        done = subprocess.run(
            [sys.executable, "-c", script, *paths], capture_output=True, text=True, check=False
        )
        found = [json.loads(line) for line in done.stdout.splitlines()]
        bad = [
            f"{Path(path).name}: {name} after {seconds:.1f} s"
            for path, seconds, name, _ in found
            if name != "ours" or seconds > SECONDS
        ]
        bad += [f"{Path(path).name}: killed" for path in paths[len(found) :]]
        what = f"without a clear error within {SECONDS:g} s {bad or ''}".strip()
        rows.append(counted(case, len(paths), len(bad), what, FOUND, asked_n=len(paths)))
    return rows


def write_files(folder: Path) -> None:
    """Write small files that state, or unpack to, gigabytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (700000000, 100)}"
    text = header.encode().ljust(118) + b"\n"
    npy = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text
    (folder / "shape.npy").write_bytes(npy + bytes(800))
    zeros = bytes(BLOCK)
    (folder / "zeros.csv.bz2").write_bytes(bz2.compress(zeros) * N_BLOCKS)
    (folder / "zeros.csv.xz").write_bytes(lzma.compress(zeros, preset=1) * N_BLOCKS)
    (folder / "zeros.csv.zst").write_bytes(pa.compress(zeros, "zstd", asbytes=True) * N_BLOCKS)
    (folder / "zeros.csv.gz").write_bytes(gzip.compress(zeros, 1) * N_BLOCKS)
    stream = zlib.compressobj(1, wbits=-15)
    block = stream.compress(zeros) + stream.flush(zlib.Z_FULL_FLUSH)
    packed = block * N_BLOCKS + stream.flush()
    for name, member, begin in (
        ("zeros.csv.zip", "zeros.csv", b""),
        ("zeros.npz", "X.npy", npy),
        ("zeros.xlsx", "xl/worksheets/sheet1.xml", b""),
    ):
        write_archive(folder / name, member, begin, packed)
    same = pa.array(np.zeros(10**6))
    with pq.ParquetWriter(folder / "same.parquet", pa.schema([("x", pa.float64())])) as writer:
        for _ in range(1000):
            writer.write_table(pa.table({"x": same}))
    frame = b"P6\n60000 60000\n255\n"
    (folder / "pixels.ppm").write_bytes(frame + bytes(10**6))


def write_archive(path: Path, member: str, begin: bytes, packed: bytes) -> None:
    """Write a zip archive of one member whose stated size is that of all its zeros."""
    stream = zlib.compressobj(1, wbits=-15)
    head = stream.compress(begin) + stream.flush(zlib.Z_FULL_FLUSH) if begin else b""
    content, size = head + packed, 4 * 10**9
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(member, content)
        # Stored bytes become a deflated member: only the directory says which.
        found = archive.infolist()[0]
        found.compress_type, found.file_size = zipfile.ZIP_DEFLATED, size


def write_bundles(folder: Path, seed: int) -> None:
    """Write bundles whose manifests state networks of tens of gigabytes."""
    from isthmus import Autoencoder, CodeClassifier, save_bundle

    X = np.random.default_rng(seed).normal(size=(120, 6))
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(X)
    head = CodeClassifier(encoder, "mlp").fit(X, X[:, 0] > 0)
    for name in ("encoder", "mlp"):
        save_bundle(folder / name, encoder, {"mlp": head})
        manifest = json.loads((folder / name / "manifest.json").read_text())
        entry = manifest["encoder"] if name == "encoder" else manifest["heads"]["mlp"]
        entry["architecture"]["hidden_layer_sizes"] = [100_000, 100_000]
        (folder / name / "manifest.json").write_text(json.dumps(manifest))
