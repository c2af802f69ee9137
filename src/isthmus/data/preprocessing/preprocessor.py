"""The preprocessor of each kind of data, and the interface that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

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
        """Learn from checked training data of shape `(n, *schema.shape)`.

        Parameters
        ----------
        X : array of shape (n, *schema.shape)
        schema : Schema

        Returns
        -------
        Preprocessor
        """

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

        Parameters
        ----------
        X : array of shape (n, *schema.shape)

        Returns
        -------
        float32 array of shape (n, *network_shape)
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
        """Return reconstructions of shape (n, *network_shape) in the units of the data.

        Parameters
        ----------
        values : array of shape (n, *network_shape)

        Returns
        -------
        array or DataFrame
        """

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
        """Return JSON-ready values; `from_dict` is the inverse.

        Returns
        -------
        dict
        """

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild from the result of `to_dict`, for the same schema.

        Parameters
        ----------
        plain : mapping
        schema : Schema

        Returns
        -------
        Preprocessor
        """


_OF_KIND: dict[Kind, type[Preprocessor]] = {
    "images": ImagePreprocessor,
    "series": SeriesPreprocessor,
    "table": TablePreprocessor,
}


def learn_preprocessor(X: np.ndarray, schema: Schema) -> Preprocessor:
    """Learn the preprocessor of checked training data of shape `(n, *schema.shape)`.

    Parameters
    ----------
    X : array of shape (n, *schema.shape)
    schema : Schema

    Returns
    -------
    Preprocessor
    """
    return _OF_KIND[schema.kind].learn(X, schema)


def read_preprocessor(plain: Mapping[str, Any], schema: Schema) -> Preprocessor:
    """Rebuild a preprocessor from the result of its `to_dict`.

    Parameters
    ----------
    plain : mapping
    schema : Schema

    Returns
    -------
    Preprocessor
    """
    return _OF_KIND[schema.kind].from_dict(plain, schema)


def restore_instances(schema: Schema, rebuilt: Any) -> Any:
    """Return reconstructions in the form of the original instances.

    Parameters
    ----------
    schema : Schema
    rebuilt : array or DataFrame of n instances
        As `Preprocessor.from_network` gives them.

    Returns
    -------
    array or DataFrame of n instances
        Images as whole numbers where they were uint8 at fit, else within [0, 1]; a table with
        names as a DataFrame.

    Examples
    --------
    >>> schema = Schema.learn(np.zeros((2, 1, 3), dtype=np.uint8))
    >>> restore_instances(schema, np.array([[[-0.2, 7.6, 255.4]]]))
    array([[[  0,   8, 255]]], dtype=uint8)
    """
    if schema.kind == "images":
        if schema.dtype == "uint8":
            return np.rint(np.clip(rebuilt, 0, 255)).astype(np.uint8)
        return np.clip(rebuilt, 0, 1)
    if schema.kind == "table" and schema.columns is not None and isinstance(rebuilt, np.ndarray):
        return pd.DataFrame(rebuilt, columns=list(schema.columns))
    return rebuilt
