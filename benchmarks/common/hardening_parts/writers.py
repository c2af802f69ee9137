"""Several processes that write one bundle at once: is anything lost that was said to be written?"""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.hardening_parts.rows import Row, Setting, counted

N_WRITERS, N_HEADS, N_PAIRS = 4, 200, 10
#: Heads that a bundle is given before a new one is begun, as all are copied for each.
HEADS_A_BUNDLE = 20


def writers(setting: Setting) -> list[Row]:
    """Return how many heads are lost of 200 added at once, and of two commands at once."""
    prepare(setting.folder, setting.seed)
    return [added_at_once(setting), commands_at_once(setting)]


def prepare(folder: Path, seed: int) -> None:
    """Write a bundle without heads, and rows that its encoder was not fitted on."""
    from isthmus import Autoencoder, save_bundle

    X = np.random.default_rng(seed).normal(size=(600, 5))
    table = pd.DataFrame(X, columns=[f"x{i}" for i in range(5)])
    encoder = Autoencoder(3, max_epochs=1, random_state=seed).fit(table[:200])
    save_bundle(folder / "press", encoder)
    table[200:].to_csv(folder / "normal.csv", index=False)
    table[200:].assign(kind=np.where(X[200:, 0] > 0, "up", "down")).to_csv(
        folder / "labelled.csv", index=False
    )


def added_at_once(setting: Setting) -> Row:
    """Let processes add heads of their own to one bundle at the same moment, again and again."""
    from isthmus.bundle import read_manifest

    asked = setting.times(N_HEADS, N_WRITERS)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(N_WRITERS), context.SimpleQueue()
    stop = context.Value("b", 0)
    processes = [
        context.Process(target=_add_heads, args=(setting, i, asked, barrier, stop, results))
        for i in range(N_WRITERS)
    ]
    for process in processes:
        process.start()
    answers = [answer for _ in processes for answer in results.get()]
    for process in processes:
        process.join()
    kept = {path.name: read_manifest(path)["heads"] for path in setting.folder.glob("shared-*")}
    lost = sum(not done or name not in kept.get(bundle, {}) for bundle, name, done in answers)
    case = f"add_head, {N_WRITERS} processes at once"
    return counted(case, len(answers), lost, "lost", "4 of 6 lost", asked_n=asked)


def _add_heads(
    setting: Setting, writer: int, asked: int, barrier: Any, stop: Any, results: Any
) -> None:
    """Add a share of the heads; put a triple of bundle, name and whether it was added for each."""
    from isthmus import CodeClassifier, load_bundle
    from isthmus.bundle import add_head
    from isthmus.errors import IsthmusError

    rng = np.random.default_rng([setting.seed, writer])
    encoder = load_bundle(setting.folder / "press").encoder
    X = pd.read_csv(setting.folder / "normal.csv")
    head = CodeClassifier(encoder).fit(X, rng.permutation(len(X)) % 2)
    answers: list[tuple[str, str, bool]] = []
    for turn in range(-(-asked // N_WRITERS)):
        bundle = setting.folder / f"shared-{turn * N_WRITERS // HEADS_A_BUNDLE}"
        if writer == 0:
            stop.value = not setting.has_time()
            if not bundle.exists():
                shutil.copytree(setting.folder / "press", bundle)
        barrier.wait()
        if stop.value:
            break
        name = f"head-{turn}-{writer}"
        try:
            add_head(bundle, name, head)
        except (IsthmusError, OSError):
            answers.append((bundle.name, name, False))
        else:
            answers.append((bundle.name, name, True))
    results.put(answers)


def commands_at_once(setting: Setting) -> Row:
    """Run `classify` and `detect` on one bundle at the same time."""
    from isthmus.bundle import read_manifest

    asked, tried, lost = setting.times(N_PAIRS), 0, 0
    isthmus = [sys.executable, "-m", "isthmus"]
    for turn in range(asked):
        if not setting.has_time():
            break
        bundle = setting.folder / f"pair-{turn}"
        shutil.copytree(setting.folder / "press", bundle)
        ends = ["--seed", str(setting.seed + turn)]
        lines = [
            ["classify", bundle, setting.folder / "labelled.csv", "--label", "kind", *ends],
            ["detect", bundle, setting.folder / "normal.csv", *ends],
        ]
        running = [
            subprocess.Popen([*isthmus, *map(str, line)], stdout=subprocess.DEVNULL)
            for line in lines
        ]
        statuses = [process.wait() for process in running]
        tried += 1
        lost += any(statuses) or len(read_manifest(bundle)["heads"]) != len(lines)
    case = "isthmus classify & isthmus detect"
    return counted(case, tried, lost, "lost a head", "3 of 10 lost a head", asked_n=asked)
