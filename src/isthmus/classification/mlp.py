"""A multilayer perceptron as a head, with dropout and early stopping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from isthmus._core import isolated_from_host
from isthmus.networks import Dropout
from isthmus.recipes import choose_batch_size, choose_max_epochs
from isthmus.training import (
    Batches,
    BestWeights,
    Callback,
    ProgressBar,
    Settings,
    choose_device,
    choose_precision,
    cross_entropy,
    draw_seed,
    hold_out_labelled,
    isolated_random_state,
    train,
)

INFERENCE_ROWS = 4096


class MLPHead(ClassifierMixin, BaseEstimator):
    """Classify codes with a multilayer perceptron.

    Part of the *training* labels is held out to choose the best epoch, whose weights are
    restored; with fewer than 50 labels all are trained on and the last epoch is used.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(512, 256)
    dropout : float in [0, 1), default=0.4
        After each hidden layer.
    lr : float or "auto", default="auto"
        Highest learning rate of the cosine schedule, AdamW; `"auto"` is
        0.005 √(batch_size/1024).
    weight_decay : float, default=0.01
    max_epochs : int or "auto", default="auto"
        `"auto"` makes about 1,500 steps, 10 to 200 epochs.
    batch_size : int or "auto", default="auto"
        `"auto"` is a power of two near a fiftieth of the labels, 32 to 1,024.
    validation_fraction : float in [0, 1), default=0.1
    patience : int, default=10
        Epochs without better validation accuracy after which training stops.
    device : str, default="auto"
    random_state : int, RandomState instance or None, default=None
    verbose : bool, default=False
    checkpoint_dir : path, optional
        `architecture.json`, and `weights-EPOCH-ACCURACY.safetensors` for each epoch that
        was the best so far.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    network_ : torch.nn.Module
    history_ : list of dict
    best_epoch_ : int

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
    >>> head = MLPHead(max_epochs=5, random_state=0).fit(codes, codes[:, 0] > 0)
    >>> head.predict_proba(codes).shape
    (100, 2)
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (512, 256),
        *,
        dropout: float = 0.4,
        lr: float | Literal["auto"] = "auto",
        weight_decay: float = 0.01,
        max_epochs: int | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        validation_fraction: float = 0.1,
        patience: int = 10,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        checkpoint_dir: str | Path | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.lr = lr
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint_dir = checkpoint_dir

    @isolated_from_host()
    def fit(self, X: Any, y: Any) -> Self:
        """Fit on codes of shape (n, n_components) and their labels (n,)."""
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, coded = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"got labels of one class ({self.classes_.tolist()[0]!r}), expected at least two "
                "classes"
            )
        seed, device = draw_seed(self.random_state), choose_device(self.device)
        fit_rows, stop_rows = hold_out_labelled(coded, self.validation_fraction, seed)
        with isolated_random_state(seed, device):
            self.network_ = mlp(X.shape[1], self._sizes(), len(self.classes_), self.dropout)
        batch_size, max_epochs, lr = self.batch_size, self.max_epochs, self.lr
        if batch_size == "auto":
            batch_size = choose_batch_size(len(X), maximum=1024)
        if max_epochs == "auto":
            max_epochs = choose_max_epochs(len(fit_rows), batch_size, n_steps=1500)
        settings = Settings(
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=5e-3 * math.sqrt(batch_size / 1024) if lr == "auto" else lr,
            seed=seed,
            device=device,
            precision=choose_precision("float32", device),
            weight_decay=self.weight_decay,
            patience=self.patience,
            best_by="validation_accuracy",
        )
        callbacks: list[Callback] = []
        if self.verbose:
            callbacks.append(ProgressBar("mlp head", len(fit_rows), settings.max_epochs))
        if self.checkpoint_dir is not None:
            callbacks.append(BestWeights(self.checkpoint_dir, self.architecture()))
        progress = train(
            self.network_,
            cross_entropy,
            Batches(X, fit_rows, _as_is, coded),
            None if stop_rows is None else Batches(X, stop_rows, _as_is, coded),
            settings,
            callbacks,
        )
        self.history_ = progress.history
        self.best_epoch_ = progress.best_epoch or progress.epoch
        return self

    @isolated_from_host()
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, shape (n, n_classes), for codes (n, n_components)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        X = np.require(X, requirements=["C", "W"])  # what torch takes without a copy
        device = next(self.network_.parameters()).device
        probabilities = np.empty((len(X), len(self.classes_)))
        with torch.inference_mode():
            for first in range(0, len(X), INFERENCE_ROWS):
                x = torch.from_numpy(X[first : first + INFERENCE_ROWS]).to(device)
                output = self.network_(x).double().softmax(dim=1)
                probabilities[first : first + INFERENCE_ROWS] = output.cpu().numpy()
        return probabilities

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each code, shape (n,)."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def architecture(self) -> dict[str, Any]:
        """Return the network's sizes and dropout as plain JSON values."""
        return {
            "n_features": int(self.n_features_in_),
            "hidden_layer_sizes": list(self._sizes()),
            "n_classes": len(self.classes_),
            "dropout": self.dropout,
        }

    def _check_parameters(self) -> None:
        for name, low, high in (("dropout", 0, 1), ("validation_fraction", 0, 1)):
            value = getattr(self, name)
            if not low <= value < high:
                raise ValueError(f"got {name}={value!r}, expected {low} or more and below {high}")
        for name in ("batch_size", "max_epochs", "lr", "patience"):
            value = getattr(self, name)
            if value != "auto" and not value > 0:
                raise ValueError(f"got {name}={value!r}, expected a number above 0, or 'auto'")

    def _sizes(self) -> tuple[int, ...]:
        return tuple(int(size) for size in self.hidden_layer_sizes)


def mlp(n_features: int, hidden: Sequence[int], n_classes: int, dropout: float) -> nn.Sequential:
    """Return a network from codes (batch, n_features) to logits (batch, n_classes)."""
    layers: list[nn.Module] = []
    before = n_features
    for size in hidden:
        layers += [nn.Linear(before, size), nn.ReLU(), Dropout(dropout)]
        before = size
    return nn.Sequential(*layers, nn.Linear(before, n_classes))


def _as_is(values: np.ndarray) -> np.ndarray:
    return values
