"""Preprocessing of images: bytes to [0, 1], channels first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from isthmus.data.schema import Schema

#: Share of images without any contrast from which training data is said to hold such.
MIN_FLAT_SHARE = 0.05


class ImageVariety:
    """Number of images of one single value, and whether all images are the same, by chunks.

    Examples
    --------
    >>> variety = ImageVariety()
    >>> variety.update(np.zeros((3, 4, 4), np.uint8))
    >>> print(variety.warnings()[0].partition(";")[0])
    all 3 images are the same
    """

    def __init__(self) -> None:
        self.n = self.n_flat = 0
        self.first: np.ndarray | None = None
        self.same = True
        self.high = 0.0

    def update(self, X: np.ndarray) -> None:
        """Add the next images.

        Parameters
        ----------
        X : array of shape (n, h, w) or (n, h, w, c)
        """
        flat = X.reshape(len(X), -1)
        lowest, highest = flat.min(axis=1), flat.max(axis=1)
        self.n += len(X)
        self.n_flat += int((lowest == highest).sum())
        self.high = max(self.high, float(highest.max()))
        if self.first is None:
            self.first = X[0].copy()
        self.same = self.same and bool((X[-1] == self.first).all() and (self.first == X).all())

    def extend(self, later: ImageVariety) -> None:
        """Add later images.

        Parameters
        ----------
        later : ImageVariety
        """
        if later.first is None:
            return
        if self.first is None:
            self.first = later.first
        self.same = self.same and later.same and bool((self.first == later.first).all())
        self.n, self.n_flat = self.n + later.n, self.n_flat + later.n_flat
        self.high = max(self.high, later.high)

    def warnings(self) -> list[str]:
        """Return what there is to say about images of which a model cannot learn.

        Returns
        -------
        list of str
        """
        if self.first is None or self.n < 2:
            return []
        if self.same:
            return [
                f"all {self.n} images are the same; nothing can be learned of them, and every "
                "instance will be normal or in one class: check how the files were written"
            ]
        found = []
        if self.n_flat >= MIN_FLAT_SHARE * self.n:
            found.append(
                f"{self.n_flat} of {self.n} images have the same value in all pixels; leave them "
                "out, or check how they were written (white on transparent becomes white)"
            )
        if self.first.dtype == np.uint8 and self.high <= 1:
            found.append(
                f"the uint8 pixels of {self.n} images are only 0 and 1 of 0..255, nearly black; "
                "use X * 255 where 1 is white, here and for all later images"
            )
        return found


@dataclass(frozen=True)
class ImagePreprocessor:
    """Convert images to float32 in [0, 1] with the channels first; nothing is learned.

    Attributes
    ----------
    schema : Schema

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
        """Return the preprocessor; nothing is learned.

        Parameters
        ----------
        X : array of shape (n, h, w) or (n, h, w, c)
        schema : Schema

        Returns
        -------
        ImagePreprocessor
        """
        return cls(schema)

    @property
    def network_shape(self) -> tuple[int, ...]:
        """`(c, h, w)`."""
        height, width, *channels = self.schema.shape
        return (channels[0] if channels else 1, height, width)

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Scale to [0, 1] and put the channels first.

        Parameters
        ----------
        X : array of shape (n, h, w) or (n, h, w, c)

        Returns
        -------
        float32 array of shape (n, c, h, w)
        """
        values = X.astype(np.float32)
        if X.dtype == np.uint8:
            values /= 255
        if values.ndim == 3:
            return values[:, None]  # (n, 1, h, w)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))  # (n, c, h, w)

    def to_training(self, X: np.ndarray) -> np.ndarray:
        """Prepare images to train on, as `to_network`.

        Parameters
        ----------
        X : array of shape (n, h, w) or (n, h, w, c)

        Returns
        -------
        float32 array of shape (n, c, h, w)
        """
        return self.to_network(X)

    def to_hash(self, X: np.ndarray) -> np.ndarray:
        """Return the network inputs, which are exact.

        Parameters
        ----------
        X : array of shape (n, h, w) or (n, h, w, c)

        Returns
        -------
        float32 array of shape (n, c, h, w)
        """
        return self.to_network(X)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """Return images of 0..255 when they were uint8 at fit, else in [0, 1]; float32.

        Parameters
        ----------
        values : array of shape (n, c, h, w)

        Returns
        -------
        float32 array of shape (n, h, w) or (n, h, w, c)
        """
        images = self.per_feature(values).astype(np.float32, copy=False)
        return images * np.float32(255) if self.schema.dtype == "uint8" else images

    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Move the channels last: one number per pixel and channel.

        Parameters
        ----------
        values : array of shape (n, c, h, w)

        Returns
        -------
        array of shape (n, h, w) or (n, h, w, c)
        """
        if len(self.schema.shape) == 2:
            return np.ascontiguousarray(values[:, 0])
        return np.ascontiguousarray(values.transpose(0, 2, 3, 1))

    def to_dict(self) -> dict[str, Any]:
        """Return an empty dict; nothing is learned.

        Returns
        -------
        dict
        """
        return {}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild for the same schema.

        Parameters
        ----------
        plain : mapping
        schema : Schema

        Returns
        -------
        ImagePreprocessor
        """
        return cls(schema)
