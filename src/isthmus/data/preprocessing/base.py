"""What every kind's preprocessing offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from isthmus.data.schema import Schema


class Preprocessor(ABC):
    """Turns instances into network inputs, and reconstructions into instances.

    Attributes
    ----------
    schema : Schema
    """

    schema: Schema

    @classmethod
    @abstractmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Self:
        """Learn what is needed from checked training data of shape `(n, *schema.shape)`."""

    @property
    @abstractmethod
    def network_shape(self) -> tuple[int, ...]:
        """Shape of one network input."""

    @abstractmethod
    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Prepare checked instances.

        Parameters
        ----------
        X : array of shape (n, *schema.shape)

        Returns
        -------
        array of shape (n, *network_shape), float32, C-contiguous
        """

    @abstractmethod
    def from_network(self, values: np.ndarray) -> Any:
        """Bring reconstructions of shape (n, *network_shape) back to the person's own units."""

    @abstractmethod
    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Add up what belongs to each of the person's own values.

        Parameters
        ----------
        values : array of shape (n, *network_shape)
            One number for each network input, such as a squared residual.

        Returns
        -------
        array of shape (n, *schema.shape)
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` is the way back."""

    @classmethod
    @abstractmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild from what `to_dict` gave, for the same schema."""
