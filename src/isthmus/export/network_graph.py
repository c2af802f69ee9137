"""Encoder and decoder as ONNX graphs, layer by layer.

torch's exporter takes ten seconds for any network; this takes none and needs only onnx. Networks
with other layers go through torch's exporter.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from isthmus._core import require
from isthmus.errors import ExportError
from isthmus.export.graph import BATCH, OPSETS, GraphBuilder, normalise_model
from isthmus.networks import (
    Crop,
    Decoder,
    DepthToSpace,
    Encoder,
    FoldTime,
    KernelEncoder,
    PatchEncoder,
    PatchFeatures,
    RandomKernels,
    SpaceToDepth,
    SquareRoot,
    UnfoldTime,
    in_evaluation_mode,
)

if TYPE_CHECKING:
    from onnx import ModelProto

Shape = tuple[int, ...]  # of one instance
#: Outputs of the networks: the code (n, n_components), and the decoder's output.
CODE, DECODED = "isthmus/code", "isthmus/decoded"
#: Name of the networks' input.
NETWORK_INPUT = "isthmus/network"


def can_add_layers(network: nn.Module) -> bool:
    """Whether `add_layers` can add all layers of a network."""
    if type(network) is PatchEncoder:
        return all(map(can_add_layers, network.children()))
    # A subclass may compute anything in its forward; these run their layers in order.
    plain = type(network) in (nn.Sequential, Encoder, Decoder, KernelEncoder, PatchFeatures)
    return plain and all(
        type(layer) in _LAYERS and _has_supported_settings(layer) for layer in network.children()
    )


def add_layers(
    graph: GraphBuilder, network: nn.Module, value: str, shape: Shape
) -> tuple[str, Shape]:
    """Add a network that `can_add_layers` accepts, for inputs (n, *shape).

    Returns
    -------
    output : str
        Name of the result.
    shape : tuple of int
        Of the result of one instance.
    """
    if isinstance(network, PatchEncoder):
        parts = [add_layers(graph, part, value, shape) for part in network.children()]
        width = sum(width for _, (width,) in parts)
        return graph("Concat", *(name for name, _ in parts), axis=1), (width,)
    for layer in network.children():
        value = _LAYERS[type(layer)](graph, layer, value, shape)
        parameter = next(layer.parameters(), torch.empty(0, dtype=torch.float32))
        zeros = torch.zeros(1, *shape, device=parameter.device, dtype=torch.float32)
        with torch.inference_mode():
            shape = tuple(layer(zeros).shape[1:])
    return value, shape


def _linear(graph: GraphBuilder, layer: nn.Linear, value: str, shape: Shape) -> str:
    if len(shape) == 1:
        return graph("Gemm", value, *_weights(graph, layer), transB=1)
    value = graph("MatMul", value, graph.constant(_array(layer.weight.T)))
    return value if layer.bias is None else graph("Add", value, graph.constant(_array(layer.bias)))


def _conv(graph: GraphBuilder, layer: Any, value: str, shape: Shape) -> str:
    return graph("Conv", value, *_weights(graph, layer), **_window(layer))


def _conv_transpose(graph: GraphBuilder, layer: Any, value: str, shape: Shape) -> str:
    extra = list(layer.output_padding)
    window = _window(layer)
    return graph("ConvTranspose", value, *_weights(graph, layer), **window, output_padding=extra)


def _batch_norm(graph: GraphBuilder, layer: nn.BatchNorm2d, value: str, shape: Shape) -> str:
    names = ("weight", "bias", "running_mean", "running_var")
    numbers = [graph.constant(_array(getattr(layer, name))) for name in names]
    return graph("BatchNormalization", value, *numbers, epsilon=layer.eps)


def _max_pool(graph: GraphBuilder, layer: nn.MaxPool2d, value: str, shape: Shape) -> str:
    size, stride, pad = (_pair(of) for of in (layer.kernel_size, layer.stride, layer.padding))
    return graph(
        "MaxPool",
        value,
        kernel_shape=size,
        strides=stride,
        pads=[*pad, *pad],
        ceil_mode=int(layer.ceil_mode),
    )


def _average_pool(graph: GraphBuilder, layer: nn.AvgPool2d, value: str, shape: Shape) -> str:
    size, stride = _pair(layer.kernel_size), _pair(layer.stride)
    return graph("AveragePool", value, kernel_shape=size, strides=stride)


def _square_root(graph: GraphBuilder, layer: SquareRoot, value: str, shape: Shape) -> str:
    return graph("Sqrt", graph("Add", value, graph.constant(layer.least, np.float32)))


def _upsample(graph: GraphBuilder, layer: nn.Upsample, value: str, shape: Shape) -> str:
    sides = _pair(layer.scale_factor)
    scales = graph.constant([1.0, 1.0, *sides], np.float32)
    return graph(
        "Resize",
        value,
        "",
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _flatten(graph: GraphBuilder, layer: nn.Flatten, value: str, shape: Shape) -> str:
    return graph("Flatten", value, axis=1)


def _unflatten(graph: GraphBuilder, layer: nn.Unflatten, value: str, shape: Shape) -> str:
    return _reshape(graph, value, *layer.unflattened_size)


def _relu(graph: GraphBuilder, layer: nn.ReLU, value: str, shape: Shape) -> str:
    return graph("Relu", value)


def _identity(graph: GraphBuilder, layer: nn.Module, value: str, shape: Shape) -> str:
    return value


def _space_to_depth(graph: GraphBuilder, layer: SpaceToDepth, value: str, shape: Shape) -> str:
    k, (channels, *sides) = layer.block, shape
    value = _pad(graph, value, [-side % k for side in sides])
    height, width = (-(-side // k) for side in sides)
    value = _reshape(graph, value, channels, height, k, width, k)
    value = graph("Transpose", value, perm=[0, 1, 3, 5, 2, 4])
    return _reshape(graph, value, channels * k * k, height, width)


def _depth_to_space(graph: GraphBuilder, layer: DepthToSpace, value: str, shape: Shape) -> str:
    value = graph("DepthToSpace", value, blocksize=layer.block, mode="CRD")
    return _crop_to(graph, value, layer.size)


def _crop(graph: GraphBuilder, layer: Crop, value: str, shape: Shape) -> str:
    return _crop_to(graph, value, (layer.height, layer.width))


def _fold_time(graph: GraphBuilder, layer: FoldTime, value: str, shape: Shape) -> str:
    k, (channels, steps) = layer.steps, shape
    length = -(-steps // k)
    value = _reshape(graph, _pad(graph, value, [-steps % k]), channels, length, k)
    value = graph("Transpose", value, perm=[0, 1, 3, 2])
    return _reshape(graph, value, channels * k, length)


def _unfold_time(graph: GraphBuilder, layer: UnfoldTime, value: str, shape: Shape) -> str:
    k, (channels, length) = layer.steps, shape
    value = _reshape(graph, value, channels // k, k, length)
    value = graph("Transpose", value, perm=[0, 1, 3, 2])
    return _crop_to(graph, _reshape(graph, value, channels // k, k * length), (layer.length,))


def _random_kernels(graph: GraphBuilder, layer: RandomKernels, value: str, shape: Shape) -> str:
    zero, one = (graph.constant(limit, np.float32) for limit in (0.0, 1.0))
    time = graph.constant([2], np.int64)
    shares = []
    for index, dilation in enumerate(layer.dilations):
        kernels = layer.kernels[index]
        padding = (kernels.shape[-1] // 2) * dilation
        outputs = graph(
            "Conv",
            value,
            graph.constant(_array(kernels)),
            kernel_shape=[kernels.shape[-1]],
            pads=[padding, padding],
            dilations=[dilation],
        )
        for slope, offset in zip(layer.slopes[index], layer.offsets[index], strict=True):
            steep = graph("Mul", outputs, graph.constant(_array(slope)[:, None]))
            ramp = graph("Add", steep, graph.constant(_array(offset)[:, None]))
            shares.append(graph("ReduceMean", graph("Clip", ramp, zero, one), time, keepdims=0))
    centred = graph("Sub", graph("Concat", *shares, axis=1), graph.constant(_array(layer.means)))
    return graph("Concat", centred, graph("Flatten", value, axis=1), axis=1)


_LAYERS: dict[type, Callable[[GraphBuilder, Any, str, Shape], str]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.ConvTranspose1d: _conv_transpose,
    nn.ConvTranspose2d: _conv_transpose,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    SquareRoot: _square_root,
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
    RandomKernels: _random_kernels,
}


def _has_supported_settings(layer: Any) -> bool:
    """Whether a layer has only settings that are implemented here."""
    if isinstance(layer, nn.Upsample):
        return layer.mode == "nearest" and layer.size is None
    if isinstance(layer, nn.MaxPool2d):
        return _pair(layer.dilation) == [1, 1] and not layer.return_indices
    if isinstance(layer, nn.AvgPool2d):
        return _pair(layer.padding) == [0, 0] and not layer.ceil_mode and not layer.divisor_override
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


def _weights(graph: GraphBuilder, layer: Any) -> list[str]:
    given = (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)
    return [graph.constant(_array(one)) for one in given]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().contiguous().numpy()


def _pair(of: Any) -> list[Any]:
    return list(of) if isinstance(of, tuple | list) else [of, of]


def _reshape(graph: GraphBuilder, value: str, *shape: int) -> str:
    return graph("Reshape", value, graph.constant([-1, *shape], np.int64))


def _pad(graph: GraphBuilder, value: str, missing: list[int]) -> str:
    """Add zeros at the end of the last axes."""
    if not any(missing):
        return value
    pads = [0] * (2 + len(missing))
    return graph("Pad", value, graph.constant([*pads, 0, 0, *missing], np.int64))


def _crop_to(graph: GraphBuilder, value: str, sides: tuple[int, ...]) -> str:
    axes = [2 + at for at in range(len(sides))]
    bounds = ([0] * len(sides), list(sides), axes)
    return graph("Slice", value, *(graph.constant(one, np.int64) for one in bounds))


class _EncoderAndDecoder(nn.Module):
    """Encoder and decoder, in one pass."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the code and the decoder's output."""
        code = self.encoder(x)
        return code, self.decoder(code)


