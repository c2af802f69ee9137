"""`isthmus encode`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.data_options import AS_IT_COMES, Reading, reads_data
from isthmus.cli.options import (
    HERE,
    BundlePath,
    Data,
    Json,
    Part,
    Scoring,
    console_for,
    refuse_ray,
    run_scoring,
    write_json_facts,
)


@reads_data
def encode(
    bundle: BundlePath,
    data: Data,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File for the codes: .npy, .csv or .parquet; a folder .parquet for several files.",
        ),
    ],
    part: Part = "all",
    for_heads: Annotated[
        bool,
        typer.Option(
            "--for-heads",
            help="Write each row's hash and residual too: detectors can then be fitted on the "
            "codes alone.",
        ),
    ] = False,
    reading: Reading = AS_IT_COMES,
    scoring: Scoring = HERE,
    json: Json = None,
) -> None:
    """Turn instances into codes with a bundle's encoder.

    Of a long table, .csv and .parquet say which window each code is of. Several files are read
    and written chunk by chunk, as `isthmus predict` does it. A column of --label goes along.

    `isthmus classify` and, with --for-heads, `isthmus detect` take a .parquet output in place of
    instances, and do not run the encoder again.
    """
    from isthmus.cli.results import check_suffix, write_codes

    check_suffix(output, ".npy", ".csv", ".parquet")
    if for_heads:
        check_suffix(output, ".parquet")
    if reading.label is not None and reading.in_chunks(data, lazy=scoring.lazy):
        # It stands beside each code, like a key.
        reading = replace(reading, keys=[*(reading.keys or ()), reading.label])
    loaded = reading.open(data, bundle, lazy=scoring.lazy)
    if not loaded.in_memory:
        run_scoring(
            "encode", bundle, loaded, output, for_heads=for_heads, scoring=scoring, json=json
        )
        return
    refuse_ray(scoring.workers, scoring.address)
    instances = loaded.part(part)
    from isthmus.bundle import load_bundle
    from isthmus.detection import stored_codes

    encoder = load_bundle(bundle).encoder
    codes = stored_codes(encoder, instances.X, for_heads=for_heads)
    beside = {} if reading.label is None else {reading.label: instances.y}
    write_codes(output, codes, list(encoder.get_feature_names_out()), instances.windows, beside)
    facts = {
        "n": len(codes),
        "n_components": encoder.n_components_,
        "digest": encoder.digest_,
        "output": str(output),
    }
    console_for(json).print(
        f"{len(codes):,} codes of {encoder.n_components_} numbers in {output}", soft_wrap=True
    )
    write_json_facts(json, facts)
