"""Seconds of `fit` on a small table, beside a training loop written by hand."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from common.speed_measures.inputs import numbers
from common.speed_measures.measure import OURS, Facts, Measure, Row, Side, at_most, paired, values

EPOCHS = 20
REPEATS = 5
HAND = "loop by hand"


def ours(options: dict[str, Any]) -> Facts:
    from isthmus import Autoencoder

    X = numbers(options["small_rows"], 20)
    return _facts(lambda: Autoencoder(max_epochs=EPOCHS, random_state=0).fit(X).history_)


def by_hand(options: dict[str, Any]) -> Facts:
    """Do what `fit` does, in the isthmus environment: it asks for the same choices there."""
    from isthmus.networks import choose_n_components, hidden_sizes
    from isthmus.recipes import resolve_choices

    X = numbers(options["small_rows"], 20)
    choices = resolve_choices("default", {"max_epochs": EPOCHS}, len(X), X.shape[1], "table")
    widths = [X.shape[1], *hidden_sizes(X.shape[1]), choose_n_components(X.shape[1])]
    return _facts(lambda: train_by_hand(X, widths, choices))


def train_by_hand(X: np.ndarray, widths: list[int], choices: Any) -> list[tuple[float, float]]:
    """Standardise, tame, hold rows out, train with noise, validate, keep the best weights.

    Returns training and validation loss, one pair an epoch.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    X = (X - X.mean(0)) / X.std(0)
    x = torch.from_numpy(2 * np.arcsinh(X / 2))
    order = torch.randperm(len(x))
    n_validation = math.floor(len(x) * choices.validation_fraction)
    validation, x = x[order[:n_validation]], x[order[n_validation:]]
    layers: list[nn.Module] = []
    for half in (widths, widths[::-1]):
        for before, after in pairwise(half):
            layers += [nn.Linear(before, after), nn.ReLU()]
        layers.pop()
    network = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=choices.lr, weight_decay=choices.weight_decay, fused=True
    )
    batch_size = choices.batch_size
    noise = choices.objective_options["level"][1]  # tables are learned with noise by default
    steps = math.ceil(len(x) / batch_size)
    total = steps * choices.max_epochs
    rise = max(1, total // 10)
    history: list[tuple[float, float]] = []
    best, best_state = math.inf, network.state_dict()
    for epoch in range(choices.max_epochs):
        network.train()
        order = torch.randperm(len(x))
        losses = []
        for i in range(steps):
            step = epoch * steps + i
            if step < rise:
                factor = (step + 1) / rise
            else:
                along = (step - rise + 1) / (total - rise + 1)
                factor = 0.5 * (1 + math.cos(math.pi * along))
            optimizer.param_groups[0]["lr"] = choices.lr * factor
            batch = x[order[i * batch_size : (i + 1) * batch_size]]
            noisy = batch + noise * torch.randn_like(batch)
            loss = functional.mse_loss(network(noisy), batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        network.eval()
        with torch.no_grad():
            held_out = sum(
                functional.mse_loss(network(batch), batch).item() * len(batch)
                for batch in validation.split(batch_size)
            ) / len(validation)
        if held_out < best:
            best = held_out
            best_state = {name: value.clone() for name, value in network.state_dict().items()}
        history.append((statistics.fmean(losses), held_out))
    network.load_state_dict(best_state)
    return history


def rows(found: dict[str, list[Facts]]) -> list[Row]:
    ours, theirs = values(found, OURS), values(found, HAND)
    ratio = paired(ours, theirs)
    return [
        Row(
            f"fit on a small table, {EPOCHS} epochs, s",
            ours,
            "≤ 1.3 × as long",
            "a torch loop by hand",
            theirs,
            ratio,
            at_most(ratio, 1.3),
            digits=3,
        )
    ]


def _facts(fit: Callable[[], list[Any]]) -> Facts:
    epochs = len(fit())  # what torch sets up at its first use does not count
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        fit()
        seconds.append(time.perf_counter() - started)
    return {"value": statistics.median(seconds), "epochs": epochs}


MEASURE = Measure("small", {OURS: Side(ours, peer=False), HAND: Side(by_hand, peer=False)}, rows)
