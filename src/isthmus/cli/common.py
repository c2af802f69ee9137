"""What the commands share: options, reading data, JSON output, resuming after Ctrl-C."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from isthmus.data import Dataset, Splits

Data = Annotated[
    str,
    typer.Argument(
        help="digits, mnist, fashion-mnist, kmnist, or a path: .npy .npz .csv .parquet, IDX, "
        "a folder of images (sub-folders are classes)."
    ),
]
BundlePath = Annotated[Path, typer.Argument(help="Folder of a bundle that `isthmus fit` wrote.")]
Label = Annotated[
    str | None, typer.Option("--label", help="Column of a table that holds the labels.")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder with the files of a named data set.")
]
Resize = Annotated[
    str | None, typer.Option("--resize", help="Bring all images to this size, such as 28x28.")
]
Json = Annotated[
    str | None,
    typer.Option("--json", help="Write the facts as JSON to this path; - is standard output."),
]
Seed = Annotated[int, typer.Option("--seed", help="Of all randomness.")]


def read_data(
    source: str, *, data_dir: Path | None, label: str | None, resize: str | None
) -> Dataset | Splits:
    """Load data as the options say."""
    from isthmus.data import load

    return load(source, data_dir=data_dir, label=label, resize=_size(resize))


def console_for(json: str | None) -> Console:
    """Return where to talk to a person: standard error when JSON takes standard output."""
    from rich.console import Console

    # Wide enough for a digest where the output is a file or a pipe.
    wide = None if sys.stdout.isatty() else 120
    return Console(stderr=json == "-", width=wide, highlight=False)


def write_facts(json: str | None, facts: dict[str, Any]) -> None:
    """Write a command's facts as one JSON object, when asked for."""
    if json is None:
        return
    from isthmus.storage import to_json, write_bytes

    if json == "-":
        sys.stdout.write(to_json(facts))
    else:
        write_bytes(Path(json), to_json(facts).encode())


@contextmanager
def resumable(checkpoints: Path) -> Iterator[None]:
    """Turn Ctrl-C into exit status 130 and one line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if (checkpoints / "last.safetensors").exists():
            words = [word for word in sys.argv[1:] if word != "--resume"]
            line = f"the last checkpoint stands; go on with: isthmus {shlex.join(words)} --resume"
        else:
            line = "no epoch was finished, so there is nothing to go on from"
        print(f"interrupted; {line}", file=sys.stderr)
        raise typer.Exit(130) from None


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise DataError(f"got --resize {text}, expected height x width such as 28x28")
    return int(parts[0]), int(parts[1])
