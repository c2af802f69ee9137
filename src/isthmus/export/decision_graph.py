"""The whole decision as one graph: preprocessing, networks, heads, joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Head
from isthmus.data import ABNORMAL, NORMAL
from isthmus.detection import AnomalyDetector
from isthmus.export.classifier_graph import (
    add_classifier,
    converted,
    features_of,
    needs_skl2onnx,
    standardised,
)
from isthmus.export.detector_graph import DetectorOutputs, add_detector
from isthmus.export.feature_graph import add_features, residual
from isthmus.export.graph import BATCH, GraphPart, join, keep_outputs, onnx_module
from isthmus.export.inputs import Input
from isthmus.export.network_graph import CODE, DECODED, TAKES
from isthmus.export.preprocessing_graph import NETWORK_INPUT, add_preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Output:
    """One output of the graph.

    Attributes
    ----------
    name : str
        What it is, such as `"p_value"`; with the head's name before it, `"normal.p_value"`, where
        more than one head gives such an output.
    what : str
        What it is.
    head : str or None
        Of which head; None for what the encoder gives.
    dtype : str
        As NumPy calls it; `"str"` for text.
    shape : tuple of int
        Of one instance.
    """

    name: str
    what: str
    head: str | None
    dtype: str
    shape: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        facts = {"name": self.name, "what": self.what, "head": self.head, "dtype": self.dtype}
        return facts | {"shape": list(self.shape)}


def build_decision_graph(
    encoder: Autoencoder,
    networks: ModelProto,
    heads: Mapping[str, Head],
    inputs: Sequence[Input],
    *,
    with_residual: bool = False,
) -> tuple[ModelProto, list[Output]]:
    """Join everything from raw instances to decisions.

    Parameters
    ----------
    encoder : fitted Autoencoder
    networks : ModelProto
        As `export_networks` gives it, or a smaller variant of it.
    heads : mapping of name to fitted CodeClassifier or AnomalyDetector
    inputs : sequence of Input
        Of the graph.
    with_residual : bool, default=False
        Give the squared residual of each value and the reconstruction too.

    Returns
    -------
    model : ModelProto
        Checked by `onnx.checker`.
    outputs : list of Output
        In the model's order.

    Raises
    ------
    ExportError
        When a head cannot be exported.
    """
    model = join(add_preprocessing(encoder.preprocessor_, inputs), networks, {NETWORK_INPUT: TAKES})
    for name, head in heads.items():
        if isinstance(head, AnomalyDetector) or not needs_skl2onnx(head):
            continue
        part, width = GraphPart(f"{name}/standardise"), encoder.n_components_
        code = part.input(CODE, np.float32, (BATCH, width))
        features = standardised(part, head, code)
        part.output(features_of(name), features, np.float64, (BATCH, width))
        model = join(model, part.model(), {CODE: CODE})
        model = join(model, converted(name, head), {features_of(name): features_of(name)})
    part = GraphPart("decide")
    outputs = _decide(part, encoder, heads, with_residual)
    decide = part.model()
    taken = [value.name for value in decide.graph.input]
    model = keep_outputs(
        join(model, decide, {name: name for name in taken}), [one.name for one in outputs]
    )
    onnx_module("checker").check_model(model, full_check=True)
    return model, outputs


def _decide(
    part: GraphPart, encoder: Autoencoder, heads: Mapping[str, Head], with_residual: bool
) -> list[Output]:
    """Add what follows the networks; return the outputs that it gives."""
    shape = encoder.preprocessor_.network_shape
    value = part.input(NETWORK_INPUT, np.float32, (BATCH, *shape))
    code = part.input(CODE, np.float32, (BATCH, encoder.n_components_))
    decoded = part.input(DECODED, np.float32, (BATCH, *shape))
    seen = add_features(part, encoder, value, code, decoded)
    given: list[tuple[Output, str, Any]] = []

    def give(
        what: str, value: str, dtype: Any, shape: tuple[int, ...] = (), head: Any = None
    ) -> None:
        dtype_name = "str" if dtype is str else np.dtype(dtype).name
        given.append((Output(what, what, head, dtype_name, shape), value, dtype))

    give("code", code, np.float32, (encoder.n_components_,))
    for name, head in heads.items():
        if isinstance(head, AnomalyDetector):
            judged: DetectorOutputs | None = add_detector(part, head, seen)
        else:
            found = add_classifier(part, name, head, seen)
            judged = found.judged
            give("class", found.label, found.dtype, head=name)
            if found.probabilities is not None:
                n_classes = len(head.classes_)
                give("probabilities", found.probabilities, np.float64, (n_classes,), name)
        if judged is not None:
            give("anomaly_score", judged.score, np.float64, head=name)
            give("p_value", judged.p_value, np.float64, head=name)
            one, other = (part.constant(np.int64(sign)) for sign in (NORMAL, ABNORMAL))
            give("verdict", part("Where", judged.normal, one, other), np.int64, head=name)
    give("reconstruction_error", seen.error, np.float64)
    if with_residual:
        give("residual", residual(part, encoder, seen), np.float32, encoder.schema_.shape)
        give("reconstruction", seen.output, np.float32, shape)
    counts = Counter(output.what for output, _, _ in given)
    outputs = []
    for output, value, dtype in given:
        called = output.what if counts[output.what] == 1 else f"{output.head}.{output.what}"
        part.output(called, value, dtype, (BATCH, *output.shape))
        outputs.append(Output(called, output.what, output.head, output.dtype, output.shape))
    return outputs
