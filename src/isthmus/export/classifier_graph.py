"""A classifier as a graph: probabilities and the class."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import nn

from isthmus._core import require
from isthmus.classification import (
    CodeClassifier,
    MLPHead,
    SpreadingHead,
    StandardisedHead,
    is_exact_neighbours,
)
from isthmus.errors import ExportError
from isthmus.export.detector_graph import (
    DetectorOutputs,
    FeatureValues,
    add_detector,
)
from isthmus.export.graph import (
    BATCH,
    OPSETS,
    GraphBuilder,
    nearest,
    normalise_model,
    onnx_module,
    total,
)
from isthmus.export.set_graph import (
    CLASS_P_VALUES,
    add_class_p_values,
    add_nonconformity,
    add_smoothed,
    add_temperature,
)
from isthmus.networks import Dropout

if TYPE_CHECKING:
    from onnx import ModelProto


def convert(name: str, head: Any, width: int, takes: str, gives: str) -> ModelProto:
    """Convert a fitted classifier by skl2onnx to a graph from input `takes` to output `gives`.

    Parameters
    ----------
    name : str
        The head's, for the error.
    head : fitted scikit-learn classifier
    width : int
        Number of features.
    takes, gives : str
        Names of the graph's input, (n, width) float64, and of its output. The output is float64
        probabilities (n, n_classes) where the classifier has them, else the positions
        (n,) int64 of the predicted classes among `head.classes_`.

    Raises
    ------
    ExportError
        When skl2onnx cannot convert it, or ONNX Runtime cannot run what it made.
    """
    reasons: list[Exception] = []
    # In float64 where skl2onnx allows it: then at most the last bit differs.
    for dtype, options in product((np.float64, np.float32), ({"zipmap": False}, None)):
        try:
            found = convert_by_skl2onnx(head, width, dtype, options)
        except Exception as error:  # of every kind, from two libraries
            reasons.append(error)
            continue
        return _wrap(found, name, head, dtype, takes, gives)
    reason = (str(reasons[0]).strip().splitlines() or [type(reasons[0]).__name__])[0]
    raise ExportError(
        f"the head {name!r} is a {type(head).__name__}, which skl2onnx cannot convert "
        f"({reason[:200]}); fit a head that can be exported, such as 'linear' or 'mlp', or leave "
        "this one out by naming the others in heads"
    ) from reasons[0]


def add_neighbours(graph: GraphBuilder, head: KNeighborsClassifier, points: str) -> str:
    """Add the votes of the nearest neighbours: probabilities, (n, n_classes), float64.

    In scikit-learn a neighbour at distance zero decides alone; skl2onnx gives it a finite weight.
    """
    distances, rows = nearest(graph, points, head._fit_X, head.n_neighbors)  # noqa: SLF001
    votes = np.eye(len(head.classes_))[np.ravel(head._y)]  # noqa: SLF001
    if head.weights == "uniform":
        shares = graph.constant(np.full((1, head.n_neighbors), 1 / head.n_neighbors))
    else:
        equal = graph.double(graph("Equal", distances, graph.constant(np.float64(0))))
        any_equal = graph("ReduceMax", equal, graph.constant([1]), keepdims=1)
        weights = graph("Where", graph.cast(any_equal, bool), equal, graph("Reciprocal", distances))
        shares = graph("Div", weights, total(graph, weights, keep=True))
    return add_weighted_votes(graph, shares, votes, rows)


def add_weighted_votes(graph: GraphBuilder, shares: str, votes: np.ndarray, rows: str) -> str:
    """Add Σ_k shares[n, k] votes[rows[n, k]]: (n, c), float64."""
    found = graph("Gather", graph.constant(votes, np.float64), rows, axis=0)  # (n, k, c)
    products = graph("Mul", graph("Unsqueeze", shares, graph.constant([2])), found)
    return graph("ReduceSum", products, graph.constant([1]), keepdims=0)


def is_logistic(head: Any) -> bool:
    """Whether `add_logistic` can add this head: `LinearHead`, or its like of scikit-learn."""
    return isinstance(head, LogisticRegression) and head.solver != "liblinear"


def add_logistic(graph: GraphBuilder, head: LogisticRegression, points: str) -> str:
    """Add a logistic regression: probabilities, (n, n_classes), float64."""
    weights = graph.constant(np.ascontiguousarray(head.coef_.T), np.float64)
    logits = graph(
        "Add", graph("MatMul", points, weights), graph.constant(head.intercept_, np.float64)
    )
    if len(head.classes_) > 2:
        return graph("Softmax", logits, axis=1)
    second = graph("Sigmoid", logits)
    return graph("Concat", graph("Sub", graph.constant(np.float64(1)), second), second, axis=1)


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


def add_svm(graph: GraphBuilder, head: CalibratedClassifierCV, points: str) -> str:
    """Add a support vector machine with a temperature: probabilities, (n, n_classes), float64.

    skl2onnx does not support the temperature. Decisions are those of `SVC.decision_function`: one
    vote of each pair of classes, ties broken by the sum of the pairwise decisions.
    """
    calibrated = head.calibrated_classifiers_[0]
    machine, n = calibrated.estimator, len(head.classes_)
    vectors = np.asarray(machine.support_vectors_, dtype=np.float64)
    points = graph.double(points)
    norms = graph.constant(np.square(vectors).sum(axis=1)[None])
    cross_terms = graph("Gemm", points, graph.constant(vectors), norms, alpha=-2.0, transB=1)
    squared = graph("Add", cross_terms, total(graph, graph("Mul", points, points), keep=True))
    squared = graph("Max", squared, graph.constant(np.float64(0)))
    gamma = machine._gamma  # noqa: SLF001
    kernel = graph("Exp", graph("Mul", squared, graph.constant(np.float64(-gamma))))
    weights, pairs = _pair_weights(machine, n)
    decisions = graph("MatMul", kernel, graph.constant(weights))
    decisions = graph("Add", decisions, graph.constant(machine.intercept_, np.float64))
    if n == 2:
        logits = graph("Concat", graph("Neg", decisions), decisions, axis=1)
    else:
        logits = _one_against_rest(graph, decisions, pairs, n)
    tempered = graph("Mul", logits, graph.constant(np.float64(calibrated.calibrators[0].beta_)))
    return graph("Softmax", tempered, axis=1)


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


def _one_against_rest(
    graph: GraphBuilder, decisions: str, pairs: list[tuple[int, int]], n: int
) -> str:
    first, second = (np.eye(n)[[pair[side] for pair in pairs]] for side in (0, 1))
    for_second = graph.double(graph("Less", decisions, graph.constant(np.float64(0))))
    for_first = graph("Sub", graph.constant(np.float64(1)), for_second)
    votes = graph(
        "Add",
        graph("MatMul", for_first, graph.constant(first)),
        graph("MatMul", for_second, graph.constant(second)),
    )
    confidence = graph("MatMul", decisions, graph.constant(first - second))
    bound = graph("Add", graph("Abs", confidence), graph.constant(np.float64(1)))
    bounded = graph("Div", confidence, graph("Mul", graph.constant(np.float64(3)), bound))
    return graph("Add", votes, bounded)


def convert_by_skl2onnx(
    head: Any, width: int, dtype: Any, options: dict[str, Any] | None
) -> ModelProto:
    """Return an estimator as skl2onnx converts it, once ONNX Runtime has loaded it.

    Raises
    ------
    Exception
        Of any kind, when either cannot.
    """
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
        normalise_model(model).SerializeToString(), quiet, providers=["CPUExecutionProvider"]
    )
    return model


def _wrap(
    found: ModelProto, name: str, head: Any, dtype: Any, takes: str, gives: str
) -> ModelProto:
    """Give a graph of skl2onnx the types and names that `convert` promises."""
    compose = onnx_module("compose")
    found = compose.add_prefix(found, f"isthmus/{name}/skl2onnx/")
    width = found.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    label, scores = (value.name for value in found.graph.output)
    before, after = GraphBuilder(f"{name}/before"), GraphBuilder(f"{name}/after")
    narrow, raw = f"{takes}/narrow", f"{gives}/raw"
    value = before.cast(before.input(takes, np.float64, (BATCH, width)), dtype)
    before.output(narrow, value, dtype, (BATCH, width))
    if hasattr(head, "predict_proba"):
        shape, out = (BATCH, len(head.classes_)), scores
        after.output(gives, after.double(after.input(raw, dtype, shape)), np.float64, shape)
    else:
        out = label
        _add_class_positions(after, head.classes_, raw, gives)
    merged = compose.merge_models(
        before.model(), found, io_map=[(narrow, found.graph.input[0].name)], outputs=[out]
    )
    return normalise_model(
        compose.merge_models(normalise_model(merged), after.model(), io_map=[(out, raw)])
    )


def _add_class_positions(graph: GraphBuilder, classes: np.ndarray, label: str, gives: str) -> None:
    """Add the position of each label among the classes."""
    if classes.dtype.kind in "USO":
        graph.input(label, "str", (BATCH,))
        keys: dict[str, Any] = {"keys_strings": [str(value) for value in classes]}
    else:
        graph.input(label, np.int64, (BATCH,))
        keys = {"keys_int64s": [int(value) for value in classes]}
    places = graph(
        "LabelEncoder",
        label,
        domain="ai.onnx.ml",
        values_int64s=list(range(len(classes))),
        default_int64=-1,
        **keys,
    )
    graph.output(gives, places, np.int64, (BATCH,))


@dataclass(frozen=True)
class ClassifierOutputs:
    """Names of a classifier's outputs in a graph.

    Attributes
    ----------
    label : str
        (n,), of `dtype`.
    dtype : type
        int64, float64, bool or str.
    probabilities : str or None
        (n, n_classes), float64.
    rejection : DetectorOutputs or None
        Of the detector that rejects instances of no class.
    sets : dict of str to str
        By name of `CLASS_P_VALUES`, (n, n_classes), float64; empty without calibration.
    """

    label: str
    dtype: Any
    probabilities: str | None
    rejection: DetectorOutputs | None
    sets: dict[str, str]


def heads_of(name: str, classifier: CodeClassifier) -> dict[str, StandardisedHead]:
    """Return the heads of a classifier by a name of their own: the one that decides, and its folds.

    Examples
    --------
    >>> from isthmus import Autoencoder, CodeClassifier, load
    >>> digits = load("digits")
    >>> encoder = Autoencoder(max_epochs=1, random_state=0).fit(digits.train.X[:200])
    >>> classifier = CodeClassifier(encoder, calibration="cross", random_state=0)
    >>> classifier = classifier.fit(digits.test.X, digits.test.y)
    >>> list(heads_of("linear", classifier))[:2]
    ['linear', 'linear/fold/0']
    """
    folds = enumerate(classifier.fold_heads_)
    return {name: classifier.standardised_head_} | {f"{name}/fold/{k}": one for k, one in folds}


def needs_skl2onnx(standardised: StandardisedHead) -> bool:
    """Whether the head is converted by skl2onnx."""
    head = standardised.head_
    own = isinstance(head, MLPHead | SpreadingHead)
    return not (own or is_logistic(head) or is_exact_neighbours(head) or is_tempered_svm(head))


def converted_head(name: str, standardised: StandardisedHead, width: int) -> ModelProto:
    """Return a head that `needs_skl2onnx` as a graph of its own, from codes of this width."""
    return convert(name, standardised.head_, width, head_input_name(name), head_output_name(name))


def head_input_name(name: str) -> str:
    """Return the name of a converted head's input, the standardised codes."""
    return f"isthmus/{name}/features"


