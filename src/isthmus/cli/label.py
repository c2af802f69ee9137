"""`isthmus label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.bundle import read_normal
from isthmus.cli.data_options import (
    DEFAULTS,
    DataOptions,
    LabelsFrom,
    read_instances_or_codes,
    warnings_as_lines,
    with_option_groups,
)
from isthmus.cli.options import (
    BundlePath,
    Json,
    Normal,
    console_for,
    detector_facts,
    print_detector,
    window_label_facts,
    write_json_facts,
)
from isthmus.errors import DataError


@with_option_groups
def label(
    bundle: BundlePath,
    data: Annotated[
        str | None, typer.Argument(help="Labelled instances: a name or path, as for isthmus fit.")
    ] = None,
    queue: Annotated[
        Path | None,
        typer.Option(help="Instead of DATA: the file of isthmus serve --labels, for every head."),
    ] = None,
    normal: Normal = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the detector; by default the one fitted last. With --queue: only it."
        ),
    ] = None,
    labels_from: LabelsFrom = None,
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """Update a detector with new labels, and save it as a new version.

    1 is normal, -1 abnormal, 0 removes a label; others, and labels of only 0 and 1, need
    --normal, by default that of the fit. Rows with an empty cell are left out. A row that the
    detector was fitted on gets the label, any other row is added. The encoder is not trained. DATA
    may be codes that isthmus encode --for-heads wrote.

    With --queue the labels are those that a service received, for classifiers too. Of several
    labels of one instance the last counts. Labels that a head already has change nothing.
    """
    if queue is not None:
        if data is not None or normal is not None or reading != DEFAULTS:
            raise DataError(
                "got --queue and data or options to read it by, expected one of the two; a queue "
                "says itself what its labels mean"
            )
        _update_from_queue(bundle, queue, name, json)
        return
    if data is None:
        raise DataError(
            "got no labels; pass them: isthmus label BUNDLE DATA --label COLUMN, or those of a "
            "service: isthmus label BUNDLE --queue queue.jsonl"
        )
    console = console_for(json)
    meant = read_normal(bundle, name, detects=True) if normal is None else normal
    loaded = read_instances_or_codes(
        reading, data, bundle, labels_from, console, sample=False, normal=meant, head=name
    ).train
    if loaded.y is None:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    import numpy as np

    from isthmus.bundle import add_head, bundle_lock, load_bundle, read_manifest
    from isthmus.data import MISSING
    from isthmus.detection import labels_for_detector

    looked_at = np.flatnonzero(MISSING.has_label(loaded.y))
    if not len(looked_at):
        raise DataError(f"all labels in {data} are empty; fill in 1 (normal) or -1 (abnormal)")
    read_manifest(bundle)  # before a lock is made beside it
    # From loading to saving: labels that another process adds in between would be lost.
    with bundle_lock(bundle):
        opened = load_bundle(bundle)
        detector = opened.detector(name)
        if normal is not None:
            labels_for_detector(loaded, normal)  # an error about labels names the file
        stored = next(known for known, head in opened.heads.items() if head is detector)
        before = len(detector.reference_set_.y)
        with warnings_as_lines():
            detector.add_labels(loaded.take(looked_at).X, loaded.y[looked_at], normal=normal)
        version = add_head(bundle, stored, detector, window_label=loaded.window_label)
    added = len(detector.reference_set_.y) - before
    facts = detector_facts(detector)
    console.print(f"{len(looked_at):,} labels, {added:,} of them of rows that are new to it")
    print_detector(console, facts)
    console.print(f"head {stored!r}, version {version}, is in {bundle}", soft_wrap=True)
    facts |= {"name": stored, "version": version, "bundle": str(bundle)}
    facts |= loaded.reading_facts() | window_label_facts(console, loaded)
    write_json_facts(json, facts | {"n_given": len(looked_at), "n_new": added})


def _update_from_queue(bundle: Path, queue: Path, name: str | None, json: str | None) -> None:
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
    for one in facts["rejected"][:5]:
        console.print(
            f"line {one['line']} of {queue} {one['reason']}", soft_wrap=True, markup=False
        )
    if facts["rejected"]:
        lines = "1 line" if len(facts["rejected"]) == 1 else f"{len(facts['rejected']):,} lines"
        console.print(
            f"left out {lines} that cannot be taken, in {facts['rejected_file']}",
            soft_wrap=True,
            markup=False,
        )
    for served, n in facts["left"].items():
        console.print(f"left {n:,} labels of {served!r}, for another encoder", soft_wrap=True)
    write_json_facts(json, facts | {"bundle": str(bundle)})
