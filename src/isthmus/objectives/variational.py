"""The variational objective: codes are distributions near the standard normal."""

from __future__ import annotations

import math

import torch
from torch import nn

from isthmus.distributed import draw_normal_like
from isthmus.objectives.objective import (
    Batch,
    Network,
    Objective,
    Task,
    Values,
    check_weight,
    mean_error,
)


class Variational(Objective):
    """Minimise the negative evidence lower bound, divided by the number of values.

    error(decoder(μ + σ ε), x) + β/m KL(N(μ, σ²) ‖ N(0, 1)) with ε standard normal and
    KL = ½ Σ (μ² + σ² - log σ² - 1) over the code (Kingma and Welling, 2014; β: Higgins et al.,
    2017). With squared error the bound is, up to a constant, that of normal values around the
    output with a variance of ½. The code is the mean μ; log σ² is an affine function of it that
    is trained with it and dropped afterwards, since an encoder here returns one code. In evaluation
    mode ε is zero.

    Parameters
    ----------
    beta : float of 0 or more, default=1.0

    Raises
    ------
    TrainingError
        When `beta` is out of range.

    Examples
    --------
    >>> Variational(beta=0.5)
    Variational(beta=0.5)
    """

    options = ("beta",)

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta

    def _prepare(self, task: Task) -> None:
        check_weight("beta", self.beta)
        self.log_variance = nn.Linear(task.n_components, task.n_components)
        # Little noise at first: a decoder that gets only noise learns to ignore the code.
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, -2.0)

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `loss`, `reconstruction` and `kl` (in nats an instance) for a batch `(x,)`."""
        (x,) = batch
        mean = network.encoder(x).float()
        log_variance = self.log_variance(mean).clamp(-20, 20)
        code = mean
        if self.training:
            noise = draw_normal_like(mean)
            code = mean + torch.exp(0.5 * log_variance) * noise
        error = mean_error(network.decoder(code), x, self.task.loss)
        kl = kl_from_standard_normal(mean, log_variance).mean()
        loss = error + self.beta / math.prod(self.task.input_shape) * kl
        return {"loss": loss, "reconstruction": error, "kl": kl}


def kl_from_standard_normal(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Return KL(N(mean, exp(log_variance)) ‖ N(0, 1)) in nats, summed over columns: (batch,).

    Examples
    --------
    >>> kl_from_standard_normal(torch.tensor([[1.0]]), torch.tensor([[0.0]])).item()
    0.5
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1)
