"""A network's weights in a safetensors file."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from isthmus.errors import BundleError
from isthmus.storage import write_bytes


def write_weights(path: Path, network: nn.Module) -> None:
    """Write parameters and buffers."""
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
