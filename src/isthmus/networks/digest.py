"""Proof that a network is the same: a SHA-256 over everything that it computes with."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def digest(network: nn.Module) -> str:
    """Hash all parameters **and buffers** of a network.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    str
        64 hexadecimal characters: SHA-256 over each entry's name, dtype, shape and bytes,
        in the order of the names. Buffers count because a normalisation layer's running
        statistics change what a network computes without any gradient.

    Examples
    --------
    >>> layer = torch.nn.BatchNorm1d(2)
    >>> before = digest(layer)
    >>> _ = layer(torch.randn(8, 2))
    >>> digest(layer) == before
    False
    """
    total = hashlib.sha256()
    # Buffers that are not part of the state dict compute too, so both lists are walked.
    entries = dict(network.named_parameters()) | dict(network.named_buffers())
    for name in sorted(entries):
        tensor = entries[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
