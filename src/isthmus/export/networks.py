"""Encoder and decoder as a graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from isthmus._extras import require
from isthmus.autoencoder import Autoencoder
from isthmus.errors import ExportError
from isthmus.export.graph import BATCH, OPSETS, Part, as_ours
from isthmus.export.layers import add_layers, knows

if TYPE_CHECKING:
    from onnx import ModelProto

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
    if not (knows(encoder.encoder_) and knows(encoder.decoder_)):
        return _by_torch(encoder)
    part, shape = Part("network"), encoder.preprocessor_.network_shape
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
    model = as_ours(program.model_proto)
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
