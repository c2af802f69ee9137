"""A `FrozenEncoder` as a graph from raw instances to codes: by torch, skl2onnx or its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from isthmus.autoencoder import InstanceEncoder
from isthmus.encoding import (
    FrozenEncoder,
    OnnxBackend,
    TorchBackend,
    TransformerBackend,
)
from isthmus.errors import ExportError
from isthmus.export.classifier_graph import convert_by_skl2onnx
from isthmus.export.graph import BATCH, OPSETS, GraphBuilder, normalise_model, onnx_module
from isthmus.export.inputs import Input
from isthmus.export.network_graph import (
    CODE,
    NETWORK_INPUT,
    add_layers,
    can_add_layers,
    export_by_torch,
    export_networks,
)
from isthmus.export.preprocessing_graph import (
    MISSING_VALUES,
    PREPROCESSED,
    add_missing_values,
    build_preprocessing_graph,
)

if TYPE_CHECKING:
    from onnx import ModelProto


def build_encoder_input(
    encoder: InstanceEncoder, inputs: Sequence[Input], *, with_missing: bool = False
) -> ModelProto:
    """Return the graph from raw instances to what the encoder takes, `PREPROCESSED`.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    inputs, with_missing
        See `build_preprocessing_graph`.

    Raises
    ------
    ExportError
        When Python functions prepare the instances, or a table has columns that are no numbers.
    """
    if not isinstance(encoder, FrozenEncoder):
        return build_preprocessing_graph(encoder.preprocessor_, inputs, with_missing=with_missing)
    _check_exportable(encoder)
    graph = GraphBuilder("prepare")
    for one in inputs:
        graph.input(one.name, one.dtype, (BATCH, *one.shape))
    if with_missing:
        missing = add_missing_values(graph, inputs)
        graph.output(MISSING_VALUES, missing, np.float64, (BATCH, *encoder.schema_.shape))
    dtype, shape = _taken(encoder)
    value = inputs[0].name
    if inputs[0].column is not None:
        columns = [graph("Unsqueeze", one.name, graph.constant([1])) for one in inputs]
        value = graph("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
    value = graph.cast(value, dtype)
    if not encoder.backend_.takes_network_inputs:
        value = graph("Flatten", value, axis=1)
    elif encoder.schema_.kind == "series":
        value = graph("Transpose", value, perm=[0, 2, 1])
    elif encoder.schema_.kind == "images":
        if inputs[0].dtype == "uint8":
            value = graph("Div", value, graph.constant(np.float32(255)))
        if len(inputs[0].shape) == 2:
            value = graph("Unsqueeze", value, graph.constant([1]))
        else:
            value = graph("Transpose", value, perm=[0, 3, 1, 2])
    graph.output(PREPROCESSED, value, dtype, (BATCH, *shape))
    return graph.model()


def export_encoder(encoder: InstanceEncoder) -> ModelProto:
    """Return the graph from `NETWORK_INPUT` to `CODE`, of an autoencoder also to `DECODED`.

    Raises
    ------
    ExportError
        When the encoder is a function, or torch or skl2onnx cannot convert it.
    FrozenError
        When it changed after it was fitted.
    """
    if not isinstance(encoder, FrozenEncoder):
        return export_networks(encoder)
    encoder.check_frozen()
    _check_exportable(encoder)
    backend = encoder.backend_
    dtype, shape = _taken(encoder)
    if isinstance(backend, TorchBackend) and can_add_layers(backend.module):
        graph = GraphBuilder("network")
        value = graph.input(NETWORK_INPUT, dtype, (BATCH, *shape))
        code = add_layers(graph, backend.module, value, shape)[0]
        flat = graph("Flatten", code, axis=1)
        graph.output(CODE, flat, np.float32, (BATCH, encoder.n_components_))
        return graph.model()
    if isinstance(backend, TorchBackend):
        return export_by_torch(_Flat(backend.module), shape, (CODE,), encoder.spec_["architecture"])
    if isinstance(backend, OnnxBackend):
        return _between(_onnx_model(backend), dtype, shape, encoder.n_components_)
    if isinstance(backend, TransformerBackend):
        return _between(_converted(backend, shape[0]), dtype, shape, encoder.n_components_)
    graph = GraphBuilder("precomputed")
    value = graph.input(NETWORK_INPUT, dtype, (BATCH, *shape))
    graph.output(CODE, value, np.float32, (BATCH, encoder.n_components_))
    return graph.model()


class _Flat(nn.Module):
    """A module whose code is flattened, as that of a `FrozenEncoder` is."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the code."""
        code: torch.Tensor = self.module(x).float().flatten(1)
        return code


