"""The command line: its commands, how their errors are printed, and settings of its process.

Settings of memory, threads and signals hold for the whole process, so the library leaves them to
the program that imports it. `benchmarks/training_step.py` measures the effect of those of memory
and threads. The rank is read from torchrun's environment variables: torch is not loaded for it.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import typer
from typer.core import TyperCommand

from isthmus import __version__
from isthmus._core import quiet
from isthmus.errors import (
    DataError,
    IsthmusError,
    OutputError,
    TrainingError,
    is_disk_full,
    is_out_of_memory,
)

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
    "monitor": "Test whether later rows are like those that calibrated a detector.",
    "suggest": "List the rows that are most worth labelling next.",
    "label": "Update a head with new labels.",
    "evaluate": "Test a head on labelled instances.",
    "report": "Write a report on a bundle as one HTML page.",
    "export": "Export a bundle as one ONNX graph, and measure its parity.",
    "serve": "Serve predictions over HTTP, without torch.",
    "mcp": "Serve fit, predict, explain and report to an assistant (MCP).",
    "info": "Show what a bundle contains.",
    "history": "List the versions of each head, or go back to one.",
}

#: Commands that are in the module of another command.
MODULES = {"history": "info", "mcp": "serve", "suggest": "label"}

#: The only command that several processes may run together.
DISTRIBUTED_COMMAND = "fit"

#: Options that are listed without sections, at most.
MAX_IN_ONE_SECTION = 16
# typer writes the type of an option that may be repeated as list[str], and of a range as int range.
_PLAIN_TYPE = re.compile(r"<(?:list\[)?(\w+)(?:\]| range)?>")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 2**31 - 1
#: New objects after which Python looks for garbage among the young ones; by default 700.
COLLECT_EVERY = 10_000


#: Sections of `--help`, by the names of their parameters; others are in the first.
SECTIONS = {
    "Detector (normal or not)": (
        *("detector", "false_alarm_rate", "normal", "missing", "contamination", "method"),
        *("calibration", "recalibrate", "cost_of_miss", "cost_of_alarm", "prevalence"),
    ),
    "Detector of time points": ("false_alarms", "merge_gap", "min_length", "causal", "by_group"),
    "Data": (
        *("label", "kind", "keys", "drop", "category", "columns", "rows", "part", "labels_from"),
        *("data_dir", "resize", "frames", "lazy", "on_bad_shard"),
    ),
    "CSV files": ("decimal", "thousands", "date_format", "na", "unit", "encoding"),
    "Readings over time (--kind series)": (
        *("time", "group", "window", "stride", "resample", "time_zone", "window_label"),
    ),
    "Training": (
        *("n_components", "architecture", "encoder_file", "recipe", "objective", "augmentations"),
        *("max_epochs", "batch_size", "lr", "device", "log_dir"),
    ),
    "Ray": ("engine", "workers", "address"),
}


class _SectionedCommand(TyperCommand):
    """A command whose help has its options in sections, in the order of `SECTIONS`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each section."""
        section_of = {name: section for section, names in SECTIONS.items() for name in names}
        found: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        found |= {section: [] for section in SECTIONS}
        few = len(self.params) <= MAX_IN_ONE_SECTION
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                own = section_of.get(str(parameter.name), "Options")
                own = "Arguments" if parameter.param_type_name == "argument" else own
                own = "Options" if few and own != "Arguments" else own
                found[own].append((_PLAIN_TYPE.sub(r"<\1>", record[0]), record[1]))
        for name, records in found.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


class _LazyCommand(TyperCommand):
    """A command that is imported when it is called."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the arguments with the options of the command itself."""
        refuse_process_group(str(self.name))
        tune_process()
        name = str(self.name)
        function = getattr(importlib.import_module(f"isthmus.cli.{MODULES.get(name, name)}"), name)
        command = _new_app()
        command.command(cls=_SectionedCommand)(function)
        return typer.main.get_command(command).make_context(*args, **kwargs)


def _new_app(**settings: Any) -> typer.Typer:
    return typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **settings
    )


