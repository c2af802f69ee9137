"""Networks: encoder and decoder built for a shape of the data, and their weights."""

from __future__ import annotations

import copy
import hashlib
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from isthmus._core import shown, write_bytes
from isthmus.errors import ArchitectureError, BundleError
from isthmus.networks.conv import (
    conv1d_channels,
    conv1d_decoder,
    conv1d_encoder,
    conv_channels,
    conv_decoder,
    conv_encoder,
)
from isthmus.networks.dense import (
    dense_decoder,
    dense_encoder,
    hidden_sizes,
    strided_channels,
    strided_decoder,
    strided_encoder,
)
from isthmus.networks.kernels import KernelEncoder
from isthmus.networks.patches import patch_encoder
from isthmus.networks.reference import code_shape, reference_decoder, reference_encoder

ModulePair = tuple[nn.Module, nn.Module]
ARCHITECTURES = (
    "auto",
    "dense",
    "conv",
    "strided",
    "patches",
    "conv1d",
    "random_kernels",
    "reference",
)
#: The architectures for windows of series alone.
SERIES_ARCHITECTURES = ("conv1d", "random_kernels")
# By architecture, the functions that choose hidden layers and build encoder and decoder.
_BUILDERS: dict[str, tuple[Any, Any, Any]] = {
    "dense": (lambda shape: hidden_sizes(math.prod(shape)), dense_encoder, dense_decoder),
    "conv": (conv_channels, conv_encoder, conv_decoder),
    "strided": (strided_channels, strided_encoder, strided_decoder),
    "patches": (strided_channels, patch_encoder, strided_decoder),
    "conv1d": (conv1d_channels, conv1d_encoder, conv1d_decoder),
    "random_kernels": (
        lambda shape: (),
        lambda shape, width, hidden: KernelEncoder(shape, width),
        dense_decoder,
    ),
}
# Their hidden layers may be none.
_MAY_BE_LINEAR = ("dense", "random_kernels")


@dataclass
class Networks:
    """A matching encoder and decoder, and the arguments to build them again.

    Attributes
    ----------
    encoder : torch.nn.Module
        `(batch, *input_shape) -> (batch, n_components)`.
    decoder : torch.nn.Module
        `(batch, n_components) -> (batch, *input_shape)`.
    n_components : int
    spec : dict
        Plain JSON values; `build(**spec)` builds the same architecture.
    """

    encoder: nn.Module
    decoder: nn.Module
    n_components: int
    spec: dict[str, Any]


def build(
    architecture: str | ModulePair,
    input_shape: Sequence[int],
    n_components: int | Literal["auto"] = "auto",
    hidden_layer_sizes: Sequence[int] | Literal["auto"] = "auto",
) -> Networks:
    """Build an untrained autoencoder.

    Parameters
    ----------
    architecture : str or (encoder, decoder)
        One of `ARCHITECTURES`. `"auto"` takes `"conv"` for images, `"random_kernels"` for windows
        of series and `"dense"` for tables. A pair of modules is copied, weights included, and
        called with two instances of zeros.
    input_shape : tuple of int
        Of one instance: `(c, h, w)`, `(c, t)` or `(m,)`.
    n_components : int or "auto"
        Width of the code, see `choose_n_components`.
    hidden_layer_sizes : sequence of int or "auto"
        Dense: widths of the hidden layers, `()` for a linear network. Conv and conv1d:
        channels of the stages. The decoder has the same in reverse. Random kernels: of the
        decoder alone, which is linear by default.

    Returns
    -------
    Networks

    Raises
    ------
    ArchitectureError
        When the architecture does not fit the shape or the code width.

    Examples
    --------
    >>> networks = build("reference", (1, 28, 28))
    >>> networks.n_components, sum(p.numel() for p in networks.encoder.parameters())
    (128, 1904)
    """
    input_shape = tuple(input_shape)
    if isinstance(architecture, tuple | list):
        return _use_modules(tuple(architecture), input_shape, n_components)
    if architecture not in ARCHITECTURES:
        raise ArchitectureError(
            f"got architecture={shown(architecture)}, expected one of {', '.join(ARCHITECTURES)}, "
            "or a pair of torch modules (encoder, decoder)"
        )
    if architecture == "auto":
        architecture = {3: "conv", 2: "random_kernels"}.get(len(input_shape), "dense")
    _check_shape(architecture, input_shape)
    if architecture == "reference":
        return _build_reference(input_shape, n_components, hidden_layer_sizes)
    width = _checked_width(n_components, input_shape, architecture)
    choose_sizes, build_encoder, build_decoder = _BUILDERS[architecture]
    if isinstance(hidden_layer_sizes, str) and hidden_layer_sizes == "auto":
        sizes = choose_sizes(input_shape)
    else:
        sizes = _checked_sizes(hidden_layer_sizes, architecture)
    return Networks(
        build_encoder(input_shape, width, sizes),
        build_decoder(input_shape, width, sizes),
        width,
        {
            "architecture": architecture,
            "input_shape": list(input_shape),
            "n_components": width,
            "hidden_layer_sizes": list(sizes),
        },
    )


