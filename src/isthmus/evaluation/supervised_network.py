"""The supervised network, the baseline that is trained on labelled instances end to end."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import nn

from isthmus._core import isolated_from_host
from isthmus.classification import mlp
from isthmus.data.preprocessing import Preprocessor
from isthmus.networks import Dropout, multiply_adds
from isthmus.training import (
    Batches,
    ProgressBar,
    Settings,
    choose_device,
    choose_precision,
    cross_entropy,
    draw_seed,
    hold_out_labelled,
    isolated_random_state,
    to_tensor,
    train,
)

#: Instances that the supervised network classifies at a time.
INFERENCE_ROWS = 500
#: Two 3x3 convolutions without padding, and a pooling, need as many pixels a side.
MIN_SIDE = 6


class SupervisedNetwork:
    """The convolutional network of the Keras MNIST examples, for images of any size.

    Convolutions of 32 and 64 channels (3x3, no padding), max-pooling, dropout 0.25,
    128 hidden units, dropout 0.5, softmax; Adadelta, batches of 128. A tenth of the
    training labels selects the best epoch. Tables, series, and images that are too small get a
    multilayer perceptron of 512 and 256 units.

    Parameters
    ----------
    preprocessor : Preprocessor
        That of the encoder it is compared with.
    max_epochs : int, default=100
    patience : int, default=4
        Epochs without a better validation accuracy after which training stops.
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

    @isolated_from_host()
    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Train on checked instances of shape (n, *schema.shape) and labels (n,)."""
        self.classes_, coded = np.unique(y, return_inverse=True)
        seed, device = draw_seed(self.random_state), choose_device(self.device)
        rows, held_out = hold_out_labelled(coded, 0.1, seed)
        with isolated_random_state(seed, device):
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
        prepare = self.preprocessor.to_training
        callbacks = []
        if self.verbose:
            callbacks.append(ProgressBar("supervised baseline", len(rows), self.max_epochs))
        progress = train(
            network,
            cross_entropy,
            Batches(X, rows, prepare, coded),
            None if held_out is None else Batches(X, held_out, prepare, coded),
            settings,
            callbacks,
            multiply_adds=multiply_adds(network, self.preprocessor.network_shape),
        )
        self.network_, self.history_ = network, progress.history
        return self

    @isolated_from_host()
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
    if len(input_shape) != 3 or min(input_shape[1:]) < MIN_SIDE:
        n_features = int(np.prod(input_shape))
        return nn.Sequential(nn.Flatten(), mlp(n_features, (512, 256), n_classes, dropout=0.4))
    channels, height, width = input_shape
    flat = 64 * ((height - 4) // 2) * ((width - 4) // 2)
    layers: list[Any] = [nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU()]
    layers += [nn.MaxPool2d(2), Dropout(0.25), nn.Flatten()]
    layers += [nn.Linear(flat, 128), nn.ReLU(), Dropout(0.5), nn.Linear(128, n_classes)]
    return nn.Sequential(*layers)
