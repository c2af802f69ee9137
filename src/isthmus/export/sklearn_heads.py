"""Heads of scikit-learn as graphs: by skl2onnx, and by hand where that has none or another."""

from __future__ import annotations

import warnings
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from isthmus._extras import require
from isthmus.errors import ExportError
from isthmus.export.graph import BATCH, OPSETS, Part, as_ours, onnx_module
from isthmus.export.nearest import nearest, total

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


def add_neighbours(part: Part, head: KNeighborsClassifier, points: str) -> str:
    """Add the nearest neighbours' votes: probabilities, (n, n_classes), float64.

    skl2onnx weighs a neighbour at distance zero by a finite number; scikit-learn lets it decide
    alone.
    """
    distances, rows = nearest(part, points, head._fit_X, head.n_neighbors)
    votes = np.eye(len(head.classes_))[np.ravel(head._y)]
    if head.weights == "uniform":
        shares = part.constant(np.full((1, head.n_neighbors), 1 / head.n_neighbors))
    else:
        equal = part.double(part("Equal", distances, part.constant(np.float64(0))))
        any_equal = part("ReduceMax", equal, part.constant([1]), keepdims=1)
        weights = part("Where", part.cast(any_equal, bool), equal, part("Reciprocal", distances))
        shares = part("Div", weights, total(part, weights, keep=True))
    return weighted(part, shares, votes, rows)


def weighted(part: Part, shares: str, votes: np.ndarray, rows: str) -> str:
    """Add Σ_k shares[n, k] votes[rows[n, k]]: (n, c), float64."""
    found = part("Gather", part.constant(votes, np.float64), rows, axis=0)  # (n, k, c)
    products = part("Mul", part("Unsqueeze", shares, part.constant([2])), found)
    return part("ReduceSum", products, part.constant([1]), keepdims=0)


def is_tempered_svm(head: Any) -> bool:
    """Whether `add_svm` can add this head: see `isthmus.heads.svm`."""
    return (
        isinstance(head, CalibratedClassifierCV)
        and head.method == "temperature"
        and len(head.calibrated_classifiers_) == 1
        and isinstance(head.calibrated_classifiers_[0].estimator, SVC)
        and head.calibrated_classifiers_[0].estimator.kernel == "rbf"
        and head.calibrated_classifiers_[0].estimator.decision_function_shape == "ovr"
    )


def add_svm(part: Part, head: CalibratedClassifierCV, points: str) -> str:
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
    kernel = part("Exp", part("Mul", squared, part.constant(np.float64(-machine._gamma))))
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


def _one_against_rest(part: Part, decisions: str, pairs: list[tuple[int, int]], n: int) -> str:
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
        as_ours(model).SerializeToString(), quiet, providers=["CPUExecutionProvider"]
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
    before, after = Part(f"{name}/before"), Part(f"{name}/after")
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
    return as_ours(compose.merge_models(as_ours(merged), after.model(), io_map=[(out, raw)]))


def _positions(part: Part, classes: np.ndarray, label: str, gives: str) -> None:
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
