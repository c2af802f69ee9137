"""What `scale.py` measures in processes of their own: one task each, its facts as one JSON line."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLUMNS, FILE_ROWS, EPOCHS = 30, 250_000, 2
#: Rows that are mixed at a time, about.
MIX_ROWS = 524_288
#: Rows of the array that is in memory already.
ARRAY_ROWS = 500_000


def write_file(path: Path, at: int, first: int, n_rows: int) -> None:
    """Write one file: five causes seen through thirty columns, and a key."""
    mixing = np.random.default_rng(0).normal(size=(5, COLUMNS)).astype(np.float32)
    rng = np.random.default_rng([1, at])
    noise = rng.normal(size=(n_rows, COLUMNS)).astype(np.float32)
    X = rng.normal(size=(n_rows, 5)).astype(np.float32) @ mixing + np.float32(0.3) * noise
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(COLUMNS)])
    frame.insert(0, "id", np.arange(first, first + n_rows))
    fresh = path.with_suffix(".new")
    frame.to_parquet(fresh, index=False)
    fresh.replace(path)


def fit(data: str, bundle: str) -> dict[str, Any]:
    """Fit an encoder and a detector on a stream."""
    from isthmus import AnomalyDetector, Autoencoder, load, save_bundle

    encoder = Autoencoder(max_epochs=EPOCHS, random_state=0)
    detector = AnomalyDetector(encoder, "reconstruction", 0.01, "split", random_state=0)
    stream = load(data, keys=["id"])
    began = time.perf_counter()
    detector.fit(stream)
    seconds = time.perf_counter() - began
    save_bundle(bundle, detector.encoder_, {"normal": detector})
    return {"seconds": seconds}


def score(bundle: str, data: str, output: str, engine: Any) -> dict[str, Any]:
    """Score a stream."""
    from isthmus import load
    from isthmus.scoring import score as score_stream

    facts = score_stream(bundle, load(data, keys=["id"]), output, engine=engine)
    return {name: facts[name] for name in ("n", "seconds", "rows_per_second")}


def array(bundle: str, data: str) -> dict[str, Any]:
    """Run the same graph over rows that are in memory as it takes them."""
    from isthmus import load, load_bundle
    from isthmus.export import Exported, export_bundle

    X = load(data, keys=["id"]).take(np.arange(ARRAY_ROWS), label=False).X
    folder = f"{bundle}-graph"
    export_bundle(load_bundle(bundle), folder, X[:512])
    exported = Exported(folder)
    fed = exported.feed(X)
    names = [name for name in exported.names if name != "code"]
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        exported.run_fed(fed, names)
        seconds.append(time.perf_counter() - began)
    return {"rows_per_second": len(X) / sorted(seconds)[1]}


def encoder(data: str, kind: str) -> dict[str, Any]:
    """Fit an encoder on a stream, or on the same rows in memory."""
    from isthmus import Autoencoder, load

    X: Any = load(data, keys=["id"])
    if kind == "memory":
        X = pd.read_parquet(data, columns=[f"x{i}" for i in range(COLUMNS)])
    n_rows = len(X)
    began = time.perf_counter()
    fitted = Autoencoder(max_epochs=EPOCHS, random_state=0).fit(X)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "rows_per_second": n_rows * EPOCHS / seconds,
        "loss": fitted.history_[-1]["train_loss"],
    }


def reading(data: str) -> dict[str, Any]:
    """Take the parts of a fit on a stream one by one: what each costs, in seconds."""
    import torch

    from isthmus import Autoencoder, load
    from isthmus.training import Sends, ShufflePlan, StreamBatches

    stream = load(data, keys=["id"])
    began = time.perf_counter()
    schema, prepare = stream.schema, stream.preprocessor.to_network
    learned = time.perf_counter()
    for chunk in stream.chunks():
        some = schema.check(chunk.X[:1])
    read = time.perf_counter()
    rows = StreamBatches(stream, np.arange(0), schema.check, prepare, some)
    for _ in rows.shuffled(1024, torch.device("cpu")):
        pass
    batched = time.perf_counter()
    for first in range(0, len(stream), MIX_ROWS):
        order = np.random.default_rng(first).permutation(MIX_ROWS)
        readers = np.repeat(np.arange(4, dtype=np.uint16), MIX_ROWS // 4)
        sends = Sends(ShufflePlan(10**9, 65_536, 0, 64), first, order, readers)
        sends.by_rank(), sends.counts(), sends.slots()
    dealing = time.perf_counter()
    fitted = Autoencoder(max_epochs=1, random_state=0).fit(stream)
    ended = time.perf_counter()
    train = len(stream) / fitted.history_[0]["instances_per_second"]
    return {
        "bytes": sum(file.stat().st_size for file in Path(data).iterdir()),
        "learn": learned - began,
        "read": read - learned,
        "batches": batched - read,
        "deal": dealing - batched,
        "hash": ended - dealing - train,
        "train": train,
        "parameters": fitted.n_parameters_,
    }


def peak_mb() -> float:
    """Return the most memory that this process held; getrusage would count its parent's too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "fit": fit,
    "score": score,
    "array": array,
    "encoder": encoder,
    "reading": reading,
}

if __name__ == "__main__":
    from isthmus.cli import tune_process

    tune_process()
    found = TASKS[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(found | {"peak_mb": peak_mb()}))
