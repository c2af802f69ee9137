"""Tables: columns standardised with the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from isthmus.data.preprocessing.base import Preprocessor
from isthmus.data.preprocessing.standardise import mean_and_scale
from isthmus.data.schema import Schema


@dataclass(frozen=True)
class TablePreprocessor(Preprocessor):
    """Columns are standardised with mean and deviation of the training rows.

    A constant column becomes zero.

    Attributes
    ----------
    schema : Schema
    mean, scale : array of shape (m,)

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 5.0], [2.0, 5.0]])
    >>> prepare = TablePreprocessor.learn(X, Schema.learn(X))
    >>> prepare.to_network(X).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    schema: Schema
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Self:
        """Learn mean and deviation of each column."""
        return cls(schema, *mean_and_scale(X))

    @property
    def network_shape(self) -> tuple[int, ...]:
        """`(m,)`."""
        return self.schema.shape

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Standardise."""
        return ((X - self.mean) / self.scale).astype(np.float32)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """Return rows in the units of the training data, float32."""
        return (values * self.scale + self.mean).astype(np.float32)

    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Return the values: one network input is one column."""
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return mean and scale as lists."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild for the same schema."""
        return cls(schema, np.asarray(plain["mean"]), np.asarray(plain["scale"]))