app = _new_app(
    name="isthmus",
    help="""Learn a code from unlabelled data, freeze it, and decide from a handful of labels.

    A code is a few numbers in place of an instance: an image, a row of a table, a window of a
    time series. An encoder computes it, which is trained without labels and then frozen. A head
    decides on codes: a classifier, or a detector, which separates normal from abnormal. A bundle
    is a folder with an encoder and its heads.

    To begin: isthmus demo. With a table of your own: isthmus fit DATA -o BUNDLE --detector, then
    isthmus report BUNDLE DATA.
    """,
    no_args_is_help=True,
)
for name, line in COMMANDS.items():
    app.command(name, cls=_LazyCommand, short_help=line)(lambda: None)


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    silent: bool = typer.Option(
        False, "--quiet", help="Print no results and no progress, only warnings and errors."
    ),
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    pass


def main() -> None:
    """Run the command line: exit status 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    3 of `isthmus monitor`: done, and the promise no longer holds.
    """
    arguments = sys.argv[1:]
    # All are accepted anywhere in the line, as people add them at its end.
    if "--version" in arguments:
        print(f"isthmus {__version__}")
        return
    debug = "--debug" in arguments
    words = [argument for argument in arguments if argument not in ("--debug", "--quiet")]
    try:
        with quiet() if "--quiet" in arguments else nullcontext():
            app(args=words, prog_name="isthmus")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
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


def tune_process() -> None:
    """Set how long OpenMP threads spin and how often garbage is collected; keep freed memory.

    Must run before torch is loaded, which reads the first when it starts.
    """
    # Each full collection goes through the half a million objects of the libraries. Their imports
    # alone would start several, and Python one more at exit, where there is nothing to save.
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
    # A thread that spins at every barrier keeps a core from whoever else needs it; when
    # another process is busy, each barrier then lasts a whole time slice. One that sleeps too
    # soon has to be woken hundreds of times a step, which takes longer than the work.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    # glibc gives large blocks back to the system after every step and takes them again,
    # which costs a page fault for every 4 KiB.
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)


@contextmanager
def exit_cleanly_on_sigterm() -> Iterator[None]:
    """Exit with status 0 on SIGTERM within the block: supervisors take any other for a crash.

    uvicorn stops gracefully by a handler of its own, and then raises the signal again for the
    handler that was set before.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def rank() -> int:
    """Return the rank of this process: rank 0 alone prints and writes."""
    return int(os.environ["RANK"]) if size() > 1 else 0


def size() -> int:
    """Return the number of processes that torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def refuse_process_group(command: str) -> None:
    """Refuse a command that several processes would each run by themselves.

    Raises
    ------
    TrainingError
        On rank 0 of several processes; the others exit with status 1.
    """
    if command != DISTRIBUTED_COMMAND and size() > 1:
        if rank() > 0:
            raise SystemExit(1)
        raise TrainingError(
            f"got isthmus {command} on {size()} workers, and only isthmus {DISTRIBUTED_COMMAND} "
            "trains on several; run it without torchrun"
        )


def process_suffix() -> str:
    """Return a suffix for errors that names the process; empty on rank 0."""
    return f" (worker {rank()})" if rank() else ""


class Terminated(KeyboardInterrupt):
    """torchrun ended this process, as it does when another one failed."""


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM within the block, where there are several processes."""
    # Ray Train runs this in another thread, and ends the process itself.
    if size() == 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def command_line(arguments: list[str]) -> str:
    """Return the command line with these arguments, quoted for a shell."""
    start = "" if size() == 1 else "torchrun (its options as before) -m "
    return f"{start}isthmus {shlex.join(arguments)}"


def whole_or_auto(option: str, text: str) -> int | Literal["auto"]:
    """Parse the value of an option: a whole number, or `"auto"`."""
    if text == "auto":
        return "auto"
    if not text.isdigit():
        raise DataError(f"got {option} {text}, expected a whole number or auto")
    return int(text)


#: Parameters of commands that are files read, and files written.
_READ = ("data", "train", "labels_from", "stretches", "queue", "advice")
_WRITTEN = ("output", "alarms", "json")


def check_files_apart(values: dict[str, Any]) -> None:
    """Refuse to write to a file that the command reads, or twice to one.

    Raises
    ------
    DataError
    """
    given = {name: value for name, value in values.items() if value not in (None, "-")}
    read = [Path(given[name]) for name in _READ if name in given]
    for name in _WRITTEN:
        if name not in given:
            continue
        path = Path(given[name])
        if any(one.is_file() and path.is_file() and one.samefile(path) for one in read):
            raise DataError(
                f"got --{name} {path}, which the command reads and would write over; choose "
                "another path"
            )
        if any(
            path == Path(given[other]) for other in _WRITTEN if other != name and other in given
        ):
            raise DataError(f"got {path} for two outputs, expected a path for each")
