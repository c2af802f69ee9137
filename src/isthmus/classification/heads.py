"""Heads by name, the standardisation in front of them, and the multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from isthmus._core import isolated_from_host, neighbour_votes, shown
from isthmus.classification.class_labels import (
    class_positions,
    known_labels,
    labelled_rows,
    partial_labels,
)
from isthmus.classification.label_spreading import SpreadingHead
from isthmus.classification.linear_head import LinearHead, StandardisedRows
from isthmus.classification.prediction_sets import smoothed_votes, with_temperature
from isthmus.networks import Dropout, multiply_adds
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

#: Names of heads, see `build_head`.
HEADS = ("linear", "mlp", "neighbours", "svm", "spreading")
#: Values in a chunk to which the scaler is fitted: 8 MiB of float64.
SCALED_AT_ONCE = 2**20
#: Codes that the multilayer perceptron classifies at a time.
INFERENCE_ROWS = 1024
#: Types in fitted heads that skops does not trust by itself: with numbers only.
TRUSTED_TYPES = (
    "isthmus.classification.linear_head.LinearHead",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
)


def build_head(
    head: str | BaseEstimator,
    *,
    n_labels: int,
    random_state: int | np.random.RandomState | None = None,
    verbose: bool = False,
    checkpoint_dir: str | Path | None = None,
) -> BaseEstimator:
    """Return an unfitted head.

    Parameters
    ----------
    head : {"linear", "mlp", "neighbours", "svm", "spreading"} or scikit-learn classifier
        `"linear"` is multinomial logistic regression, see `LinearHead`, `"neighbours"` the five
        nearest labelled codes weighted by closeness, `"mlp"` see `MLPHead`, `"svm"` see
        `support_vector_machine`, `"spreading"` see `SpreadingHead`. A classifier is cloned,
        and takes `random_state` when it has one that is None.
    n_labels : int
        Number of labels; the neighbours are no more than that.
    random_state, verbose, checkpoint_dir
        As for `CodeClassifier`.

    Returns
    -------
    classifier

    Raises
    ------
    ValueError
        When the head is not one of these.
    """
    if isinstance(head, str):
        if head == "linear":
            return LinearHead()
        if head == "neighbours":
            return KNeighborsClassifier(min(5, n_labels), weights="distance", algorithm="brute")
        if head == "mlp":
            return MLPHead(
                random_state=random_state, verbose=verbose, checkpoint_dir=checkpoint_dir
            )
        if head == "svm":
            return support_vector_machine()
        if head == "spreading":
            return SpreadingHead()
    elif hasattr(head, "fit") and hasattr(head, "predict") and not isinstance(head, type):
        own = clone(head)
        if "random_state" in own.get_params() and own.get_params()["random_state"] is None:
            own.set_params(random_state=random_state)
        return own
    raise ValueError(
        f"got head={shown(head)}, expected one of {', '.join(HEADS)}, or a scikit-learn classifier"
    )


def support_vector_machine() -> CalibratedClassifierCV:
    """Build an unfitted support vector machine for standardised features.

    Its kernel is Gaussian, exp(-|a - b|² / m) for m features, and C = 5 (chosen on validation
    parts of MNIST). One temperature turns its decisions into probabilities (Guo et al., 2017),
    found on decisions that three parts of the labels got from the others, so each class needs
    three labels. Time grows with the square of the number of labels: 60,000 codes of 128 numbers
    take a minute, as many rows of 784 several.
    """
    machine = SVC(C=5.0, gamma="auto", cache_size=500)
    return CalibratedClassifierCV(machine, method="temperature", cv=3, ensemble=False)


def uses_unlabelled(head: str | BaseEstimator) -> bool:
    """Return whether a head is fitted on unlabelled rows too.

    `"spreading"`, and scikit-learn's `SelfTrainingClassifier`, `LabelSpreading` and
    `LabelPropagation`.

    Parameters
    ----------
    head : str or classifier

    Returns
    -------
    bool
    """
    if isinstance(head, str):
        return head == "spreading"
    return isinstance(
        head, SpreadingHead | SelfTrainingClassifier | LabelSpreading | LabelPropagation
    )


def is_exact_neighbours(head: Any) -> bool:
    """Return whether votes of a head are those of our search: Euclidean distances, plain votes.

    They are counted by it, because scikit-learn rounds distances, and small ones weigh most, and
    takes twice as long.

    Parameters
    ----------
    head : classifier

    Returns
    -------
    bool
    """
    return (
        isinstance(head, KNeighborsClassifier)
        and type(head).predict_proba is KNeighborsClassifier.predict_proba
        and head.effective_metric_ == "euclidean"
        and head.weights in ("uniform", "distance")
        and not head.outputs_2d_
    )


def fitted_scaler(features: np.ndarray) -> StandardScaler:
    """Fit a scaler to features of shape (n, m), a chunk of rows at a time.

    In one call scikit-learn makes a float64 copy of them, twice as large as float32 features.
    Up to `SCALED_AT_ONCE` values the result is that of one call to the last bit, beyond that up
    to the rounding of float64.
    """
    scaler = StandardScaler()
    step = max(1, SCALED_AT_ONCE // max(1, features.shape[1]))
    for first in range(0, max(1, len(features)), step):
        scaler.partial_fit(features[first : first + step])
    return scaler


class StandardisedHead:
    """A head behind the standardisation of its training features.

    Used for codes and for the features of every baseline. A head that uses unlabelled
    rows gets the positions of the labels in `classes_`, and -1 for unlabelled rows, so that labels
    may be text there too; the standardisation is over all rows.

    Attributes
    ----------
    scaler_ : StandardScaler
    head_ : fitted classifier
    indexed_classes_ : array of shape (n_classes,) or None
        The classes where the head is fitted on their positions.
    temperature_ : float or None
        Of `predict_proba`, see `isthmus.classification.with_temperature`; None for none.
    """

    temperature_: float | None = None

    def __init__(self, head: BaseEstimator) -> None:
        self.head = head

    def fit(self, features: np.ndarray, y: np.ndarray, *, overwrite: bool = False) -> Self:
        """Fit on features of shape (n, m) and labels of shape (n,).

        With `overwrite` the features are standardised in place, which saves a copy. Pixels, uint8,
        are standardised as they are read by a linear head and by votes of neighbours.
        """
        self.scaler_ = fitted_scaler(features)
        self.indexed_classes_: np.ndarray | None = None
        if features.dtype == np.uint8 and isinstance(self.head, KNeighborsClassifier):
            self.head_: Any = self.head.fit(features, y)
            if is_exact_neighbours(self.head_):
                return self
        standardised: Any
        if features.dtype == np.uint8 and isinstance(self.head, LinearHead):
            standardised = StandardisedRows(features, self.scaler_)
        else:
            standardised = self._standardised(features, copy=not overwrite)
        if uses_unlabelled(self.head):
            y = partial_labels(np.asarray(y))
            self.indexed_classes_, places = np.unique(known_labels(y), return_inverse=True)
            given = np.full(len(y), -1)
            given[labelled_rows(y)] = places
            y = given
        self.head_ = self.head.fit(standardised, y)
        return self

    def _standardised(self, features: np.ndarray, *, copy: bool = True) -> np.ndarray:
        if features.dtype == np.uint8:
            return StandardisedRows(features, self.scaler_)[:]
        return self.scaler_.transform(features, copy=copy)

    @property
    def classes_(self) -> np.ndarray:
        """The classes, sorted, as given in `y`."""
        return self.head_.classes_ if self.indexed_classes_ is None else self.indexed_classes_

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the class of each row."""
        standardised = self._standardised(features)
        if is_exact_neighbours(self.head_):
            return self.classes_[self._shares(standardised).argmax(axis=1)]
        predicted = self.head_.predict(standardised)
        return predicted if self.indexed_classes_ is None else self.indexed_classes_[predicted]

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Return class probabilities, shape (n, n_classes), where the head has them."""
        if self.temperature_ is None:
            return self._shares(self._standardised(features))
        return with_temperature(self.head_proba(features), self.temperature_)

    def head_proba(self, features: np.ndarray) -> np.ndarray:
        """Return class probabilities before the temperature, (n, n_classes), in float64.

        In float32 all of a head's probabilities near 1 are equal. Votes of the nearest neighbours
        are smoothed, see `smoothed_votes`.
        """
        found = self._shares(self._standardised(np.asarray(features, dtype=np.float64)))
        return smoothed_votes(found) if isinstance(self.head_, KNeighborsClassifier) else found

    def _shares(self, standardised: np.ndarray) -> np.ndarray:
        head = self.head_
        if not is_exact_neighbours(head):
            return head.predict_proba(standardised)
        stored: Any = np.asarray(head._fit_X)  # noqa: SLF001
        if stored.dtype == np.uint8:
            stored = StandardisedRows(stored, self.scaler_)
        return neighbour_votes(
            np.asarray(standardised, stored.dtype),
            stored,
            np.ravel(head._y),  # noqa: SLF001
            len(head.classes_),
            head.n_neighbors,
            by_distance=head.weights == "distance",
        )


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
    >>> head.predict_proba(codes).shape, head.predict(codes).shape
    ((100, 2), (100,))
    >>> head.architecture()["hidden_layer_sizes"]
    [512, 256]
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
        """Fit on codes of shape (n, n_components) and their labels (n,).

        Parameters
        ----------
        X : array of shape (n, n_components)
        y : array of shape (n,)

        Returns
        -------
        self
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=np.float32)
        self.classes_, coded = class_positions(y)
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
            Batches(X, fit_rows, None, coded),
            None if stop_rows is None else Batches(X, stop_rows, None, coded),
            settings,
            callbacks,
            multiply_adds=multiply_adds(self.network_, X.shape[1:]),
        )
        self.history_ = progress.history
        self.best_epoch_ = progress.best_epoch or progress.epoch
        return self

    @isolated_from_host()
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, shape (n, n_classes), for codes (n, n_components).

        Parameters
        ----------
        X : array of shape (n, n_components)

        Returns
        -------
        float64 array of shape (n, n_classes)
        """
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
        """Return the most probable class of each code, shape (n,).

        Parameters
        ----------
        X : array of shape (n, n_components)

        Returns
        -------
        array of shape (n,)
        """
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def architecture(self) -> dict[str, Any]:
        """Return the network's sizes and dropout as plain JSON values.

        Returns
        -------
        dict
            `n_features`, `hidden_layer_sizes`, `n_classes`, `dropout`.
        """
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
                raise ValueError(
                    f"got {name}={shown(value)}, expected {low} or more and below {high}"
                )
        for name in ("batch_size", "max_epochs", "lr", "patience"):
            value = getattr(self, name)
            if value != "auto" and not value > 0:
                raise ValueError(f"got {name}={shown(value)}, expected a number above 0, or 'auto'")

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
