"""The layers of a network: shapes, parameters, and the parts that stand beside each other."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn


class Layer(NamedTuple):
    """A layer in the summary of a network.

    `n_trained` of the parameters are changed by training; the others are computed from the data
    once, or fixed. `part` is the name of the part that the layer is in, of a network with parts
    that stand beside each other, and else empty.
    """

    name: str
    output_shape: tuple[int, ...]
    parameters: int
    n_trained: int
    part: str


def summarise(network: nn.Module, input_shape: tuple[int, ...]) -> list[Layer]:
    """List the layers of a network in the order in which they run.

    Modules within a module that each get its input stand beside each other: they are parts.

    Parameters
    ----------
    network : torch.nn.Module
    input_shape : tuple of int
        Of one instance, without the batch.

    Returns
    -------
    list of Layer
        `output_shape` without the batch.

    Examples
    --------
    >>> from isthmus.networks import PatchEncoder
    >>> layers = summarise(PatchEncoder((1, 28, 28), 128, (32, 64, 128)), (1, 28, 28))
    >>> [layer.part for layer in layers if layer.name == "Linear"]
    ['trained', 'features']
    """
    network = _as_a_fit_begins(network).eval()
    layers: list[tuple[str, Layer]] = []
    inputs: dict[str, Any] = {}

    def record_input(name: str, arguments: tuple[Any, ...]) -> None:
        inputs[name] = arguments[0] if arguments else None

    def record_layer(name: str, module: nn.Module, output: torch.Tensor) -> None:
        own = list(module.parameters(recurse=False))
        n = sum(one.numel() for one in own)
        n_trained = sum(one.numel() for one in own if one.requires_grad)
        shape = tuple(output.shape[1:])
        layers.append((name, Layer(type(module).__name__, shape, n, n_trained, "")))

    for name, module in network.named_modules():
        module.register_forward_pre_hook(lambda _, given, name=name: record_input(name, given))
        if not list(module.children()):
            module.register_forward_hook(
                lambda module, _, output, name=name: record_layer(name, module, output)
            )
    with torch.no_grad():
        parameter = next(network.parameters(), torch.empty(0, dtype=torch.float32, device="cpu"))
        zeros = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
        network(zeros)
    parts = _parts(network, inputs)
    return [
        layer._replace(part=max((one for one in parts if _within(name, one)), key=len, default=""))
        for name, layer in layers
    ]


def _as_a_fit_begins(network: nn.Module) -> nn.Module:
    """Return a copy that takes gradients as in training; networks that were fitted take none."""
    return copy.deepcopy(network).requires_grad_(True)


def _parts(network: nn.Module, inputs: dict[str, Any]) -> list[str]:
    """Return the names of modules that stand beside each other."""
    found = []
    for name, module in network.named_modules():
        children = [f"{name}.{child}".lstrip(".") for child, _ in module.named_children()]
        run = [child for child in children if child in inputs]
        beside = len(run) > 1 and all(inputs[child] is inputs.get(name) for child in run)
        if beside and not isinstance(module, nn.Sequential):  # a layer may change x in place
            found += run
    return found


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def layer_table(halves: Sequence[tuple[str, nn.Module, tuple[int, ...]]]) -> str:
    """Return the layers of networks as a table: name, output shape, parameters.

    Parameters
    ----------
    halves : sequence of (str, torch.nn.Module, tuple of int)
        Title, network and the shape of its input.

    Returns
    -------
    str
        Parts that stand beside each other have a line each before their layers. Where not all
        parameters are trained, lines at the end count those that are and those that are not.

    Examples
    --------
    >>> print(layer_table([("encoder", nn.Linear(3, 2), (3,))]))
    layer                 output shape          parameters
    encoder, input (3,)
      Linear              (2,)                           8
    all                                                  8
    """
    lines = [f"{'layer':<22}{'output shape':<20}{'parameters':>12}"]
    n_all = n_trained = 0
    for title, network, inputs in halves:
        lines.append(f"{title}, input {inputs}")
        part = ""
        layers = summarise(network, inputs)
        for layer in layers:
            if layer.part != part:
                lines.append(_part_line(layers, layer.part, first=not part))
                part = layer.part
            indent = "    " if part else "  "
            name = f"{indent}{layer.name}"
            lines.append(f"{name:<22}{layer.output_shape!s:<20}{layer.parameters:>12,}")
        n_all += count_parameters(network)
        n_trained += count_parameters(network, trained=True)
    lines.append(f"{'all':<42}{n_all:>12,}")
    if n_trained < n_all:
        lines.append(f"{'  trained':<42}{n_trained:>12,}")
        lines.append(f"{'  computed once, not trained':<42}{n_all - n_trained:>12,}")
    return "\n".join(lines)


def _part_line(layers: Sequence[Layer], part: str, *, first: bool) -> str:
    """Return the line before the layers of a part, or before those that follow parts."""
    if not part:
        return "  after the parts"
    own = [layer for layer in layers if layer.part == part]
    shape = own[-1].output_shape
    what = f"{shape[0]:,} numbers" if len(shape) == 1 else f"output {shape}"
    beside = "" if first else " beside it"
    untrained = not any(layer.n_trained for layer in own)
    return f"  part {part!r}{beside}: {what}{', computed once, not trained' * untrained}"


def multiply_adds(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return about how many multiply-adds a network takes for one instance: of layers alone.

    Parameters
    ----------
    network : torch.nn.Module
    input_shape : tuple of int
        Of one instance, without the batch.

    Returns
    -------
    int

    Examples
    --------
    >>> multiply_adds(nn.Conv2d(1, 8, 3, padding=1, bias=False), (1, 10, 10))  # 72 at 100 positions
    7200
    """
    layers = summarise(network, input_shape)
    return sum(layer.parameters * math.prod(layer.output_shape[1:]) for layer in layers)


def count_parameters(network: nn.Module, *, trained: bool = False) -> int:
    """Count the parameters of a network: all, or those that training changes.

    Parameters
    ----------
    network : torch.nn.Module
    trained : bool

    Returns
    -------
    int

    Examples
    --------
    >>> from isthmus.networks import PatchEncoder
    >>> encoder = PatchEncoder((1, 28, 28), 128, (32, 64, 128))
    >>> count_parameters(encoder), count_parameters(encoder, trained=True)
    (324544, 290080)
    """
    network = _as_a_fit_begins(network) if trained else network
    return sum(one.numel() for one in network.parameters() if one.requires_grad or not trained)
