"""Weights of a network: digest, changes, and safetensors files; a network in evaluation mode."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

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


def tensor_versions(network: nn.Module) -> list[Any]:
    """Return values that differ once a parameter or buffer was changed or replaced.

    Reading them takes no longer than listing the tensors. They also differ after a network was
    moved, and changes by `tensor.data` leave them as they are: only `digest` is certain.

    Examples
    --------
    >>> layer = torch.nn.Linear(2, 2)
    >>> before = tensor_versions(layer)
    >>> _ = layer.load_state_dict(torch.nn.Linear(2, 2).state_dict())
    >>> tensor_versions(layer) == before
    False
    """
    tensors = [*network.parameters(), *network.buffers()]
    return [
        (one.data_ptr(), one.dtype, None if one.is_inference() else one._version)  # noqa: SLF001
        for one in tensors
    ]


def in_evaluation_mode(network: nn.Module) -> nn.Module:
    """Return a network if all its layers are in evaluation mode, else a copy of which they are.

    The mode of the network itself is not changed, not even for a moment: another thread may be
    using it.

    Examples
    --------
    >>> network = nn.Sequential(nn.Dropout(0.5)).train()
    >>> bool((in_evaluation_mode(network)(torch.ones(9)) == 1).all()), network.training
    (True, True)
    """
    if not any(module.training for module in network.modules()):
        return network
    return copy.deepcopy(network).eval()


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
