"""Labels held out from a head: in parts in turn, or a part drawn once; what heads give for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.classification.class_labels import LabelledCodes, labelled_rows
from isthmus.classification.heads import StandardisedHead
from isthmus.errors import CalibrationError, CalibrationWarning

#: Parts of the labels that are held out from the head in turn.
N_FOLDS = 5
#: Share of the labels that `"split"` holds out from the head.
HELD_OUT_SHARE = 0.2
#: Labels to calibrate on, at least.
MIN_LABELS = 4


def check_enough_labels(n: int) -> None:
    """Check that there are labels to calibrate on.

    Raises
    ------
    CalibrationError
        When there are fewer than four.
    """
    if n < MIN_LABELS:
        raise CalibrationError(
            f"got {n} labels to calibrate on, expected at least {MIN_LABELS}; bring more labels, "
            "or leave calibration out"
        )


@dataclass(frozen=True, eq=False)
class Folds:
    """Heads that were each fitted without a part of the labels.

    Attributes
    ----------
    heads : list of StandardisedHead
    parts : int array of shape (n,)
        By which head each labelled instance was not learned.
    learned : boolean array of shape (n,)
        Whether that head learned others of its class.
    """

    heads: list[StandardisedHead]
    parts: np.ndarray
    learned: np.ndarray


def head_probabilities(
    head: StandardisedHead, codes: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return a head's probabilities of these classes, zero for those that it lacks.

    Parameters
    ----------
    head : StandardisedHead
    codes : array of shape (n, n_components)
    classes : array of shape (n_classes,)

    Returns
    -------
    float64 array of shape (n, n_classes)
    """
    found = head.head_proba(codes)
    if found.shape[1] == len(classes):
        return found
    probabilities = np.zeros((len(codes), len(classes)))
    probabilities[:, positions(head.classes_, classes)] = found
    return probabilities


def positions(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the position of each label among the classes, -1 where it is none of them: (n,).

    Parameters
    ----------
    labels : array of shape (n,)
    classes : array of shape (n_classes,)

    Returns
    -------
    int array of shape (n,)

    Examples
    --------
    >>> positions(np.array([7, 3, 4]), np.array([3, 7])).tolist()
    [1, 0, -1]
    """
    place = {label: at for at, label in enumerate(np.asarray(classes).tolist())}
    return np.array([place.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def folds_by_class(places: np.ndarray, seed: int) -> np.ndarray:
    """Deal the instances of each class to folds in turn, in an order drawn at random.

    Returns
    -------
    int array of shape (n,)
        The fold of each, from 0 to `N_FOLDS` - 1.
    """
    order = np.random.default_rng([seed, 1]).permutation(len(places))
    order = order[np.argsort(places[order], kind="stable")]
    folds = np.empty(len(places), np.int64)
    folds[order] = np.arange(len(places)) % N_FOLDS
    return folds


def draw_to_hold_out(places: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a fifth of the instances at random, whatever their classes.

    A class that is drawn whole could not be predicted: the first one drawn of each such class is
    learned too. A draw that spared a label of each class would calibrate on too few of rare
    classes, and sets of new instances would lack their class more often than promised.

    Returns
    -------
    held, learned : int arrays
        Positions, sorted: of those that calibrate, and of those among them that are learned too.

    Examples
    --------
    >>> held, learned = draw_to_hold_out(np.arange(20), seed=0)  # a label of each class
    >>> len(held), np.array_equal(held, learned)
    (4, True)
    """
    order = np.random.default_rng([seed, 2]).permutation(len(places))
    n_held = round(HELD_OUT_SHARE * len(places))
    held, rest = order[:n_held], order[n_held:]
    classes, first = np.unique(places[held], return_index=True)
    learned = held[first[~np.isin(classes, places[rest])]]
    return np.sort(held), np.sort(learned)


def held_out_probabilities(
    head: StandardisedHead, labelled: LabelledCodes, held: np.ndarray, learned: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a head gives for labels that were held out, some of which it learned.

    All instances of the classes of the latter count as of no class and as predicted wrongly with
    certainty, whatever the head gives for them. So no instance that calibrates has a lower
    nonconformity than if its class had not been learned, and P(class in set) >= 1 - alpha and the
    bound of `accept` hold: the head depends only on instances that count in this way.

    Parameters
    ----------
    head : StandardisedHead
    labelled : LabelledCodes
    held, learned : int arrays
        See `draw_to_hold_out`, as rows of `labelled`.

    Returns
    -------
    probabilities : array of shape (n_held, n_classes)
    places : int array of shape (n_held,)
        The column of each instance's class, -1 where it counts as of no class.

    Warns
    -----
    CalibrationWarning
        When there are such classes.
    """
    check_enough_labels(len(held))
    probabilities = head.head_proba(labelled.codes[held])
    places = positions(labelled.y[held], head.classes_)
    of_learned = np.isin(places, positions(labelled.y[learned], head.classes_))
    if of_learned.any():
        warnings.warn(
            f"all labels of {len(learned):,} classes were drawn to calibrate "
            f"({int(of_learned.sum()):,} of {len(held):,}); the head learns one of each, and they "
            "count as of no class, so that sets become larger; bring more labels of each class, or "
            'take calibration="cross" (on the command line --calibration cross)',
            CalibrationWarning,
            stacklevel=5,
        )
        probabilities[of_learned], places[of_learned] = np.eye(1, probabilities.shape[1]), -1
    return probabilities, places


def out_of_fold_probabilities(
    build: Callable[[int], Any], labelled: LabelledCodes, classes: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, Folds]:
    """Fit a head without each fifth of the labels, and return what it gives for that fifth.

    Unlabelled instances are fitted on in every fold.

    Parameters
    ----------
    build : callable
        From a number of labels to an unfitted head.
    labelled : LabelledCodes
    classes : array of shape (n_classes,)
    seed : int

    Returns
    -------
    probabilities : array of shape (n_labelled, n_classes)
        Zero for classes that a fold's head did not learn.
    places : int array of shape (n_labelled,)
        The column of each instance's class.
    folds : Folds

    Raises
    ------
    CalibrationError
        When there are fewer than four labels, or a head cannot be fitted without a fifth of them.
    """
    rows = labelled_rows(labelled.y)
    check_enough_labels(len(rows))
    places = positions(labelled.y[rows], classes)
    parts = folds_by_class(places, seed)
    probabilities = np.empty((len(rows), len(classes)))
    learned = np.empty(len(rows), dtype=bool)
    heads = []
    for part in range(N_FOLDS):
        held = np.flatnonzero(parts == part)
        rest = np.delete(np.arange(len(labelled.y)), rows[held])
        try:
            head = StandardisedHead(build(len(rows) - len(held)))
            head.fit(labelled.codes[rest], labelled.y[rest])
        except ValueError as error:
            raise CalibrationError(
                f"the head cannot be fitted without a fifth of the labels ({error}), as "
                "calibration='cross' requires; bring more labels of each class, take another "
                "head, or call calibrate(X, y) with labels held out"
            ) from error
        codes = labelled.codes[rows[held]]
        if len(held):
            probabilities[held] = head_probabilities(head, codes, classes)
        learned[held] = np.isin(places[held], positions(head.classes_, classes))
        heads.append(head)
    return probabilities, places, Folds(heads, parts, learned)
