"""Two commands that write one output at the same moment: is it that of one of them, whole?"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.hardening_parts.kills import Forks, prepare_all
from common.hardening_parts.rows import Row, Setting, counted
from common.records import say

N_PAIRS = 10
FIT = ["--max-epochs", "6", "--device", "cpu", "--seed"]
SCORE = ["predict", "press", "part-*.parquet", "-o", "out-2.parquet"]
#: Of each pair: the two lines, the output, and the line that reads it.
PAIRS: dict[str, tuple[list[str], list[str], str, list[str]]] = {
    "fit": (
        ["fit", "normal.csv", "-o", "new", *FIT, "1"],
        ["fit", "normal.csv", "-o", "new", *FIT, "2"],
        "new",
        ["encode", "new", "normal.csv", "-o", "read.npy"],
    ),
    "fit --detector": (
        ["fit", "normal.csv", "-o", "new", "--detector", *FIT, "1"],
        ["fit", "normal.csv", "-o", "new", "--detector", *FIT, "2"],
        "new",
        ["predict", "new", "normal.csv", "-o", "read.csv"],
    ),
    "predict of files": (SCORE, SCORE, "out-2.parquet", [*SCORE, "--resume"]),
    "predict of files --resume": (
        [*SCORE, "--resume"],
        [*SCORE, "--resume"],
        "out-2.parquet",
        [*SCORE, "--resume"],
    ),
    "export": (
        ["export", "press", "normal.csv", "-o", "graph", "--known", "20"],
        ["export", "press", "normal.csv", "-o", "graph", "--residual"],
        "graph",
        [],
    ),
    "encode": (
        ["encode", "press", "part-0.parquet", "-o", "new.npy"],
        ["encode", "press", "part-1.parquet", "-o", "new.npy"],
        "new.npy",
        [],
    ),
    "report": (
        ["report", "press", "-o", "new.html"],
        ["report", "press", "normal.csv", "-o", "new.html"],
        "new.html",
        [],
    ),
}
#: What the one that is refused says.
REFUSED = ("is being written by", "exists and holds", "which writing another bundle would delete")


def folders(setting: Setting) -> list[Row]:
    """Return for each pair how often the output is neither of one nor of the other."""
    base = setting.folder / "base"
    base.mkdir()
    forks = [Forks(), Forks()]
    try:
        prepare_all(forks[0], base, setting.seed)
        return [_at_once(forks, setting, base, name) for name in PAIRS]
    finally:
        for one in forks:
            one.close()


def _at_once(forks: list[Forks], setting: Setting, base: Path, name: str) -> Row:
    asked, tried, bad = setting.times(N_PAIRS), 0, 0
    while tried < asked and setting.has_time():
        here = setting.folder / "tried"
        shutil.copytree(base, here)
        wrong = _what_is_wrong(forks, here, name)
        tried += 1
        if wrong:
            bad += 1
            say(f"{name}, pair {tried}: {wrong}")
        shutil.rmtree(here)
    found = "1 of 4 lost its checkpoints" if name == "fit" else ""
    return counted(f"two isthmus {name} at once", tried, bad, "mixed or lost", found, asked_n=asked)


def _what_is_wrong(forks: list[Forks], here: Path, name: str) -> str:
    first, second, output, reads = PAIRS[name]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda fork, line: fork.run(here, line), forks, (first, second)))
    if all(one["status"] for one in done):
        return "both were refused"
    for one in done:
        if one["status"] and not any(words in one["err"] for words in REFUSED):
            return f"failed: {one['err'].strip().splitlines()[-1:]}"
    if not (here / output).exists():
        return "nothing is there"
    if reads:
        read = forks[0].run(here, reads)
        if read["status"]:
            return f"does not read: {read['err'].strip().splitlines()[-1:]}"
    if name == "export":
        from isthmus.export import Exported

        Exported(here / output)
    left = {path.name for path in here.rglob(".*")} - {".lock"}
    left |= {path.name for path in here.glob("*-checkpoints")}
    return f"leaves {sorted(left)}" if left else ""
