"""Which class: a head trained on frozen codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from isthmus.autoencoder import Autoencoder
from isthmus.errors import FrozenError
from isthmus.heads.build import StandardisedHead, build_head
from isthmus.heads.cache import encode
from isthmus.heads.labels import check_labels
from isthmus.networks import digest


def _head_has_probabilities(classifier: CodeClassifier) -> bool:
    if hasattr(classifier, "standardised_head_"):
        return hasattr(classifier.head_, "predict_proba")
    return isinstance(classifier.head, str) or hasattr(classifier.head, "predict_proba")


class CodeClassifier(ClassifierMixin, BaseEstimator):
    """Classify instances by their codes; the encoder is frozen, provably.

    The instances are encoded once, the codes standardised, and the head is fitted on
    them. A SHA-256 over all of the encoder's parameters and buffers is taken before and
    after.

    Parameters
    ----------
    encoder : Autoencoder
        Fitted: used as it is. Not fitted: a clone of it learns from the `X` given to
        `fit` first.
    head : {"linear", "mlp", "neighbours"} or scikit-learn classifier, default="linear"
        Logistic regression, a small neural network, five nearest neighbours, or a clone
        of the classifier given.
    cache_dir : path, optional
        Keep codes there, named after encoder and data.
    checkpoint_dir : path, optional
        Where `head="mlp"` writes the weights of its best epochs.
    random_state : int, RandomState instance or None, default=None
    verbose : bool, default=False

    Attributes
    ----------
    encoder_ : Autoencoder
    head_ : classifier
        Fitted on standardised codes.
    classes_ : array of shape (n_classes,)
    digest_before_, digest_after_ : str
        Of the encoder, before and after the head was fitted. Always equal: otherwise
        `fit` raises.

    Examples
    --------
    >>> from isthmus.data import load
    >>> digits = load("digits")
    >>> encoder = Autoencoder(max_epochs=5, random_state=0).fit(digits.train.X)
    >>> few = CodeClassifier(encoder).fit(digits.train.X[:200], digits.train.y[:200])
    >>> few.predict(digits.test.X).shape
    (360,)
    """

    def __init__(
        self,
        encoder: Autoencoder,
        head: str | BaseEstimator = "linear",
        *,
        cache_dir: str | Path | None = None,
        checkpoint_dir: str | Path | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.encoder = encoder
        self.head = head
        self.cache_dir = cache_dir
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_clone__(self) -> CodeClassifier:
        """Clone the head, and the encoder too unless it is fitted: then it is shared, frozen."""
        parameters = self.get_params(deep=False)
        fitted = is_fitted(self.encoder)
        parameters |= {"encoder": self.encoder if fitted else clone(self.encoder)}
        parameters |= {"head": clone(self.head, safe=False)}
        return type(self)(**parameters)

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the head on the codes of labelled instances.

        Parameters
        ----------
        X : array or DataFrame of n instances, like those the encoder was fitted on
        y : array of shape (n,)
            Integer or string labels, none missing.

        Returns
        -------
        self

        Raises
        ------
        DataError, ValueError
            When instances or labels cannot be used.
        FrozenError
            When the encoder changed while the head was fitted.
        """
        if not isinstance(self.encoder, Autoencoder):
            raise TypeError(
                f"got encoder={self.encoder!r}, expected an isthmus.Autoencoder, fitted or not"
            )
        # Labels that cannot be used are found before an encoder is trained for hours.
        y = check_labels(y, _num_samples(X))
        fitted = is_fitted(self.encoder)
        self.encoder_ = self.encoder if fitted else clone(self.encoder).fit(X)
        self.encoder_.encoder_.eval().requires_grad_(False)
        self.digest_before_ = digest(self.encoder_.encoder_)
        codes = encode(self.encoder_, X, self.cache_dir)
        head = build_head(
            self.head,
            n_labels=len(y),
            random_state=self.random_state,
            verbose=self.verbose,
            checkpoint_dir=self.checkpoint_dir,
        )
        standardised_head = StandardisedHead(head).fit(codes, y)
        self.digest_after_ = digest(self.encoder_.encoder_)
        if self.digest_after_ != self.digest_before_:
            raise FrozenError(
                f"the encoder changed while the head was fitted: digest {self.digest_before_[:12]} "
                f"before, {self.digest_after_[:12]} after; the head must not train it, see that "
                "a head of your own does not hold the encoder's modules"
            )
        self.standardised_head_ = standardised_head
        return self

    @property
    def head_(self) -> Any:
        """The fitted head, working on standardised codes."""
        return self.standardised_head_.head_

    @property
    def classes_(self) -> np.ndarray:
        """The classes, sorted, as they came in `y`."""
        return self.head_.classes_

    @property
    def n_features_in_(self) -> int:
        """Values in one instance."""
        return self.encoder_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Column names, when the encoder was fitted on a DataFrame."""
        return self.encoder_.feature_names_in_

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each instance, shape (n,)."""
        check_is_fitted(self, "standardised_head_")
        return self.standardised_head_.predict(encode(self.encoder_, X, self.cache_dir))

    @available_if(_head_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, in the order of `classes_`: (n, n_classes)."""
        check_is_fitted(self, "standardised_head_")
        return self.standardised_head_.predict_proba(encode(self.encoder_, X, self.cache_dir))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "standardised_head_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True  # in tables
        return tags


def is_fitted(encoder: Any) -> bool:
    """Return whether an estimator has been fitted."""
    try:
        check_is_fitted(encoder)
    except (NotFittedError, TypeError):
        return False
    return True
