"""`isthmus encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.common import BundlePath, Data, Json, console_for, write_facts
from isthmus.cli.parts import Part, part_of
from isthmus.cli.reading import AS_IT_COMES, Reading, reads_data
from isthmus.cli.scoring import (
    Address,
    Engine,
    Resume,
    Workers,
    in_pieces,
    refuse_ray,
    score_stream,
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
    reading: Reading = AS_IT_COMES,
    engine: Engine = "local",
    workers: Workers = None,
    address: Address = None,
    resume: Resume = False,
    json: Json = None,
) -> None:
    """Turn instances into codes with a bundle's encoder.

    Of a long table, .csv and .parquet say which window each code is of. Several files are read
    and written piece by piece, as `isthmus predict` does it.
    """
    from isthmus.cli.tables import check_suffix, write_array

    check_suffix(output, ".npy", ".csv", ".parquet")
    loaded = reading.open(data, bundle, lazy=in_pieces(engine, resume))
    from isthmus.data import Stream

    if isinstance(loaded, Stream):
        score_stream(
            "encode",
            bundle,
            loaded,
            output,
            engine=engine,
            resume=resume,
            workers=workers,
            address=address,
            json=json,
        )
        return
    refuse_ray(workers, address)
    instances = part_of(loaded, part)
    from isthmus.bundle import load_bundle

    encoder = load_bundle(bundle).encoder
    codes = encoder.transform(instances.X)
    write_array(output, codes, list(encoder.get_feature_names_out()), instances.windows)
    facts = {
        "n": len(codes),
        "n_components": encoder.n_components_,
        "digest": encoder.digest_,
        "output": str(output),
    }
    console_for(json).print(
        f"{len(codes):,} codes of {encoder.n_components_} numbers in {output}", soft_wrap=True
    )
    write_facts(json, facts)
