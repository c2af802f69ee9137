"""`isthmus label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.data_options import (
    AS_IT_COMES,
    LabelsFrom,
    Reading,
    read_instances_or_codes,
    reads_data,
    warnings_as_lines,
)
from isthmus.cli.options import (
    BundlePath,
    Json,
    Normal,
    console_for,
    detector_facts,
    detector_labels,
    print_detector,
    write_json_facts,
)
from isthmus.errors import DataError


@reads_data
def label(
    bundle: BundlePath,
    data: Annotated[
        str | None, typer.Argument(help="Labelled instances: a path, as the other commands take.")
    ] = None,
    queue: Annotated[
        Path | None,
        typer.Option(help="Instead of DATA, what `isthmus serve --labels` wrote: for every head."),
    ] = None,
    normal: Normal = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the detector; the one fitted last. Of a queue: this head alone."
        ),
    ] = None,
    labels_from: LabelsFrom = None,
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Give a detector labels that people have found, and save it as a new version.

    1 is normal, -1 abnormal, 0 takes a label back, or what --normal says; rows with an empty
    cell are left out. A row that the detector was fitted on gets the label, any other is
    added. No encoder is trained. DATA may be codes that isthmus encode --for-heads wrote.

    With --queue the labels are those that a service was given, for classifiers too. Of an
    instance with several the last counts; labels that a head has already change nothing.
    """
    if queue is not None:
        if data is not None or normal is not None or reading != AS_IT_COMES:
            raise DataError(
                "got --queue and data or options to read it by, expected one of the two; a queue "
                "says itself what its labels mean"
            )
        _take(bundle, queue, name, json)
        return
    if data is None:
        raise DataError(
            "got no labels; pass them: isthmus label BUNDLE DATA --label COLUMN, or those of a "
            "service: isthmus label BUNDLE --queue queue.jsonl"
        )
    console = console_for(json)
    loaded = read_instances_or_codes(
        reading, data, bundle, labels_from, console, sample=False
    ).train
    if loaded.y is None:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    import numpy as np

    from isthmus.bundle import add_head, load_bundle
    from isthmus.data import MISSING

    y = detector_labels(loaded, data, normal)
    looked_at = np.flatnonzero(MISSING.has_label(loaded.y))
    if y is None or not len(looked_at):
        raise DataError(f"all labels in {data} are empty; fill in 1 (normal) or -1 (abnormal)")
    opened = load_bundle(bundle)
    detector = opened.detector(name)
    stored = next(known for known, head in opened.heads.items() if head is detector)
    before = len(detector.reference_set_.y)
    with warnings_as_lines():
        detector.add_labels(loaded.take(looked_at).X, y[looked_at])
    version = add_head(bundle, stored, detector)
    added = len(detector.reference_set_.y) - before
    facts = detector_facts(detector)
    console.print(f"{len(looked_at):,} labels, {added:,} of them of rows that are new to it")
    print_detector(console, facts)
    console.print(f"head {stored!r}, version {version}, is in {bundle}", soft_wrap=True)
    facts |= {"name": stored, "version": version, "bundle": str(bundle)}
    write_json_facts(json, facts | {"n_given": len(looked_at), "n_new": added})


def _take(bundle: Path, queue: Path, name: str | None, json: str | None) -> None:
    from isthmus.serve import take_labels

    with warnings_as_lines():
        facts: dict[str, Any] = take_labels(bundle, queue, name)
    console = console_for(json)
    for head in facts["heads"]:
        console.print(
            f"head {head['name']!r}: {head['n_given']:,} labelled instances, {head['n_new']:,} of "
            f"them new to it, {head['n_changed']:,} with another label",
            soft_wrap=True,
        )
        done = "has them all already" if head["version"] is None else f"version {head['version']}"
        console.print(f"head {head['name']!r}, {done}, is in {bundle}", soft_wrap=True)
    for served, n in facts["left"].items():
        console.print(f"left {n:,} labels of {served!r}, for another encoder", soft_wrap=True)
    write_json_facts(json, facts | {"bundle": str(bundle)})
