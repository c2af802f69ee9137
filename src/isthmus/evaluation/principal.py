"""PCA at every width, on what the network would see: the control of the width advisor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from isthmus.data import Dataset
from isthmus.data.preprocessing import learn_preprocessor
from isthmus.data.schema import Schema


class PrincipalComponents:
    """One PCA of the training instances, cut to whatever width is asked for.

    Parameters
    ----------
    train, held_out : Dataset
        Preprocessing is learned from `train`, as an autoencoder would.

    Attributes
    ----------
    train, held_out : float32 arrays of shape (n, n_features) and (k, n_features)
        The instances as the network sees them, flattened.
    n_features : int
    mean_error : float
        Squared error when each held-out instance is rebuilt as the mean of `train`.
    """

    def __init__(self, train: Dataset, held_out: Dataset) -> None:
        schema = Schema.learn(train.X, train.kind)
        preprocessor = learn_preprocessor(schema.check(train.X), schema)
        self.n_features = math.prod(preprocessor.network_shape)
        self.train, self.held_out = (
            preprocessor.to_network(schema.check(part.X)).reshape(len(part), -1)
            for part in (train, held_out)
        )
        self.mean_error = squared_error(self.train.mean(axis=0), self.held_out)
        self._of_images = train.kind == "images"

    def fit(self, most: int, seed: int) -> None:
        """Fit up to `most` components."""
        # Centred rows span one dimension fewer than there are rows.
        width = min(most, self.n_features, len(self.train) - 1)
        self._pca = PCA(width, random_state=seed).fit(self.train)
        self._scores = self._pca.transform(self.held_out)

    def error(self, width: int) -> float:
        """Return the mean squared error of the held-out instances at a width."""
        back = self._scores[:, :width] @ self._pca.components_[:width] + self._pca.mean_
        return squared_error(back, self.held_out, clip=self._of_images)

    def features(self, width: int, rows: Any, held_out: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the components of some training and some held-out instances."""
        return self._pca.transform(self.train[rows])[:, :width], self._scores[held_out, :width]


def squared_error(back: np.ndarray, inputs: np.ndarray, *, clip: bool = False) -> float:
    """Return the mean squared error of a value, reconstructions clipped to [0, 1] if asked."""
    if clip:
        back = np.clip(back, 0, 1)
    return float(np.square(back - inputs, dtype=np.float64).mean())