def export_networks(encoder: Any) -> ModelProto:
    """Return a fitted autoencoder's networks as a graph.

    Its input is `NETWORK_INPUT`, its outputs are `CODE` and `DECODED`. Modules from
    outside isthmus go through torch's exporter.

    Parameters
    ----------
    encoder : Autoencoder
        Fitted.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ExportError
        When torch cannot export such a module.
    MissingExtraError
        When that is needed and not installed.
    FrozenError
        When the weights changed after they were fitted.
    """
    encoder.check_frozen()
    networks = in_evaluation_mode(encoder.encoder_), in_evaluation_mode(encoder.decoder_)
    if not all(map(can_add_layers, networks)):
        shape, name = encoder.preprocessor_.network_shape, encoder.spec_["architecture"]
        return export_by_torch(_EncoderAndDecoder(*networks), shape, (CODE, DECODED), name)
    graph, shape = GraphBuilder("network"), encoder.preprocessor_.network_shape
    value = graph.input(NETWORK_INPUT, np.float32, (BATCH, *shape))
    code, width = add_layers(graph, networks[0], value, shape)
    decoded, _ = add_layers(graph, networks[1], code, width)
    graph.output(CODE, code, np.float32, (BATCH, *width))
    graph.output(DECODED, decoded, np.float32, (BATCH, *shape))
    return graph.model()


