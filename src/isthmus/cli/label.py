"""`isthmus label`."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.common import BundlePath, Data, Json, console_for, write_facts
from isthmus.cli.detectors import Normal, detector_facts, detector_labels, tell_detector
from isthmus.cli.reading import AS_IT_COMES, Reading, reads_data, warnings_as_lines
from isthmus.errors import DataError


@reads_data
def label(
    bundle: BundlePath,
    data: Data,
    normal: Normal = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the detector; the one fitted last.")
    ] = None,
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Give a detector labels that people have found, and save it as a new version.

    1 is normal, -1 abnormal, 0 takes a label back, or what --normal says; rows with an empty
    cell are left out. A row that the detector was fitted on gets the label, any other is
    added. No encoder is trained.
    """
    console = console_for(json)
    loaded = reading.read(data, bundle).train
    if loaded.y is None:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    import numpy as np
    import pandas as pd

    from isthmus.bundle import add_head, load_bundle

    y = detector_labels(loaded, data, normal)
    looked_at = np.flatnonzero(~pd.isna(loaded.y))
    if y is None or not len(looked_at):
        raise DataError(f"all labels in {data} are empty; fill in 1 (normal) or -1 (abnormal)")
    opened = load_bundle(bundle)
    detector = opened.detector(name)
    stored = next(known for known, head in opened.heads.items() if head is detector)
    before = len(detector.memory_.y)
    with warnings_as_lines():
        detector.add_labels(loaded.take(looked_at).X, y[looked_at])
    version = add_head(bundle, stored, detector)
    added = len(detector.memory_.y) - before
    facts = detector_facts(detector)
    console.print(f"{len(looked_at):,} labels, {added:,} of them of rows that are new to it")
    tell_detector(console, facts)
    console.print(f"head {stored!r}, version {version}, is in {bundle}", soft_wrap=True)
    facts |= {"name": stored, "version": version, "bundle": str(bundle)}
    write_facts(json, facts | {"n_given": len(looked_at), "n_new": added})
