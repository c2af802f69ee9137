"""A detector as a graph: features of an instance, scores, p-value, verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.data.preprocessing import TablePreprocessor
from isthmus.detection import (
    ABNORMAL_NEIGHBOURS,
    DECIMALS,
    EQUAL,
    FARTHEST,
    LINEAR_WEIGHT,
    LOG_OFFSET,
    MAX_UNPOOLED_VALUES,
    POOLED_SIDE,
    POOLED_STEPS,
    RAISED,
    TINY,
    AnomalyDetector,
    BlendedScore,
    GroupCalibration,
    HeadScore,
    MahalanobisScore,
    MissingPenalty,
    NeighbourScore,
    ReconstructionScore,
    Score,
    SeriesScore,
)
from isthmus.errors import ExportError
from isthmus.export.graph import GraphBuilder, nearest, total

#: In place of minus infinity, whose products and differences may be no numbers.
LOWEST = -1e300


@dataclass(frozen=True)
class FeatureValues:
    """Names of values in a graph.

    Attributes
    ----------
    code : str
        (n, n_components), float32.
    output : str
        The reconstruction, (n, *network_shape), float32; "" without a decoder, like all that
        comes of it.
    difference : str
        Input minus reconstruction, of the same shape.
    summary : str
        The residuals of `isthmus.detection.Features`, (n, k), float32.
    error : str
        The reconstruction error, (n,), float64.
    signed : bool
        As in `Features`.
    input : str
        The network's input, (n, *shape), float32.
    shape : tuple of int
        Of the network's input.
    found : dict
        By score of series what its search has found: the points, float32, and the rows of the
        nearest references, for scores and the parts of channels alike.
    """

    code: str
    output: str
    difference: str
    summary: str
    error: str
    signed: bool
    input: str
    shape: tuple[int, ...]
    found: dict[SeriesScore, tuple[str, str]] = field(default_factory=dict)


def add_features(
    graph: GraphBuilder, encoder: Any, value: str, code: str, decoded: str
) -> FeatureValues:
    """Add the features of heads, from the network's input, the code and the decoder's output."""
    shape = encoder.preprocessor_.network_shape
    if encoder.loss_ == "bce":
        # (1 - x) z + log(1 + exp(-z)), which is -x log p - (1 - x) log(1 - p) at p = sigmoid(z).
        dark = graph("Mul", graph("Sub", graph.constant(np.float32(1)), value), decoded)
        errors = graph("Add", dark, graph("Softplus", graph("Neg", decoded)))
        output = graph("Sigmoid", decoded)
    else:
        deviation = graph("Sub", decoded, value)
        errors, output = graph("Mul", deviation, deviation), decoded
    difference = graph("Sub", value, output)
    mean = graph("ReduceMean", graph("Flatten", errors, axis=1), graph.constant([1]), keepdims=0)
    summary, signed = _residual_summary(graph, difference, shape)
    return FeatureValues(
        code, output, difference, summary, graph.double(mean), signed, value, shape
    )


def add_code_features(graph: GraphBuilder, code: str, shape: tuple[int, ...]) -> FeatureValues:
    """Add the features of heads on an encoder without decoder: the code, and no residuals."""
    start, end, axis = (graph.constant([at]) for at in (0, 0, 1))
    none = graph("Slice", code, start, end, axis)  # (n, 0)
    return FeatureValues(code, "", "", none, "", False, "", shape)


def add_residual(graph: GraphBuilder, encoder: Any, features: FeatureValues) -> str:
    """Add the squared residual of each value of an instance: (n, *schema.shape)."""
    squared = graph("Mul", features.difference, features.difference)
    preprocessor = encoder.preprocessor_
    if isinstance(preprocessor, TablePreprocessor):
        widths = [own.width for own in preprocessor.inputs]
        if sum(widths) == len(widths):
            return squared
        adds = np.repeat(np.eye(len(widths), dtype=np.float32), widths, axis=0)
        return graph("MatMul", squared, graph.constant(adds))
    if encoder.schema_.kind == "series":
        return graph("Transpose", squared, perm=[0, 2, 1])
    if len(encoder.schema_.shape) == 2:
        return graph("Squeeze", squared, graph.constant([1]))
    return graph("Transpose", squared, perm=[0, 2, 3, 1])


@dataclass(frozen=True)
class DetectorOutputs:
    """Names of a detector's outputs in a graph, each of shape (n,).

    Attributes
    ----------
    score, p_value : str
        float64.
    normal : str
        bool.
    """

    score: str
    p_value: str
    normal: str


def add_detector(
    graph: GraphBuilder,
    detector: AnomalyDetector,
    features: FeatureValues,
    missing: str | None = None,
    groups: str | None = None,
) -> DetectorOutputs:
    """Add a fitted detector; its calibration scores are stored in the graph.

    Parameters
    ----------
    graph : GraphBuilder
    detector : fitted AnomalyDetector
    features : FeatureValues
    missing : str, optional
        Which values are missing, (n, m); needed where the detector has a penalty for them.
    groups : str, optional
        Group of each instance as text, (n,); needed where the detector decides by group.
    """
    score = add_score(graph, detector.fitted_score_, features, detector.missing_penalty_, missing)
    if detector.group_calibration_ is not None:
        assert groups is not None  # an input of each graph with such a detector
        return _decide_by_group(graph, detector.group_calibration_, score, groups)
    calibration = detector.score_calibration_
    counts = graph.double(_count_at_least(graph, calibration.scores, score))
    one_more = graph("Add", counts, graph.constant(np.float64(1)))
    p_value = graph("Div", one_more, graph.constant(np.float64(calibration.n + 1)))
    threshold = graph.constant(np.float64(-detector.offset_))
    return DetectorOutputs(score, p_value, graph("LessOrEqual", score, threshold))


def _decide_by_group(
    graph: GraphBuilder, by_group: GroupCalibration, score: str, groups: str
) -> DetectorOutputs:
    """Add p-value and verdict by the calibration of the group of each instance."""
    calibrations = by_group.calibrations
    place = graph.constant(np.int64(len(calibrations) - 1))
    if by_group.names:
        place = graph(
            "LabelEncoder",
            groups,
            domain="ai.onnx.ml",
            keys_strings=list(by_group.names),
            values_int64s=by_group.positions.tolist(),
            default_int64=len(calibrations) - 1,
        )
    sizes = np.array([one.n for one in calibrations])
    counts = _count_at_least_by_place(graph, [one.scores for one in calibrations], score, place)
    one_more = graph("Add", graph.double(counts), graph.constant(np.float64(1)))
    n = graph("Gather", graph.constant((sizes + 1).astype(np.float64)), place)
    threshold = graph("Gather", graph.constant(by_group.threshold_of_place()), place)
    normal = graph("LessOrEqual", score, threshold)
    return DetectorOutputs(score, graph("Div", one_more, n), normal)


def _count_at_least_by_place(
    graph: GraphBuilder, ascending: Sequence[np.ndarray], values: str, place: str
) -> str:
    """Add what `_count_at_least` does, of each value for the numbers at its place."""
    size = math.isqrt(max(len(one) for one in ascending) - 1) + 1
    n_blocks = max(-(-len(one) // size) for one in ascending)
    padded = np.full((len(ascending), (n_blocks + 1) * size), np.inf)
    for own, numbers in zip(padded, ascending, strict=True):
        own[: len(numbers)] = numbers
    blocks = padded.reshape(len(ascending), n_blocks + 1, size)
    column = graph("Unsqueeze", values, graph.constant([1]))

    def smaller(numbers: str) -> str:
        return total(graph, graph.cast(graph("Less", numbers, column), np.int64))

    largest = np.ascontiguousarray(blocks[:, :n_blocks, -1])
    whole = smaller(graph("Gather", graph.constant(largest), place, axis=0))
    row = graph("Mul", place, graph.constant(np.int64(n_blocks + 1)))
    row = graph("Add", row, whole)
    part = smaller(graph("Gather", graph.constant(blocks.reshape(-1, size)), row, axis=0))
    below = graph("Add", graph("Mul", whole, graph.constant(np.int64(size))), part)
    n = graph("Gather", graph.constant(np.array([len(one) for one in ascending])), place)
    return graph("Sub", n, below)


def add_score(
    graph: GraphBuilder,
    score: Score,
    features: FeatureValues,
    penalty: MissingPenalty | None = None,
    missing: str | None = None,
) -> str:
    """Add a fitted score: (n,), float64, to six decimals as `anomaly_scores` gives it.

    Raises
    ------
    ExportError
        When the score is a class from outside isthmus.
    """
    if isinstance(score, ReconstructionScore):
        value = _reconstruction(graph, score, features)
    elif isinstance(score, MahalanobisScore):
        value = _mahalanobis(graph, score, features)
    elif isinstance(score, NeighbourScore):
        value = _neighbours(graph, score, features)[1]
    elif isinstance(score, HeadScore):
        value = _head(graph, score, features)[1]
    elif isinstance(score, BlendedScore):
        value = _blend(graph, score, features)
    else:
        raise ExportError(
            f"the score {type(score).__name__} cannot be exported; fit the detector with a method "
            "of isthmus, such as method='combined'"
        )
    if penalty is not None and missing is not None:
        value = _raised(graph, penalty, value, missing)
    units = _number(graph, 10.0**DECIMALS)
    return graph("Div", graph("Round", graph("Mul", value, units)), units)


def add_channel_parts(
    graph: GraphBuilder, score: Score, features: FeatureValues, n_channels: int
) -> str:
    """Add the part of each channel of windows, as `Score.channel_parts`: (n, n_channels), float32.

    Raises
    ------
    ExportError
        When the score has parts of its own.
    """
    if isinstance(score, SeriesScore):
        if score not in features.found:
            _neighbours(graph, score, features)
        points, rows = features.found[score]
        closest = graph("Gather", rows, graph.constant(0), axis=1)
        away = graph("Sub", points, graph("Gather", graph.constant(score.references_), closest))
        away = graph("Div", away, graph.constant(score.weights))
        by_statistic = graph(
            "Reshape", graph("Mul", away, away), graph.constant([0, -1, n_channels])
        )
        return graph("ReduceSum", by_statistic, graph.constant([1]), keepdims=0)
    if type(score).channel_parts is not Score.channel_parts:
        raise ExportError(
            f"the parts of channels of the score {type(score).__name__} cannot be exported; fit "
            "the detector with a method of isthmus, such as method='combined'"
        )
    if not features.output:  # of an encoder without decoder
        zeros = graph.constant(np.zeros((1, n_channels), np.float32))
        size = graph("Shape", features.code, start=0, end=1)
        return graph("Expand", zeros, graph("Concat", size, graph.constant([n_channels]), axis=0))
    by_channel = graph("Reshape", features.summary, graph.constant([0, n_channels, -1]))
    return total(graph, graph("Mul", by_channel, by_channel))


def mean(graph: GraphBuilder, values: str, *, keep: bool = False) -> str:
    """Add the mean along the last axis."""
    return graph("ReduceMean", values, graph.constant([-1]), keepdims=int(keep))


def dot(graph: GraphBuilder, matrix: str, vector: np.ndarray) -> str:
    """Add the product of a matrix (n, m) and a vector of m: (n,), float64."""
    product = graph("MatMul", graph.double(matrix), graph.constant(vector[:, None], np.float64))
    return graph("Squeeze", product, graph.constant([1]))


def _count_at_least(graph: GraphBuilder, ascending: np.ndarray, values: str) -> str:
    """Add how many of n sorted numbers are no smaller than each value: (batch,), int64.

    Of each √n of them the largest is compared, and then the members of one such block.
    """
    size = math.isqrt(len(ascending) - 1) + 1
    n_blocks = -(-len(ascending) // size)
    blocks = np.full((n_blocks + 1, size), np.inf)
    blocks.ravel()[: len(ascending)] = ascending
    column = graph("Unsqueeze", values, graph.constant([1]))

    def smaller(numbers: str) -> str:
        return total(graph, graph.cast(graph("Less", numbers, column), np.int64))

    whole = smaller(graph.constant(blocks[None, :n_blocks, -1]))
    part = smaller(graph("Gather", graph.constant(blocks), whole, axis=0))
    below = graph("Add", graph("Mul", whole, graph.constant(np.int64(size))), part)
    return graph("Sub", graph.constant(np.int64(len(ascending))), below)


def _residual_summary(
    graph: GraphBuilder, difference: str, shape: tuple[int, ...]
) -> tuple[str, bool]:
    if len(shape) == 1 or math.prod(shape) <= MAX_UNPOOLED_VALUES:
        return graph("Flatten", difference, axis=1), True
    pooled = graph("Mul", difference, difference)
    most = POOLED_STEPS if len(shape) == 2 else POOLED_SIDE
    cells = [min(most, side) for side in shape[1:]]
    pooled = graph("MatMul", pooled, graph.constant(_pooling_matrix(shape[-1], cells[-1]).T))
    if len(shape) == 3:
        pooled = graph("MatMul", graph.constant(_pooling_matrix(shape[1], cells[0])), pooled)
    cell_size = np.float32(math.prod(shape[1:]) / math.prod(cells))  # places in one cell
    roots = graph("Sqrt", graph("Mul", pooled, graph.constant(cell_size)))
    return graph("Flatten", roots, axis=1), False


def _pooling_matrix(side: int, cells: int) -> np.ndarray:
    """Return adaptive average pooling along one side as a matrix, (cells, side)."""
    means = np.zeros((cells, side), dtype=np.float32)
    for cell in range(cells):
        first, last = cell * side // cells, -(-(cell + 1) * side // cells)
        means[cell, first:last] = 1 / (last - first)
    return means


def _raised(graph: GraphBuilder, penalty: MissingPenalty, value: str, missing: str) -> str:
    """Add the increases for missing values to scores, as `MissingPenalty.raised` does."""
    if np.isfinite(penalty.levels).any():
        levels = graph.constant(np.maximum(penalty.levels, LOWEST), np.float64)
        lacks = graph("Greater", missing, _number(graph, 0.0))
        of_values = graph("Where", lacks, levels, _number(graph, LOWEST))
        level = graph("ReduceMax", of_values, graph.constant([1]), keepdims=0)
        short = graph("Max", graph("Sub", level, value), _number(graph, 0.0))
        value = graph("Add", value, graph("Mul", _number(graph, RAISED), short))
    return graph("Add", value, dot(graph, missing, penalty.columns * penalty.amount))


def _reconstruction(
    graph: GraphBuilder, score: ReconstructionScore, features: FeatureValues
) -> str:
    residual = graph.double(features.summary)
    length = graph("Sqrt", total(graph, graph("Mul", residual, residual)))
    return graph("Div", length, _number(graph, score.mean_ + TINY))


def _mahalanobis(graph: GraphBuilder, score: MahalanobisScore, features: FeatureValues) -> str:
    away = graph("Sub", graph.double(features.code), graph.constant(score.centre_, np.float64))
    turned = graph("MatMul", away, graph.constant(score.precision_, np.float64))
    squared = graph("Max", total(graph, graph("Mul", turned, away)), _number(graph, 0.0))
    return graph("Div", graph("Sqrt", squared), _number(graph, score.mean_))


def _neighbours(
    graph: GraphBuilder, score: NeighbourScore, features: FeatureValues
) -> tuple[str, str]:
    """Add the mean distance to the nearest references, and the score; return both names."""
    k = min(score.n_neighbors, len(score.references_))
    points = _search_points(graph, score, features)
    distances, rows = nearest(graph, points, score.references_, k)
    if isinstance(score, SeriesScore):
        features.found[score] = points, rows
    near = graph("Less", distances, _number(graph, EQUAL))
    distance = mean(graph, graph("Where", near, _number(graph, 0.0), distances))
    if isinstance(score, SeriesScore):
        relative = graph("Div", distance, _number(graph, score.unit))
        return distance, graph("Log", graph("Add", relative, _number(graph, 1.0)))
    apart = mean(
        graph, graph("Gather", graph.constant(score.neighbour_distances_, np.float64), rows, axis=0)
    )
    around = graph("Sqrt", graph("Add", apart, _number(graph, score.global_scale)))
    return distance, graph("Div", graph("Div", distance, around), _number(graph, score.mean_))


def _head(graph: GraphBuilder, score: HeadScore, features: FeatureValues) -> tuple[str, str]:
    """Add the label-free score and that of the labelled head; return both names."""
    to_normal, free = _neighbours(graph, score.label_free_, features)
    k = min(ABNORMAL_NEIGHBOURS, len(score.abnormal_))
    distances, _ = nearest(
        graph, _search_points(graph, score.label_free_, features), score.abnormal_, k
    )
    offset = _number(graph, score.log_offset)
    logs = [graph("Log", graph("Add", d, offset)) for d in (to_normal, mean(graph, distances))]
    contrast = graph("Sub", *logs)
    inputs = graph.double(features.code)
    if features.signed:
        logs_free = graph("Log", graph("Add", free, _number(graph, 1e-3)))
        column = graph("Unsqueeze", logs_free, graph.constant([1]))
        inputs = graph("Concat", inputs, graph.double(features.summary), column, axis=1)
    centred = graph("Sub", inputs, graph.constant(score.scaler_mean_, np.float64))
    standardised = graph("Div", centred, graph.constant(score.scaler_scale_, np.float64))
    log_odds = graph("Add", dot(graph, standardised, score.coef_), _number(graph, score.intercept_))
    parts = [
        graph("Div", graph("Sub", value, _number(graph, middle)), _number(graph, spread))
        for value, middle, spread in zip(
            (contrast, log_odds), score.middle_, score.spread_, strict=True
        )
    ]
    return free, graph("Add", parts[0], graph("Mul", _number(graph, LINEAR_WEIGHT), parts[1]))


def _blend(graph: GraphBuilder, score: BlendedScore, features: FeatureValues) -> str:
    free, head = _head(graph, score.head_, features)
    log = graph("Log", graph("Add", free, _number(graph, 1e-3)))
    centred = graph("Sub", log, _number(graph, score.middle_))
    standardised = graph("Div", centred, _number(graph, score.spread_))
    shares = [
        graph("Mul", _number(graph, 1 - score.weight_), standardised),
        graph("Mul", _number(graph, score.weight_), head),
    ]
    return graph("Add", *shares)


def _search_points(graph: GraphBuilder, score: NeighbourScore, features: FeatureValues) -> str:
    """Add the points between which distances are taken, float32."""
    if isinstance(score, SeriesScore):
        return _series_points(graph, score, features)
    codes = graph("Mul", features.code, graph.constant(np.float32(score.scale_)))
    return graph("Concat", codes, features.summary, axis=1) if score.residuals else codes


def _series_points(graph: GraphBuilder, score: SeriesScore, features: FeatureValues) -> str:
    """Add the standardised statistics of windows of series, float32, by `window_statistics`."""
    x, axis, steps = graph.double(features.input), graph.constant([2]), features.shape[1]

    def average(values: str) -> str:
        return graph("ReduceMean", values, axis, keepdims=0)

    def extreme(op: str, values: str) -> str:
        return graph(op, values, axis, keepdims=0)

    def between(first: int, end: int) -> str:
        return graph("Slice", x, graph.constant([first]), graph.constant([end]), axis)

    def root_mean_square(values: str) -> str:
        return graph("Sqrt", average(graph("Mul", values, values)))

    changes = graph("Abs", graph("Sub", between(1, steps), between(0, steps - 1)))
    half = steps // 2
    plain = [
        root_mean_square(graph("Sub", x, graph("ReduceMean", x, axis, keepdims=1))),
        average(changes),
        extreme("ReduceMax", changes),
        graph("Sub", average(between(half, steps)), average(between(0, half))),
        average(graph("Sub", between(steps - 1, steps), between(0, 1))),
        extreme("ReduceMin", x),
        extreme("ReduceMax", x),
    ]
    # Rounded to float32, as `Features` holds them.
    residual = root_mean_square(graph.double(features.difference))
    residual = graph.double(graph.cast(residual, np.float32))
    relative = graph("Div", residual, graph.constant(score.usual_residuals_, np.float64))
    log = graph("Log", graph("Add", relative, _number(graph, LOG_OFFSET)))
    rounded = graph.double(graph.cast(graph("Concat", *plain, axis=1), np.float32))
    statistics = graph("Concat", rounded, log, axis=1)
    away = graph("Sub", statistics, graph.constant(score.centre_, np.float64))
    away = graph("Div", away, graph.constant(score.spread_, np.float64))
    limits = _number(graph, -FARTHEST), _number(graph, FARTHEST)
    return graph.cast(graph("Clip", away, *limits), np.float32)


def _number(graph: GraphBuilder, value: float) -> str:
    return graph.constant(np.float64(value))
