"""The `isthmus` command in this process, as its entry point runs it."""

import io
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from types import SimpleNamespace

from isthmus.cli import main


def isthmus(*words, cwd, check=True):
    """Run the command in this process, as its entry point does, and catch what it says."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    before = sys.argv
    sys.argv = ["isthmus", *words]
    try:
        with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as leaving:
        status = leaving.code or 0
    finally:
        sys.argv = before
    if check:
        assert status == 0, err.getvalue()
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())
