"""What the commands share: options, JSON output, resuming after Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from isthmus.cli import workers
from isthmus.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

Data = Annotated[
    str,
    typer.Argument(
        help="digits, mnist, fashion-mnist, kmnist, or a path: .npy .npz .csv .parquet .ts, IDX, "
        "a folder of images (sub-folders are classes); or several .parquet or .npy files: a "
        "folder, a pattern such as 'events/*.parquet', or an address such as s3://bucket/events."
    ),
]
BundlePath = Annotated[Path, typer.Argument(help="Folder of a bundle that `isthmus fit` wrote.")]
Json = Annotated[
    str | None,
    typer.Option("--json", help="Write the facts as JSON to this path; - is standard output."),
]
Head = Annotated[str, typer.Option("--head", help="linear, mlp, neighbours, svm or spreading.")]
Recipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="default; fast (seconds), thorough (several times as long), detection (for normal or "
        "not), reference (the Keras tutorial's network).",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of all randomness.")]


def console_for(json: str | None) -> Console:
    """Return where to talk to a person: standard error when JSON takes standard output."""
    from rich.console import Console

    # Wide enough for a digest where the output is a file or a pipe.
    wide = None if sys.stdout.isatty() else 120
    return Console(stderr=json == "-", width=wide, highlight=False, quiet=workers.rank() > 0)


def write_facts(json: str | None, facts: dict[str, Any]) -> None:
    """Write a command's facts as one JSON object, when asked for."""
    if json is None or workers.rank() > 0:
        return
    from isthmus.storage import to_json, write_bytes

    if json == "-":
        sys.stdout.write(to_json(facts))
    else:
        write_bytes(Path(json), to_json(facts).encode())


@contextmanager
def resumable(checkpoints: Path) -> Iterator[None]:
    """Turn Ctrl-C into exit status 130 and one line that says how to go on.

    With several workers the loss of another one too, into exit status 143.
    """
    try:
        with workers.told_to_end():
            yield
    except KeyboardInterrupt as stop:
        lost = isinstance(stop, workers.Ended)
        what = "ended by torchrun, as when another worker is lost" if lost else "interrupted"
        if (checkpoints / "last.safetensors").exists():
            words = [word for word in sys.argv[1:] if word != "--resume"]
            again = workers.line_again([*words, "--resume"])
            line = f"the last checkpoint stands; go on with: {again}"
        else:
            line = "no epoch was finished, so there is nothing to go on from"
        if lost or workers.rank() == 0:
            print(f"{what}{workers.name_of_worker()}; {line}", file=sys.stderr, flush=True)
        raise typer.Exit(143 if lost else 130) from None


def whole_or_auto(option: str, text: str) -> int | Literal["auto"]:
    """Return what an option says: a whole number, or `"auto"`."""
    if text == "auto":
        return "auto"
    if not text.isdigit():
        raise DataError(f"got {option} {text}, expected a whole number or auto")
    return int(text)


def number_or_auto(option: str, text: str) -> float | Literal["auto"]:
    """Return what an option says: a number, or `"auto"`."""
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError as error:
        raise DataError(f"got {option} {text}, expected a number or auto") from error


def weights_by_name(option: str, text: str) -> str | dict[str, float]:
    """Return what an option says: one name, or names with weights (`a=1,b=0.5`)."""
    if "=" not in text:
        return text
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight)
        except ValueError as error:
            raise DataError(
                f"got {option} {text}, expected one name, or names with weights: a=1,b=0.5"
            ) from error
    return weights


def names_or_none(text: str) -> Literal["auto"] | tuple[str, ...] | None:
    """Return what an option says: `"auto"`, None for none, or names split at commas."""
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    return tuple(name.strip() for name in text.split(","))
