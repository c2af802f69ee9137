"""From a person's own units to what a network works on, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.schema import Schema


@dataclass(frozen=True)
class Preprocessor:
    """Turns instances into network inputs, and reconstructions into instances.

    Images become float32 in [0, 1] with the channels first. Table columns are
    standardised with the mean and standard deviation of the training rows; a constant
    column becomes zero.

    Attributes
    ----------
    schema : Schema
    mean, scale : array of shape (m,) or None
        Of each table column; None for images.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 5.0], [2.0, 5.0]])
    >>> prepare = Preprocessor.learn(X, Schema.learn(X))
    >>> prepare.to_network(X).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    schema: Schema
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    @classmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Preprocessor:
        """Learn what is needed from checked training data of shape `(n, *schema.shape)`."""
        if schema.kind == "images":
            return cls(schema)
        values = X.astype(np.float64, copy=False)
        mean = values.mean(axis=0)
        deviation = values.std(axis=0)
        # A constant column's deviation is rounding noise of its mean, not information.
        constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(schema, mean, np.where(constant, 1.0, deviation))

    @property
    def network_shape(self) -> tuple[int, ...]:
        """Shape of one network input: `(c, h, w)` for images, `(m,)` for tables."""
        if self.schema.kind == "table":
            return self.schema.shape
        height, width, *channels = self.schema.shape
        return (channels[0] if channels else 1, height, width)

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Prepare checked instances.

        Parameters
        ----------
        X : array of shape (n, *schema.shape)

        Returns
        -------
        array of shape (n, *network_shape), float32, C-contiguous
        """
        if self.schema.kind == "table":
            return ((X - self.mean) / self.scale).astype(np.float32)
        values = X.astype(np.float32)
        if X.dtype == np.uint8:
            values /= 255
        if values.ndim == 3:
            return values[:, None]  # (n, 1, h, w)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))  # (n, c, h, w)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """Bring reconstructions back to the person's own units.

        Parameters
        ----------
        values : array of shape (n, *network_shape)
            In [0, 1] for images.

        Returns
        -------
        array of shape (n, *schema.shape), float32
            In 0..255 when the images were uint8, in [0, 1] when they were floats.
        """
        if self.schema.kind == "table":
            return (values * self.scale + self.mean).astype(np.float32)
        images = values[:, 0] if len(self.schema.shape) == 2 else values.transpose(0, 2, 3, 1)
        images = np.ascontiguousarray(images, dtype=np.float32)
        return images * np.float32(255) if self.schema.dtype == "uint8" else images

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` is the way back."""
        return {
            "mean": None if self.mean is None else self.mean.tolist(),
            "scale": None if self.scale is None else self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Preprocessor:
        """Rebuild from what `to_dict` gave, for the same schema."""
        if plain["mean"] is None:
            return cls(schema)
        return cls(schema, np.asarray(plain["mean"]), np.asarray(plain["scale"]))
