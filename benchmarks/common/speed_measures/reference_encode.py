"""Images a second that the reference network's encoder turns into codes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from common.speed_measures.inputs import read_images
from common.speed_measures.matmul_limit import ENCODER, matmul_rate, operations
from common.speed_measures.measure import OURS, Facts, Measure, Row, Side, at_least, paired, values

REPEATS = 3
BATCHES = (128, 1024)  # of Keras; the better one counts


def ours(options: dict[str, Any]) -> Facts:
    from isthmus import Autoencoder

    train, _ = read_images(options)
    # How fast it encodes does not depend on what it has learned.
    encoder = Autoencoder(recipe="reference", max_epochs=1, random_state=0).fit(train[:512])
    rate = _rate(lambda: encoder.transform(train), len(train))
    return {"value": rate, "share": rate * operations(ENCODER) / matmul_rate(options["matmul"])}


def keras(options: dict[str, Any]) -> Facts:
    from common.speed_measures.keras_reference import build, floats

    train = floats(read_images(options)[0])
    _, encoder = build()
    found = {
        batch: _rate(
            lambda batch=batch: encoder.predict(train, batch_size=batch, verbose=0), len(train)
        )
        for batch in BATCHES
    }
    best = max(found, key=found.__getitem__)
    return {"value": found[best], "batch_size": best}


def rows(found: dict[str, list[Facts]]) -> list[Row]:
    ours, theirs = values(found, OURS), values(found, "Keras")
    shares = [100 * share for share in values(found, OURS, "share")]
    ratio = paired(ours, theirs)
    notes = ["isthmus gets uint8 images, Keras floats that are ready"]
    if theirs:
        batches = sorted({facts["batch_size"] for facts in found["Keras"]})
        notes.append(f"Keras with its better batch size, {' or '.join(map(str, batches))}")
    return [
        Row(
            "reference network, codes of images/s",
            ours,
            "≥ 2.5 × faster",
            "Keras/TensorFlow predict",
            theirs,
            ratio,
            at_least(ratio, 2.5),
            notes,
            0,
        ),
        Row(
            "the same, % of the float32 matrix-product limit",
            shares,
            "≥ 45 %",
            met=at_least(shares, 45),
            digits=1,
        ),
    ]


def _rate(encode: Callable[[], Any], n: int) -> float:
    encode()  # what is set up once does not count
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        encode()
        seconds.append(time.perf_counter() - started)
    return n / statistics.median(seconds)


MEASURE = Measure("encode", {OURS: Side(ours, peer=False), "Keras": Side(keras)}, rows, images=True)
