"""Decisions with a promise: calibrated probabilities, prediction sets, and a bounded error.

What they rest on are labelled instances that the head did not learn from: parts of the labels
held out in `fit` ("cross", "split"), or instances given to `calibrate`.
"""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import _num_samples, check_is_fitted

from isthmus._core import isolated_from_host, shown
from isthmus.autoencoder import TrainingRowHashes
from isthmus.classification.acceptance import Acceptance, labels_needed
from isthmus.classification.class_labels import LabelledCodes
from isthmus.classification.heads import StandardisedHead
from isthmus.classification.held_out_labels import (
    Folds,
    check_enough_labels,
    head_probabilities,
    positions,
)
from isthmus.classification.prediction_sets import (
    ClassCalibration,
    fit_temperature,
    negative_log_odds,
)
from isthmus.data import ClassMatcher, as_instances, over_chunks, prediction_sets
from isthmus.encoding import FrozenEncoderMixin, encode_cached, labelled_sample, row_hashes
from isthmus.errors import CalibrationError, CalibrationWarning, DataError

#: What `calibration` may be.
CALIBRATIONS = ("cross", "split")


def check_calibration(calibration: Any) -> None:
    """Check the parameter `calibration` of a classifier.

    Raises
    ------
    CalibrationError
        When it is neither None nor one of `CALIBRATIONS`.
    """
    if calibration is not None and calibration not in CALIBRATIONS:
        raise CalibrationError(
            f"got calibration={shown(calibration)}, expected 'cross', 'split' or None (on the "
            "command line --calibration cross, split or none)"
        )


