"""Weights of a network: digest, and safetensors files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from isthmus._core import write_bytes
from isthmus.errors import BundleError


def digest(network: nn.Module) -> str:
    """Return the SHA-256 of all parameters **and buffers** of a network.

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
    # All buffers, as those that are not in the state dict affect outputs too.
    entries = dict(network.named_parameters()) | dict(network.named_buffers())
    for name in sorted(entries):
        tensor = entries[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def write_weights(path: Path, network: nn.Module) -> None:
    """Write parameters and buffers to a safetensors file."""
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(path, save(state))


def read_weights(path: Path, network: nn.Module) -> None:
    """Read parameters and buffers into a network of the same architecture.

    Raises
    ------
    BundleError
        When the file is damaged or belongs to another architecture.
    """
    try:
        network.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise BundleError(
            f"{path} does not hold the weights of this architecture ({reason}); "
            "load the bundle with the modules it was fitted with, or save it again"
        ) from error
