"""Seconds of one epoch of the reference network, batches of 128."""

from __future__ import annotations

import statistics
from typing import Any

from common.speed_measures.inputs import read_images
from common.speed_measures.matmul_limit import DECODER, ENCODER, matmul_rate, operations
from common.speed_measures.measure import OURS, Facts, Measure, Row, Side, at_least, paired, values


def ours(options: dict[str, Any]) -> Facts:
    from isthmus import Autoencoder

    train, _ = read_images(options)
    encoder = Autoencoder(
        recipe="reference", max_epochs=1 + options["epochs"], random_state=options["round"]
    ).fit(train)
    seconds = statistics.median(record["seconds"] for record in encoder.history_[1:])
    # A step backwards costs two forwards: one for the weights, one for what came in.
    needed = 3 * operations(ENCODER + DECODER) * len(train)
    return {"value": seconds, "share": needed / seconds / matmul_rate(options["matmul"])}


def keras(options: dict[str, Any]) -> Facts:
    from common.speed_measures.keras_reference import build, clock, floats

    train = floats(read_images(options)[0])
    autoencoder, _ = build()
    watch = clock()
    epochs = 1 + options["epochs"]
    autoencoder.fit(train, train, epochs=epochs, batch_size=128, callbacks=[watch], verbose=0)
    return {"value": statistics.median(watch.seconds[1:])}


def rows(found: dict[str, list[Facts]]) -> list[Row]:
    ours, theirs = values(found, OURS), values(found, "Keras")
    ratio = paired(theirs, ours)
    share = 100 * statistics.median(values(found, OURS, "share"))
    return [
        Row(
            "reference network, one epoch, s",
            ours,
            "≥ 2 × faster",
            "Keras/TensorFlow",
            theirs,
            ratio,
            at_least(ratio, 2),
            [f"isthmus reaches {share:.1f} % of the float32 matrix-product limit"],
        )
    ]


MEASURE = Measure(
    "reference", {OURS: Side(ours, peer=False), "Keras": Side(keras)}, rows, images=True
)
