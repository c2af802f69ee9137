"""Commands killed just before each rename that they make: what they leave, and their next run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from common.dying_process import DIED
from common.hardening_parts.rows import Row, Setting, counted
from common.hardening_parts.writers import prepare
from common.records import say
from isthmus.errors import DataError

FIT = ["--max-epochs", "2", "--seed", "1", "--device", "cpu"]
#: Of each command: the line, the line of the run after a kill, and what must read in between.
COMMANDS: dict[str, tuple[list[str], list[str], list[str] | None]] = {
    "fit": (
        ["fit", "normal.csv", "-o", "press", "--overwrite", *FIT],
        ["fit", "normal.csv", "-o", "press", "--overwrite", *FIT, "--resume"],
        ["info", "press"],
    ),
    "classify": (
        ["classify", "press", "labelled.csv", "--label", "kind", "--baselines", "none"],
        [],
        ["predict", "press", "normal.csv", "--head", "normal", "-o", "found.csv"],
    ),
    "detect": (
        ["detect", "press", "--false-alarm-rate", "0.2"],
        [],
        ["predict", "press", "normal.csv", "-o", "found.csv"],
    ),
    "label": (
        ["label", "press", "few.csv", "--label", "kind"],
        [],
        ["predict", "press", "normal.csv", "-o", "found.csv"],
    ),
    "history --roll-back": (
        ["history", "press", "--roll-back", "normal"],
        ["history", "press", "--roll-back", "normal", "--to", "1"],
        ["predict", "press", "normal.csv", "-o", "found.csv"],
    ),
    "export": (["export", "press", "normal.csv", "-o", "graph"], [], None),
    "encode": (["encode", "press", "normal.csv", "-o", "codes.npy"], [], None),
    "predict": (["predict", "press", "normal.csv", "-o", "out.csv"], [], None),
    "score": (
        ["predict", "press", "part-*.parquet", "-o", "out.parquet"],
        ["predict", "press", "part-*.parquet", "-o", "out.parquet", "--resume"],
        None,
    ),
    "report": (["report", "press", "-o", "page.html"], [], None),
}


class Forks:
    """The process that runs commands in forks.

    Attributes
    ----------
    exchanges : bool
        Whether the system can exchange two names in one step.
    """

    def __init__(self) -> None:
        self.exchanges = True
        script = Path(__file__).parents[1] / "dying_process.py"
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, cwd: Path, words: list[str], at: int = 0) -> dict[str, Any]:
        """Run a command, and return the answer of `dying_process`."""
        order = {"cwd": str(cwd), "words": words, "at": at, "exchanges": self.exchanges}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def kills(setting: Setting) -> list[Row]:
    """Return for each command how many kills leave something that does not read, or stays."""
    base = setting.folder / "base"
    base.mkdir()
    forks = Forks()
    try:
        prepare_all(forks, base, setting.seed)
        rows = [_killed(forks, setting, base, name) for name in COMMANDS]
        forks.exchanges = False
        return rows + [_killed(forks, setting, base, name) for name in ("detect", "export")]
    finally:
        forks.close()


def prepare_all(forks: Forks, base: Path, seed: int) -> None:
    """Write a bundle with a head of two versions, rows, and an output of each command."""
    import numpy as np
    import pandas as pd

    prepare(base, seed)
    table = pd.read_csv(base / "normal.csv")
    for i in range(2):
        table[200 * i : 200 * (i + 1)].to_parquet(base / f"part-{i}.parquet", index=False)
    table[:4].assign(kind=np.array([1, -1, 1, 1])).to_csv(base / "few.csv", index=False)
    for rate in ("0.1", "0.05"):
        done = forks.run(base, ["detect", "press", "normal.csv", "--false-alarm-rate", rate])
        assert done["status"] == 0, done["err"]
    # What is there already is what a command replaces.
    for name in ("export", "encode", "predict", "report"):
        done = forks.run(base, COMMANDS[name][0])
        assert done["status"] == 0, f"{name}: {done['err']}"


def _killed(forks: Forks, setting: Setting, base: Path, name: str) -> Row:
    line, after, reads = COMMANDS[name]
    bad = n = 0
    whole = False
    while not whole and setting.has_time():
        here = setting.folder / "tried"
        shutil.copytree(base, here)
        done = forks.run(here, line, n + 1)
        whole = done["status"] != DIED
        if whole and done["status"]:
            raise DataError(f"isthmus {' '.join(line)} failed: {done['err']}")
        if not whole:
            n += 1
            wrong = _what_is_wrong(forks, here, after or line, reads)
            if wrong:
                bad += 1
                say(f"{name}, moment {n}: {wrong}")
        shutil.rmtree(here)
    found = "between two renames nothing is left" if reads or name == "export" else "leftovers stay"
    asked = max(1, n + (not whole))
    without = "" if forks.exchanges else ", names not exchanged"
    return counted(f"isthmus {name}{without}", n, bad, "lost or left", found, asked_n=asked)


def _what_is_wrong(forks: Forks, here: Path, after: list[str], reads: list[str] | None) -> str:
    if reads:
        read = forks.run(here, reads)
        if read["status"]:
            return f"does not read: {read['err'].strip().splitlines()[-1:]}"
    again = forks.run(here, after)
    if again["status"]:
        return f"does not run again: {again['err'].strip().splitlines()[-1:]}"
    hidden = {path.name for path in here.rglob(".*")} - {".lock"}
    return f"leaves {sorted(hidden)}" if hidden else ""
