"""AdamW and Adadelta by torch's functions, without the slow import of `torch.optim`'s classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim.adadelta import adadelta
from torch.optim.adamw import adamw

from isthmus._core import shown
from isthmus.errors import TrainingError

OptimizerState = dict[int, dict[str, torch.Tensor]]

AVERAGES = {"adamw": ("exp_avg", "exp_avg_sq"), "adadelta": ("square_avg", "acc_delta")}


class Optimizer:
    """Update parameters along their gradients.

    The first optimiser object of a process makes torch import its compiler, which takes two
    seconds and more, longer than a small encoder trains for. Its functions do not.

    Parameters
    ----------
    parameters : sequence of tensor
    name : {"adamw", "adadelta"}
        AdamW (Loshchilov and Hutter, 2019) with β of 0.9 and 0.999; Adadelta (Zeiler, 2012) with
        ρ of 0.95 and Keras' original ε of 1e-7, where torch has 1e-6.
    weight_decay : float

    Attributes
    ----------
    state : dict
        By number of the parameter: moving averages in its shape and layout, and `step`.
    lr : float
        Of the last step.
    """

    def __init__(
        self, parameters: Sequence[torch.Tensor], name: str, weight_decay: float = 0.0
    ) -> None:
        if name not in AVERAGES:
            raise TrainingError(f"got optimizer={shown(name)}, expected 'adamw' or 'adadelta'")
        self.parameters = list(parameters)
        self.name, self.weight_decay, self.lr = name, weight_decay, 0.0
        self.state: OptimizerState = {
            index: {average: torch.zeros_like(p) for average in AVERAGES[name]}
            # Fused steps count on the device, where there is no waiting for it.
            | {
                "step": torch.zeros(
                    (), device=p.device if p.is_cuda else "cpu", dtype=torch.float32
                )
            }
            for index, p in enumerate(self.parameters)
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update all parameters that have a gradient."""
        self.lr = lr
        parameters, gradients, states = [], [], []
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                parameters.append(parameter)
                gradients.append(parameter.grad)
                states.append(self.state[index])
        if not parameters:
            return
        first, second = ([state[name] for state in states] for name in AVERAGES[self.name])
        steps = [state["step"] for state in states]
        options: dict[str, Any] = {"lr": lr, "weight_decay": self.weight_decay, "maximize": False}
        if self.name == "adadelta":
            adadelta(parameters, gradients, first, second, steps, rho=0.95, eps=1e-7, **options)
        else:
            fused = parameters[0].device.type in ("cpu", "cuda")
            options |= {"amsgrad": False, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "fused": fused}
            adamw(parameters, gradients, first, second, [], steps, **options)

    def zero_grad(self) -> None:
        """Delete all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def load(self, state: OptimizerState) -> None:
        """Copy a state: by number of the parameter and by name."""
        for index, values in state.items():
            for name, value in values.items():
                self.state[index][name].copy_(value)
