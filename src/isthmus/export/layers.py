"""The layers of isthmus' own networks as graphs.

torch's exporter can do all of them and takes ten seconds for any network; this takes none, and
needs nothing beside onnx.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from isthmus.export.graph import Part
from isthmus.networks.conv import DepthToSpace, SpaceToDepth
from isthmus.networks.conv1d import FoldTime, UnfoldTime
from isthmus.networks.reference import Crop, Decoder, Encoder

Shape = tuple[int, ...]  # of one instance


def knows(network: nn.Module) -> bool:
    """Whether `add_layers` can add all layers of a network."""
    # A subclass may do anything in its forward; these do what their layers say.
    plain = type(network) in (nn.Sequential, Encoder, Decoder)
    return plain and all(
        type(layer) in _LAYERS and _is_plain(layer) for layer in network.children()
    )


def add_layers(part: Part, network: nn.Module, value: str, shape: Shape) -> tuple[str, Shape]:
    """Add a network that `knows` accepts, for inputs (n, *shape); return what it gives."""
    for layer in network.children():
        value = _LAYERS[type(layer)](part, layer, value, shape)
        parameter = next(layer.parameters(), torch.empty(0))
        with torch.inference_mode():
            shape = tuple(layer(torch.zeros(1, *shape, device=parameter.device)).shape[1:])
    return value, shape


def _linear(part: Part, layer: nn.Linear, value: str, shape: Shape) -> str:
    if len(shape) == 1:
        return part("Gemm", value, *_weights(part, layer), transB=1)
    value = part("MatMul", value, part.constant(_array(layer.weight.T)))
    return value if layer.bias is None else part("Add", value, part.constant(_array(layer.bias)))


def _conv(part: Part, layer: Any, value: str, shape: Shape) -> str:
    return part("Conv", value, *_weights(part, layer), **_window(layer))


def _conv_back(part: Part, layer: Any, value: str, shape: Shape) -> str:
    extra = list(layer.output_padding)
    window = _window(layer)
    return part("ConvTranspose", value, *_weights(part, layer), **window, output_padding=extra)


def _batch_norm(part: Part, layer: nn.BatchNorm2d, value: str, shape: Shape) -> str:
    names = ("weight", "bias", "running_mean", "running_var")
    numbers = [part.constant(_array(getattr(layer, name))) for name in names]
    return part("BatchNormalization", value, *numbers, epsilon=layer.eps)


def _max_pool(part: Part, layer: nn.MaxPool2d, value: str, shape: Shape) -> str:
    size, stride, pad = (_pair(of) for of in (layer.kernel_size, layer.stride, layer.padding))
    return part(
        "MaxPool",
        value,
        kernel_shape=size,
        strides=stride,
        pads=[*pad, *pad],
        ceil_mode=int(layer.ceil_mode),
    )


def _upsample(part: Part, layer: nn.Upsample, value: str, shape: Shape) -> str:
    sides = _pair(layer.scale_factor)
    scales = part.constant([1.0, 1.0, *sides], np.float32)
    return part(
        "Resize",
        value,
        "",
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _flatten(part: Part, layer: nn.Flatten, value: str, shape: Shape) -> str:
    return part("Flatten", value, axis=1)


def _unflatten(part: Part, layer: nn.Unflatten, value: str, shape: Shape) -> str:
    return _reshape(part, value, *layer.unflattened_size)


def _relu(part: Part, layer: nn.ReLU, value: str, shape: Shape) -> str:
    return part("Relu", value)


def _identity(part: Part, layer: nn.Module, value: str, shape: Shape) -> str:
    return value


def _space_to_depth(part: Part, layer: SpaceToDepth, value: str, shape: Shape) -> str:
    k, (channels, *sides) = layer.block, shape
    value = _pad(part, value, [-side % k for side in sides])
    height, width = (-(-side // k) for side in sides)
    value = _reshape(part, value, channels, height, k, width, k)
    value = part("Transpose", value, perm=[0, 1, 3, 5, 2, 4])
    return _reshape(part, value, channels * k * k, height, width)


def _depth_to_space(part: Part, layer: DepthToSpace, value: str, shape: Shape) -> str:
    value = part("DepthToSpace", value, blocksize=layer.block, mode="CRD")
    return _crop_to(part, value, layer.size)


def _crop(part: Part, layer: Crop, value: str, shape: Shape) -> str:
    return _crop_to(part, value, (layer.height, layer.width))


def _fold_time(part: Part, layer: FoldTime, value: str, shape: Shape) -> str:
    k, (channels, steps) = layer.steps, shape
    length = -(-steps // k)
    value = _reshape(part, _pad(part, value, [-steps % k]), channels, length, k)
    value = part("Transpose", value, perm=[0, 1, 3, 2])
    return _reshape(part, value, channels * k, length)


def _unfold_time(part: Part, layer: UnfoldTime, value: str, shape: Shape) -> str:
    k, (channels, length) = layer.steps, shape
    value = _reshape(part, value, channels // k, k, length)
    value = part("Transpose", value, perm=[0, 1, 3, 2])
    return _crop_to(part, _reshape(part, value, channels // k, k * length), (layer.length,))


_LAYERS: dict[type, Callable[[Part, Any, str, Shape], str]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.ConvTranspose1d: _conv_back,
    nn.ConvTranspose2d: _conv_back,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.Upsample: _upsample,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.ReLU: _relu,
    nn.Dropout: _identity,  # when predicting
    nn.Identity: _identity,
    SpaceToDepth: _space_to_depth,
    DepthToSpace: _depth_to_space,
    Crop: _crop,
    FoldTime: _fold_time,
    UnfoldTime: _unfold_time,
}


def _is_plain(layer: Any) -> bool:
    """Whether a layer's settings are such as are added here."""
    if isinstance(layer, nn.Upsample):
        return layer.mode == "nearest" and layer.size is None
    if isinstance(layer, nn.MaxPool2d):
        return _pair(layer.dilation) == [1, 1] and not layer.return_indices
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return bool(layer.affine and layer.track_running_stats)
    if isinstance(layer, nn.Flatten):
        return layer.start_dim == 1 and layer.end_dim == -1
    if isinstance(layer, nn.Unflatten):
        return layer.dim == 1
    padded = getattr(layer, "padding_mode", "zeros") == "zeros"
    return padded and not isinstance(getattr(layer, "padding", 0), str)


def _window(layer: Any) -> dict[str, Any]:
    return {
        "kernel_shape": list(layer.kernel_size),
        "strides": list(layer.stride),
        "pads": [*layer.padding, *layer.padding],
        "dilations": list(layer.dilation),
        "group": layer.groups,
    }


def _weights(part: Part, layer: Any) -> list[str]:
    given = (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)
    return [part.constant(_array(one)) for one in given]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().contiguous().numpy()


def _pair(of: Any) -> list[Any]:
    return list(of) if isinstance(of, tuple | list) else [of, of]


def _reshape(part: Part, value: str, *shape: int) -> str:
    return part("Reshape", value, part.constant([-1, *shape], np.int64))


def _pad(part: Part, value: str, missing: list[int]) -> str:
    """Add zeros at the end of the last axes."""
    if not any(missing):
        return value
    pads = [0] * (2 + len(missing))
    return part("Pad", value, part.constant([*pads, 0, 0, *missing], np.int64))


def _crop_to(part: Part, value: str, sides: tuple[int, ...]) -> str:
    axes = [2 + at for at in range(len(sides))]
    first, last, along = ([0] * len(sides), list(sides), axes)
    return part("Slice", value, *(part.constant(one, np.int64) for one in (first, last, along)))
