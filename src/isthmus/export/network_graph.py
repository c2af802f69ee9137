"""Encoder and decoder as ONNX graphs, layer by layer.

torch's exporter can do all of them and takes ten seconds for any network; this takes none, and
needs nothing beside onnx.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from isthmus._core import require
from isthmus.autoencoder import Autoencoder
from isthmus.errors import ExportError
from isthmus.export.graph import BATCH, OPSETS, GraphPart, own_names
from isthmus.networks import (
    Crop,
    Decoder,
    DepthToSpace,
    Encoder,
    FoldTime,
    SpaceToDepth,
    UnfoldTime,
)

if TYPE_CHECKING:
    from onnx import ModelProto

Shape = tuple[int, ...]  # of one instance


def has_own_layers(network: nn.Module) -> bool:
    """Whether `add_layers` can add all layers of a network."""
    # A subclass may do anything in its forward; these do what their layers say.
    plain = type(network) in (nn.Sequential, Encoder, Decoder)
    return plain and all(
        type(layer) in _LAYERS and _is_plain(layer) for layer in network.children()
    )


def add_layers(part: GraphPart, network: nn.Module, value: str, shape: Shape) -> tuple[str, Shape]:
    """Add a network that `has_own_layers` accepts, for inputs (n, *shape); return what it gives."""
    for layer in network.children():
        value = _LAYERS[type(layer)](part, layer, value, shape)
        parameter = next(layer.parameters(), torch.empty(0))
        with torch.inference_mode():
            shape = tuple(layer(torch.zeros(1, *shape, device=parameter.device)).shape[1:])
    return value, shape


def _linear(part: GraphPart, layer: nn.Linear, value: str, shape: Shape) -> str:
    if len(shape) == 1:
        return part("Gemm", value, *_weights(part, layer), transB=1)
    value = part("MatMul", value, part.constant(_array(layer.weight.T)))
    return value if layer.bias is None else part("Add", value, part.constant(_array(layer.bias)))


def _conv(part: GraphPart, layer: Any, value: str, shape: Shape) -> str:
    return part("Conv", value, *_weights(part, layer), **_window(layer))


def _conv_back(part: GraphPart, layer: Any, value: str, shape: Shape) -> str:
    extra = list(layer.output_padding)
    window = _window(layer)
    return part("ConvTranspose", value, *_weights(part, layer), **window, output_padding=extra)


def _batch_norm(part: GraphPart, layer: nn.BatchNorm2d, value: str, shape: Shape) -> str:
    names = ("weight", "bias", "running_mean", "running_var")
    numbers = [part.constant(_array(getattr(layer, name))) for name in names]
    return part("BatchNormalization", value, *numbers, epsilon=layer.eps)


def _max_pool(part: GraphPart, layer: nn.MaxPool2d, value: str, shape: Shape) -> str:
    size, stride, pad = (_pair(of) for of in (layer.kernel_size, layer.stride, layer.padding))
    return part(
        "MaxPool",
        value,
        kernel_shape=size,
        strides=stride,
        pads=[*pad, *pad],
        ceil_mode=int(layer.ceil_mode),
    )


def _upsample(part: GraphPart, layer: nn.Upsample, value: str, shape: Shape) -> str:
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


def _flatten(part: GraphPart, layer: nn.Flatten, value: str, shape: Shape) -> str:
    return part("Flatten", value, axis=1)


def _unflatten(part: GraphPart, layer: nn.Unflatten, value: str, shape: Shape) -> str:
    return _reshape(part, value, *layer.unflattened_size)


def _relu(part: GraphPart, layer: nn.ReLU, value: str, shape: Shape) -> str:
    return part("Relu", value)


def _identity(part: GraphPart, layer: nn.Module, value: str, shape: Shape) -> str:
    return value


def _space_to_depth(part: GraphPart, layer: SpaceToDepth, value: str, shape: Shape) -> str:
    k, (channels, *sides) = layer.block, shape
    value = _pad(part, value, [-side % k for side in sides])
    height, width = (-(-side // k) for side in sides)
    value = _reshape(part, value, channels, height, k, width, k)
    value = part("Transpose", value, perm=[0, 1, 3, 5, 2, 4])
    return _reshape(part, value, channels * k * k, height, width)


def _depth_to_space(part: GraphPart, layer: DepthToSpace, value: str, shape: Shape) -> str:
    value = part("DepthToSpace", value, blocksize=layer.block, mode="CRD")
    return _crop_to(part, value, layer.size)


def _crop(part: GraphPart, layer: Crop, value: str, shape: Shape) -> str:
    return _crop_to(part, value, (layer.height, layer.width))


def _fold_time(part: GraphPart, layer: FoldTime, value: str, shape: Shape) -> str:
    k, (channels, steps) = layer.steps, shape
    length = -(-steps // k)
    value = _reshape(part, _pad(part, value, [-steps % k]), channels, length, k)
    value = part("Transpose", value, perm=[0, 1, 3, 2])
    return _reshape(part, value, channels * k, length)


def _unfold_time(part: GraphPart, layer: UnfoldTime, value: str, shape: Shape) -> str:
    k, (channels, length) = layer.steps, shape
    value = _reshape(part, value, channels // k, k, length)
    value = part("Transpose", value, perm=[0, 1, 3, 2])
    return _crop_to(part, _reshape(part, value, channels // k, k * length), (layer.length,))


_LAYERS: dict[type, Callable[[GraphPart, Any, str, Shape], str]] = {
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


def _weights(part: GraphPart, layer: Any) -> list[str]:
    given = (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)
    return [part.constant(_array(one)) for one in given]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().contiguous().numpy()


def _pair(of: Any) -> list[Any]:
    return list(of) if isinstance(of, tuple | list) else [of, of]


def _reshape(part: GraphPart, value: str, *shape: int) -> str:
    return part("Reshape", value, part.constant([-1, *shape], np.int64))


def _pad(part: GraphPart, value: str, missing: list[int]) -> str:
    """Add zeros at the end of the last axes."""
    if not any(missing):
        return value
    pads = [0] * (2 + len(missing))
    return part("Pad", value, part.constant([*pads, 0, 0, *missing], np.int64))


def _crop_to(part: GraphPart, value: str, sides: tuple[int, ...]) -> str:
    axes = [2 + at for at in range(len(sides))]
    first, last, along = ([0] * len(sides), list(sides), axes)
    return part("Slice", value, *(part.constant(one, np.int64) for one in (first, last, along)))


#: What the network gives: the code (n, n_components), and what the decoder makes of it.
CODE, DECODED = "isthmus/code", "isthmus/decoded"
TAKES = "isthmus/network"


class _Both(nn.Module):
    """Encoder and decoder, in one pass."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the code and what the decoder makes of it."""
        code = self.encoder(x)
        return code, self.decoder(code)


