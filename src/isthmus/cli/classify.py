"""`isthmus classify`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isthmus._core import check_writable
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
    Head,
    Json,
    Seed,
    WindowNormal,
    console_for,
    window_label_facts,
    write_json_facts,
)
from isthmus.errors import DataError


@with_option_groups
def classify(
    bundle: BundlePath,
    data: Data,
    head: Head = "linear",
    name: Annotated[
        str | None, typer.Option(help="Name of the head in the bundle; by default that of --head.")
    ] = None,
    test_fraction: Annotated[
        float, typer.Option(help="Share of the labels held out to test the head.")
    ] = 0.2,
    baselines: Annotated[
        str, typer.Option(help="Baselines to compare with: none, fast or all.")
    ] = "fast",
    calibration: Annotated[
        str,
        typer.Option(
            help="Calibrate probabilities, and prediction sets for isthmus predict --alpha: none, "
            "cross (five more heads, each fitted without a fifth of the labels), or split (a fifth "
            "of the labels is held out from the head)."
        ),
    ] = "none",
    labels_from: LabelsFrom = None,
    normal: WindowNormal = None,
    seed: Seed = 0,
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """Fit a classifier on the codes of labelled instances, and add it to the bundle.

    The head is tested first, beside baselines: on the test part of the data, or without one on
    the share --test-fraction of the labels, held out from the fit. In the second case it is then
    fitted again, on all labels, before it is saved. Windows of a long table are held out by group
    or by time, so that no window shares a row with one of the other part.

    DATA may be codes that isthmus encode wrote as .parquet. The encoder is then not run, and there
    are no baselines, as these need the instances.

    Rows without a label (an empty cell) are left out, and counted; with --head spreading the head
    is also fitted on them (and on those with -1). It is tested on labelled rows alone.
    """
    console = console_for(json)
    check_writable(bundle, folder=True)
    loaded = read_instances_or_codes(
        reading, data, bundle, labels_from, console, normal=normal, head=name or head
    )
    if loaded.train.y is None:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    from isthmus.bundle import add_head, load_bundle
    from isthmus.classification import uses_unlabelled
    from isthmus.cli.results import print_evaluation
    from isthmus.evaluation import fit_and_evaluate

    with warnings_as_lines():
        classifier, found = fit_and_evaluate(
            load_bundle(bundle).encoder,
            loaded,
            head,
            test_fraction=test_fraction,
            baselines=None if baselines == "none" else baselines,
            calibration=None if calibration == "none" else calibration,
            random_state=seed,
            verbose=True,
        )
    stored = name or head
    metrics: dict[str, Any] = {
        "test_accuracy": found["code"]["accuracy"],
        "interval": found["code"]["interval"],
        "test_loss": found["code"]["log_loss"],
        "n_test": found["code"]["n"],
        "n_labels": classifier.n_labels_,
    }
    add_head(bundle, stored, classifier, metrics=metrics, window_label=loaded.window_label)
    print_evaluation(console, found)
    found |= loaded.train.reading_facts() | window_label_facts(console, loaded)
    n_unlabelled = classifier.n_unlabelled_
    beside = f" and {n_unlabelled:,} unlabelled rows" if uses_unlabelled(head) else ""
    console.print(
        f"head {stored!r}, fitted on {classifier.n_labels_:,} labels{beside}, is in {bundle}",
        soft_wrap=True,
    )
    write_json_facts(
        json,
        found
        | {
            "name": stored,
            "n_labels": classifier.n_labels_,
            "n_unlabelled": n_unlabelled,
            "bundle": str(bundle),
            "frozen": {
                "encoder_digest": classifier.encoder_digest_,
                "unchanged": classifier.encoder_digest_ == classifier.encoder_.digest_,
            },
        },
    )
