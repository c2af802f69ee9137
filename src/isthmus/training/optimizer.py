"""AdamW, Adadelta and Muon as functions, without the slow import of `torch.optim`'s classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim.adadelta import adadelta
from torch.optim.adamw import adamw

from isthmus._core import shown
from isthmus.errors import TrainingError

OptimizerState = dict[int, dict[str, torch.Tensor]]

AVERAGES = {
    "adamw": ("exp_avg", "exp_avg_sq"),
    "adadelta": ("square_avg", "acc_delta"),
    "muon": ("momentum_buffer",),
}

#: Matrices whose short side is longer get AdamW: orthogonalising them takes longer than it saves.
MUON_SIDE = 128
MUON_MOMENTUM = 0.95
#: The learning rate of Muon over that of AdamW.
MUON_LR = 6.0


class Optimizer:
    """Update parameters along their gradients.

    The first optimiser object of a process makes torch import its compiler, which takes two
    seconds and more, longer than a small encoder trains for. Its functions do not.

    Parameters
    ----------
    parameters : sequence of tensor
    name : {"adamw", "adadelta", "muon"}
        AdamW (Loshchilov and Hutter, 2019) with β of 0.9 and 0.999; Adadelta (Zeiler, 2012) with
        ρ of 0.95 and Keras' original ε of 1e-7, where torch has 1e-6; Muon (Jordan et al., 2024)
        with Nesterov's momentum of 0.95 for matrices, of a row for each output of a layer, whose
        short side is 128 at most, at six times the learning rate, and AdamW for the rest.
    weight_decay : float
    output_weights : sequence of tensor
        Those of `parameters` that Muon leaves to AdamW too, as its authors advise: steps of one
        size along all directions are slow where, as in an output, one direction matters most.

    Attributes
    ----------
    state : dict
        By number of the parameter: moving averages in its shape and layout, and `step`.
    lr : float
        Of the last step.
    """

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        name: str,
        weight_decay: float = 0.0,
        output_weights: Sequence[torch.Tensor] = (),
    ) -> None:
        if name not in AVERAGES:
            raise TrainingError(
                f"got optimizer={shown(name)}, expected {' or '.join(map(repr, AVERAGES))}"
            )
        self.parameters = list(parameters)
        self.name, self.weight_decay, self.lr = name, weight_decay, 0.0
        self.rules = [
            "adamw" if name == "muon" and not _is_for_muon(p, output_weights) else name
            for p in self.parameters
        ]
        self.state: OptimizerState = {
            index: {average: torch.zeros_like(p) for average in AVERAGES[rule]}
            # Fused steps count on the device, where there is no waiting for it.
            | {
                "step": torch.zeros(
                    (), device=p.device if p.is_cuda else "cpu", dtype=torch.float32
                )
            }
            for index, (p, rule) in enumerate(zip(self.parameters, self.rules, strict=True))
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update all parameters that have a gradient.

        Parameters
        ----------
        lr : float
        """
        self.lr = lr
        for rule in AVERAGES:
            self._step(rule, lr)

    def _step(self, rule: str, lr: float) -> None:
        """Update the parameters of a rule."""
        parameters, gradients, states = [], [], []
        for index, parameter in enumerate(self.parameters):
            if self.rules[index] == rule and parameter.grad is not None:
                parameters.append(parameter)
                gradients.append(parameter.grad)
                states.append(self.state[index])
        if not parameters:
            return
        if rule == "muon":
            for parameter, gradient, state in zip(parameters, gradients, states, strict=True):
                momentum = state["momentum_buffer"]
                _step_by_muon(parameter, gradient, momentum, MUON_LR * lr, self.weight_decay)
            return
        first, second = ([state[name] for state in states] for name in AVERAGES[rule])
        steps = [state["step"] for state in states]
        options: dict[str, Any] = {"lr": lr, "weight_decay": self.weight_decay, "maximize": False}
        if rule == "adadelta":
            adadelta(parameters, gradients, first, second, steps, rho=0.95, eps=1e-7, **options)
        else:
            options |= {"amsgrad": False, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
            if parameters[0].device.type == "cpu":
                for step in steps:
                    step.add_(1)
                # As `adamw` calls it, without sorting tensors by device and type: a third of a step
                # of a small network.
                torch._fused_adamw_(parameters, gradients, first, second, [], steps, **options)
            else:
                fused = parameters[0].device.type == "cuda"
                adamw(parameters, gradients, first, second, [], steps, fused=fused, **options)

    def zero_grad(self) -> None:
        """Delete all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def load(self, state: OptimizerState) -> None:
        """Copy a state: by number of the parameter and by name.

        Parameters
        ----------
        state : mapping
        """
        for index, values in state.items():
            for name, value in values.items():
                self.state[index][name].copy_(value)


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """Return about U Vᵀ for a matrix U S Vᵀ: its singular values, unless tiny, near 1 (0.7 to 1.2).

    Five steps of Newton and Schulz with the coefficients of Jordan et al. (2024). They multiply by
    polynomials in the product of the matrix with its transpose, all as small as its short side.

    Examples
    --------
    >>> values = torch.linalg.svdvals(orthogonalise(torch.diag(torch.tensor([8.0, 1.0, 0.1]))))
    >>> bool(((values > 0.6) & (values < 1.3)).all())
    True
    """
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    gram = wide @ wide.T
    product = polynomial = _newton_schulz(gram)
    for _ in range(4):
        gram = polynomial @ gram @ polynomial
        polynomial = _newton_schulz(gram)
        product = polynomial @ product
    wide = product @ wide
    return wide.T if len(matrix) > matrix.shape[1] else wide


def _newton_schulz(gram: torch.Tensor) -> torch.Tensor:
    polynomial = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
    polynomial.diagonal().add_(3.4445)
    return polynomial


def _is_for_muon(parameter: torch.Tensor, output_weights: Sequence[torch.Tensor]) -> bool:
    if parameter.ndim < 2 or any(parameter is weight for weight in output_weights):
        return False
    return parameter.numel() > 0 and min(parameter.flatten(1).shape) <= MUON_SIDE


def _step_by_muon(
    parameter: torch.Tensor,
    gradient: torch.Tensor,
    momentum: torch.Tensor,
    lr: float,
    weight_decay: float,
) -> None:
    momentum.mul_(MUON_MOMENTUM).add_(gradient)
    direction = orthogonalise(gradient.add(momentum, alpha=MUON_MOMENTUM).flatten(1))
    n_rows, n_columns = direction.shape
    lr_of_shape = lr * math.sqrt(max(1.0, n_rows / n_columns))
    parameter.mul_(1 - lr * weight_decay)
    parameter.add_(direction.reshape(parameter.shape), alpha=-lr_of_shape)
