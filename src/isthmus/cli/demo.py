"""`isthmus demo`."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.commands import whole_or_auto
from isthmus.cli.data_options import DataDir, DataOptions, Label, Resize, warnings_as_lines
from isthmus.cli.options import Json, Recipe, Seed, console_for, resumable, write_json_facts


def demo(
    source: Annotated[
        str,
        typer.Argument(help="digits, mnist, fashion-mnist, kmnist, pump, or a path of your own."),
    ] = "digits",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the results; by default runs/NAME."),
    ] = None,
    recipe: Recipe = "default",
    max_epochs: Annotated[
        str, typer.Option(help="Maximum number of epochs of the encoder.")
    ] = "auto",
    baselines: Annotated[
        str, typer.Option(help="fast, or all: the neural head on each, and a supervised network.")
    ] = "fast",
    normal_class: Annotated[
        str | None,
        typer.Option("--normal-class", help="Class that is normal in the chapter on detection."),
    ] = None,
    seed: Seed = 0,
    label: Label = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", help="Column that identifies rows: no feature. May be repeated."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", help="Column that is left out. May be repeated."),
    ] = None,
    data_dir: DataDir = None,
    resize: Resize = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume from the last checkpoint of an interrupted run."),
    ] = False,
    json: Json = None,
) -> None:
    """Run every step on one data set: train, freeze, fit heads, compare with baselines, report.

    The data sets digits and pump need no download, and take about a minute. For pump, a
    series of four sensors, a detector gives alarms; the series is written as CSV too.
    """
    started = time.perf_counter()
    console = console_for(json)
    reading = DataOptions(label=label, keys=keys, drop=drop, data_dir=data_dir, resize=resize)
    data = reading.read(source)
    from isthmus.demo import run_demo

    arguments = [source]
    for option, value in (("--data-dir", data_dir), ("--label", label), ("--resize", resize)):
        arguments += [] if value is None else [option, str(value)]
    for option, columns in (("--key", keys), ("--drop", drop)):
        arguments += [word for column in columns or () for word in (option, column)]
    folder = output or Path("runs") / (Path(source).stem or "data")
    with resumable(folder / "checkpoints"), warnings_as_lines(data):
        facts = run_demo(
            data,
            folder,
            recipe=recipe,
            max_epochs=whole_or_auto("--max-epochs", max_epochs),
            baselines=baselines,
            normal_class=normal_class,
            seed=seed,
            resume=resume,
            console=console,
            seconds_to_load=time.perf_counter() - started,
            words=shlex.join(arguments),
        )
    write_json_facts(json, facts)
