"""Options that commands share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from isthmus.cli import process as workers
from isthmus.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from isthmus.data import Dataset
    from isthmus.data.streaming import Stream
    from isthmus.detection import AnomalyDetector

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


def write_json_facts(json: str | None, facts: dict[str, Any]) -> None:
    """Write a command's facts as one JSON object, when asked for."""
    if json is None or workers.rank() > 0:
        return
    from isthmus._core import to_json, write_bytes

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


Part = Annotated[
    str, typer.Option("--part", help="Of data with two parts: train, test or all, in that order.")
]

Normal = Annotated[
    str | None,
    typer.Option(
        "--normal",
        help="Value of the label column that means normal: any other is abnormal, and an empty "
        "cell that nobody looked.",
    ),
]
FalseAlarmRate = Annotated[
    str | None,
    typer.Option(
        "--false-alarm-rate",
        help="Share of normal instances that may be called abnormal; auto is 0.01, or the "
        "smallest that the rows can hold.",
    ),
]


def detector_labels(data: Dataset, source: str, normal: str | None) -> np.ndarray | None:
    """Return labels as a detector takes them: 1, -1 and 0; None when the data has none.

    Raises
    ------
    DataError
        When the column holds other values and `normal` does not say what they mean, or no
        row has the value that it names.
    """
    if data.y is None:
        if normal is not None:
            raise DataError(
                f"got --normal {normal}, and {source} has no labels; name their column with "
                "--label COLUMN"
            )
        return None
    from isthmus.detection import check_detector_labels

    if normal is not None:
        return _translated(data, source, normal)
    try:
        return check_detector_labels(data.y, len(data))
    except DataError as error:
        raise DataError(
            f"{source}: {error}; or name the value that means normal with --normal VALUE"
        ) from error


def detector_facts(detector: AnomalyDetector) -> dict[str, Any]:
    """Return what is known about a fitted detector as plain values."""
    from isthmus.bundle import label_counts

    return {
        "n": len(detector.reference_set_.y),
        "labels": label_counts(detector.reference_set_.y),
        "method": detector.method_,
        "false_alarm_rate": detector.false_alarm_rate_,
        "threshold": -detector.offset_,
        "calibration": detector.calibration_,
        "n_calibration": detector.n_calibration_,
        "label_curve": detector.label_curve_,
        "wins_from": detector.wins_from_,
        "head_weight": detector.head_weight_,
        "frozen": {
            "encoder_digest": detector.encoder_digest_,
            "unchanged": detector.encoder_digest_ == detector.encoder_.digest_,
        },
    }


def print_detector(console: Console, facts: dict[str, Any]) -> None:
    """Print what `detector_facts` gives."""
    labels = facts["labels"]
    how = {
        "split": " that nothing was trained on",
        "cross": ", each scored by a model that did not see it",
    }[facts["calibration"]]
    lines = {
        "rows": f"{facts['n']:,}: {labels['normal']:,} labelled normal, {labels['abnormal']:,} "
        f"abnormal, {labels['unknown']:,} that nobody looked at",
        "calibration": f"{facts['calibration']}, {facts['n_calibration']:,} rows{how}",
        "false alarms": f"{100 * facts['false_alarm_rate']:.3g} % of normal instances",
        "method": facts["method"],
        "threshold": f"{facts['threshold']:.4g}, an anomaly score above it is abnormal",
    }
    for name, value in lines.items():
        console.print(f"{name:<13}{value}", soft_wrap=True, markup=False)
    if labels["abnormal"]:
        _tell_labels(console, facts)


def _tell_labels(console: Console, facts: dict[str, Any]) -> None:
    """Print from how many labels on the head is better than none."""
    if not facts["label_curve"]:
        console.print("labels       too few abnormal ones to measure what they bring")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("abnormal labels", "AUROC label-free", "AUROC head"):
        table.add_column(title, justify="right")
    for point in facts["label_curve"]:
        table.add_row(str(point["labels"]), f"{point['label_free']:.4f}", f"{point['head']:.4f}")
    console.print(table)
    wins = facts["wins_from"]
    told = "the head does not win yet"
    if wins is not None:
        told = f"the head wins from {wins} abnormal {'one' if wins == 1 else 'ones'} on"
    console.print(f"labels       {told}, measured on held-out rows")


def _translated(data: Dataset, source: str, normal: str) -> np.ndarray:
    from isthmus.detection import check_normal, refuse_windows, translate_labels

    refuse_windows(data, normal)
    labels, names = translate_labels(data.y, normal)
    check_normal(normal, names, source)
    return labels


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
    """Where and how what is read chunk by chunk is scored; every field is an option."""

    engine: Engine = "local"
    workers: Workers = None
    address: Address = None
    resume: Resume = False

    @property
    def lazy(self) -> bool:
        """Whether a single file is read chunk by chunk, too."""
        return streams_data(self.engine, self.resume)


HERE = Scoring()


def streams_data(engine: str, resume: bool) -> bool:
    """Return whether a single file is read chunk by chunk, too, for what was asked."""
    if engine not in ("local", "ray"):
        raise DataError(f"got --engine {engine}, expected local or ray")
    return engine != "local" or resume


def refuse_ray(workers: int | None, address: str | None) -> None:
    """Refuse what is for Ray when the data is in memory."""
    if workers is not None or address is not None:
        option = "--workers" if workers is not None else "--address"
        raise DataError(f"got {option}, which is for Ray; add --engine ray, or leave it out")


def run_scoring(
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
            "chunk by chunk is written so, to a folder of Parquet files; give one with "
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
    write_json_facts(json, facts)
