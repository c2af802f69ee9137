"""Labelled rows: those to test on, and few of them drawn for training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from isthmus._core import with_progress
from isthmus.classification import StandardisedHead, build_head, check_labels, uses_unlabelled
from isthmus.data import CLASSES, Chunk, ClassMatcher, Instances, as_instances, take_rows
from isthmus.errors import DataError


def show_progress(instances: Instances, chunks: Iterable[Chunk], verbose: bool) -> Iterator[Chunk]:
    """Yield the chunks of test instances, with a progress bar for those of a stream."""
    if not verbose or instances.in_memory:
        return iter(chunks)
    return with_progress(chunks, len, "testing", len(instances))


def select_rows(X: Any, rows: np.ndarray) -> Any:
    """Return the instances at the given positions, without a copy when these are all."""
    return X if len(rows) == len(as_instances(X)) else take_rows(X, rows)


def unused_facts(instances: Instances, n_unlabelled: int) -> dict[str, Any]:
    """Return how many test instances were not used.

    Returns
    -------
    dict
        `n_unlabelled`; and `skipped` of a stream: files and chunks, as `Stream.skipped` has them.
    """
    return {"n_unlabelled": n_unlabelled} | instances.reading_facts()


#: Labels drawn of each class, unless a number is given.
LABELS_PER_CLASS = 10


class FewLabels:
    """Draws of few labels, with which a head is fitted on any features of the instances.

    Parameters
    ----------
    y_train, y_held_out : arrays of shape (n,) and (k,)
        Labels of all instances, those without one included: see `CLASSES`.
    n_labels : int or "auto"
        Labels in a draw, balanced between the classes as far as possible. `"auto"` is ten
        a class, and at most half of the labels, so that draws differ.
    n_draws : int
    head : see `isthmus.classification.build_head`
    seed : int

    Attributes
    ----------
    rows : int array
        The training instances whose features are needed: those in some draw, or all for a head
        that uses unlabelled instances, as which those outside a draw then count.
    held_out : int array
        The labelled among the held-out instances.
    n_labels : int
    classes : array
        Of the labelled training instances, sorted.

    Raises
    ------
    DataError
        When there are too few labels.
    """

    def __init__(
        self,
        y_train: np.ndarray,
        y_held_out: np.ndarray,
        n_labels: int | Literal["auto"],
        n_draws: int,
        head: str | BaseEstimator,
        seed: int,
    ) -> None:
        labelled = np.flatnonzero(CLASSES.has_label(y_train))
        n_held_out = int(CLASSES.has_label(y_held_out).sum())
        if not len(labelled) or not n_held_out:
            raise DataError(
                f"got {len(labelled)} labelled training instances and {n_held_out} "
                "held-out ones, expected at least one of each; label more, or leave y out"
            )
        # As a list, so that labels of type object, because some are missing, get their own type.
        y = check_labels(np.array(y_train[labelled].tolist()), len(labelled))
        self.classes = np.unique(y)
        # Whether a held-out -1 is a class follows from the training labels.
        self.held_out, self._y_held_out = ClassMatcher(self.classes).labelled(y_held_out)
        if not len(self.held_out):
            raise DataError(
                "got held-out labels of -1 only, which marks an instance as unlabelled; "
                " label more, or leave y out"
            )
        self.n_labels = _checked_number(n_labels, len(y), len(self.classes))
        rng = np.random.default_rng([seed, 1])
        draws = [_draw(y, self.n_labels, rng) for _ in range(n_draws)]
        self._head, self._seed = head, seed
        self._semi_supervised = uses_unlabelled(self._built())
        drawn = np.unique(labelled[np.concatenate(draws)])
        self.rows = np.arange(len(y_train)) if self._semi_supervised else drawn
        # Of each draw, the positions among `rows`, and the labels.
        self._draws = [(np.searchsorted(self.rows, labelled[draw]), y[draw]) for draw in draws]

    def correct_predictions(self, train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Fit the head on each draw, and return which held-out instances it classifies correctly.

        Parameters
        ----------
        train : array of shape (len(rows), m)
            Features of the instances `rows`.
        held_out : array of shape (len(held_out), m)
            Features of the instances `held_out`.

        Returns
        -------
        boolean array of shape (n_draws, len(held_out))
        """
        correct = []
        for rows, labels in self._draws:
            features = train[rows]
            if self._semi_supervised:
                y = np.full(len(train), None, dtype=object)
                y[rows] = labels.tolist()
                features, labels = train, y
            fitted = StandardisedHead(self._built()).fit(features, labels)
            correct.append(fitted.predict(held_out) == self._y_held_out)
        return np.array(correct)

    def _built(self) -> Any:
        return build_head(self._head, n_labels=self.n_labels, random_state=self._seed)


def _draw(y: np.ndarray, n_labels: int, rng: np.random.Generator) -> np.ndarray:
    """Return the positions of `n_labels` random labels, equally many of each class if possible."""
    order = rng.permutation(len(y))
    turn = pd.Series(y[order]).groupby(y[order]).cumcount().to_numpy()
    return order[np.argsort(turn, kind="stable")[:n_labels]]


def _checked_number(n_labels: Any, n_available: int, n_classes: int) -> int:
    if isinstance(n_labels, str) and n_labels == "auto":
        return max(n_classes, min(LABELS_PER_CLASS * n_classes, n_available // 2))
    whole = hasattr(n_labels, "__index__") and not isinstance(n_labels, bool)
    if not whole or not n_classes <= n_labels <= n_available:
        raise DataError(
            f"got n_labels={n_labels!r}, expected 'auto' or a whole number from {n_classes:,} (one "
            f"a class) to {n_available:,} (the labelled instances that are not held out)"
        )
    return int(n_labels)
