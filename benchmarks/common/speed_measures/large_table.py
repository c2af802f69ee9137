"""Seconds an epoch of `fit` on a large table, everything in it that `fit` does."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from typing import Any

from common.speed_measures.inputs import numbers
from common.speed_measures.measure import OURS, Facts, Measure, Row, Side, at_least, paired, values

COLUMNS = 30
HIDDEN, CODE = 128, 8
BATCH_SIZE = 256
PYOD, SKORCH = "PyOD AutoEncoder", "skorch NeuralNetRegressor"


def ours(options: dict[str, Any]) -> Facts:
    from isthmus import Autoencoder

    X, epochs = numbers(options["large_rows"], COLUMNS), options["epochs"]
    encoder = Autoencoder(
        CODE,
        hidden_layer_sizes=[HIDDEN],
        batch_size=BATCH_SIZE,
        max_epochs=epochs,
        random_state=options["round"],
    )
    started = time.perf_counter()
    encoder.fit(X)
    return {"value": (time.perf_counter() - started) / epochs}


def pyod(options: dict[str, Any]) -> Facts:
    from pyod.models.auto_encoder import AutoEncoder

    X, epochs = numbers(options["large_rows"], COLUMNS), options["epochs"]
    network = AutoEncoder(
        epoch_num=epochs,
        batch_size=BATCH_SIZE,
        hidden_neuron_list=[HIDDEN, CODE],
        batch_norm=False,  # as isthmus, and quicker than its defaults
        dropout_rate=0.0,
        verbose=0,
        device="cpu",
    )
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.fit(X)
    return {"value": (time.perf_counter() - started) / epochs}


def skorch(options: dict[str, Any]) -> Facts:
    import torch
    from skorch import NeuralNetRegressor
    from skorch.dataset import ValidSplit
    from torch import nn

    X, epochs = numbers(options["large_rows"], COLUMNS), options["epochs"]
    network = nn.Sequential(
        *(nn.Linear(COLUMNS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CODE)),
        *(nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, COLUMNS)),
    )
    regressor = NeuralNetRegressor(
        network,
        optimizer=torch.optim.AdamW,
        lr=3e-3,
        batch_size=BATCH_SIZE,
        max_epochs=epochs,
        train_split=ValidSplit(10),  # the tenth that isthmus holds out too
        verbose=0,
    )
    started = time.perf_counter()
    regressor.fit(X, X)
    return {"value": (time.perf_counter() - started) / epochs}


def rows(found: dict[str, list[Facts]]) -> list[Row]:
    ours = values(found, OURS)
    lines = []
    for peer in (PYOD, SKORCH):
        theirs = values(found, peer)
        ratio = paired(theirs, ours)
        lines.append(
            Row(
                "fit on a large table, s an epoch",
                ours,
                "≥ 2 × faster",
                peer,
                theirs,
                ratio,
                at_least(ratio, 2),
                [f"{COLUMNS}-{HIDDEN}-{CODE}-{HIDDEN}-{COLUMNS}, batches of {BATCH_SIZE}"],
            )
        )
    return lines


MEASURE = Measure(
    "large", {OURS: Side(ours, peer=False), PYOD: Side(pyod), SKORCH: Side(skorch)}, rows
)
