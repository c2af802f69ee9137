"""Prediction sets in a graph: the temperature, nonconformity, and p-values of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isthmus.classification import (
    SMALLEST_PROBABILITY,
    SMOOTHING,
    ClassCalibration,
    positions,
)
from isthmus.export.graph import GraphBuilder

#: Outputs with p-values of classes: over all calibration instances, and of each class alone.
CLASS_P_VALUES = ("class_p_values", "class_p_values_by_class")


def add_smoothed(graph: GraphBuilder, votes: str, n_classes: int) -> str:
    """Add votes of neighbours as `isthmus.classification.smoothed_votes` gives them."""
    more = graph("Add", votes, graph.constant(np.float64(SMOOTHING)))
    return graph("Div", more, graph.constant(np.float64(1 + SMOOTHING * n_classes)))


def add_temperature(graph: GraphBuilder, probabilities: str, temperature: float) -> str:
    """Add the probabilities at a temperature, see `isthmus.classification.with_temperature`."""
    shifted = graph("Add", probabilities, graph.constant(np.float64(SMALLEST_PROBABILITY)))
    logits = graph("Div", graph("Log", shifted), graph.constant(np.float64(temperature)))
    return graph("Softmax", logits, axis=1)


def add_nonconformity(
    graph: GraphBuilder, probabilities: str, own: np.ndarray, classes: np.ndarray
) -> str:
    """Add the nonconformity with each class, (n, n_classes), see `negative_log_odds`."""
    places = positions(np.asarray(own), classes)
    if len(places) < len(classes):  # a fold may lack a class of few labels
        put = graph.constant(np.eye(len(classes))[places])
        probabilities = graph("MatMul", probabilities, put)
    least = graph.constant(np.float64(SMALLEST_PROBABILITY))
    against = graph("Sub", graph.constant(np.float64(1)), probabilities)
    logs = [graph("Log", graph("Max", one, least)) for one in (against, probabilities)]
    return graph("Sub", *logs)


def add_class_p_values(
    graph: GraphBuilder, calibration: ClassCalibration, scores: list[str], by_class: bool
) -> str:
    """Add the conformal p-value of each class, (n, n_classes), float64."""
    places = range(calibration.n_classes) if by_class else [None]
    counts = []
    for part, score in enumerate(scores):
        ascending = [calibration.counted(part, place).scores for place in places]
        counts.append(_add_counts(graph, ascending, score))
    at_least = counts[0]
    for count in counts[1:]:
        at_least = graph("Add", at_least, count)
    one_more = graph("Add", graph.double(at_least), graph.constant(np.float64(1)))
    n = calibration.n_by_class if by_class else np.array([calibration.n])
    return graph("Div", one_more, graph.constant(n[None] + 1, np.float64))


def _add_counts(graph: GraphBuilder, ascending: Sequence[np.ndarray], values: str) -> str:
    """Add how many sorted numbers are no smaller than each value: (n, n_classes), int64.

    Parameters
    ----------
    graph : GraphBuilder
    ascending : sequence of arrays
        One for all classes, or one for each.
    values : str
        (n, n_classes), float64.

    Notes
    -----
    Of each √k of k numbers the largest is compared, and then the members of one such block.
    """
    longest = max(1, *(len(one) for one in ascending), 1)
    size = math.isqrt(longest - 1) + 1
    n_blocks = -(-longest // size)
    blocks = np.full((len(ascending), n_blocks + 1, size), np.inf)
    for place, numbers in enumerate(ascending):
        blocks[place].ravel()[: len(numbers)] = numbers
    column = graph("Unsqueeze", values, graph.constant([2]))

    def smaller(numbers: str) -> str:
        less = graph.cast(graph("Less", numbers, column), np.int64)
        return graph("ReduceSum", less, graph.constant([2]), keepdims=0)

    whole = smaller(graph.constant(blocks[None, :, :n_blocks, -1]))
    offset = graph.constant(np.arange(len(ascending))[None] * (n_blocks + 1), np.int64)
    rows = graph.constant(blocks.reshape(-1, size))
    part = smaller(graph("Gather", rows, graph("Add", whole, offset), axis=0))
    below = graph("Add", graph("Mul", whole, graph.constant(np.int64(size))), part)
    n = np.array([[len(one) for one in ascending]])
    return graph("Sub", graph.constant(n, np.int64), below)
