"""Damaged files of an export: does any load, and decide otherwise than the whole one?"""

from __future__ import annotations

import contextlib
import io
import random
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from common.hardening_parts.mutations import Outcome, in_processes, mutated
from common.hardening_parts.rows import Row, Setting, counted

N_MUTATIONS, BATCH = 1_000, 125
FILES = ("model.onnx", "known.npz", "predict.py")
FOUND = "138 of 334 load with other outputs"


def exports(setting: Setting) -> list[Row]:
    """Return how many of 1,000 damaged exports load and decide otherwise, and nothing says so."""
    write_export(setting.folder, setting.seed)
    n = setting.times(N_MUTATIONS)
    found = in_processes(setting, try_batch, n, BATCH)
    other = sum(found.unnamed.values())
    foreign = {name: n for name, n in found.foreign.items() if "predict.py" not in name}
    what = f"load with other outputs {dict(found.unnamed) or ''}".strip()
    return [
        counted("damaged exports", found.n, other, what, FOUND, asked_n=n),
        counted(
            "damaged exports", found.n, sum(foreign.values()) + found.crashes,
            f"errors of others {foreign or ''}".strip(), "0", asked_n=n,
        ),
    ]  # fmt: skip


def try_batch(folder: Path, seed: int, n: int) -> Outcome:
    """Damage one file of an export at a time, and decide with it."""
    draw, found = random.Random(seed), Outcome()
    work = folder / f"work-{seed}"
    shutil.copytree(folder / "out", work)
    X = np.load(folder / "rows.npy")
    whole = {name: answers(work, name, X) for name in FILES}
    for at in range(n):
        # The graph, which decides, is damaged most often.
        name = FILES[max(0, at % 10 - 7)]
        content = (work / name).read_bytes()
        changed = mutated(content, draw)
        (work / name).write_bytes(changed)
        got: list[Any] = []
        found.try_one(name, lambda got=got, name=name: got.append(answers(work, name, X)), None)
        if got and got[0] is not None and not same(got[0], whole[name]):
            found.unnamed[name] += 1
        (work / name).write_bytes(content)
    shutil.rmtree(work)
    return found


def answers(folder: Path, name: str, X: np.ndarray) -> dict[str, Any] | None:
    """Return what an export answers where a file of it may be damaged; None where it says so."""
    from isthmus.export import Exported, read_references

    if name == "predict.py":
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            found = runpy.run_path(str(folder / name), run_name="predict")["predict"](X)
        return None if "not as it was exported" in said.getvalue() else found
    exported = Exported(folder, 1)
    if name == "model.onnx":
        return exported.run(X)
    known = read_references(folder / "model.onnx", exported.facts, exported.schema)
    assert known is not None
    return {"codes": known.codes, "labels": known.labels, "instances": known.instances}


def same(found: dict[str, Any], expected: dict[str, Any] | None) -> bool:
    """Return whether all outputs are the same to the bit."""
    assert expected is not None
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], expected[name]) for name in expected
    )


def write_export(folder: Path, seed: int) -> None:
    """Write the export of a small encoder with a detector and a classifier, and rows."""
    from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, export_bundle, save_bundle

    X = np.random.default_rng(seed).normal(size=(400, 5))
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(X[:150])
    heads = {
        "normal": AnomalyDetector(encoder, "neighbours", 0.1, "split", random_state=0),
        "linear": CodeClassifier(encoder).fit(X[:60], X[:60, 0] > 0),
    }
    heads["normal"].fit(X[150:300])
    save_bundle(folder / "press", encoder, heads)
    export_bundle(folder / "press", folder / "out", X[300:])
    np.save(folder / "rows.npy", X[300:])
