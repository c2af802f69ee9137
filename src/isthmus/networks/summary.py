"""The layers of a network as a table: name, output shape, parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class Layer(NamedTuple):
    """One row of the summary."""

    name: str
    output_shape: tuple[int, ...]
    parameters: int


def summarise(network: nn.Module, input_shape: tuple[int, ...]) -> list[Layer]:
    """List the layers in the order in which they run.

    Parameters
    ----------
    network : torch.nn.Module
    input_shape : tuple of int
        Of one instance, without the batch.

    Returns
    -------
    list of Layer
        `output_shape` without the batch.
    """
    rows: list[Layer] = []

    def record(module: nn.Module, _: object, output: torch.Tensor) -> None:
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        rows.append(Layer(type(module).__name__, tuple(output.shape[1:]), own))

    leaves = [module for module in network.modules() if not list(module.children())]
    handles = [leaf.register_forward_hook(record) for leaf in leaves]
    training = network.training
    try:
        network.eval()
        with torch.no_grad():
            parameter = next(network.parameters(), None)
            device = parameter.device if parameter is not None else "cpu"
            network(torch.zeros(1, *input_shape, device=device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return rows


def count_parameters(network: nn.Module) -> int:
    """Count the trainable and fixed parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
