"""`isthmus evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.codes import LabelsFrom, read_instances_or_codes
from isthmus.cli.common import BundlePath, Data, Json, Seed, console_for, write_facts
from isthmus.cli.detectors import Normal, detector_labels
from isthmus.cli.parts import labelled_part, part_of
from isthmus.cli.reading import AS_IT_COMES, Reading, reads_data
from isthmus.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from isthmus.data import Dataset


@reads_data
def evaluate(
    bundle: BundlePath,
    data: Data,
    head: Annotated[str | None, typer.Option(help="Name of the head; the one fitted last.")] = None,
    normal: Normal = None,
    train: Annotated[
        str | None,
        typer.Option(help="What the head was fitted on, for the controls; path or name."),
    ] = None,
    controls: Annotated[
        str, typer.Option(help="none, fast or all; they need training data.")
    ] = "none",
    labels_from: LabelsFrom = None,
    seed: Seed = 0,
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Test a bundle's head on labelled instances.

    Of data with two parts the test part is used, and the training part for the controls. A head
    that uses unlabelled rows (spreading) is tested on the labelled ones. For a detector labels are
    1 normal, -1 abnormal, 0 or empty where nobody looked (left out), or what --normal says; its
    control is the distance between raw rows. DATA may be codes that isthmus encode wrote.
    """
    console = console_for(json)
    loaded = read_instances_or_codes(reading, data, bundle, labels_from, console)
    test = part_of(loaded, "test")
    if test.y is None:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    if controls != "none" and train is None and loaded.test is None:
        raise DataError(
            "controls are fitted on the training instances; name them with --train, or leave "
            "--controls out"
        )
    from isthmus.bundle import load_bundle
    from isthmus.cli.telling import print_detection, print_evaluation
    from isthmus.evaluation import evaluate as test_classifier
    from isthmus.evaluation.detection import evaluate_detector
    from isthmus.heads import AnomalyDetector
    from isthmus.heads.build import uses_unlabelled

    opened = load_bundle(bundle)
    decider = opened.head(head)
    fitted_on = None if loaded.test is None else loaded.train
    if isinstance(decider, AnomalyDetector):
        if train is not None:
            fitted_on = _perhaps_labelled(train, reading, bundle)
        reference = None if controls == "none" else fitted_on
        found = evaluate_detector(
            decider,
            test.X,
            detector_labels(test, data, normal),
            X_train=None if reference is None else reference.X,
            y_train=_labels_of(reference, train or data, normal),
        )
        print_detection(console, found)
    elif normal is not None:
        raise DataError("the head is a classifier, and --normal is for detectors; leave it out")
    else:
        if train is not None:
            fitted_on = reading.read(train, bundle, sample=True).train
        if uses_unlabelled(decider.head):
            test = labelled_part(test)
        found = test_classifier(
            decider,
            test.X,
            test.y,
            X_train=None if fitted_on is None else fitted_on.X,
            y_train=None if fitted_on is None else fitted_on.y,
            controls=None if controls == "none" else controls,
            random_state=seed,
            verbose=True,
        )
        print_evaluation(console, found)
    write_facts(json, found | {"digest": opened.encoder.digest_})


def _perhaps_labelled(source: str, reading: Reading, bundle: Path) -> Dataset:
    """Read the rows that a detector was fitted on, which need no label column."""
    unlabelled = replace(reading, label=None).read(source, bundle).train
    columns = getattr(unlabelled.X, "columns", ())
    return (
        reading.read(source, bundle, sample=True).train if reading.label in columns else unlabelled
    )


def _labels_of(data: Dataset | None, source: str, normal: str | None) -> np.ndarray | None:
    return None if data is None or data.y is None else detector_labels(data, source, normal)
