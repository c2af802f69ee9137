"""A classifier as a graph: probabilities, and the class."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import nn

from isthmus._core import require
from isthmus.classification import CodeClassifier, MLPHead, SpreadingHead
from isthmus.errors import ExportError
from isthmus.export.detector_graph import DetectorOutputs, add_detector
from isthmus.export.feature_graph import FeatureValues, nearest, total
from isthmus.export.graph import BATCH, OPSETS, GraphPart, onnx_module, own_names
from isthmus.networks import Dropout

if TYPE_CHECKING:
    from onnx import ModelProto


def convert(name: str, head: Any, width: int, takes: str, gives: str) -> ModelProto:
    """Return what skl2onnx makes of a fitted classifier, as a graph from `takes` to `gives`.

    Parameters
    ----------
    name : str
        The head's, for the error.
    head : fitted scikit-learn classifier
    width : int
        Number of features.
    takes, gives : str
        What the graph's input, (n, width) float64, and its output are to be called. The output is
        float64 probabilities (n, n_classes) where the classifier has them, else the positions
        (n,) int64 of the predicted classes among `head.classes_`.

    Raises
    ------
    ExportError
        When skl2onnx cannot convert it, or ONNX Runtime cannot run what it made.
    """
    reasons: list[Exception] = []
    # In float64 where it can be: then only the last bit is another.
    for dtype, options in product((np.float64, np.float32), ({"zipmap": False}, None)):
        try:
            found = _by_skl2onnx(head, width, dtype, options)
        except Exception as error:  # of every kind, from two libraries
            reasons.append(error)
            continue
        return _renamed(found, name, head, dtype, takes, gives)
    reason = (str(reasons[0]).strip().splitlines() or [type(reasons[0]).__name__])[0]
    raise ExportError(
        f"the head {name!r} is a {type(head).__name__}, which skl2onnx cannot convert "
        f"({reason[:200]}); fit a head that can be exported, such as 'linear' or 'mlp', or leave "
        "this one out by naming the others in heads"
    ) from reasons[0]


def is_exact_neighbours(head: Any) -> bool:
    """Whether `add_neighbours` can add this head."""
    return (
        isinstance(head, KNeighborsClassifier)
        and head.effective_metric_ == "euclidean"
        and head.weights in ("uniform", "distance")
        and not head.outputs_2d_
    )


def add_neighbours(part: GraphPart, head: KNeighborsClassifier, points: str) -> str:
    """Add the nearest neighbours' votes: probabilities, (n, n_classes), float64.

    skl2onnx weighs a neighbour at distance zero by a finite number; scikit-learn lets it decide
    alone.
    """
    distances, rows = nearest(part, points, head._fit_X, head.n_neighbors)  # noqa: SLF001
    votes = np.eye(len(head.classes_))[np.ravel(head._y)]  # noqa: SLF001
    if head.weights == "uniform":
        shares = part.constant(np.full((1, head.n_neighbors), 1 / head.n_neighbors))
    else:
        equal = part.double(part("Equal", distances, part.constant(np.float64(0))))
        any_equal = part("ReduceMax", equal, part.constant([1]), keepdims=1)
        weights = part("Where", part.cast(any_equal, bool), equal, part("Reciprocal", distances))
        shares = part("Div", weights, total(part, weights, keep=True))
    return weighted(part, shares, votes, rows)


def weighted(part: GraphPart, shares: str, votes: np.ndarray, rows: str) -> str:
    """Add Σ_k shares[n, k] votes[rows[n, k]]: (n, c), float64."""
    found = part("Gather", part.constant(votes, np.float64), rows, axis=0)  # (n, k, c)
    products = part("Mul", part("Unsqueeze", shares, part.constant([2])), found)
    return part("ReduceSum", products, part.constant([1]), keepdims=0)


def is_tempered_svm(head: Any) -> bool:
    """Whether `add_svm` can add this head: see `isthmus.classification.heads`."""
    return (
        isinstance(head, CalibratedClassifierCV)
        and head.method == "temperature"
        and len(head.calibrated_classifiers_) == 1
        and isinstance(head.calibrated_classifiers_[0].estimator, SVC)
        and head.calibrated_classifiers_[0].estimator.kernel == "rbf"
        and head.calibrated_classifiers_[0].estimator.decision_function_shape == "ovr"
    )


def add_svm(part: GraphPart, head: CalibratedClassifierCV, points: str) -> str:
    """Add a support vector machine with a temperature: probabilities, (n, n_classes), float64.

    skl2onnx knows no temperature. The decisions are those of `SVC.decision_function`: votes of
    each pair of classes, and between equal votes the sum of how sure they are.
    """
    calibrated = head.calibrated_classifiers_[0]
    machine, n = calibrated.estimator, len(head.classes_)
    vectors = np.asarray(machine.support_vectors_, dtype=np.float64)
    points = part.double(points)
    norms = part.constant(np.square(vectors).sum(axis=1)[None])
    apart = part("Gemm", points, part.constant(vectors), norms, alpha=-2.0, transB=1)
    squared = part("Add", apart, total(part, part("Mul", points, points), keep=True))
    squared = part("Max", squared, part.constant(np.float64(0)))
    gamma = machine._gamma  # noqa: SLF001
    kernel = part("Exp", part("Mul", squared, part.constant(np.float64(-gamma))))
    weights, pairs = _pair_weights(machine, n)
    decisions = part("MatMul", kernel, part.constant(weights))
    decisions = part("Add", decisions, part.constant(machine.intercept_, np.float64))
    if n == 2:
        logits = part("Concat", part("Neg", decisions), decisions, axis=1)
    else:
        logits = _one_against_rest(part, decisions, pairs, n)
    tempered = part("Mul", logits, part.constant(np.float64(calibrated.calibrators[0].beta_)))
    return part("Softmax", tempered, axis=1)


def _pair_weights(machine: SVC, n: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return the support vectors' weights in the decision of each pair of classes."""
    if n == 2:
        return np.ascontiguousarray(machine.dual_coef_.T), [(0, 1)]
    owner = np.repeat(np.arange(n), machine.n_support_)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    weights = np.zeros((len(owner), len(pairs)))
    for at, (i, j) in enumerate(pairs):
        weights[owner == i, at] = machine.dual_coef_[j - 1, owner == i]
        weights[owner == j, at] = machine.dual_coef_[i, owner == j]
    return weights, pairs