class CalibratedDecisionsMixin(FrozenEncoderMixin):
    """Decisions of a classifier that rest on labels which its head did not learn from.

    Attributes
    ----------
    class_calibration_ : ClassCalibration or None
        None where nothing calibrates.
    calibration_ : {"cross", "split", "held out"} or None
        What calibrates: parts of the labels held out in turn, one part, or the instances given to
        `calibrate`.
    fold_heads_ : list of StandardisedHead
        With `"cross"`, those fitted without a part of the labels, in the order of the parts.
    temperature_ : float or None
        Of `predict_proba`.
    n_seen_ : int
        Calibration instances that the encoder was trained on, without their labels.
    """

    head: Any
    cache_dir: Any
    random_state: Any
    standardised_head_: StandardisedHead
    fitted_on_: np.ndarray
    labelled_: LabelledCodes | None
    class_calibration_: ClassCalibration | None
    calibration_: str | None
    fold_heads_: list[StandardisedHead]
    n_seen_: int

    @property
    def classes_(self) -> np.ndarray:
        """The classes, sorted, as given in `y`."""
        return self.standardised_head_.classes_

    @property
    def temperature_(self) -> float | None:
        """The temperature of the probabilities; None without calibration."""
        return self.standardised_head_.temperature_

    @property
    def calibrated_heads_(self) -> list[StandardisedHead]:
        """The heads that instances are compared with the calibration instances by."""
        return self.fold_heads_ or [self.standardised_head_]

    @isolated_from_host()
    def calibrate(self, X: Any, y: Any = None) -> Self:
        """Calibrate probabilities, sets and acceptance on labelled instances that are held out.

        The head stays as it is. Where these instances are exchangeable with later ones, and neither
        encoder nor head was trained on them, the promises of `predict_set` and `accept` are
        exact. What was calibrated before is replaced.

        Parameters
        ----------
        X : array or DataFrame of n instances, Stream or StoredCodes
            The head was fitted on none of them, which is checked by row hashes: no more may equal
            its rows than those of new instances do by chance, where rows of a table repeat.
        y : array of shape (n,); None with a stream, codes or a dataset of torch that has labels
            Instances without a label do not count. One whose label is no class of the head does:
            no set holds its class.

        Returns
        -------
        self

        Raises
        ------
        DataError
            When the head was fitted on some of the instances, or labels cannot be matched.
        CalibrationError
            When there are fewer than four labels, or the head gives no probabilities.

        Warns
        -----
        CalibrationWarning
            When labels are no class of the head, or the encoder was trained on the instances.

        Examples
        --------
        >>> from isthmus import Autoencoder, CodeClassifier, load
        >>> digits = load("digits")
        >>> X, y = digits.train.X, digits.train.y
        >>> encoder = Autoencoder(max_epochs=5, random_state=0).fit(X[:600])
        >>> classifier = CodeClassifier(encoder).fit(X[600:1000], y[600:1000])
        >>> held_out = X[1000:], y[1000:]
        >>> sets = classifier.calibrate(*held_out).predict_set(digits.test.X, alpha=0.1)
        >>> sets.shape
        (360, 10)
        >>> p_values = classifier.class_p_values(digits.test.X)
        >>> bool((sets == (p_values > 0.1)).all())
        True
        >>> classifier.warn_of_full_sets(0.1), classifier.check_has_probabilities()
        (None, None)
        >>> classifier.acceptance(max_error=0.1).n > 0
        True
        >>> classifier.class_nonconformity(digits.test.X).shape
        (1, 360, 10)
        >>> codes = classifier.encoder_.transform(digits.test.X)
        >>> classifier.nonconformity_of_codes(codes).shape
        (1, 360, 10)
        >>> classifier.predicted_nonconformity(codes).shape
        (360,)
        """
        check_is_fitted(self, "standardised_head_")
        self.check_has_probabilities()
        self.check_encoder_unchanged()
        sample, y = labelled_sample(as_instances(X, y), self.encoder_, y, self.random_state)
        if y is None or _num_samples(y) != _num_samples(sample.held):
            raise DataError(
                f"got {_num_samples(sample.held)} instances and "
                f"{'no' if y is None else _num_samples(y)} labels; expected one for each"
            )
        rows, labels = ClassMatcher(self.classes_).labelled(y)
        hashes = np.empty(0, np.uint64)
        if sample.has_row_hashes:
            hashes = row_hashes(self.encoder_, sample)[rows]
            # Of many instances the hashes are stored once each.
            of_fit = self.fitted_on_ if self.labelled_ is None else self.labelled_.hashes
            known = TrainingRowHashes.from_hashes(of_fit).trained_on(hashes)
            if known.any():
                raise DataError(
                    f"the head was fitted on {int(known.sum()):,} of {len(rows):,} labelled "
                    "instances; calibrate on labels that were held out from fit, or let fit hold "
                    'them out: CodeClassifier(encoder, calibration="cross")'
                )
        check_enough_labels(len(rows))
        places = positions(labels, self.classes_)
        if unknown := int((places < 0).sum()):
            warnings.warn(
                f"{unknown:,} of {len(places):,} labels are no class of the head; no set holds the "
                "class of such instances, so sets of others become larger: fit the head on labels "
                "of all classes",
                CalibrationWarning,
                stacklevel=3,
            )
        codes = encode_cached(self.encoder_, sample, self.cache_dir)[rows]
        self._set_calibration("held out", self.standardised_head_.head_proba(codes), places)
        self._count_seen(hashes)
        return self

    def check_has_probabilities(self) -> None:
        """Check that the head gives probabilities, which all calibration rests on.

        Raises
        ------
        CalibrationError
            When it does not.
        """
        if not hasattr(self, "predict_proba"):
            head = getattr(self, "head_", None) or self.head
            raise CalibrationError(
                f"the head {type(head).__name__} gives no probabilities, which sets are made of; "
                "take another one, such as 'linear' (on the command line --head linear)"
            )

    @isolated_from_host()
    @over_chunks
    def class_p_values(self, X: Any, *, by_class: bool = False) -> np.ndarray:
        """Return the conformal p-value of each class, (n, n_classes), in the order of `classes_`.

        The set at any `alpha` holds the classes with a p-value above it, see `predict_set`.

        Parameters
        ----------
        X : array or DataFrame of n instances, Stream or StoredCodes
        by_class : bool, default=False
            Compare with calibration instances of the class alone.

        Returns
        -------
        float64 array of shape (n, n_classes), in (0, 1]

        Raises
        ------
        CalibrationError
            When nothing calibrates the classifier.
        """
        calibration = self._calibrated()
        return calibration.p_values_of(self.class_nonconformity(X), by_class=by_class)

    def predict_set(self, X: Any, alpha: float = 0.1, *, by_class: bool = False) -> np.ndarray:
        """Return a set of classes for each instance that holds its class in a share 1 - alpha.

        Split conformal prediction with the score 1 - p of Sadinle et al. (2019), see
        `isthmus.classification.ClassCalibration`.

        Parameters
        ----------
        X : array or DataFrame of n instances, Stream or StoredCodes
        alpha : float in (0, 1), default=0.1
            Largest share of instances whose class is not in their set. After `calibrate`, and with
            `calibration="split"`, P(class in set) >= 1 - alpha on average over calibration
            instances, where these are exchangeable with later ones. With `"cross"` it
            holds as far as scores do not change when a fifth of the labels is left out of the fit.
        by_class : bool, default=False
            Promise it within each class: sets are larger. A class with fewer than 1 / alpha - 1
            calibration labels is in every set.

        Returns
        -------
        boolean array of shape (n, n_classes)
            In the order of `classes_`; `isthmus.data.named_sets` lists them. A set may be
            empty: no class is as likely as those of all but a share alpha of the
            calibration instances, which must happen where the head errs less than `alpha`.

        Raises
        ------
        CalibrationError
            When nothing calibrates the classifier, or `alpha` is not in (0, 1).

        Warns
        -----
        CalibrationWarning
            When classes are in every set because they have too few calibration labels.
        """
        self.warn_of_full_sets(alpha, by_class=by_class)
        return prediction_sets(self.class_p_values(X, by_class=by_class), alpha)

    def warn_of_full_sets(self, alpha: float, *, by_class: bool = False) -> None:
        """Warn of classes that are in every set at `alpha`, see `predict_set`.

        Parameters
        ----------
        alpha, by_class
            As for `predict_set`.

        Warns
        -----
        CalibrationWarning
            When classes have too few calibration labels for `alpha`.
        """
        calibration = self._calibrated()
        lacking = calibration.lacking(alpha, by_class=by_class)
        if len(lacking):
            warnings.warn(
                describe_lacking(calibration, self.classes_, lacking, alpha, by_class),
                CalibrationWarning,
                stacklevel=3,
            )

    def acceptance(self, max_error: float = 0.01, *, confidence: float = 0.95) -> Acceptance:
        """Return which instances can be accepted at an error rate, see `accept`.

        Parameters
        ----------
        max_error, confidence : float in (0, 1)
            See `accept`.

        Returns
        -------
        Acceptance

        Raises
        ------
        CalibrationError
            When nothing calibrates the classifier, or a number is not in (0, 1).
        """
        return self._calibrated().accept(max_error, confidence)

    def accept(self, X: Any, max_error: float = 0.01, *, confidence: float = 0.95) -> np.ndarray:
        """Return which predicted classes can be accepted: at most `max_error` of these are wrong.

        The promise of selection with guaranteed risk (Geifman and El-Yaniv, 2017), by a bound for
        all thresholds at once, see `Acceptance`. It concerns instances of the head's classes;
        `rejection_rate` rejects those of no class, and is a promise of its own.

        Parameters
        ----------
        X : array or DataFrame of n instances, Stream or StoredCodes
        max_error : float in (0, 1), default=0.01
            Largest share of wrong predictions among the accepted.
        confidence : float in (0, 1), default=0.95
            Probability, over calibration instances, with which that holds: after `calibrate` and
            with `calibration="split"`, where these are exchangeable with later ones. With
            `"cross"` as far as scores do not change when a fifth of the labels is left out.

        Returns
        -------
        boolean array of shape (n,)

        Raises
        ------
        CalibrationError
            When nothing calibrates the classifier, or a number is not in (0, 1).

        Warns
        -----
        CalibrationWarning
            When no instance can be accepted.

        Examples
        --------
        >>> from isthmus import Autoencoder, CodeClassifier, load
        >>> digits = load("digits")
        >>> X, y = digits.train.X, digits.train.y
        >>> encoder = Autoencoder(max_epochs=20, random_state=0).fit(X[:600])
        >>> classifier = CodeClassifier(encoder).fit(X[600:1000], y[600:1000])
        >>> accepted = classifier.calibrate(X[1000:], y[1000:]).accept(digits.test.X, 0.1)
        >>> wrong = classifier.predict(digits.test.X) != digits.test.y
        >>> bool(accepted.any()), bool(wrong[accepted].mean() <= 0.1)
        (True, True)
        """
        found = self.acceptance(max_error, confidence=confidence)
        if not found.n:
            calibration = self._calibrated()
            warnings.warn(
                f"no prediction can be accepted with at most {max_error:g} wrong at a confidence "
                f"of {confidence:g}: got {calibration.n:,} calibration labels, of which "
                f"{int((~calibration.right).sum()):,} are predicted wrongly; expected at least "
                f"{labels_needed(max_error, confidence):,}, more where some are wrong; allow a "
                "larger error, or bring more labels",
                CalibrationWarning,
                stacklevel=2,
            )
        nonconformity = self._predicted_nonconformity(X)
        return nonconformity < found.threshold

    @isolated_from_host()
    @over_chunks
    def _predicted_nonconformity(self, X: Any) -> np.ndarray:
        self.check_encoder_unchanged()
        return self.predicted_nonconformity(encode_cached(self.encoder_, X, self.cache_dir))

    def predicted_nonconformity(self, codes: np.ndarray) -> np.ndarray:
        """Return the nonconformity of codes with the predicted class, mean of all heads: (n,).

        Parameters
        ----------
        codes : float32 array of shape (n, n_components)

        Returns
        -------
        float64 array of shape (n,)
        """
        predicted = self.standardised_head_.head_proba(codes).argmax(axis=1)
        mean = self.nonconformity_of_codes(codes).mean(axis=0)
        found: np.ndarray = mean[np.arange(len(mean)), predicted]
        return found

    def class_nonconformity(self, X: Any) -> np.ndarray:
        """Return the nonconformity of each instance with each class, by each calibrated head.

        Parameters
        ----------
        X : array or DataFrame of n instances, Stream or StoredCodes

        Returns
        -------
        array of shape (n_heads, n, n_classes)
            See `isthmus.classification.negative_log_odds`.
        """
        self.check_encoder_unchanged()
        return self.nonconformity_of_codes(encode_cached(self.encoder_, X, self.cache_dir))

    def nonconformity_of_codes(self, codes: np.ndarray) -> np.ndarray:
        """Return what `class_nonconformity` does, for codes (n, n_components).

        Parameters
        ----------
        codes : float32 array of shape (n, n_components)

        Returns
        -------
        float64 array of shape (n_heads, n, n_classes)
        """
        heads = self.calibrated_heads_
        found = [head_probabilities(head, codes, self.classes_) for head in heads]
        return negative_log_odds(np.stack(found))

    def _calibrated(self) -> ClassCalibration:
        check_is_fitted(self, "standardised_head_")
        if self.class_calibration_ is None:
            raise CalibrationError(
                "the classifier is not calibrated; fit it with "
                'CodeClassifier(encoder, calibration="cross") (on the command line isthmus '
                "classify --calibration cross), or call calibrate(X, y) with labelled instances "
                "that it was not fitted on"
            )
        return self.class_calibration_

    def _count_seen(self, hashes: np.ndarray) -> None:
        """Count the calibration instances that the encoder was trained on, and warn of them."""
        trained = self.encoder_.training_row_hashes_
        self.n_seen_ = int(trained.overlap(hashes).sum())
        if self.n_seen_ > trained.max_overlap_by_chance(len(hashes)):
            warnings.warn(
                f"the encoder was trained on {self.n_seen_:,} of {len(hashes):,} labelled "
                "instances that calibrate: their codes are unlike those of new ones, so that sets "
                "may hold the class less often than promised, and accepted predictions be wrong "
                "more often; call calibrate(X, y) with labelled instances new to the encoder, or "
                "fit the encoder without the labelled ones",
                CalibrationWarning,
                stacklevel=2,
            )

    def _set_calibration(
        self,
        source: str,
        probabilities: np.ndarray,
        places: np.ndarray,
        folds: Folds | None = None,
    ) -> None:
        """Calibrate on what heads gave for instances that they did not learn from."""
        learnable = places >= 0
        if folds is not None:
            learnable &= folds.learned
        self.class_calibration_ = ClassCalibration.of(
            probabilities, places, None if folds is None else folds.parts
        )
        self.calibration_ = source
        self.fold_heads_ = [] if folds is None else folds.heads
        self.standardised_head_.temperature_ = fit_temperature(
            probabilities[learnable], places[learnable]
        )


def describe_lacking(
    calibration: ClassCalibration,
    classes: np.ndarray,
    lacking: np.ndarray,
    alpha: float,
    by_class: bool,
) -> str:
    """Return a sentence on classes that are in every set for want of calibration labels.

    Parameters
    ----------
    calibration : ClassCalibration
    classes : array of shape (n_classes,)
    lacking : int array, see `ClassCalibration.lacking`
    alpha, by_class
        As for `CodeClassifier.predict_set`.
    """
    needed = f"alpha={alpha:g} needs {int(np.ceil(1 / alpha - 1 - 1e-9)):,}"
    if not by_class:
        return (
            f"every class is in every set: {needed} calibration labels, there are "
            f"{calibration.n:,}; ask for a larger alpha, or bring more labels"
        )
    counts = calibration.n_by_class
    named = ", ".join(f"{shown(classes[at])} ({counts[at]})" for at in lacking[:5])
    more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    return (
        f"{len(lacking)} of {len(classes)} classes are in every set, for want of calibration "
        f"labels: {named}{more}; {needed} of each class: ask for a larger alpha, or bring more "
        "labels"
    )
