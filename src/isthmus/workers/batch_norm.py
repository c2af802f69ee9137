"""Batch normalisation over the parts of all workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from isthmus.workers.part import Part, current, summed


@contextmanager
def shared_batch_norm(network: nn.Module) -> Iterator[None]:
    """Let the batch normalisations of a network see whole batches within the block.

    torch's own SyncBatchNorm does so on GPUs alone, and would stay in the network.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
    part = current()
    if part is None or not (layer.training or layer.running_mean is None):
        return type(layer).forward(layer, x)
    mean, variance = _statistics(layer, x.float(), part)
    if layer.training and layer.running_mean is not None:
        n = x.numel() / x.shape[1] / part.share
        _follow(layer, mean.detach(), variance.detach() * (n / (n - 1)))
    scale = torch.rsqrt(variance + layer.eps)
    if layer.weight is not None:
        scale = scale * layer.weight
    offset = -mean * scale
    if layer.bias is not None:
        offset = offset + layer.bias
    return (x.float() * _along(scale, x) + _along(offset, x)).to(x.dtype)


def _statistics(
    layer: _BatchNorm, x: torch.Tensor, part: Part
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of each channel over the whole batch."""
    over = [axis for axis in range(x.ndim) if axis != 1]
    variance, mean = torch.var_mean(x, dim=over, correction=0)
    # Moments about a value near the mean: about zero, digits would be lost where the mean is large.
    about = torch.zeros_like(mean) if layer.running_mean is None else layer.running_mean.clone()
    mean = mean - about
    first, second = summed(torch.stack([mean, variance + mean.square()]) * part.share)
    return first + about, (second - first.square()).clamp(min=0)


def _follow(layer: _BatchNorm, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """Move the running statistics towards a batch's, as torch does."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    step = layer.momentum
    if step is None:  # the mean over all batches
        step = 1.0 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, step)
    layer.running_var.lerp_(variance, step)


def _along(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return a value a channel in the shape that goes with x."""
    return values.view(1, -1, *(1,) * (x.ndim - 2))