def head_output_name(name: str) -> str:
    """Return the name of a converted head's output."""
    return f"isthmus/{name}/decided"


def add_standardised(graph: GraphBuilder, standardised: StandardisedHead, code: str) -> str:
    """Add the standardised codes, float64."""
    scaler = standardised.scaler_
    centred = graph("Sub", graph.double(code), graph.constant(scaler.mean_, np.float64))
    return graph("Div", centred, graph.constant(scaler.scale_, np.float64))


def add_classifier(
    graph: GraphBuilder,
    name: str,
    classifier: CodeClassifier,
    features: FeatureValues,
    missing: str | None = None,
) -> ClassifierOutputs:
    """Add a fitted classifier; one that `needs_skl2onnx` must have been merged before.

    Parameters
    ----------
    graph : GraphBuilder
    name : str
    classifier : fitted CodeClassifier
    features : FeatureValues
    missing : str, optional
        See `isthmus.export.detector_graph.add_detector`.

    Raises
    ------
    ExportError
        When the network of an `MLPHead` has other layers than it builds.
    """
    classes = np.asarray(classifier.classes_)
    main, *folds = heads_of(name, classifier).items()
    decided = _add_decided(graph, *main, features.code)
    probabilities = decided if hasattr(classifier.head_, "predict_proba") else None
    sets: dict[str, str] = {}
    calibration, temperature = classifier.class_calibration_, classifier.temperature_
    if calibration is not None and temperature is not None:
        scores = []
        for own_name, standardised in folds or [main]:
            value = decided
            if folds:
                value = _add_decided(graph, own_name, standardised, features.code)
            value = _add_smoothed(graph, standardised, value)
            scores.append(add_nonconformity(graph, value, standardised.classes_, classes))
        for by_class, what in enumerate(CLASS_P_VALUES):
            sets[what] = add_class_p_values(graph, calibration, scores, bool(by_class))
        probabilities = add_temperature(graph, _add_smoothed(graph, main[1], decided), temperature)
    place = decided if probabilities is None else graph("ArgMax", decided, axis=1, keepdims=0)
    rejection = None
    labels, dtype = _labels(classes)
    if classifier.rejecter_ is not None:
        rejection = add_detector(graph, classifier.rejecter_, features, missing)
        if dtype is bool:
            labels, dtype = [str(value) for value in classes], str
    label = graph("Gather", graph.constant(labels, dtype), place, axis=0)
    if rejection is not None:
        unknown = graph.constant(np.asarray(classifier.unknown_label_), dtype)
        label = graph("Where", rejection.normal, label, unknown)
    return ClassifierOutputs(label, dtype, probabilities, rejection, sets)


