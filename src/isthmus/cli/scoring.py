"""What `isthmus predict` and `isthmus encode` do with data that is read piece by piece."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from isthmus.cli.common import console_for, write_facts
from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data import Stream

Engine = Annotated[
    str, typer.Option("--engine", help="local, or ray: over the workers of a Ray cluster.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Of Ray; one a CPU of the cluster.")
]
Address = Annotated[
    str | None, typer.Option("--address", help="Of a Ray cluster; without, Ray starts here.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the output of an interrupted run.")
]


@dataclass(frozen=True)
class Scoring:
    """Where and how what is read piece by piece is scored; every field is an option."""

    engine: Engine = "local"
    workers: Workers = None
    address: Address = None
    resume: Resume = False

    @property
    def lazy(self) -> bool:
        """Whether a single file is read piece by piece, too."""
        return in_pieces(self.engine, self.resume)


HERE = Scoring()


def in_pieces(engine: str, resume: bool) -> bool:
    """Return whether a single file is read piece by piece, too, for what was asked."""
    if engine not in ("local", "ray"):
        raise DataError(f"got --engine {engine}, expected local or ray")
    return engine != "local" or resume


def refuse_ray(workers: int | None, address: str | None) -> None:
    """Refuse what is for Ray when the data is in memory."""
    if workers is not None or address is not None:
        option = "--workers" if workers is not None else "--address"
        raise DataError(f"got {option}, which is for Ray; add --engine ray, or leave it out")


def score_stream(
    what: Literal["predict", "encode"],
    bundle: Path,
    stream: Stream,
    output: Path | None,
    *,
    head: str | None = None,
    for_heads: bool = False,
    scoring: Scoring,
    json: str | None,
) -> None:
    """Write the rows of a stream to a folder, and say what came of it."""
    if output is None or output.suffix != ".parquet":
        raise DataError(
            f"got {'no output' if output is None else f'the output {output}'}, and what is read "
            "piece by piece is written so, to a folder of Parquet files; give one with "
            "-o NAME.parquet"
        )
    from isthmus.scoring import score

    try:
        facts = score(
            bundle,
            stream,
            output,
            what=what,
            head=head,
            for_heads=for_heads,
            verbose=True,
            **vars(scoring),
        )
    except KeyboardInterrupt:
        words = [word for word in sys.argv[1:] if word != "--resume"]
        line = f"isthmus {shlex.join(words)} --resume"
        print(f"interrupted; parts that are there stand; go on with: {line}", file=sys.stderr)
        raise typer.Exit(130) from None
    console = console_for(json)
    counts = ", ".join(f"{name}: {count:,}" for name, count in facts["counts"].items())
    console.print(f"{facts['n']:,} instances" + (f": {counts}" if counts else ""), markup=False)
    for one in facts["skipped"][:10]:
        n = "" if one["n_rows"] is None else f" ({one['n_rows']:,} rows)"
        console.print(f"skipped {one['source']}{n}: {one['reason']}", soft_wrap=True, markup=False)
    if len(facts["skipped"]) > 10:
        console.print(f"and {len(facts['skipped']) - 10} more, all of them in --json")
    there = f", {facts['n_resumed']} of them there before" if facts["n_resumed"] else ""
    console.print(
        f"{facts['n_parts']} parts in {output}{there}; {facts['rows_per_second']:,.0f} rows/s",
        soft_wrap=True,
        markup=False,
    )
    write_facts(json, facts)
