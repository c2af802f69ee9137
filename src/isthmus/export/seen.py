"""What a head sees of an instance, as a graph: code, residual, reconstruction error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data.preprocessing.tables import TablePreprocessor
from isthmus.export.graph import Part
from isthmus.heads.views import MOST_WHOLE, POOLED_SIDE, POOLED_STEPS


@dataclass(frozen=True)
class Seen:
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
        The residuals of `isthmus.heads.views.Views`, (n, k), float32.
    error : str
        The reconstruction error, (n,), float64.
    signed : bool
        As in `Views`.
    """

    code: str
    output: str
    difference: str
    summary: str
    error: str
    signed: bool


def see(part: Part, encoder: Autoencoder, value: str, code: str, decoded: str) -> Seen:
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
    return Seen(code, output, difference, summary, part.double(mean), signed)


def residual(part: Part, encoder: Autoencoder, seen: Seen) -> str:
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


def _summary(part: Part, difference: str, shape: tuple[int, ...]) -> tuple[str, bool]:
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
