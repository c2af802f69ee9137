"""The upper control: a network trained on the labels, without any code in between."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import nn

from isthmus.data.preprocessing import Preprocessor
from isthmus.heads.mlp import mlp
from isthmus.networks import Dropout
from isthmus.training import (
    ProgressBar,
    Rows,
    Settings,
    choose_device,
    choose_precision,
    draw_seed,
    own_randomness,
    to_tensor,
    train,
)
from isthmus.training.classification import cross_entropy, hold_out

INFERENCE_ROWS = 500
SMALLEST_SIDE = 6  # two 3x3 convolutions without padding and a pooling need this much


class SupervisedNetwork:
    """The convolutional network of the Keras MNIST examples, for images of any size.

    Convolutions of 32 and 64 channels (3x3, no padding), max-pooling, dropout 0.25,
    128 hidden units, dropout 0.5, softmax; Adadelta, batches of 128. A tenth of the
    training labels decides the best epoch. Tables, series, and images too small for it, get a
    multilayer perceptron of 512 and 256 units.

    Parameters
    ----------
    preprocessor : Preprocessor
        Of the encoder that it is a control for.
    max_epochs : int, default=100
    patience : int, default=4
        Epochs without better validation accuracy after which it stops.
    device : str, default="auto"
    random_state : int, RandomState instance or None, default=None
    verbose : bool, default=False
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        *,
        max_epochs: int = 100,
        patience: int = 4,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.preprocessor = preprocessor
        self.max_epochs = max_epochs
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Learn from checked instances of shape (n, *schema.shape) and labels (n,)."""
        self.classes_, coded = np.unique(y, return_inverse=True)
        seed, device = draw_seed(self.random_state), choose_device(self.device)
        rows, held_out = hold_out(coded, 0.1, seed)
        with own_randomness(seed, device):
            network = _network(self.preprocessor.network_shape, len(self.classes_))
        settings = Settings(
            max_epochs=self.max_epochs,
            batch_size=128,
            lr=1.0,
            seed=seed,
            device=device,
            precision=choose_precision("auto", device),
            optimizer="adadelta",
            schedule="constant",
            patience=self.patience,
            best_by="validation_accuracy",
        )
        prepare = self.preprocessor.to_network
        listeners = []
        if self.verbose:
            listeners.append(ProgressBar("supervised control", len(rows), self.max_epochs))
        progress = train(
            network,
            cross_entropy,
            Rows(X, rows, prepare, coded),
            None if held_out is None else Rows(X, held_out, prepare, coded),
            settings,
            listeners,
        )
        self.network_, self.history_ = network, progress.history
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return class probabilities, shape (n, n_classes)."""
        device = next(self.network_.parameters()).device
        parts = []
        with torch.inference_mode():
            for first in range(0, len(X), INFERENCE_ROWS):
                x = to_tensor(
                    self.preprocessor.to_network(X[first : first + INFERENCE_ROWS]), device
                )
                parts.append(self.network_(x).double().softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable class of each instance, shape (n,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _network(input_shape: tuple[int, ...], n_classes: int) -> nn.Sequential:
    if len(input_shape) != 3 or min(input_shape[1:]) < SMALLEST_SIDE:
        n_features = int(np.prod(input_shape))
        return nn.Sequential(nn.Flatten(), mlp(n_features, (512, 256), n_classes, dropout=0.4))
    channels, height, width = input_shape
    flat = 64 * ((height - 4) // 2) * ((width - 4) // 2)
    layers: list[Any] = [nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU()]
    layers += [nn.MaxPool2d(2), Dropout(0.25), nn.Flatten()]
    layers += [nn.Linear(flat, 128), nn.ReLU(), Dropout(0.5), nn.Linear(128, n_classes)]
    return nn.Sequential(*layers)
