"""Classification of instances by a head on frozen codes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from isthmus._core import isolated_from_host
from isthmus.autoencoder import InstanceEncoder
from isthmus.autoencoder import row_hashes as hashes_of
from isthmus.classification.calibrated_decisions import CalibratedDecisionsMixin, check_calibration
from isthmus.classification.class_labels import (
    MAX_LABELLED_CODES,
    LabelledCodes,
    as_classes,
    check_labels,
    label_column,
    labelled_rows,
    partial_labels,
)
from isthmus.classification.heads import StandardisedHead, build_head, uses_unlabelled
from isthmus.classification.held_out_labels import (
    draw_to_hold_out,
    held_out_probabilities,
    out_of_fold_probabilities,
    positions,
)
from isthmus.data import (
    ABNORMAL,
    ClassMatcher,
    Instances,
    as_instances,
    as_labels,
    over_chunks,
    row_index,
    warn_of_order,
)
from isthmus.data.preprocessing import issue_warnings, repeated_label_warnings
from isthmus.detection import AnomalyDetector, check_rate
from isthmus.encoding import (
    check_is_encoder,
    data_fingerprint,
    encode_cached,
    first_suggestions,
    is_fitted,
    labelled_sample,
    restored_on_failure,
    row_hashes,
    suggested_classes,
)
from isthmus.errors import CalibrationWarning, DataError, FrozenError
from isthmus.training import draw_seed, with_callbacks


def _head_has_probabilities(classifier: CodeClassifier) -> bool:
    if hasattr(classifier, "standardised_head_"):
        return hasattr(classifier.head_, "predict_proba")
    return isinstance(classifier.head, str) or hasattr(classifier.head, "predict_proba")


class CodeClassifier(ClassifierMixin, CalibratedDecisionsMixin):
    """Classify instances by their codes; the encoder is frozen, which `fit` verifies.

    The instances are encoded once, the codes standardised, and the head is fitted on them. A
    SHA-256 over all of the encoder's parameters and buffers is taken before and after.

    Parameters
    ----------
    encoder : Autoencoder or FrozenEncoder
        If fitted, used as it is. If not, a clone of it is trained on the `X` given to `fit`
        first; a `FrozenEncoder` learns only what instances look like.
    head : {"linear", "mlp", "neighbours", "svm", "spreading"} or scikit-learn classifier, \
            default="linear"
        Logistic regression, a small neural network, five nearest neighbours, a support vector
        machine, labels spread over unlabelled instances, or a clone of the classifier given.
        `"spreading"` and scikit-learn's semi-supervised classifiers take unlabelled instances,
        see `fit`.
    cache_dir : path, optional
        Cache codes there, named by the hashes of encoder and data.
    checkpoint_dir : path, optional
        Where `head="mlp"` writes the weights of its best epochs.
    random_state : int, RandomState instance or None, default=None
    verbose : bool, default=False
    rejection_rate : float in (0, 1), optional
        Reject instances that belong to no class: `predict` returns `unknown_label_` for those
        that an `AnomalyDetector`, fitted on the labelled instances, predicts abnormal. At most
        this share of instances of the known classes is rejected, calibrated as there, so a
        fitted encoder must not have been trained on the labelled instances. Unlabelled instances
        given to `fit` count as instances of the known classes.
    calibration : {"cross", "split"}, optional
        Calibrate `predict_proba`, `predict_set` and `accept` on labels that a head did not learn
        from. `"cross"`: five more heads are fitted, each without a fifth of the labels, which
        calibrate sets; the head of all labels predicts. `"split"`: a fifth of the labels, drawn
        at random, is held out from the head. None: not at `fit`, see also `calibrate`.

    Attributes
    ----------
    encoder_ : Autoencoder or FrozenEncoder
    head_ : classifier
        Fitted on standardised codes.
    classes_ : array of shape (n_classes,)
    encoder_digest_ : str
        Of the encoder, the same before and after the head was fitted: otherwise `fit` fails.
    rejecter_ : AnomalyDetector or None
        The detector that rejects, with `p_values` and `explain`.
    unknown_label_ : str or int
        `"unknown"` among names, -1 among numbers.
    n_labels_, n_unlabelled_ : int
        Numbers of labelled and of unlabelled instances that the head was fitted on.
    labelled_ : LabelledCodes or None
        Codes and labels of both, to which `add_labels` adds; None when there are over 20,000.
    fitted_on_ : uint64 array
        A hash of each of these instances, sorted, each once.
    data_fingerprint_ : str
        SHA-256 of these instances, as the network gets them, and of their labels.
    class_calibration_ : ClassCalibration or None
    calibration_ : {"cross", "split", "held out"} or None
        What calibrates; "held out" are the instances given to `calibrate`.
    fold_heads_ : list of StandardisedHead
        With `"cross"`, the heads fitted without a fifth of the labels.
    temperature_ : float or None
        Of `predict_proba`, where it is calibrated. It does not change the predicted class.

    Examples
    --------
    >>> from isthmus import Autoencoder, CodeClassifier, load
    >>> digits = load("digits")
    >>> X, y = digits.train.X, digits.train.y
    >>> encoder = Autoencoder(max_epochs=5, random_state=0).fit(X)
    >>> CodeClassifier(encoder).suggest(X, n=20).shape  # what to label first
    (20,)
    >>> few = CodeClassifier(encoder).fit(X[:200], y[:200])
    >>> few.predict(digits.test.X).shape, few.score(digits.test.X, digits.test.y) > 0.75
    ((360,), True)
    >>> asked = 200 + few.suggest(X[200:], n=5)
    >>> few.suggestions(X[200:], n=5).columns.tolist()
    ['row', 'doubt', 'reason']
    >>> few.add_labels(X[asked], y[asked]).n_labels_
    205
    >>> few_labels = np.where(np.arange(len(y)) < 50, y, -1)  # all others are unlabelled
    >>> spread = CodeClassifier(encoder, "spreading", random_state=0).fit(X, few_labels)
    >>> spread.n_labels_, spread.n_unlabelled_
    (50, 1387)
    """

    parameters_of_fit = ("head", "rejection_rate", "calibration")

    def __init__(
        self,
        encoder: InstanceEncoder,
        head: str | BaseEstimator = "linear",
        *,
        cache_dir: str | Path | None = None,
        checkpoint_dir: str | Path | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        rejection_rate: float | None = None,
        calibration: str | None = None,
    ) -> None:
        self.encoder = encoder
        self.head = head
        self.cache_dir = cache_dir
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose
        self.rejection_rate = rejection_rate
        self.calibration = calibration

    @with_callbacks
    @isolated_from_host()
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the head on the codes of labelled instances.

        Parameters
        ----------
        X : array or DataFrame of n instances, Stream or StoredCodes
            An encoder that is not fitted is trained on all of a stream, the head on the codes of
            100,000 instances at most, drawn with their labels. Stored codes are taken as they are.
        y : array of shape (n,); None with a stream, codes or a dataset of torch that has labels
            Integer or string labels, none missing. With a head that uses unlabelled instances
            -1, None, NaN and empty text mark one, -1 even where the only other label is 1.

        Returns
        -------
        self

        Raises
        ------
        DataError, ValueError
            When instances or labels cannot be used, or stored codes are of another encoder.
        FrozenError
            When the encoder changed after it was fitted, or while the head was fitted.
        """
        check_is_encoder(self.encoder)
        check_calibration(self.calibration)
        if self.calibration is not None:
            self.check_has_probabilities()
        instances = as_instances(X, y)
        sample, y = labelled_sample(instances, self.encoder, y, self.random_state)
        # Check labels before an encoder is trained for hours.
        y = check_labels(y, _num_samples(sample.held), unlabelled=uses_unlabelled(self.head))
        issue_warnings(repeated_label_warnings(sample.held, y))
        self.rejecter_ = None
        with self.fit_task(X, y, n_subtasks=2) as task:
            if self.rejection_rate is not None:
                with task.subtask("fit-rejecter"):
                    self.rejecter_ = self._fit_rejecter(instances.held, self.rejection_rate)
                self.encoder_ = self.rejecter_.encoder_
            elif is_fitted(self.encoder):
                self.encoder_ = self.encoder
                self.encoder_.warn_about_repeated_rows(sample)
            else:
                with task.subtask("fit-encoder", encoder := clone(self.encoder)):
                    self.encoder_ = encoder.fit(instances)
            self._freeze()
            self.calibration_ = None
            store = sample.has_row_hashes  # by which later labels are matched to instances
            with task.subtask("fit-head"):
                self._fit_head(self._labelled(sample, y, hashed=store), store=store)
        self.record_parameters()
        return self

    @isolated_from_host()
    def add_labels(self, X: Any, y: Any) -> Self:
        """Add labels, of new classes too, and refit the head; no encoder is trained.

        Parameters
        ----------
        X : array or DataFrame of n instances, or StoredCodes
            New ones, or ones that the head was fitted on: their labels change. Which they are says
            `isthmus.encoding.find_known_rows`.
        y : array of shape (n,)
            They are matched to the classes: "3" is 3. With a head that uses unlabelled instances
            -1, None, NaN or empty text removes a label, or adds an unlabelled instance.

        Returns
        -------
        self

        Raises
        ------
        DataError
            When labels cannot be used, or the head was fitted on more than 20,000 instances, or on
            stored codes without row hashes. Head and rejecter are then unchanged.
        """
        check_is_fitted(self, "standardised_head_")
        if self.labelled_ is None:
            raise DataError(
                f"the head was fitted on {self.n_labels_ + self.n_unlabelled_:,} instances; labels "
                f"can be added where it was fitted on {MAX_LABELLED_CODES:,} at most, and not on "
                "stored codes without row hashes; fit it again with all of them"
            )
        labels = label_column(y)
        if len(labels) != _num_samples(X):
            raise DataError(
                f"got {_num_samples(X)} instances and {len(labels)} labels; expected one for each"
            )
        partial = uses_unlabelled(self.head)
        labels = as_classes(partial_labels(labels) if partial else labels, self.classes_)
        warn_of_order(X, y)
        self.check_encoder_unchanged()
        self._freeze()
        labelled = self.labelled_.followed_by(self._labelled(as_instances(X), labels))
        check_labels(labelled.y, len(labelled.y), unlabelled=partial)
        with restored_on_failure(self, self.rejecter_):
            if self.rejecter_ is not None:
                self.rejecter_.add_labels(X, np.ones(len(labels)), normal=1)
            self._fit_head(labelled)
        return self

    @property
    def head_(self) -> Any:
        """The fitted head, working on standardised codes."""
        return self.standardised_head_.head_

    @property
    def history_(self) -> list[dict[str, Any]]:
        """Loss and accuracy of each epoch, as of `MLPHead`; empty for heads without epochs."""
        return list(getattr(self.head_, "history_", []))

    @property
    def unknown_label_(self) -> str | int:
        """Label that `predict` returns for a rejected instance."""
        return -1 if self.classes_.dtype.kind in "iuf" else "unknown"

    @isolated_from_host()
    @over_chunks
    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each instance, or `unknown_label_` where it is rejected: (n,).

        Parameters
        ----------
        X : array or DataFrame of n instances, Stream or StoredCodes

        Returns
        -------
        array of shape (n,)
        """
        check_is_fitted(self, "standardised_head_")
        self.check_encoder_unchanged()
        classes = self.standardised_head_.predict(encode_cached(self.encoder_, X, self.cache_dir))
        if self.rejecter_ is None:
            return classes
        rejected = self.rejecter_.predict(X) == ABNORMAL
        known = classes.astype(object) if classes.dtype.kind in "US" else classes
        return np.where(rejected, self.unknown_label_, known)

    @available_if(_head_has_probabilities)
    @isolated_from_host()
    @over_chunks
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, in the order of `classes_`: (n, n_classes)."""
        check_is_fitted(self, "standardised_head_")
        self.check_encoder_unchanged()
        codes = encode_cached(self.encoder_, X, self.cache_dir)
        return self.standardised_head_.predict_proba(codes)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: the share of labelled instances whose class is predicted.

        Parameters
        ----------
        X : array or DataFrame of n instances
        y : array of shape (n,)
            Matched to the classes: "3" is 3. Without a label an instance does not count, with a
            label that is no class it does.
        sample_weight : array of shape (n,), optional

        Returns
        -------
        float
            From 0 to 1.

        Raises
        ------
        DataError
            When no instance has a label, or labels cannot be matched (`isthmus.data.ClassMatcher`).
        """
        warn_of_order(X, y)
        rows, labels = ClassMatcher(self.classes_).labelled(y := as_labels(y))
        if not len(rows):
            raise DataError(f"none of {len(y)} instances has a label; pass those that have one")
        right = self.predict(X)[rows].astype(object) == labels.astype(object)
        weights = None if sample_weight is None else np.asarray(sample_weight)[rows]
        return float(np.average(right, weights=weights))

    def suggest(self, X: Any, n: int = 20) -> np.ndarray:
        """Return which instances to label next: typical of others, and uncertain.

        Before `fit`, with a fitted encoder, those most typical of groups of similar instances.
        Later half are typical of groups in which doubt counts, half of those in most doubt.

        Parameters
        ----------
        X : array or DataFrame of n instances without a label, Stream or StoredCodes
        n : int, at least 1, default=20

        Returns
        -------
        integer array of shape (min(n, len(X)),)
            Row numbers of X, the most informative first.

        Raises
        ------
        DataError
            When the head gives no probabilities.
        """
        return self.suggestions(X, n)["row"].to_numpy()

    @isolated_from_host()
    def suggestions(self, X: Any, n: int = 20) -> pd.DataFrame:
        """Return the instances that `suggest` chooses as a table, with a reason for each.

        Parameters
        ----------
        X, n
            As for `suggest`, which also says what is raised.

        Returns
        -------
        DataFrame of min(n, len(X)) rows
            `row`, its number in X; `doubt`, 1 less the gap between the two likeliest classes, or
            before `fit` `share`, that of the instances that it is typical of; `reason`, these two
            classes with their probabilities, or that share.
        """
        instances = as_instances(X)
        if not hasattr(self, "standardised_head_") and is_fitted(self.encoder):
            self.encoder.check_frozen()
            table = first_suggestions(encode_cached(self.encoder, instances, self.cache_dir), n)
        else:
            check_is_fitted(self, "standardised_head_")
            self.check_encoder_unchanged()
            codes = encode_cached(self.encoder_, instances, self.cache_dir)
            table = suggested_classes(self.standardised_head_, codes, n)
        index = row_index(instances)
        return table if index is None else table.set_axis(index[table["row"]])

    def _labelled(
        self, instances: Instances, y: np.ndarray, *, hashed: bool = True
    ) -> LabelledCodes:
        """Return codes, labels and hashes: of the instances, or without `hashed` of their codes."""
        codes = encode_cached(self.encoder_, instances, self.cache_dir)
        hashes = row_hashes(self.encoder_, instances) if hashed else hashes_of(codes)
        return LabelledCodes(codes, y, hashes)

    def _freeze(self) -> None:
        """Check that the encoder is as it was fitted, and store its digest."""
        self.encoder_.check_frozen()
        self.encoder_digest_ = self.encoder_.digest_

    def _fit_head(self, labelled: LabelledCodes, *, store: bool = True) -> None:
        """Fit the head on labelled codes, and check that the encoder has not changed."""

        def build(n_labels: int, decides: bool = False) -> BaseEstimator:
            return build_head(
                self.head,
                n_labels=n_labels,
                random_state=self.random_state,
                verbose=self.verbose and decides,
                checkpoint_dir=self.checkpoint_dir if decides else None,
            )

        rows = labelled_rows(labelled.y)
        seed = draw_seed(self.random_state) if self.calibration is not None else 0
        held = learned_too = np.empty(0, np.int64)
        if self.calibration == "split":
            of = labelled.y[rows]
            drawn = draw_to_hold_out(positions(of, np.unique(of)), seed)
            held, learned_too = (rows[one] for one in drawn)
        learned = np.delete(np.arange(len(labelled.y)), np.setdiff1d(held, learned_too))
        n_learned = len(rows) - len(held) + len(learned_too)
        standardised_head = StandardisedHead(build(n_learned, decides=True))
        standardised_head.fit(labelled.codes[learned], labelled.y[learned], overwrite=True)
        classes = standardised_head.classes_
        found: tuple[Any, ...] = ()
        if self.calibration == "cross":
            found = out_of_fold_probabilities(build, labelled, classes, seed)
        elif self.calibration == "split":
            found = held_out_probabilities(standardised_head, labelled, held, learned_too)
        after = self.encoder_.encoder_digest()
        if after != self.encoder_digest_:
            raise FrozenError(
                "the encoder changed while the head was fitted: digest "
                f"{self.encoder_digest_[:12]} before, {after[:12]} after; the head must not train "
                "it, see that a head of your own does not hold the encoder's modules"
            )
        self.n_labels_ = len(labelled_rows(labelled.y))
        self.n_unlabelled_ = len(labelled.y) - self.n_labels_
        self.labelled_ = labelled if store and len(labelled.y) <= MAX_LABELLED_CODES else None
        self.fitted_on_ = np.unique(labelled.hashes) if store else np.empty(0, np.uint64)
        self.data_fingerprint_ = data_fingerprint(labelled.hashes, labelled.y)
        before = getattr(self, "calibration_", None)
        self.standardised_head_ = standardised_head
        self.class_calibration_, self.calibration_, self.fold_heads_ = None, None, []
        if self.calibration is not None:
            self._set_calibration(self.calibration, *found)
            self._count_seen(labelled.hashes[held if self.calibration == "split" else rows])
        lost = ""
        if self.calibration is not None and before == "held out":
            how = f"parts of its labels calibrate (calibration={self.calibration!r})"
            lost = f"and the instances given to calibrate no longer count: {how}"
        elif self.calibration is None and before is not None:
            lost = "and is no longer calibrated"
        if lost:
            message = (
                f"the head is another one now, {lost}; call calibrate(X, y) again, with labelled "
                "instances that it was not fitted on"
            )
            warnings.warn(message, CalibrationWarning, stacklevel=3)

    def _fit_rejecter(self, X: Any, rate: float) -> AnomalyDetector:
        check_rate(rate, "rejection_rate")
        return AnomalyDetector(self.encoder, "auto", rate, random_state=self.random_state).fit(X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "standardised_head_")

    def _learned(self) -> dict[str, Any]:
        classes = ", ".join(map(str, self.classes_[:10]))
        more = f" and {len(self.classes_) - 10} more" if len(self.classes_) > 10 else ""
        return {
            "classes": f"{len(self.classes_)}: {classes}{more}",
            "labels": f"{self.n_labels_:,}, beside {self.n_unlabelled_:,} unlabelled",
            "frozen encoder": self.encoder_digest_[:12],
        }

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True  # in tables
        return tags
