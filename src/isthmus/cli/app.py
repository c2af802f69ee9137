"""The commands together, and what happens when one of them fails."""

from __future__ import annotations

import sys

import typer

from isthmus._version import __version__
from isthmus.cli.classify import classify
from isthmus.cli.demo import demo
from isthmus.cli.detect import detect
from isthmus.cli.encode import encode
from isthmus.cli.evaluate import evaluate
from isthmus.cli.fit import fit
from isthmus.cli.history import history
from isthmus.cli.info import info
from isthmus.cli.label import label
from isthmus.cli.predict import predict
from isthmus.cli.process import tune_process
from isthmus.cli.suggest import suggest
from isthmus.errors import IsthmusError

app = typer.Typer(
    name="isthmus",
    help="Learn a code from unlabelled data, freeze it, and decide from a handful of labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_COMMANDS = (
    *(demo, fit, encode, classify, detect, predict, suggest, label, evaluate),
    *(info, history),
)
for command in _COMMANDS:
    app.command()(command)


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    pass


def main() -> None:
    """Run the command line: exit status 0 done, 1 failed, 2 wrong words, 130 interrupted."""
    words = sys.argv[1:]
    # Both are understood wherever they stand, as people add them to the end of a line.
    if "--version" in words:
        print(f"isthmus {__version__}")
        return
    debug = "--debug" in words
    tune_process()
    try:
        app(args=[word for word in words if word != "--debug"], prog_name="isthmus")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        print(f"error: {_in_words(error)}", file=sys.stderr)
        sys.exit(1)


def _in_words(error: Exception) -> str:
    if isinstance(error, IsthmusError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror}:{where}" if where else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory; pass fewer instances, or a smaller batch_size"
    if isinstance(error, ValueError):
        return str(error)
    return f"{type(error).__name__}: {error} (unexpected; add --debug for the traceback)"
