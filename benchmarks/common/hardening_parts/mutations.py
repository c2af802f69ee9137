"""Seeded damage to files, and processes that read what is damaged."""

from __future__ import annotations

import multiprocessing
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.hardening_parts.rows import Setting
from isthmus.errors import IsthmusError

N_PROCESSES = 2
#: Address space of a process beside what it takes before, where there are such limits.
MEMORY = 4 * 2**30


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return content with some bytes other, cut off, taken out, put in or doubled."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        at, n = draw.randrange(len(changed) + 1), draw.choice((1, 1, 2, 8, 40))
        kind = draw.randrange(7)
        if kind == 0:
            changed[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            bit = 1 << draw.randrange(8)
            changed[at : at + 1] = bytes(one ^ bit for one in changed[at : at + 1])
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + n]
        elif kind == 4:
            changed[at:at] = draw.randbytes(n)
        elif kind == 5:
            changed[at:at] = changed[at : at + n]
        else:
            changed[at : at + n] = draw.choice((b"\xff", b"\0", b"9", b"(", b"[")) * n
    return bytes(changed)


@dataclass
class Outcome:
    """What came of damaged inputs.

    Attributes
    ----------
    n : int
    read : int
        That were read.
    foreign : Counter of str
        Errors that are none of isthmus, by input and class.
    unnamed : Counter of str
        Errors of isthmus that do not name the input, by input.
    slowest : float
        Seconds of the slowest.
    crashes : int
        Processes that died.
    """

    n: int = 0
    read: int = 0
    foreign: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    crashes: int = 0

    def add(self, other: Outcome) -> None:
        """Take in what came of others."""
        self.n += other.n
        self.read += other.read
        self.foreign += other.foreign
        self.unnamed += other.unnamed
        self.slowest = max(self.slowest, other.slowest)
        self.crashes += other.crashes

    def try_one(self, name: str, read: Callable[[], Any], words: str | None) -> None:
        """Read one input; its errors are to hold `words`, unless that is None."""
        self.n += 1
        began = time.monotonic()
        try:
            read()
            self.read += 1
        except IsthmusError as error:
            if words is not None and words not in str(error):
                self.unnamed[name] += 1
        except Exception as error:
            self.foreign[f"{name}: {type(error).__name__}"] += 1
        self.slowest = max(self.slowest, time.monotonic() - began)


def in_processes(
    setting: Setting, work: Callable[[Path, int, int], Outcome], n: int, batch: int
) -> Outcome:
    """Return what came of n mutations, in batches, each in a process that may die of it.

    `work` is called with the folder of the setting, a seed and how many mutations to try.
    """
    total = Outcome()
    context = multiprocessing.get_context("spawn")
    sizes = [min(batch, n - at) for at in range(0, n, batch)]
    left = [(setting.folder, setting.seed + 1 + at, size) for at, size in enumerate(sizes)]
    while left and setting.has_time():
        with ProcessPoolExecutor(N_PROCESSES, context, _prepare_process) as pool:
            futures = {pool.submit(work, *one): one for one in left}
            try:
                for future in as_completed(futures):
                    total.add(future.result())
                    left.remove(futures[future])
                    if not setting.has_time():
                        pool.shutdown(cancel_futures=True)
                        break
            except BrokenProcessPool:
                # Which batch it was is not known: as many as ran are left out, and so not counted.
                total.crashes += 1
                left = left[N_PROCESSES:]
    return total


def _prepare_process() -> None:
    warnings.simplefilter("ignore")
    try:
        import resource
    except ImportError:  # no such limits here
        return
    import torch  # noqa: F401  # takes address space by itself

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