def _add_decided(graph: GraphBuilder, name: str, standardised: StandardisedHead, code: str) -> str:
    """Add a head: its probabilities, (n, n_classes) float64, or without these the class's position.

    One that `needs_skl2onnx` is an input of this graph.
    """
    head = standardised.head_
    if not needs_skl2onnx(standardised):
        return _add_own_head(graph, name, head, add_standardised(graph, standardised, code))
    with_probabilities = hasattr(head, "predict_proba")
    shape = (BATCH, len(standardised.classes_)) if with_probabilities else (BATCH,)
    dtype = np.float64 if with_probabilities else np.int64
    return graph.input(head_output_name(name), dtype, shape)


def _add_smoothed(graph: GraphBuilder, standardised: StandardisedHead, votes: str) -> str:
    """Add the probabilities that a head is calibrated on, see `StandardisedHead.head_proba`."""
    if not isinstance(standardised.head_, KNeighborsClassifier):
        return votes
    return add_smoothed(graph, votes, len(standardised.classes_))


def _add_own_head(graph: GraphBuilder, name: str, head: Any, standardised: str) -> str:
    if is_logistic(head):
        return add_logistic(graph, head, standardised)
    points = graph.cast(standardised, np.float32)  # as these heads take codes
    if isinstance(head, MLPHead):
        return _add_mlp(graph, name, head, points)
    if isinstance(head, SpreadingHead):
        return _add_label_spreading(graph, head, points)
    if is_exact_neighbours(head):
        return add_neighbours(graph, head, points)
    return add_svm(graph, head, points)


