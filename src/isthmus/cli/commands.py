"""The command line: its commands, and how their errors are printed."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperCommand

from isthmus import __version__
from isthmus.errors import IsthmusError, OutputError, is_disk_full, is_out_of_memory

#: What to do after an error in the middle of a command.
RESUME_HINT = "and run again, with --resume to go on from what a fit, predict or encode has written"

#: Each command, and its line in `isthmus --help`. The command NAME is the function NAME in the
#: module `isthmus.cli.NAME`, which is imported when the command is called: importing all of them
#: would take as long as the rest of `isthmus --help`.
COMMANDS = {
    "demo": "Run every step on one data set, and write a report.",
    "advise": "Compare widths of the code, and recommend one.",
    "fit": "Train an encoder on unlabelled instances, and write a bundle.",
    "encode": "Compute the codes of instances.",
    "classify": "Fit a classifier on the codes of labelled instances.",
    "detect": "Fit an anomaly detector on the codes of normal instances.",
    "predict": "Predict the class of each instance, or whether it is normal.",
    "suggest": "List the rows that are most worth labelling next.",
    "label": "Update a head with new labels.",
    "evaluate": "Test a head on labelled instances.",
    "report": "Write a report on a bundle as one HTML page.",
    "export": "Export a bundle as one ONNX graph, and measure its parity.",
    "serve": "Serve predictions over HTTP, without torch.",
    "info": "Show what a bundle contains.",
    "history": "List the versions of each head, or go back to one.",
}

#: Commands that are in the module of another command.
MODULES = {"history": "info"}


class _LazyCommand(TyperCommand):
    """A command that is imported when it is called."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the arguments with the options of the command itself."""
        from isthmus.cli.process import refuse_process_group, tune_process

        refuse_process_group(str(self.name))
        tune_process()
        name = str(self.name)
        function = getattr(importlib.import_module(f"isthmus.cli.{MODULES.get(name, name)}"), name)
        command = _new_app()
        command.command()(function)
        return typer.main.get_command(command).make_context(*args, **kwargs)


def _new_app(**settings: Any) -> typer.Typer:
    return typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **settings
    )


app = _new_app(
    name="isthmus",
    help="Learn a code from unlabelled data, freeze it, and decide from a handful of labels.",
    no_args_is_help=True,
)
for name, line in COMMANDS.items():
    app.command(name, cls=_LazyCommand, short_help=line)(lambda: None)


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    pass


def main() -> None:
    """Run the command line: exit status 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:]
    # Both are accepted anywhere in the line, as people add them at its end.
    if "--version" in arguments:
        print(f"isthmus {__version__}")
        return
    debug = "--debug" in arguments
    try:
        app(args=[argument for argument in arguments if argument != "--debug"], prog_name="isthmus")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        from isthmus.cli.process import process_suffix

        print(f"error{process_suffix()}: {describe_error(error)}", file=sys.stderr, flush=True)
        sys.exit(1)


def describe_error(error: Exception) -> str:
    """Return an error as one line for a person."""
    if isinstance(error, IsthmusError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        if is_disk_full(error):
            return str(OutputError.of(error.filename or "temporary files", error))
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror}:{where}" if where else error.strerror
    if is_out_of_memory(error):
        return (
            "out of memory; pass fewer instances, several files, which are read in chunks, or "
            f"a smaller --batch-size, {RESUME_HINT}"
        )
    if isinstance(error, ValueError):
        return str(error)
    return f"{type(error).__name__}: {error} (unexpected; add --debug for the traceback)"