def export_by_torch(
    module: nn.Module, shape: Shape, outputs: Sequence[str], name: str
) -> ModelProto:
    """Return a module as torch's exporter converts it, from `NETWORK_INPUT` to named outputs.

    Parameters
    ----------
    module : torch.nn.Module
        From float32 (n, *shape).
    shape : tuple of int
    outputs : sequence of str
    name : str
        What to call the module in errors.

    Raises
    ------
    ExportError
        When torch cannot export it.
    MissingExtraError
        When the extra is not installed.
    """
    require("onnxscript", extra="onnx", purpose="exporting modules of your own")
    module = module.eval()
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    example = torch.zeros(2, *shape, device=device, dtype=torch.float32)
    try:
        with _silence_exporter():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[NETWORK_INPUT],
                output_names=list(outputs),
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                opset_version=OPSETS[""],
                verbose=False,
            )
    except Exception as error:  # the exporter's own errors have no common base
        reason = str(error).strip().splitlines()
        raise ExportError(
            f"torch cannot export the network ({name}): "
            f"{reason[0] if reason else type(error).__name__}; use layers that torch.onnx "
            "supports, without branches on values"
        ) from error
    if program is None:
        raise ExportError("torch.onnx gave no graph; install the torch of constraints.txt")
    model = normalise_model(program.model_proto)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return model


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Silence the exporter's warnings, which concern torch itself and need no action."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