def export_networks(encoder: Autoencoder) -> ModelProto:
    """Return the networks of a fitted autoencoder as a graph from `TAKES` to `CODE` and `DECODED`.

    Modules of the person's own go through torch's exporter.

    Raises
    ------
    ExportError
        When torch cannot export a module of the person's own.
    MissingExtraError
        When that is needed and not installed.
    """
    if not (has_own_layers(encoder.encoder_) and has_own_layers(encoder.decoder_)):
        return _by_torch(encoder)
    part, shape = GraphPart("network"), encoder.preprocessor_.network_shape
    value = part.input(TAKES, np.float32, (BATCH, *shape))
    code, width = add_layers(part, encoder.encoder_, value, shape)
    decoded, _ = add_layers(part, encoder.decoder_, code, width)
    part.output(CODE, code, np.float32, (BATCH, *width))
    part.output(DECODED, decoded, np.float32, (BATCH, *shape))
    return part.model()


def _by_torch(encoder: Autoencoder) -> ModelProto:
    require("onnxscript", extra="onnx", purpose="exporting modules of your own")
    both = _Both(encoder.encoder_, encoder.decoder_).eval()
    device = next((parameter.device for parameter in both.parameters()), torch.device("cpu"))
    example = torch.zeros(2, *encoder.preprocessor_.network_shape, device=device)
    try:
        with _quiet():
            program = torch.onnx.export(
                both,
                (example,),
                dynamo=True,
                input_names=[TAKES],
                output_names=[CODE, DECODED],
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                opset_version=OPSETS[""],
                verbose=False,
            )
    except Exception as error:  # the exporter's own errors have no common base
        reason = str(error).strip().splitlines()
        raise ExportError(
            f"torch cannot export the network ({encoder.spec_['architecture']}): "
            f"{reason[0] if reason else type(error).__name__}; build it of layers that torch.onnx "
            "knows, and without branches on values"
        ) from error
    if program is None:
        raise ExportError("torch.onnx gave no graph; install the torch of constraints.txt")
    model = own_names(program.model_proto)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on itself from the person, who can do nothing about them."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
