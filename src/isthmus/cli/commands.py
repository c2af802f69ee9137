"""The commands together, and what happens when one of them fails."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperCommand

from isthmus import __version__
from isthmus._core import is_disk_full
from isthmus.errors import IsthmusError, is_out_of_memory

#: How to mend what stopped a command in the middle.
AGAIN = "and run again, with --resume to go on from what a fit, predict or encode has written"

#: Each command and the line about it in `isthmus --help`. It is the function of its name in the
#: module of its name beside this one, which is imported when the command is called for: reading
#: every command's options would take as long as all the rest of `isthmus --help`.
COMMANDS = {
    "demo": "Tell the whole story on one data set.",
    "advise": "Advise on the width of the code: try several, and PCA beside them.",
    "fit": "Learn a code from instances without labels, and write a bundle.",
    "encode": "Turn instances into codes with a bundle's encoder.",
    "classify": "Fit a head on the codes of labelled instances.",
    "detect": "Fit a detector, normal or not, on the frozen encoder.",
    "predict": "Predict what each instance is: its class, or normal or not.",
    "suggest": "Say which rows to look at next.",
    "label": "Give a detector labels that people have found.",
    "evaluate": "Test a bundle's head on labelled instances.",
    "report": "Write one page on a bundle, to be opened in a browser.",
    "export": "Write the whole decision as one ONNX graph, its parity measured.",
    "serve": "Serve decisions over HTTP, without torch.",
    "info": "Say what is in a bundle, without loading it.",
    "history": "Say which versions of its heads a bundle holds.",
}

#: Commands that are in the module of another one.
MODULES = {"history": "info"}


class _Later(TyperCommand):
    """A command known by its name and one line; the real one takes over when it is called."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the words as the real command does."""
        from isthmus.cli.process import refuse_workers, tune_process

        refuse_workers(str(self.name))
        tune_process()
        name = str(self.name)
        function = getattr(importlib.import_module(f"isthmus.cli.{MODULES.get(name, name)}"), name)
        alone = _new_app()
        alone.command()(function)
        return typer.main.get_command(alone).make_context(*args, **kwargs)


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
    app.command(name, cls=_Later, short_help=line)(lambda: None)


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
    try:
        app(args=[word for word in words if word != "--debug"], prog_name="isthmus")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        from isthmus.cli.process import name_of_worker

        print(f"error{name_of_worker()}: {_in_words(error)}", file=sys.stderr, flush=True)
        sys.exit(1)


def _in_words(error: Exception) -> str:
    if isinstance(error, IsthmusError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        if is_disk_full(error):
            return f"no space left for {error.filename or 'temporary files'}; make room, {AGAIN}"
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror}:{where}" if where else error.strerror
    if is_out_of_memory(error):
        return (
            "out of memory; pass fewer instances, several files, which are read chunk by chunk, or "
            f"a smaller --batch-size, {AGAIN}"
        )
    if isinstance(error, ValueError):
        return str(error)
    return f"{type(error).__name__}: {error} (unexpected; add --debug for the traceback)"
