"""The preprocessor of each kind of data, and the interface that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np

from isthmus.data.array_checks import Kind
from isthmus.data.preprocessing.images import ImagePreprocessor
from isthmus.data.preprocessing.series import SeriesPreprocessor
from isthmus.data.preprocessing.tables import TablePreprocessor
from isthmus.data.schema import Schema


class Preprocessor(Protocol):
    """Converts instances to network inputs, and reconstructions to the units of the data."""

    @property
    def schema(self) -> Schema:
        """Schema of the training data."""

    @classmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Self:
        """Learn from checked training data of shape `(n, *schema.shape)`."""

    @property
    def network_shape(self) -> tuple[int, ...]:
        """Shape of one network input."""

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Prepare checked instances.

        Parameters
        ----------
        X : array of shape (n, *schema.shape)

        Returns
        -------
        array of shape (n, *network_shape), float32, C-contiguous
        """

    def to_training(self, X: np.ndarray) -> np.ndarray:
        """Prepare checked instances to train on, of the same shape as from `to_network`.

        Values beyond the usual range of their column, which would dominate the loss, are
        clipped to it; all others are as from `to_network`.
        """

    def to_hash(self, X: np.ndarray) -> np.ndarray:
        """Return the values that row hashes are computed from.

        They are the same on every machine: a logarithm or an inverse hyperbolic sine differs in
        its last bit between processors, an addition or a division does not.

        Parameters
        ----------
        X : array of shape (n, *schema.shape)
            As checked.

        Returns
        -------
        array of shape (n, ...), float32
            NaN where a value is missing.
        """

    def from_network(self, values: np.ndarray) -> Any:
        """Return reconstructions of shape (n, *network_shape) in the units of the data."""

    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Sum a quantity per network input over the inputs of each value.

        Parameters
        ----------
        values : array of shape (n, *network_shape)
            One number for each network input, such as a squared residual.

        Returns
        -------
        array of shape (n, *schema.shape)
        """

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild from the result of `to_dict`, for the same schema."""


_OF_KIND: dict[Kind, type[Preprocessor]] = {
    "images": ImagePreprocessor,
    "series": SeriesPreprocessor,
    "table": TablePreprocessor,
}


def learn_preprocessor(X: np.ndarray, schema: Schema) -> Preprocessor:
    """Learn the preprocessor of checked training data of shape `(n, *schema.shape)`."""
    return _OF_KIND[schema.kind].learn(X, schema)


def read_preprocessor(plain: Mapping[str, Any], schema: Schema) -> Preprocessor:
    """Rebuild a preprocessor from the result of its `to_dict`."""
    return _OF_KIND[schema.kind].from_dict(plain, schema)
