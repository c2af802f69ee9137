"""What "tried to reconstruct" means: the loss that training minimises.

The same formula gives an instance's reconstruction error and, negated, its score.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

Loss = Literal["bce", "mse"]


def errors_per_instance(output: torch.Tensor, target: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return the reconstruction error of each instance: the mean over its values.

    Parameters
    ----------
    output : tensor of shape (batch, *input_shape)
        What the decoder gave: logits for `"bce"`, values for `"mse"`.
    target : tensor of the same shape
        The instances; in [0, 1] for `"bce"`.
    loss : {"bce", "mse"}
        `"bce"` is binary cross-entropy per value, natural logarithm:
        -x log p - (1 - x) log(1 - p) with p = sigmoid(output). `"mse"` is (x - output)².

    Returns
    -------
    tensor of shape (batch,)

    Examples
    --------
    >>> errors_per_instance(torch.zeros(1, 4), torch.ones(1, 4), "bce").item()  # log 2
    0.6931471824645996
    """
    if loss == "bce":
        values = functional.binary_cross_entropy_with_logits(output, target, reduction="none")
    else:
        values = functional.mse_loss(output, target, reduction="none")
    return values.flatten(1).mean(dim=1)


class Reconstruction:
    """The output should equal the input, also when the network got it with noise.

    Parameters
    ----------
    loss : {"bce", "mse"}
        See `errors_per_instance`; its mean over the batch is minimised.
    noise : float, default=0
        Standard deviation of the Gaussian noise added to each input while training, in the
        network's units: a denoising autoencoder, whose residual points towards where
        instances are more frequent (Vincent et al., 2010; Alain and Bengio, 2014).
    """

    def __init__(self, loss: Loss, noise: float = 0.0) -> None:
        self.loss: Loss = loss
        self.noise = noise

    def __call__(
        self, network: nn.Module, batch: tuple[torch.Tensor, ...]
    ) -> dict[str, torch.Tensor]:
        """Return `{"loss": mean error}` for a batch `(x,)`."""
        (x,) = batch
        noisy = network.training and self.noise > 0
        output = network(x + self.noise * torch.randn_like(x) if noisy else x).float()
        if self.loss == "bce":
            return {"loss": functional.binary_cross_entropy_with_logits(output, x)}
        return {"loss": functional.mse_loss(output, x)}
