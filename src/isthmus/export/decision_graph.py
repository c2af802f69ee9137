"""The whole decision as one graph: preprocessing, networks and heads, merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.autoencoder import InstanceEncoder
from isthmus.bundle import Head
from isthmus.classification import StandardisedHead
from isthmus.data import ABNORMAL, NO_GROUP, NORMAL
from isthmus.detection import AnomalyDetector
from isthmus.errors import ExportError
from isthmus.export.classifier_graph import (
    add_classifier,
    add_standardised,
    converted_head,
    head_input_name,
    heads_of,
    needs_skl2onnx,
)
from isthmus.export.detector_graph import (
    DetectorOutputs,
    add_channel_parts,
    add_code_features,
    add_detector,
    add_features,
    add_residual,
)
from isthmus.export.frozen_encoder_graph import build_encoder_input
from isthmus.export.graph import BATCH, GraphBuilder, keep_outputs, merge, onnx_module
from isthmus.export.inputs import GROUP, Input, unseen_category_text
from isthmus.export.network_graph import CODE, DECODED, NETWORK_INPUT
from isthmus.export.point_heads import CHANNEL_PARTS
from isthmus.export.preprocessing_graph import (
    MISSING_VALUES,
    PREPROCESSED,
)

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Output:
    """One output of the graph.

    Attributes
    ----------
    name : str
        The kind of output, such as `"p_value"`; with the head's name before it,
        `"normal.p_value"`, where more than one head gives such an output.
    what : str
        The kind of output.
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


def group_input(heads: Mapping[str, Any], inputs: Sequence[Input]) -> Input | None:
    """Return the input of the groups, where a head decides by group; None where none does."""
    if not any(decides_by_group(head) for head in heads.values()):
        return None
    name, taken = GROUP, {one.name for one in inputs}
    while name in taken:
        name = f"{GROUP}:{name}"
    return Input(name, "str", (), type=GROUP, missing=NO_GROUP)


def decides_by_group(head: Any) -> bool:
    """Return whether a head is a detector that was fitted with groups."""
    return isinstance(head, AnomalyDetector) and head.group_calibration_ is not None


def group_columns_of(heads: Iterable[Any]) -> list[str]:
    """Return the columns that named the groups at fit, empty without columns.

    Raises
    ------
    ExportError
        When detectors of one export were fitted with other columns.
    """
    columns = {head.group_columns_ for head in heads if decides_by_group(head)}
    if len(columns) > 1:
        raise ExportError(
            "detectors with different group columns share no input of a graph; export one of them "
            "(heads=[NAME], on the command line --head NAME)"
        )
    return list(next(iter(columns), ()))


def parity_groups(heads: Mapping[str, Any], n: int) -> np.ndarray:
    """Return groups for rows that have none: those of the detectors in turn, and one unseen.

    Any groups show whether graph and library decide alike; in turn each of them occurs.
    """
    of_heads = (head.group_calibration_.names for head in heads.values() if decides_by_group(head))
    names = sorted({name for one in of_heads for name in one})
    names.append(unseen_category_text(names))
    return np.array(names, dtype=object)[np.arange(n) % len(names)]


