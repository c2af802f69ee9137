"""Preprocessing of images: bytes to [0, 1], channels first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from isthmus.data.schema import Schema


@dataclass(frozen=True)
class ImagePreprocessor:
    """Convert images to float32 in [0, 1] with the channels first; nothing is learned.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.full((2, 4, 4), 255, dtype=np.uint8)
    >>> prepare = ImagePreprocessor.learn(X, Schema.learn(X))
    >>> prepare.to_network(X).shape, float(prepare.to_network(X).max())
    ((2, 1, 4, 4), 1.0)
    """

    schema: Schema

    @classmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Self:
        """Return the preprocessor; nothing is learned."""
        return cls(schema)

    @property
    def network_shape(self) -> tuple[int, ...]:
        """`(c, h, w)`."""
        height, width, *channels = self.schema.shape
        return (channels[0] if channels else 1, height, width)

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Scale to [0, 1] and put the channels first."""
        values = X.astype(np.float32)
        if X.dtype == np.uint8:
            values /= 255
        if values.ndim == 3:
            return values[:, None]  # (n, 1, h, w)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))  # (n, c, h, w)

    def to_training(self, X: np.ndarray) -> np.ndarray:
        """Prepare images to train on, as `to_network`."""
        return self.to_network(X)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """Return images of 0..255 when they were uint8 at fit, else in [0, 1]; float32."""
        images = self.per_feature(values).astype(np.float32, copy=False)
        return images * np.float32(255) if self.schema.dtype == "uint8" else images

    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Move the channels last: one number per pixel and channel."""
        if len(self.schema.shape) == 2:
            return np.ascontiguousarray(values[:, 0])
        return np.ascontiguousarray(values.transpose(0, 2, 3, 1))

    def to_dict(self) -> dict[str, Any]:
        """Return an empty dict; nothing is learned."""
        return {}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild for the same schema."""
        return cls(schema)
