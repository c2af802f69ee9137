"""Features of an instance as a graph: code, residual, error, distances to neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data.preprocessing import TablePreprocessor
from isthmus.detection import MAX_UNPOOLED_VALUES, POOLED_SIDE, POOLED_STEPS
from isthmus.export.graph import GraphBuilder


def nearest(graph: GraphBuilder, points: str, references: np.ndarray, k: int) -> tuple[str, str]:
    """Add the search for the k nearest references.

    They are found by |r|² - 2 x·r; their distances are then computed from the differences, because
    the product's rounding would give equal points different distances.

    Parameters
    ----------
    graph : GraphBuilder
    points : str
        (n, m), float32 or float64.
    references : array of shape (r, m)
    k : int
        At most r.

    Returns
    -------
    distances : str
        Euclidean, (n, k), float64, not in order.
    rows : str
        Of the references, (n, k), int64.
    """
    # Stored in their own dtype: half the size in the file where they are float32.
    stored = graph.constant(np.ascontiguousarray(references))
    double = graph.double(stored)
    points = graph.double(points)
    norms = graph.constant(np.square(references.astype(np.float64)).sum(axis=1)[None])
    partial = graph("Gemm", points, double, norms, alpha=-2.0, beta=1.0, transB=1)
    _, rows = graph.several("TopK", 2, partial, graph.constant([k]), axis=1, largest=0, sorted=1)
    found = graph.double(graph("Gather", stored, rows, axis=0))  # (n, k, m)
    away = graph("Sub", graph("Unsqueeze", points, graph.constant([1])), found)
    squares = graph("ReduceSum", graph("Mul", away, away), graph.constant([2]), keepdims=0)
    return graph("Sqrt", squares), rows


def mean(graph: GraphBuilder, values: str, *, keep: bool = False) -> str:
    """Add the mean along the last axis."""
    return graph("ReduceMean", values, graph.constant([-1]), keepdims=int(keep))


def total(graph: GraphBuilder, values: str, *, keep: bool = False) -> str:
    """Add the sum along the last axis."""
    return graph("ReduceSum", values, graph.constant([-1]), keepdims=int(keep))


def dot(graph: GraphBuilder, matrix: str, vector: np.ndarray) -> str:
    """Add the product of a matrix (n, m) and a vector of m: (n,), float64."""
    product = graph("MatMul", graph.double(matrix), graph.constant(vector[:, None], np.float64))
    return graph("Squeeze", product, graph.constant([1]))


@dataclass(frozen=True)
class FeatureValues:
    """Names of values in a graph.

    Attributes
    ----------
    code : str
        (n, n_components), float32.
    output : str
        The reconstruction, (n, *network_shape), float32.
    difference : str
        Input minus reconstruction, of the same shape.
    summary : str
        The residuals of `isthmus.detection.features.Features`, (n, k), float32.
    error : str
        The reconstruction error, (n,), float64.
    signed : bool
        As in `Features`.
    """

    code: str
    output: str
    difference: str
    summary: str
    error: str
    signed: bool


def add_features(
    graph: GraphBuilder, encoder: Autoencoder, value: str, code: str, decoded: str
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
    return FeatureValues(code, output, difference, summary, graph.double(mean), signed)


def add_residual(graph: GraphBuilder, encoder: Autoencoder, features: FeatureValues) -> str:
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
