"""Windows of series: channels standardised with the training windows, channels first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from isthmus.data.preprocessing.base import Preprocessor
from isthmus.data.preprocessing.standardise import mean_and_scale
from isthmus.data.schema import Schema


@dataclass(frozen=True)
class SeriesPreprocessor(Preprocessor):
    """Each channel is standardised over all training windows and time steps.

    Attributes
    ----------
    schema : Schema
    mean, scale : array of shape (c,)

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[[0.0], [2.0]], [[2.0], [0.0]]])
    >>> prepare = SeriesPreprocessor.learn(X, Schema.learn(X, "series"))
    >>> prepare.to_network(X).tolist()
    [[[-1.0, 1.0]], [[1.0, -1.0]]]
    """

    schema: Schema
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Self:
        """Learn mean and deviation of each channel."""
        return cls(schema, *mean_and_scale(X.reshape(-1, X.shape[2])))

    @property
    def network_shape(self) -> tuple[int, ...]:
        """`(c, t)`."""
        steps, channels = self.schema.shape
        return (channels, steps)

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Standardise and put the channels first: (n, c, t)."""
        values = ((X - self.mean) / self.scale).astype(np.float32)
        return np.ascontiguousarray(values.transpose(0, 2, 1))

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """Return windows of shape (n, t, c) in the units of the training data, float32."""
        return (self.per_feature(values) * self.scale + self.mean).astype(np.float32)

    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Put the channels last again: one number a time step and channel."""
        return np.ascontiguousarray(values.transpose(0, 2, 1))

    def to_dict(self) -> dict[str, Any]:
        """Return mean and scale as lists."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild for the same schema."""
        return cls(schema, np.asarray(plain["mean"]), np.asarray(plain["scale"]))