def _check_exportable(encoder: FrozenEncoder) -> None:
    backend, preprocess = encoder.backend_, encoder.spec_["preprocess"]
    what = None
    if backend.kind == "callable":
        what = f"the function {backend.name} as its model"
    elif preprocess is not None:
        what = f"the function {preprocess} as preprocess"
    if what is not None:
        raise ExportError(
            f"got a FrozenEncoder with {what}, which no graph holds; put what it does into the "
            "model, such as torch.nn.Sequential(prepare, backbone) or a pipeline of scikit-learn, "
            "which gets the instances as docs/encoders.md says"
        )
    if encoder.schema_.column_types is not None:
        raise ExportError(
            f"got {backend.name} on a table of which some columns are no numbers, expected numbers "
            "alone; bring categories and dates to numbers before the encoder"
        )


def _taken(encoder: FrozenEncoder) -> tuple[Any, tuple[int, ...]]:
    """Return dtype and shape, of one instance, of what the model takes in a graph."""
    schema, backend = encoder.schema_, encoder.backend_
    if not backend.takes_network_inputs:
        wide = np.float64 if isinstance(backend, TransformerBackend) else np.float32
        return wide, (schema.n_features,)
    if schema.kind == "images":
        return np.float32, encoder.preprocessor_.network_shape
    return np.float32, tuple(reversed(schema.shape))


def _onnx_model(backend: OnnxBackend) -> ModelProto:
    """Return the model of an ONNX file with the operator set of exports."""
    model = onnx_module().load_from_string(backend.content)
    size = model.graph.input[0].type.tensor_type.shape.dim[:1]
    if size and size[0].dim_value:
        raise ExportError(
            f"{backend.name} takes batches of {size[0].dim_value}, expected any number; write it "
            "with a dynamic first axis"
        )
    version = next((one.version for one in model.opset_import if not one.domain), OPSETS[""])
    if version != OPSETS[""]:
        try:
            model = onnx_module("version_converter").convert_version(model, OPSETS[""])
        except Exception as error:  # of C++, of no common class
            raise ExportError(
                f"{backend.name} is of operator set {version} and cannot be converted to "
                f"{OPSETS['']} ({str(error).strip().splitlines()[0]}); write it with opset_version="
                f"{OPSETS['']}"
            ) from error
    return model


def _converted(backend: TransformerBackend, width: int) -> ModelProto:
    """Convert a transformer by skl2onnx, in float64 where it allows that."""
    reasons = []
    for dtype in (np.float64, np.float32):
        try:
            return convert_by_skl2onnx(backend.transformer, width, dtype, None)
        except Exception as error:  # of every kind, from two libraries
            reasons.append(error)
    reason = (str(reasons[0]).strip().splitlines() or [type(reasons[0]).__name__])[0]
    raise ExportError(
        f"skl2onnx cannot convert the transformer {backend.name} ({reason[:200]}); use one that it "
        "can, or an encoder in torch or ONNX"
    ) from reasons[0]


def _between(found: ModelProto, dtype: Any, shape: tuple[int, ...], width: int) -> ModelProto:
    """Give a graph the names and types of `export_encoder`; its first output is the code."""
    compose, helper = onnx_module("compose"), onnx_module("helper")
    found = compose.add_prefix(normalise_model(found), "isthmus/encoder/")
    given, code = found.graph.input[-1], found.graph.output[0]  # initializers may come first
    takes, gives = (
        helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type) for one in (given, code)
    )
    before, after = GraphBuilder("encoder/before"), GraphBuilder("encoder/after")
    value = before.input(NETWORK_INPUT, dtype, (BATCH, *shape))
    before.output(f"{NETWORK_INPUT}/cast", before.cast(value, takes), takes, (BATCH, *shape))
    rank = max(2, len(code.type.tensor_type.shape.dim))
    raw = after.input(f"{CODE}/raw", gives, (BATCH, *(f"d{at}" for at in range(1, rank))))
    flat = after.cast(after("Flatten", raw, axis=1), np.float32)
    after.output(CODE, flat, np.float32, (BATCH, width))
    merged = compose.merge_models(
        before.model(), found, io_map=[(f"{NETWORK_INPUT}/cast", given.name)], outputs=[code.name]
    )
    return normalise_model(
        compose.merge_models(
            normalise_model(merged), after.model(), io_map=[(code.name, f"{CODE}/raw")]
        )
    )
