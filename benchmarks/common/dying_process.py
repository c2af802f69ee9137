"""A process that imports isthmus once, and forks to run commands that are killed at a rename.

It reads one JSON object a line, and answers each with one: `cwd`, `words` of the command, `at`, the
number of the moment at which to die (0 for none), and `exchanges`, false for a system that cannot
exchange two names in one step. A moment is just before a file or folder is renamed, exchanged or
deleted. The answer has `status` (DIED when it was killed), `n`, the number
of moments passed, and `err`, what was said.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

DIED = 77


class Moments:
    """Counts calls of functions, and dies just before one of them.

    Parameters
    ----------
    at : int
        Before which to die; 0 for none.
    log : Path
        Where the number so far is written.
    """

    def __init__(self, at: int, log: Path) -> None:
        self.at, self.n, self.log = at, 0, log

    def watch(self, owner: Any, name: str) -> None:
        """Count the calls of a function."""
        call: Callable[..., Any] = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.n += 1
            self.log.write_text(str(self.n))
            if self.n == self.at:
                os._exit(DIED)
            return call(*arguments, **options)

        setattr(owner, name, counted)


def watch_all(moments: Moments, exchanges: bool) -> None:
    """Count all calls that put a file or folder in the place of another, or delete one."""
    folders = importlib.import_module("isthmus._core.files")
    if exchanges:
        moments.watch(folders, "exchange")
    else:
        setattr(folders, "exchange", lambda *_: False)  # noqa: B010
    for owner, name in ((os, "rename"), (os, "replace"), (shutil, "rmtree")):
        moments.watch(owner, name)


def run_here(words: list[str], moments: Moments, exchanges: bool) -> None:
    """Run a command in this process, which ends with it."""
    from isthmus.cli import main

    watch_all(moments, exchanges)
    sys.argv = ["isthmus", *words]
    status = 0
    try:
        main()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run_forked(order: dict[str, Any]) -> dict[str, Any]:
    """Run a command in a fork; return the answer."""
    with tempfile.TemporaryDirectory() as folder:
        log, err = Path(folder) / "n", Path(folder) / "err"
        log.write_text("0")
        child = os.fork()
        if child == 0:
            try:
                os.chdir(order["cwd"])
                said = os.open(err, os.O_WRONLY | os.O_CREAT)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(said, 2)
                sys.stdin = io.StringIO()
                run_here(order["words"], Moments(order["at"], log), order["exchanges"])
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        return {
            "status": os.waitstatus_to_exitcode(status),
            "n": int(log.read_text()),
            "err": err.read_text(errors="replace"),
        }


def serve() -> None:
    """Answer line after line; what takes seconds to import is imported before the forks."""
    import matplotlib.pyplot  # noqa: F401
    import skl2onnx  # noqa: F401
    import skops.io  # noqa: F401

    from isthmus.bundle import load_bundle  # noqa: F401
    from isthmus.cli import main  # noqa: F401
    from isthmus.export import export_bundle  # noqa: F401
    from isthmus.report import write_report  # noqa: F401
    from isthmus.scoring import score  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(run_forked(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
