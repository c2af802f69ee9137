"""`isthmus evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.data_options import (
    AS_IT_COMES,
    LabelsFrom,
    Reading,
    read_instances_or_codes,
    reads_data,
)
from isthmus.cli.options import (
    BundlePath,
    Data,
    Json,
    Normal,
    Seed,
    console_for,
    refuse_windows,
    write_json_facts,
)
from isthmus.errors import DataError


@reads_data
def evaluate(
    bundle: BundlePath,
    data: Data,
    head: Annotated[str | None, typer.Option(help="Name of the head; the one fitted last.")] = None,
    normal: Normal = None,
    train: Annotated[
        str | None,
        typer.Option(help="What the head was fitted on, for the baselines; path or name."),
    ] = None,
    baselines: Annotated[
        str, typer.Option(help="none, fast or all; they need training data.")
    ] = "none",
    labels_from: LabelsFrom = None,
    seed: Seed = 0,
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Test a bundle's head on labelled instances.

    Of data with two parts the test part is used, and the training part for the baselines. Of data
    read chunk by chunk every labelled row is tested on; baselines are fitted on 100,000 rows at
    most. Rows without a label are left out. For a detector labels are 1 normal, -1 abnormal, 0 or
    empty where nobody looked, or what --normal says; its baseline is the distance between raw rows.
    DATA may be codes that isthmus encode wrote.
    """
    console = console_for(json)
    loaded = read_instances_or_codes(reading, data, bundle, labels_from, console, stream=True)
    test: Any = loaded.part("test")
    if not test.has_labels:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    if baselines != "none" and train is None and loaded.test is None:
        raise DataError(
            "baselines are fitted on the training instances; name them with --train, or leave "
            "--baselines out"
        )
    from isthmus.bundle import load_bundle
    from isthmus.cli.results import print_detection, print_evaluation, print_left_out
    from isthmus.detection import AnomalyDetector

    opened = load_bundle(bundle)
    decider = opened.head(head)
    fitted_on = None if loaded.test is None else loaded.train
    if isinstance(decider, AnomalyDetector):
        if train is not None:
            fitted_on = _perhaps_labelled(train, reading, bundle)
        reference = None if baselines == "none" else fitted_on
        found = _test_detector(decider, test, data, reference, train or data, normal, seed)
        print_detection(console, found)
    elif normal is not None:
        raise DataError("the head is a classifier, and --normal is for detectors; leave it out")
    else:
        if train is not None:
            fitted_on = reading.open(train, bundle).train
        level = None if baselines == "none" else baselines
        found = _test_classifier(decider, test, fitted_on, level, seed)
        print_evaluation(console, found)
    print_left_out(console, found, None if baselines == "none" else fitted_on)
    write_json_facts(json, found | {"digest": opened.encoder.digest_})


def _test_classifier(
    classifier: Any, test: Any, fitted_on: Any, baselines: str | None, seed: int
) -> dict[str, Any]:
    from isthmus.evaluation import evaluate as test_classifier

    X, y = _rows_of(test)
    X_train, y_train = _rows_of(fitted_on)
    return test_classifier(
        classifier,
        X,
        y,
        X_train=X_train,
        y_train=y_train,
        baselines=baselines,
        random_state=seed,
        verbose=True,
    )


def _test_detector(
    detector: Any,
    test: Any,
    data: str,
    fitted_on: Any,
    train: str,
    normal: str | None,
    seed: int,
) -> dict[str, Any]:
    from isthmus.evaluation import evaluate_detector

    X, y = _rows_of(test)
    X_train, y_train = _rows_of(fitted_on)
    for part, source in ((test, data), (fitted_on, train)):
        if normal is not None and part is not None and part.in_memory:
            refuse_windows(part, source, normal)
    return evaluate_detector(
        detector,
        X,
        y,
        normal=normal,
        X_train=X_train,
        y_train=y_train,
        random_state=seed,
        verbose=True,
    )


def _rows_of(data: Any) -> tuple[Any, Any]:
    """Return instances and labels as an evaluation takes them: those of a stream stay in it."""
    if data is None:
        return None, None
    return (data.X, data.y) if data.in_memory else (data, None)


def _perhaps_labelled(source: str, reading: Reading, bundle: Path) -> Any:
    """Open the rows that a detector was fitted on, which need no label column."""
    unlabelled = replace(reading, label=None).open(source, bundle).train
    if reading.label is None:
        return unlabelled
    if not unlabelled.in_memory:
        try:
            return reading.open(source, bundle)
        except DataError:  # none of the files' columns has that name
            return unlabelled
    columns = getattr(unlabelled.X, "columns", ())
    return reading.open(source, bundle).train if reading.label in columns else unlabelled
