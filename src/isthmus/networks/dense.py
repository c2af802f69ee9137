"""Fully connected encoder and decoder, for tables and flattened images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def dense_encoder(
    input_shape: tuple[int, ...], n_components: int, hidden: Sequence[int]
) -> nn.Sequential:
    """Build `(batch, *input_shape) -> (batch, n_components)`.

    The code itself has no activation. Without hidden layers the network is linear, and
    trained on squared error it spans the principal subspace (Baldi and Hornik, 1989).
    """
    return nn.Sequential(nn.Flatten(), *_layers([math.prod(input_shape), *hidden, n_components]))


def dense_decoder(
    input_shape: tuple[int, ...], n_components: int, hidden: Sequence[int]
) -> nn.Sequential:
    """Build the mirror image: `(batch, n_components) -> (batch, *input_shape)`."""
    layers = _layers([n_components, *reversed(hidden), math.prod(input_shape)])
    return nn.Sequential(*layers, nn.Unflatten(1, input_shape))


def hidden_sizes(n_features: int) -> tuple[int, ...]:
    """Choose hidden layers: one, as wide as the input rounded to a power of two, 128 to 512."""
    return (min(512, max(128, 2 ** round(math.log2(n_features)))),)


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]  # no activation after the last
