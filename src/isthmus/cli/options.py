"""Options that several commands have, and what they print alike."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from isthmus.cli.commands import (
    Terminated,
    command_line,
    process_suffix,
    raise_on_sigterm,
    rank,
)
from isthmus.cli.data_options import warnings_as_lines
from isthmus.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from isthmus.data.streaming import Stream
    from isthmus.detection import AnomalyDetector

Data = Annotated[
    str,
    typer.Argument(
        help="A data set by name (digits, mnist, fashion-mnist, kmnist, pump), or a path: a .csv, "
        ".xlsx, .parquet, .npy, .npz, .ts or IDX file, or a folder of images (sub-folders are "
        "classes); or several .parquet or .npy files: a folder, a pattern such as "
        "'events/*.parquet', or an address such as s3://bucket/events."
    ),
]
BundlePath = Annotated[Path, typer.Argument(help="Folder of a bundle, as written by isthmus fit.")]
Json = Annotated[
    str | None,
    typer.Option("--json", help="File to write the results to as JSON; - is standard output."),
]
Head = Annotated[
    str, typer.Option("--head", help="Kind of head: linear, mlp, neighbours, svm or spreading.")
]
Recipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="Recipe: default, fast (seconds), thorough (several times as long), detection "
        "(for anomaly detection) or reference (the network of the Keras tutorial).",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of all random numbers.")]


def console_for(json: str | None) -> Console:
    """Return the console for text: standard error when the JSON goes to standard output.

    Raises
    ------
    OutputError
        When the JSON goes to a file that cannot be written.
    """
    from rich.console import Console

    from isthmus._core import check_writable, is_quiet

    if json is not None and json != "-":
        check_writable(json)

    # Wide enough for a digest where the output is a file or a pipe.
    wide = None if sys.stdout.isatty() else 120
    return Console(
        stderr=json == "-",
        width=wide,
        markup=False,  # labels, columns and paths are printed as they are written
        emoji=False,
        highlight=False,
        quiet=rank() > 0 or is_quiet(),
    )


def write_json_facts(json: str | None, facts: dict[str, Any]) -> None:
    """Write the facts of a command as one JSON object, where --json is given."""
    if json is None or rank() > 0:
        return
    from isthmus._core import to_json, write_bytes

    if json == "-":
        sys.stdout.write(to_json(facts))
    else:
        write_bytes(Path(json), to_json(facts).encode())


@contextmanager
def resumable(checkpoints: Path) -> Iterator[None]:
    """Exit with status 130 on Ctrl-C, and print the command that resumes training.

    Where torchrun ends this process because another one failed, the status is 143.
    """
    try:
        with raise_on_sigterm():
            yield
    except KeyboardInterrupt as stop:
        lost = isinstance(stop, Terminated)
        what = "ended by torchrun, as when another worker is lost" if lost else "interrupted"
        if (checkpoints.expanduser() / "last.safetensors").exists():
            arguments = [one for one in sys.argv[1:] if one != "--resume"]
            again = command_line([*arguments, "--resume"])
            line = f"the last checkpoint stands; go on with: {again}"
        else:
            line = "no epoch was finished, so there is nothing to go on from"
        if lost or rank() == 0:
            print(f"{what}{process_suffix()}; {line}", file=sys.stderr, flush=True)
        raise typer.Exit(143 if lost else 130) from None


def number_or_auto(option: str, text: str) -> float | Literal["auto"]:
    """Parse the value of an option: a number, or `"auto"`."""
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError as error:
        raise DataError(f"got {option} {text}, expected a number or auto") from error


def contamination_of(text: str | None) -> float | Literal["auto"] | None:
    """Parse the value of --contamination; None without it."""
    return None if text is None else number_or_auto("--contamination", text)


def weights_by_name(option: str, text: str) -> str | dict[str, float]:
    """Parse the value of an option: one name, or names with weights (`a=1,b=0.5`)."""
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
    """Parse the value of an option: `"auto"`, `"none"` (None), or names split at commas."""
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    return tuple(name.strip() for name in text.split(","))


Part = Annotated[
    str,
    typer.Option(
        "--part",
        help="Which instances to use of data with training and test data: train, test or all.",
    ),
]

WindowNormal = Annotated[
    str | None,
    typer.Option(
        "--normal",
        help="With --window-label any, the label of ordinary rows: a window with another label "
        "has that one.",
    ),
]
Normal = Annotated[
    str | None,
    typer.Option(
        "--normal",
        help="Value of the label column that means normal, such as 0 where 1 marks anomalies. Any "
        "other value means abnormal; an empty cell means unlabelled. Labels of only 0 and 1, or "
        "true and false, need it.",
    ),
]
FalseAlarmRate = Annotated[
    str | None,
    typer.Option(
        "--false-alarm-rate",
        help="Accepted false alarms: the share of normal instances that may be called abnormal; "
        "auto is 0.01, or the smallest share that so few rows allow.",
    ),
]


Contamination = Annotated[
    str | None,
    typer.Option(
        "--contamination",
        help="Largest share of abnormal rows among those without a label, such as 0.05; auto is "
        "0.1. Rows that look abnormal are then not learned from, and do not set the threshold.",
    ),
]


Missing = Annotated[
    str | None,
    typer.Option(
        "--missing",
        help="What a missing value means where none or few were missing at fit: unusual (it raises "
        "the anomaly score; the default), ignore (it counts as the median) or error (it is refused "
        "where none was).",
    ),
]


FalseAlarms = Annotated[
    str | None,
    typer.Option(
        "--false-alarms",
        help="Accepted false alarms of a series, as a number in a period: "
        "'1 per day', '2 per week', '1 per 2000 points'.",
    ),
]
MergeGap = Annotated[
    str | None,
    typer.Option(
        "--merge-gap",
        help="Join alarms with at most so many time points between them; auto is half a window.",
    ),
]
MinLength = Annotated[
    int | None, typer.Option("--min-length", help="Fewest time points of an alarm; default 1.")
]
Causal = Annotated[
    bool,
    typer.Option(
        "--causal",
        help="Score a time point by past readings alone: alarms come at once, and are less exact.",
    ),
]


def detector_facts(detector: AnomalyDetector) -> dict[str, Any]:
    """Return facts of a fitted detector as plain values."""
    from isthmus.bundle import label_counts

    stride = detector.reference_set_.overlapping_stride
    facts = {
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
    facts |= {} if stride is None else {"overlapping_stride": stride}
    if detector.contamination_ is not None:
        facts["contamination"] = detector.contamination_.facts(detector.reference_set_.hashes)
    if detector.cost_choice_ is not None:
        facts["cost_choice"] = detector.cost_choice_.facts()
    if detector.unlabelled_abnormal_ is not None:
        facts["unlabelled_abnormal"] = detector.unlabelled_abnormal_
    if detector.group_calibration_ is not None:
        facts["groups"] = detector.group_calibration_.facts()
    return facts | ({} if detector.point_facts_ is None else {"points": detector.point_facts_})


def window_label_of(data: Any, *, by_point: bool = False) -> str | None:
    """Return the rule by which a head reads labels of windows, None where there is none.

    A detector of time points takes windows for abnormal where a row is, whatever was asked.
    """
    rule = getattr(data, "window_label", None)
    return "any" if by_point and rule is not None else rule


def window_label_facts(console: Console, data: Any, *, by_point: bool = False) -> dict[str, Any]:
    """Print and return the rule by which labels of windows follow from those of their rows."""
    rule = window_label_of(data, by_point=by_point)
    if rule is None:
        return {}
    words = {
        "any": "abnormal where a row is",
        "majority": "the most frequent label of their rows",
        "last": "that of their last row",
    }
    console.print(f"labels of windows: {words[rule]} (--window-label {rule})", soft_wrap=True)
    return {"window_label": rule}


Engine = Annotated[
    str, typer.Option("--engine", help="Where to run: local, or ray (a Ray cluster).")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Number of Ray workers; by default one for each CPU of the cluster.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="Address of a Ray cluster; by default Ray is started on this machine."
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the output of an interrupted run.")
]


@dataclass(frozen=True)
class Scoring:
    """Where data is scored that is read in chunks; every field is an option."""

    engine: Engine = "local"
    workers: Workers = None
    address: Address = None
    resume: Resume = False

    @property
    def lazy(self) -> bool:
        """Whether a single file is read in chunks too."""
        return reads_in_chunks(self.engine, self.resume)


LOCAL = Scoring()


def reads_in_chunks(engine: str, resume: bool) -> bool:
    """Return whether these options need a single file to be read in chunks too."""
    if engine not in ("local", "ray"):
        raise DataError(f"got --engine {engine}, expected local or ray")
    return engine != "local" or resume


def refuse_ray(workers: int | None, address: str | None) -> None:
    """Refuse options of Ray where it is not used."""
    if workers is not None or address is not None:
        option = "--workers" if workers is not None else "--address"
        raise DataError(f"got {option}, which is for Ray; add --engine ray, or leave it out")


def check_in_chunks(
    data: str,
    output: Path | None,
    needs_memory: Sequence[str] = (),
    *,
    with_input: bool = False,
) -> None:
    """Check what is asked for of data that is read in chunks, before it is read.

    Parameters
    ----------
    data : str
        What to call it.
    output : Path or None
    needs_memory : sequence of str
        Options that are given and need all instances in memory.
    with_input : bool
        Whether --with-input is given.

    Raises
    ------
    DataError
        Naming all that does not go together.
    """
    wrong = []
    if needs_memory:
        verb = "need" if len(needs_memory) > 1 else "needs"
        wrong.append(
            f"{', '.join(needs_memory)} {verb} files that fit into memory: pass them one by one, "
            "without --lazy, --resume and --engine"
        )
    if with_input:
        wrong.append("in place of --with-input carry along the columns you need: --key COLUMN")
    if output is None or output.suffix != ".parquet":
        got = "" if output is None else f", not {output}"
        wrong.append(f"the output is a folder of Parquet files: -o NAME.parquet{got}")
    if wrong:
        raise DataError(f"{data} is read in chunks; {'; '.join(wrong)}")


def run_scoring(
    what: Literal["predict", "encode"],
    bundle: Path,
    stream: Stream,
    output: Path | None,
    *,
    head: str | None = None,
    for_heads: bool = False,
    explain: bool = False,
    alpha: float | None = None,
    by_class: bool = False,
    scoring: Scoring,
    json: str | None,
) -> Path:
    """Score a stream into a folder, print a summary, and return the folder."""
    check_in_chunks(stream.name, output)
    assert output is not None
    from isthmus.scoring import score

    try:
        with warnings_as_lines():
            facts = score(
                bundle,
                stream,
                output,
                what=what,
                head=head,
                for_heads=for_heads,
                explain=explain,
                alpha=alpha,
                by_class=by_class,
                verbose=True,
                **vars(scoring),
            )
    except KeyboardInterrupt:
        arguments = [one for one in sys.argv[1:] if one != "--resume"]
        line = f"isthmus {shlex.join(arguments)} --resume"
        print(
            f"interrupted; the parts written so far are kept; go on with: {line}", file=sys.stderr
        )
        raise typer.Exit(130) from None
    console = console_for(json)
    counts = ", ".join(f"{name}: {count:,}" for name, count in facts["counts"].items())
    console.print(f"{facts['n']:,} instances" + (f": {counts}" if counts else ""))
    for part in facts["skipped"][:10]:
        n = "" if part["n_rows"] is None else f" ({part['n_rows']:,} rows)"
        console.print(f"skipped {part['source']}{n}: {part['reason']}", soft_wrap=True)
    if len(facts["skipped"]) > 10:
        console.print(f"and {len(facts['skipped']) - 10} more, all of them in --json")
    resumed = f", {facts['n_resumed']} of them there before" if facts["n_resumed"] else ""
    console.print(
        f"{facts['n_parts']} parts in {output}{resumed}; {facts['rows_per_second']:,.0f} rows/s",
        soft_wrap=True,
    )
    write_json_facts(json, facts)
    return output