def _one_against_rest(part: GraphPart, decisions: str, pairs: list[tuple[int, int]], n: int) -> str:
    first, second = (np.eye(n)[[pair[side] for pair in pairs]] for side in (0, 1))
    for_second = part.double(part("Less", decisions, part.constant(np.float64(0))))
    for_first = part("Sub", part.constant(np.float64(1)), for_second)
    votes = part(
        "Add",
        part("MatMul", for_first, part.constant(first)),
        part("MatMul", for_second, part.constant(second)),
    )
    sure = part("MatMul", decisions, part.constant(first - second))
    bound = part("Add", part("Abs", sure), part.constant(np.float64(1)))
    third = part("Div", sure, part("Mul", part.constant(np.float64(3)), bound))
    return part("Add", votes, third)


def _by_skl2onnx(head: Any, width: int, dtype: Any, options: dict[str, Any] | None) -> ModelProto:
    skl2onnx = require("skl2onnx", extra="onnx", purpose="exporting")
    types = require("skl2onnx.common.data_types", extra="onnx", purpose="exporting")
    runtime = require("onnxruntime", extra="onnx", purpose="exporting")
    kind = types.DoubleTensorType if dtype is np.float64 else types.FloatTensorType
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = skl2onnx.to_onnx(
            head,
            initial_types=[("features", kind([None, width]))],
            options=options,
            target_opset=OPSETS,
        )
    quiet = runtime.SessionOptions()
    quiet.log_severity_level = 4
    runtime.InferenceSession(
        own_names(model).SerializeToString(), quiet, providers=["CPUExecutionProvider"]
    )
    return model


def _renamed(
    found: ModelProto, name: str, head: Any, dtype: Any, takes: str, gives: str
) -> ModelProto:
    """Put the types and names that `convert` promises around what skl2onnx made."""
    compose = onnx_module("compose")
    found = compose.add_prefix(found, f"isthmus/{name}/skl2onnx/")
    width = found.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    label, scores = (value.name for value in found.graph.output)
    before, after = GraphPart(f"{name}/before"), GraphPart(f"{name}/after")
    narrow, raw = f"{takes}/narrow", f"{gives}/raw"
    value = before.cast(before.input(takes, np.float64, (BATCH, width)), dtype)
    before.output(narrow, value, dtype, (BATCH, width))
    if hasattr(head, "predict_proba"):
        shape, out = (BATCH, len(head.classes_)), scores
        after.output(gives, after.double(after.input(raw, dtype, shape)), np.float64, shape)
    else:
        out = label
        _positions(after, head.classes_, raw, gives)
    merged = compose.merge_models(
        before.model(), found, io_map=[(narrow, found.graph.input[0].name)], outputs=[out]
    )
    return own_names(compose.merge_models(own_names(merged), after.model(), io_map=[(out, raw)]))


def _positions(part: GraphPart, classes: np.ndarray, label: str, gives: str) -> None:
    """Add the position of each label among the classes."""
    if classes.dtype.kind in "USO":
        part.input(label, "str", (BATCH,))
        keys: dict[str, Any] = {"keys_strings": [str(value) for value in classes]}
    else:
        part.input(label, np.int64, (BATCH,))
        keys = {"keys_int64s": [int(value) for value in classes]}
    places = part(
        "LabelEncoder",
        label,
        domain="ai.onnx.ml",
        values_int64s=list(range(len(classes))),
        default_int64=-1,
        **keys,
    )
    part.output(gives, places, np.int64, (BATCH,))


@dataclass(frozen=True)
class ClassifierOutputs:
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
    judged: DetectorOutputs | None


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


def standardised(part: GraphPart, classifier: CodeClassifier, code: str) -> str:
    """Add the standardised codes, float64."""
    scaler = classifier.standardised_head_.scaler_
    centred = part("Sub", part.double(code), part.constant(scaler.mean_, np.float64))
    return part("Div", centred, part.constant(scaler.scale_, np.float64))


def add_classifier(
    part: GraphPart, name: str, classifier: CodeClassifier, seen: FeatureValues
) -> ClassifierOutputs:
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
    return ClassifierOutputs(label, dtype, probabilities, judged)


def _own(part: GraphPart, name: str, head: Any, points: str) -> str:
    if isinstance(head, MLPHead):
        return _mlp(part, name, head, points)
    if isinstance(head, SpreadingHead):
        return _spreading(part, head, points)
    if is_exact_neighbours(head):
        return add_neighbours(part, head, points)
    return add_svm(part, head, points)


def _mlp(part: GraphPart, name: str, head: MLPHead, value: str) -> str:
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


def _spreading(part: GraphPart, head: SpreadingHead, points: str) -> str:
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