def _add_mlp(graph: GraphBuilder, name: str, head: MLPHead, value: str) -> str:
    for layer in head.network_:
        if isinstance(layer, nn.Linear):
            weight, bias = (p.detach().cpu().numpy() for p in (layer.weight, layer.bias))
            value = graph("Gemm", value, graph.constant(weight), graph.constant(bias), transB=1)
        elif isinstance(layer, nn.ReLU):
            value = graph("Relu", value)
        elif not isinstance(layer, Dropout | nn.Dropout):  # inactive in inference
            raise ExportError(
                f"the head {name!r} has a layer {type(layer).__name__}, which cannot be exported; "
                "fit head='mlp' as it is"
            )
    return graph("Softmax", graph.double(value), axis=1)


def _add_label_spreading(graph: GraphBuilder, head: SpreadingHead, points: str) -> str:
    k = min(head.n_neighbors, len(head.points_))
    distances, rows = nearest(graph, points, head.points_, k)
    own_scale = graph("ReduceMax", distances, graph.constant([1]), keepdims=1)
    neighbour_scales = graph("Gather", graph.constant(head.scale_, np.float64), rows, axis=0)
    tiny = graph.constant(np.float64(np.finfo(np.float32).tiny))
    width = graph("Max", graph("Mul", own_scale, neighbour_scales), tiny)
    squared = graph("Mul", distances, distances)
    # exp(-d^2 / width) over its sum, as a softmax: for far points the quotient would be 0 / 0.
    shares = graph("Softmax", graph("Neg", graph("Div", squared, width)), axis=1)
    return add_weighted_votes(graph, shares, head.label_distributions_, rows)


def _labels(classes: np.ndarray) -> tuple[Any, Any]:
    kind = classes.dtype.kind
    if kind == "b":
        return classes, bool
    if kind in "iu":
        return classes.astype(np.int64), np.int64
    if kind == "f":
        return classes.astype(np.float64), np.float64
    return [str(value) for value in classes], str