def choose_n_components(n_features: int, architecture: str = "dense") -> int:
    """Choose the code's width for `n_features` values: `4 √m`, a power of two, at most m/2 and 512.

    The power of two is the next one above. 784 pixels give 128, 64 pixels 32, 20 columns 10,
    3 columns 1. The square root reflects that the number of directions with most of the variance
    grows slowly with resolution; it was checked on validation data, not derived.

    With `"random_kernels"` it is twice that, 512 at most, and m - 1 of up to 32 values: half of
    that code are shares of time, so that the other half holds what another code would.

    Parameters
    ----------
    n_features : int
    architecture : str

    Returns
    -------
    int

    Examples
    --------
    >>> choose_n_components(784), choose_n_components(150, "random_kernels")
    (128, 128)
    """
    power = 2 ** math.ceil(math.log2(4 * math.sqrt(n_features)))
    usual = max(1, min(power, n_features // 2, 512))
    if architecture != "random_kernels":
        return usual
    return max(1, n_features - 1 if n_features <= 32 else min(2 * usual, n_features - 1, 512))


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

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    list

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

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    torch.nn.Module

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
    """Write parameters and buffers to a safetensors file.

    Parameters
    ----------
    path : Path
    network : torch.nn.Module
    """
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(path, save(state))


def check_weights(make: Callable[[], nn.Module | Networks], files: Sequence[Path]) -> None:
    """Check that files are large enough for the weights of networks, before these are allocated.

    Parameters
    ----------
    make : callable
        Builds them, here without memory.
    files : sequence of path
        Of their weights.

    Raises
    ------
    BundleError
        When the networks have more weights than the files can hold.
    """
    n_bytes = sum(file.stat().st_size for file in files)
    with torch.device("meta"):
        made = make()
    parts = (made,) if isinstance(made, nn.Module) else (made.encoder, made.decoder)
    needed = 4 * sum(one.numel() for part in parts for one in part.parameters())  # float32
    if needed > n_bytes:
        raise BundleError(
            f"the manifest states networks whose weights take {needed:,} bytes, and "
            f"{' and '.join(map(str, files))} have {n_bytes:,}; do not trust this bundle, get it "
            "again from where it was made"
        )


def read_weights(path: Path, network: nn.Module) -> None:
    """Read parameters and buffers into a network of the same architecture.

    Parameters
    ----------
    path : Path
    network : torch.nn.Module

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


def _build_reference(
    input_shape: tuple[int, ...],
    n_components: int | Literal["auto"],
    hidden_layer_sizes: Sequence[int] | Literal["auto"],
) -> Networks:
    shape: tuple[int, int, int] = input_shape  # type: ignore[assignment]
    width = math.prod(code_shape(shape))
    if n_components not in ("auto", width):
        raise ArchitectureError(
            f"architecture='reference' gives a code of {width} numbers for images of shape "
            f"{input_shape}, got n_components={shown(n_components)}; pass {width} or 'auto'"
        )
    if not (isinstance(hidden_layer_sizes, str) and hidden_layer_sizes == "auto"):
        raise ArchitectureError(
            f"architecture='reference' has fixed layers, got hidden_layer_sizes="
            f"{shown(hidden_layer_sizes)}; pass 'auto', or architecture='conv'"
        )
    if width >= math.prod(shape):
        raise ArchitectureError(
            f"architecture='reference' gives a code of {width} numbers for images of shape "
            f"{input_shape}, which hold {math.prod(shape)}; a code must be narrower, "
            "use architecture='conv'"
        )
    spec = {"architecture": "reference", "input_shape": list(input_shape), "n_components": width}
    return Networks(reference_encoder(shape), reference_decoder(shape), width, spec)


def _use_modules(
    pair: tuple[Any, ...], input_shape: tuple[int, ...], n_components: int | Literal["auto"]
) -> Networks:
    if len(pair) != 2 or not all(isinstance(part, nn.Module) for part in pair):
        raise ArchitectureError(
            f"got architecture={pair!r}, expected two torch modules: (encoder, decoder)"
        )
    encoder, decoder = (part.float() for part in copy.deepcopy(pair))
    if isinstance(list(decoder.modules())[-1], nn.Sigmoid):
        raise ArchitectureError(
            "the decoder ends in a Sigmoid; leave it off: for images the decoder gives logits "
            "and isthmus applies the sigmoid"
        )
    encoder.eval(), decoder.eval()
    with torch.no_grad():
        try:
            code = encoder(torch.zeros(2, *input_shape, dtype=torch.float32))
            back = decoder(code)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ArchitectureError(
                f"the modules cannot take instances of shape {input_shape}: {error}"
            ) from error
    if code.ndim != 2 or len(code) != 2:
        raise ArchitectureError(
            f"the encoder turned (2, {_join(input_shape)}) into {tuple(code.shape)}, expected "
            "(2, n_components); end it with nn.Flatten()"
        )
    if tuple(back.shape[1:]) != tuple(input_shape):
        raise ArchitectureError(
            f"the decoder turned the code into shape {tuple(back.shape[1:])}, expected "
            f"{tuple(input_shape)}"
        )
    width = int(code.shape[1])
    if n_components not in ("auto", width):
        raise ArchitectureError(
            f"the encoder gives codes of width {width}, got n_components={shown(n_components)}; "
            f"pass n_components={width} or 'auto'"
        )
    if width >= math.prod(input_shape):
        raise ArchitectureError(
            f"the encoder gives codes of width {width}, but an instance has "
            f"{math.prod(input_shape)} values and a code must be narrower; "
            f"give the encoder {math.prod(input_shape) - 1} outputs at most"
        )
    names = [f"{type(part).__module__}.{type(part).__qualname__}" for part in pair]
    spec = {
        "architecture": f"own: {', '.join(names)}",
        "input_shape": list(input_shape),
        "n_components": width,
    }
    return Networks(encoder, decoder, width, spec)


def _check_shape(architecture: str, input_shape: tuple[int, ...]) -> None:
    of_series = architecture in SERIES_ARCHITECTURES
    if architecture == "dense" or len(input_shape) == (2 if of_series else 3):
        return
    what, fix = "images", "reshape the data to (n, h, w)"
    if of_series:
        what, fix = "windows of series", "pass windows (n, t, c) and kind='series'"
    raise ArchitectureError(
        f"architecture={shown(architecture)} needs {what}, got instances of shape {input_shape}; "
        f"use architecture='dense' or {fix}"
    )


def _checked_width(n_components: Any, input_shape: tuple[int, ...], architecture: str) -> int:
    n_features = math.prod(input_shape)
    if n_components == "auto":
        return choose_n_components(n_features, architecture)
    if isinstance(n_components, bool) or not hasattr(n_components, "__index__"):
        raise ArchitectureError(
            f"got n_components={shown(n_components)}, expected a whole number or 'auto'"
        )
    # A code is narrower than the instance, but for an instance of one value.
    if not 1 <= n_components <= max(1, n_features - 1):
        raise ArchitectureError(
            f"got n_components={n_components}, but an instance has {n_features} values and a "
            f"code must be narrower; pass 1 to {n_features - 1}, or 'auto' "
            f"({choose_n_components(n_features, architecture)})"
        )
    return int(n_components)


def _checked_sizes(sizes: Any, architecture: str) -> tuple[int, ...]:
    try:
        checked = tuple(operator.index(size) for size in sizes)
    except TypeError:
        checked = (0,)
    if any(size < 1 for size in checked) or (architecture not in _MAY_BE_LINEAR and not checked):
        raise ArchitectureError(
            f"got hidden_layer_sizes={shown(sizes)}, expected whole numbers of 1 or more such as "
            "(256, 64), or 'auto'"
        )
    return checked


def _join(shape: tuple[int, ...]) -> str:
    return ", ".join(str(side) for side in shape)
