"""The reconstruction error: one formula, for training and for an instance's score."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

Loss = Literal["bce", "mse"]


def errors_per_value(
    output: torch.Tensor, target: torch.Tensor, loss: Loss, reduction: str = "none"
) -> torch.Tensor:
    """Return the error of each value, in the shape of `output`; see `errors_per_instance`."""
    if loss == "bce":
        return functional.binary_cross_entropy_with_logits(output, target, reduction=reduction)
    return functional.mse_loss(output, target, reduction=reduction)


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
    return errors_per_value(output, target, loss).flatten(1).mean(dim=1)


def mean_error(output: torch.Tensor, target: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return the mean over all values of a batch, in one fused operation."""
    return errors_per_value(output.float(), target, loss, reduction="mean")
