"""Features of an instance as a graph: code, residual, error, distances to neighbors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data.preprocessing import TablePreprocessor
from isthmus.detection import MOST_WHOLE, POOLED_SIDE, POOLED_STEPS
from isthmus.export.graph import GraphPart


def nearest(part: GraphPart, points: str, references: np.ndarray, k: int) -> tuple[str, str]:
    """Add the search for the k nearest references.

    They are found by |r|² - 2 x·r, and their distances taken anew from the differences: the
    product's rounding would part what is equal.

    Parameters
    ----------
    part : Part
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
    # Kept as they came, half the size in the file where they are float32.
    own = part.constant(np.ascontiguousarray(references))
    double = part.double(own)
    points = part.double(points)
    norms = part.constant(np.square(references.astype(np.float64)).sum(axis=1)[None])
    apart = part("Gemm", points, double, norms, alpha=-2.0, beta=1.0, transB=1)
    _, rows = part.several("TopK", 2, apart, part.constant([k]), axis=1, largest=0, sorted=1)
    found = part.double(part("Gather", own, rows, axis=0))  # (n, k, m)
    away = part("Sub", part("Unsqueeze", points, part.constant([1])), found)
    squares = part("ReduceSum", part("Mul", away, away), part.constant([2]), keepdims=0)
    return part("Sqrt", squares), rows


def mean(part: GraphPart, values: str, *, keep: bool = False) -> str:
    """Add the mean along the last axis."""
    return part("ReduceMean", values, part.constant([-1]), keepdims=int(keep))


def total(part: GraphPart, values: str, *, keep: bool = False) -> str:
    """Add the sum along the last axis."""
    return part("ReduceSum", values, part.constant([-1]), keepdims=int(keep))


def dot(part: GraphPart, matrix: str, vector: np.ndarray) -> str:
    """Add the product of a matrix (n, m) and a vector of m: (n,), float64."""
    product = part("MatMul", part.double(matrix), part.constant(vector[:, None], np.float64))
    return part("Squeeze", product, part.constant([1]))


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
    part: GraphPart, encoder: Autoencoder, value: str, code: str, decoded: str
) -> FeatureValues:
    """Add what heads see of the network's input, code and decoder's output."""
    shape = encoder.preprocessor_.network_shape
    if encoder.loss_ == "bce":
        # (1 - x) z + log(1 + exp(-z)), which is -x log p - (1 - x) log(1 - p) at p = sigmoid(z).
        dark = part("Mul", part("Sub", part.constant(np.float32(1)), value), decoded)
        errors = part("Add", dark, part("Softplus", part("Neg", decoded)))
        output = part("Sigmoid", decoded)
    else:
        apart = part("Sub", decoded, value)
        errors, output = part("Mul", apart, apart), decoded
    difference = part("Sub", value, output)
    mean = part("ReduceMean", part("Flatten", errors, axis=1), part.constant([1]), keepdims=0)
    summary, signed = _summary(part, difference, shape)
    return FeatureValues(code, output, difference, summary, part.double(mean), signed)


def residual(part: GraphPart, encoder: Autoencoder, seen: FeatureValues) -> str:
    """Add the squared residual of each of the person's own values: (n, *schema.shape)."""
    squared = part("Mul", seen.difference, seen.difference)
    preprocessor = encoder.preprocessor_
    if isinstance(preprocessor, TablePreprocessor):
        widths = [own.width for own in preprocessor.inputs]
        if sum(widths) == len(widths):
            return squared
        adds = np.repeat(np.eye(len(widths), dtype=np.float32), widths, axis=0)
        return part("MatMul", squared, part.constant(adds))
    if encoder.schema_.kind == "series":
        return part("Transpose", squared, perm=[0, 2, 1])
    if len(encoder.schema_.shape) == 2:
        return part("Squeeze", squared, part.constant([1]))
    return part("Transpose", squared, perm=[0, 2, 3, 1])


def _summary(part: GraphPart, difference: str, shape: tuple[int, ...]) -> tuple[str, bool]:
    if len(shape) == 1 or math.prod(shape) <= MOST_WHOLE:
        return part("Flatten", difference, axis=1), True
    pooled = part("Mul", difference, difference)
    most = POOLED_STEPS if len(shape) == 2 else POOLED_SIDE
    cells = [min(most, side) for side in shape[1:]]
    pooled = part("MatMul", pooled, part.constant(_means(shape[-1], cells[-1]).T))
    if len(shape) == 3:
        pooled = part("MatMul", part.constant(_means(shape[1], cells[0])), pooled)
    in_one = np.float32(math.prod(shape[1:]) / math.prod(cells))  # places in one cell
    roots = part("Sqrt", part("Mul", pooled, part.constant(in_one)))
    return part("Flatten", roots, axis=1), False


def _means(side: int, cells: int) -> np.ndarray:
    """Return adaptive average pooling along one side as a matrix, (cells, side)."""
    means = np.zeros((cells, side), dtype=np.float32)
    for cell in range(cells):
        first, last = cell * side // cells, -(-(cell + 1) * side // cells)
        means[cell, first:last] = 1 / (last - first)
    return means
