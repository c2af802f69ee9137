"""How far a run has come: what a checkpoint holds beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

State = dict[str, torch.Tensor]


@dataclass
class Middle:
    """How far a run has come within an epoch.

    Attributes
    ----------
    step : int
        Steps done.
    values : dict of str to list of float
        Of each of these steps the losses, by name.
    weights : list of int
        Of each of these steps the number of instances.
    seconds : float
    randomness : list of tensors
        State of torch's generators: the CPU's, and a GPU's when it is trained on one.
    """

    step: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)
    weights: list[int] = field(default_factory=list)
    seconds: float = 0.0
    randomness: list[torch.Tensor] = field(default_factory=list)


@dataclass
class Progress:
    """How far a run has come.

    Attributes
    ----------
    epoch : int
        Epochs done.
    finished : bool
    best_epoch : int or None
    best_state : dict or None
        Weights of the best epoch.
    history : list of dict
        A record an epoch.
    middle : Middle or None
        Where the next epoch was interrupted.
    """

    epoch: int = 0
    finished: bool = False
    best_epoch: int | None = None
    best_state: State | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    middle: Middle | None = None


def copy_state(network: nn.Module) -> State:
    """Copy a network's parameters and buffers to CPU memory."""
    return {
        name: value.detach().to("cpu", copy=True) for name, value in network.state_dict().items()
    }


def randomness(device: torch.device) -> list[torch.Tensor]:
    """Return the state of the generators that training on a device draws from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def restore_randomness(states: list[torch.Tensor], device: torch.device) -> None:
    """Put the generators back to where they were."""
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