def build_decision_graph(
    encoder: InstanceEncoder,
    networks: ModelProto,
    heads: Mapping[str, Head],
    inputs: Sequence[Input],
    *,
    with_residual: bool = False,
) -> tuple[ModelProto, list[Output]]:
    """Build the graph from raw instances to decisions.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    networks : ModelProto
        As `export_networks` returns it, or a smaller variant of it.
    heads : mapping of name to fitted CodeClassifier or AnomalyDetector
    inputs : sequence of Input
        Of the graph, but for that of groups, see `group_input`.
    with_residual : bool, default=False
        Add the squared residual of each value and the reconstruction to the outputs.

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
    model = merge(
        build_encoder_input(encoder, inputs, with_missing=penalises_missing(heads.values())),
        networks,
        {PREPROCESSED: NETWORK_INPUT},
    )
    for name, head in heads.items():
        if isinstance(head, AnomalyDetector):
            continue
        for own_name, standardised in heads_of(name, head).items():
            if needs_skl2onnx(standardised):
                model = _with_converted_head(model, own_name, standardised, encoder.n_components_)
    graph = GraphBuilder("decide")
    of_groups = group_input(heads, inputs)
    groups = None if of_groups is None else graph.input(of_groups.name, str, (BATCH,))
    outputs = _add_heads(graph, encoder, heads, with_residual, groups)
    decide = graph.model()
    taken = [value.name for value in decide.graph.input if value.name != groups]
    model = keep_outputs(
        merge(model, decide, {name: name for name in taken}), [one.name for one in outputs]
    )
    onnx_module("checker").check_model(model, full_check=True)
    return model, outputs


def _with_converted_head(
    model: ModelProto, name: str, standardised: StandardisedHead, width: int
) -> ModelProto:
    graph = GraphBuilder(f"{name}/standardise")
    code = graph.input(CODE, np.float32, (BATCH, width))
    features = add_standardised(graph, standardised, code)
    graph.output(head_input_name(name), features, np.float64, (BATCH, width))
    model = merge(model, graph.model(), {CODE: CODE})
    converted = converted_head(name, standardised, width)
    return merge(model, converted, {head_input_name(name): head_input_name(name)})


def penalises_missing(heads: Iterable[Head]) -> bool:
    """Return whether a detector of a head has a penalty for missing values."""
    detectors = (head if isinstance(head, AnomalyDetector) else head.rejecter_ for head in heads)
    return any(one is not None and one.missing_penalty_ is not None for one in detectors)


def _add_heads(
    graph: GraphBuilder,
    encoder: InstanceEncoder,
    heads: Mapping[str, Head],
    with_residual: bool,
    groups: str | None,
) -> list[Output]:
    """Add features and heads, which follow the networks; return the outputs."""
    shape = encoder.preprocessor_.network_shape
    code = graph.input(CODE, np.float32, (BATCH, encoder.n_components_))
    if encoder.has_decoder:
        value = graph.input(PREPROCESSED, np.float32, (BATCH, *shape))
        decoded = graph.input(DECODED, np.float32, (BATCH, *shape))
        features = add_features(graph, encoder, value, code, decoded)
    else:
        features = add_code_features(graph, code, shape)
    missing = None
    if penalises_missing(heads.values()):
        missing = graph.input(MISSING_VALUES, np.float64, (BATCH, *encoder.schema_.shape))
    given: list[tuple[Output, str, Any]] = []

    def give(
        what: str, value: str, dtype: Any, shape: tuple[int, ...] = (), head: Any = None
    ) -> None:
        dtype_name = "str" if dtype is str else np.dtype(dtype).name
        given.append((Output(what, what, head, dtype_name, shape), value, dtype))

    give("code", code, np.float32, (encoder.n_components_,))
    for name, head in heads.items():
        if isinstance(head, AnomalyDetector):
            rejection: DetectorOutputs | None = add_detector(graph, head, features, missing, groups)
        else:
            found = add_classifier(graph, name, head, features, missing)
            rejection = found.rejection
            give("class", found.label, found.dtype, head=name)
            if found.probabilities is not None:
                n_classes = len(head.classes_)
                give("probabilities", found.probabilities, np.float64, (n_classes,), name)
            for what, value in found.sets.items():
                give(what, value, np.float64, (len(head.classes_),), name)
        if rejection is not None:
            give("anomaly_score", rejection.score, np.float64, head=name)
            give("p_value", rejection.p_value, np.float64, head=name)
            one, other = (graph.constant(np.int64(sign)) for sign in (NORMAL, ABNORMAL))
            give("verdict", graph("Where", rejection.normal, one, other), np.int64, head=name)
        if isinstance(head, AnomalyDetector) and head.point_calibration_ is not None:
            n_channels = encoder.schema_.shape[1]
            parts = add_channel_parts(graph, head.fitted_score_, features, n_channels)
            give(CHANNEL_PARTS, parts, np.float32, (n_channels,), name)
    if encoder.has_decoder:
        give("reconstruction_error", features.error, np.float64)
    if with_residual:
        give("residual", add_residual(graph, encoder, features), np.float32, encoder.schema_.shape)
        give("reconstruction", features.output, np.float32, shape)
    counts = Counter(output.what for output, _, _ in given)
    outputs = []
    for output, value, dtype in given:
        name = output.what if counts[output.what] == 1 else f"{output.head}.{output.what}"
        graph.output(name, value, dtype, (BATCH, *output.shape))
        outputs.append(Output(name, output.what, output.head, output.dtype, output.shape))
    return outputs
