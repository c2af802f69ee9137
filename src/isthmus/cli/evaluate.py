"""`isthmus evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isthmus.bundle import read_normal
from isthmus.cli.data_options import (
    DEFAULTS,
    DataOptions,
    warnings_as_lines,
    with_option_groups,
)
from isthmus.cli.labelled_data import LabelsFrom, read_instances_or_codes
from isthmus.cli.options import (
    BundlePath,
    Data,
    Json,
    Normal,
    Seed,
    console_for,
    window_label_facts,
    write_json_facts,
)
from isthmus.errors import DataError


@with_option_groups
def evaluate(
    bundle: BundlePath,
    data: Data,
    head: Annotated[
        str | None, typer.Option(help="Name of the head; by default the one fitted last.")
    ] = None,
    normal: Normal = None,
    train: Annotated[
        str | None,
        typer.Option(help="Data that the head was fitted on, for the baselines: a name or path."),
    ] = None,
    baselines: Annotated[
        str,
        typer.Option(help="Baselines to compare with: none, fast or all. They need training data."),
    ] = "none",
    by: Annotated[
        str,
        typer.Option(
            help="Of a long table: point, each of its rows; or window. By default point, where the "
            "detector was fitted on a long table.",
        ),
    ] = "auto",
    per_day: Annotated[
        float | None,
        typer.Option(
            help="Of a detector: instances a day, to say how many alerts a day to expect, and how "
            "many of them are right."
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            help="With --per-day: the share of abnormal instances among them; by default that of "
            "the test data."
        ),
    ] = None,
    labels_from: LabelsFrom = None,
    seed: Seed = 0,
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """Test a bundle's head on labelled instances.

    Of data with two parts the head is tested on the test part, and baselines are fitted on the
    training part. Of data read in chunks the head is tested on every labelled row, and baselines
    are fitted on 100,000 rows at most. Rows without a label are left out.

    For a detector the labels are 1 normal, -1 abnormal, 0 or empty for unlabelled; others, and
    labels of only 0 and 1, need --normal, by default that of the fit. Its baseline
    is the distance to the nearest rows without any encoder.

    Of a long table a detector that was fitted on one is tested on its time points: how well they
    are ranked, which events (runs of abnormal labels) an alarm finds and how late, and false
    alarms. Its baselines (--train, --baselines fast) score the same windows: nearest neighbours,
    the residual of principal components, and the network with random weights.

    DATA may be codes that isthmus encode wrote.
    """
    console = console_for(json)
    meant = read_normal(bundle, head) if normal is None else normal
    loaded = read_instances_or_codes(
        reading, data, bundle, labels_from, console, stream=True, normal=meant, head=head,
        by_point=False if by == "window" else None,
    )  # fmt: skip
    test: Any = loaded.part("test")
    if not test.has_labels:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    from isthmus.bundle import load_bundle
    from isthmus.cli.results import print_detection, print_evaluation, print_left_out, print_points
    from isthmus.detection import AnomalyDetector
    from isthmus.evaluation import alert_load, evaluate_head

    opened = load_bundle(bundle)
    decider = opened.head(head)
    detects = isinstance(decider, AnomalyDetector)
    fitted_on = None if loaded.test is None else loaded.train
    if train is not None:
        # A detector may have been fitted on rows without a label column.
        fitted_on = reading.open_train(
            train, bundle, label_optional=detects, normal=meant, head=head
        )
    if prevalence is not None and per_day is None:
        raise DataError("got --prevalence without --per-day, the number of instances a day")
    if per_day is not None and not detects:
        raise DataError("got --per-day, which is for detectors, and the head is a classifier")
    level = None if baselines == "none" else baselines
    with warnings_as_lines():
        found = evaluate_head(
            decider,
            test,
            fitted_on,
            baselines=level,
            normal=normal,
            random_state=seed,
            verbose=True,
            by=by,  # type: ignore[arg-type]
        )
    by_point = found.get("by") == "point"
    if per_day is not None:
        if by_point:
            raise DataError(
                "got --per-day, and time points are evaluated, whose false alarms per day are in "
                "the answer; leave it out, or pass --by window"
            )
        found["alert_load"] = alert_load(found["code"], per_day, prevalence)
    describe = print_points if by_point else print_detection if detects else print_evaluation
    describe(console, found)
    print_left_out(console, found, None if level is None else fitted_on)
    found |= test.reading_facts() | ({} if by_point else window_label_facts(console, test))
    write_json_facts(json, found | {"digest": opened.encoder.digest_})
