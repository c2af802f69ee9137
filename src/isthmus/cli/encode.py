"""`isthmus encode`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.data_options import DEFAULTS, DataOptions, warnings_as_lines, with_option_groups
from isthmus.cli.options import (
    LOCAL,
    BundlePath,
    Data,
    Json,
    Part,
    Scoring,
    WindowNormal,
    console_for,
    refuse_ray,
    run_scoring,
    window_label_facts,
    write_json_facts,
)


@with_option_groups
def encode(
    bundle: BundlePath,
    data: Data,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File for the codes: .npy, .csv or .parquet. For several files a folder "
            "NAME.parquet.",
        ),
    ],
    part: Part = "all",
    for_heads: Annotated[
        bool,
        typer.Option(
            "--for-heads",
            help="Also write the hash and the residual of each row, which isthmus detect needs to "
            "fit a detector on codes.",
        ),
    ] = False,
    normal: WindowNormal = None,
    reading: DataOptions = DEFAULTS,
    scoring: Scoring = LOCAL,
    json: Json = None,
) -> None:
    """Compute the codes of instances with the encoder of a bundle.

    Of a long table, .csv and .parquet have columns for the group and the times of each window.
    The column --label is copied to the output. Several files are read and written in chunks, as by
    isthmus predict.

    isthmus classify and, with --for-heads, isthmus detect take a .parquet output in place of
    instances, and do not run the encoder again.
    """
    from isthmus.cli.results import check_suffix, write_codes

    check_suffix(output, ".npy", ".csv", ".parquet")
    if for_heads:
        check_suffix(output, ".parquet")
    if reading.label is not None and reading.in_chunks(data, lazy=scoring.lazy):
        # Copied to the output like a key.
        reading = replace(reading, keys=[*(reading.keys or ()), reading.label])
    loaded = reading.open(
        data, bundle, lazy=scoring.lazy, normal=normal, by_point=False, decides=False
    )
    if not loaded.in_memory:
        run_scoring(
            "encode", bundle, loaded, output, for_heads=for_heads, scoring=scoring, json=json
        )
        return
    refuse_ray(scoring.workers, scoring.address)
    instances = loaded.part(part)
    from isthmus.bundle import load_bundle
    from isthmus.detection import compute_stored_codes

    encoder = load_bundle(bundle).encoder
    with warnings_as_lines():
        codes = compute_stored_codes(encoder, instances.X, for_heads=for_heads)
    front = instances.identifiers()
    if reading.label is not None:
        front[reading.label] = instances.y
    write_codes(output, codes, list(encoder.get_feature_names_out()), front)
    console = console_for(json)
    facts = (
        window_label_facts(console, instances)
        | {
            "n": len(codes),
            "n_components": encoder.n_components_,
            "digest": encoder.digest_,
            "output": str(output),
        }
        | instances.reading_facts()
    )
    console.print(
        f"{len(codes):,} codes of {encoder.n_components_} numbers in {output}", soft_wrap=True
    )
    write_json_facts(json, facts)
