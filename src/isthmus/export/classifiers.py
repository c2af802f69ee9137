"""A classifier as a graph: probabilities, and the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from isthmus.errors import ExportError
from isthmus.export.detectors import Judged, add_detector
from isthmus.export.graph import BATCH, Part
from isthmus.export.nearest import nearest
from isthmus.export.seen import Seen
from isthmus.export.sklearn_heads import (
    add_neighbours,
    add_svm,
    convert,
    is_exact_neighbours,
    is_tempered_svm,
    weighted,
)
from isthmus.heads import CodeClassifier, MLPHead
from isthmus.heads.spreading import SpreadingHead
from isthmus.networks import Dropout

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Classified:
    """Names of values in a graph.

    Attributes
    ----------
    label : str
        (n,), of `dtype`.
    dtype : type
        int64, float64, bool or str.
    probabilities : str or None
        (n, n_classes), float64.
    judged : Judged or None
        Of the detector that rejects what is of no class.
    """

    label: str
    dtype: Any
    probabilities: str | None
    judged: Judged | None


def needs_skl2onnx(classifier: CodeClassifier) -> bool:
    """Whether the head goes through skl2onnx."""
    head = classifier.head_
    own = isinstance(head, MLPHead | SpreadingHead)
    return not (own or is_exact_neighbours(head) or is_tempered_svm(head))


def converted(name: str, classifier: CodeClassifier) -> ModelProto:
    """Return a head that `needs_skl2onnx` as a graph from `features_of` to `decided_of` it."""
    width = classifier.encoder_.n_components_
    return convert(name, classifier.head_, width, features_of(name), decided_of(name))


def features_of(name: str) -> str:
    """Return what a converted head's standardised codes are called."""
    return f"isthmus/{name}/features"


def decided_of(name: str) -> str:
    """Return what comes out of a converted head is called."""
    return f"isthmus/{name}/decided"


def standardised(part: Part, classifier: CodeClassifier, code: str) -> str:
    """Add the standardised codes, float64."""
    scaler = classifier.standardised_head_.scaler_
    centred = part("Sub", part.double(code), part.constant(scaler.mean_, np.float64))
    return part("Div", centred, part.constant(scaler.scale_, np.float64))


def add_classifier(part: Part, name: str, classifier: CodeClassifier, seen: Seen) -> Classified:
    """Add a fitted classifier; one that `needs_skl2onnx` has been joined before.

    Raises
    ------
    ExportError
        When the network of an `MLPHead` has other layers than it builds.
    """
    head, classes = classifier.head_, np.asarray(classifier.classes_)
    probabilities: str | None
    if needs_skl2onnx(classifier):
        with_probabilities = hasattr(head, "predict_proba")
        decided = decided_of(name)
        shape = (BATCH, len(classes)) if with_probabilities else (BATCH,)
        part.input(decided, np.float64 if with_probabilities else np.int64, shape)
        probabilities = decided if with_probabilities else None
    else:
        # The heads themselves take them as float32.
        points = part.cast(standardised(part, classifier, seen.code), np.float32)
        probabilities = decided = _own(part, name, head, points)
    place = decided if probabilities is None else part("ArgMax", probabilities, axis=1, keepdims=0)
    judged = None
    labels, dtype = _labels(classes)
    if classifier.rejecter_ is not None:
        judged = add_detector(part, classifier.rejecter_, seen)
        if dtype is bool:
            labels, dtype = [str(value) for value in classes], str
    label = part("Gather", part.constant(labels, dtype), place, axis=0)
    if judged is not None:
        unknown = part.constant(np.asarray(classifier.unknown_label_), dtype)
        label = part("Where", judged.normal, label, unknown)
    return Classified(label, dtype, probabilities, judged)


def _own(part: Part, name: str, head: Any, points: str) -> str:
    if isinstance(head, MLPHead):
        return _mlp(part, name, head, points)
    if isinstance(head, SpreadingHead):
        return _spreading(part, head, points)
    if is_exact_neighbours(head):
        return add_neighbours(part, head, points)
    return add_svm(part, head, points)


def _mlp(part: Part, name: str, head: MLPHead, value: str) -> str:
    for layer in head.network_:
        if isinstance(layer, nn.Linear):
            weight, bias = (p.detach().cpu().numpy() for p in (layer.weight, layer.bias))
            value = part("Gemm", value, part.constant(weight), part.constant(bias), transB=1)
        elif isinstance(layer, nn.ReLU):
            value = part("Relu", value)
        elif not isinstance(layer, Dropout | nn.Dropout):  # which do nothing when predicting
            raise ExportError(
                f"the head {name!r} has a layer {type(layer).__name__}, which cannot be exported; "
                "fit head='mlp' as it is"
            )
    return part("Softmax", part.double(value), axis=1)


def _spreading(part: Part, head: SpreadingHead, points: str) -> str:
    k = min(head.n_neighbors, len(head.points_))
    distances, rows = nearest(part, points, head.points_, k)
    own = part("ReduceMax", distances, part.constant([1]), keepdims=1)
    theirs = part("Gather", part.constant(head.scale_, np.float64), rows, axis=0)
    tiny = part.constant(np.float64(np.finfo(np.float32).tiny))
    width = part("Max", part("Mul", own, theirs), tiny)
    squared = part("Mul", distances, distances)
    # The weights exp(-d^2 / width) over their sum, which for far points would be 0 / 0.
    shares = part("Softmax", part("Neg", part("Div", squared, width)), axis=1)
    return weighted(part, shares, head.label_distributions_, rows)


def _labels(classes: np.ndarray) -> tuple[Any, Any]:
    kind = classes.dtype.kind
    if kind == "b":
        return classes, bool
    if kind in "iu":
        return classes.astype(np.int64), np.int64
    if kind == "f":
        return classes.astype(np.float64), np.float64
    return [str(value) for value in classes], str
