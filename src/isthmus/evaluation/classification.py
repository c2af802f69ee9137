"""Evaluate a classifier beside its baselines, one that is fitted or one to be fitted."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._core import Evaluation, isolated_from_host
from isthmus.autoencoder import InstanceEncoder
from isthmus.bundle import count_rows_used_in_fit
from isthmus.classification import (
    CodeClassifier,
    as_classes,
    check_labels,
    known_labels,
    labelled_rows,
    partial_labels,
    positions,
    uses_unlabelled,
)
from isthmus.data import (
    MISSING,
    ClassMatcher,
    Dataset,
    Splits,
    as_instances,
    as_labels,
    prediction_sets,
)
from isthmus.encoding import encode_cached, labelled_sample
from isthmus.errors import DataError, DataWarning
from isthmus.evaluation.baselines import Baselines, Decider, baseline_names, decide
from isthmus.evaluation.metrics import (
    ClassTally,
    plain_label,
    reliability,
    select_rows,
    show_progress,
    surprisal,
    unknown_classes,
    unused_facts,
)
from isthmus.monitoring import wilson_interval

#: Levels of the prediction sets that are evaluated, and largest errors among the accepted.
ALPHAS, MAX_ERRORS = (0.1, 0.05), (0.05, 0.01)


class CalibrationTally:
    """Sets, accepted predictions and probabilities of a calibrated classifier, in batches.

    Holds a dozen numbers for each instance.

    Parameters
    ----------
    classifier : fitted CodeClassifier
        Calibrated.
    """

    def __init__(self, classifier: CodeClassifier) -> None:
        self._classifier = classifier
        self._calibration = classifier.class_calibration_
        self._parts: list[dict[str, np.ndarray]] = []

    def update(self, codes: np.ndarray, y: np.ndarray) -> None:
        """Add codes (n, n_components) and their labels (n,), as the head writes its classes.

        Parameters
        ----------
        codes : float32 array of shape (n, n_components)
        y : array of shape (n,)
        """
        classifier, calibration = self._classifier, self._calibration
        if calibration is None or not len(y):
            return
        head = classifier.standardised_head_
        before = head.head_.predict_proba(head.scaler_.transform(codes))
        after = head.predict_proba(codes)
        places = positions(y, head.classes_)
        part = {
            "place": places,
            "right": before.argmax(axis=1) == places,
            "nonconformity": classifier.predicted_nonconformity(codes),
        }
        for name, probabilities in (("before", before), ("after", after)):
            part[f"confidence {name}"] = probabilities.max(axis=1)
            part[f"loss {name}"] = surprisal(y, probabilities, head.classes_)
        scores = classifier.nonconformity_of_codes(codes)
        rows = np.arange(len(y))
        for by_class in (False, True):
            p_values = calibration.p_values_of(scores, by_class=by_class)
            for alpha in ALPHAS:
                sets = prediction_sets(p_values, alpha)
                part[f"covered {alpha} {by_class}"] = sets[rows, places] & (places >= 0)
                part[f"size {alpha} {by_class}"] = sets.sum(axis=1)
        self._parts.append(part)

    def result(self) -> dict[str, Any]:
        """Return the figures as plain values; empty without calibration or labels.

        Returns
        -------
        dict
            `source` and `n`, what calibrates and how many labels; `n_seen_by_encoder`, how many of
            these instances the encoder was trained on; `temperature`; `log_loss` and
            `ece` (see `reliability`), each `before` and `after` the temperature, and so
            `reliability`, its bins; `sets`, for each of `ALPHAS`, `by_class` or not: `coverage`,
            the share of instances whose class is in their set, with its 95 % Wilson score
            `interval`, `mean_size`, `empty`, the share of empty sets, and `per_class`; `accepted`,
            for each of `MAX_ERRORS`: the `share` accepted and the `error` among them.
        """
        calibration, classifier = self._calibration, self._classifier
        if calibration is None or not self._parts:
            return {}
        all_ = {name: np.concatenate([one[name] for one in self._parts]) for name in self._parts[0]}
        whens = ("before", "after")
        bins = {when: reliability(all_[f"confidence {when}"], all_["right"]) for when in whens}
        return {
            "source": classifier.calibration_,
            "n": calibration.n,
            "n_seen_by_encoder": classifier.n_seen_,
            "temperature": classifier.temperature_,
            "log_loss": {when: float(all_[f"loss {when}"].mean()) for when in whens},
            "ece": {when: bins[when]["error"] for when in whens},
            "reliability": {when: bins[when]["bins"] for when in whens},
            "sets": [
                self._sets(all_, alpha, by_class) for by_class in (False, True) for alpha in ALPHAS
            ],
            "accepted": [self._accepted(all_, most) for most in MAX_ERRORS],
        }

    def _sets(self, all_: dict[str, np.ndarray], alpha: float, by_class: bool) -> dict[str, Any]:
        covered, sizes = (all_[f"{what} {alpha} {by_class}"] for what in ("covered", "size"))
        each = []
        for place, label in enumerate(self._classifier.classes_):
            own = all_["place"] == place
            if own.any():
                facts = {"label": plain_label(label), "n": int(own.sum())}
                facts |= {"coverage": float(covered[own].mean())}
                each.append(facts | {"mean_size": float(sizes[own].mean())})
        return {
            "alpha": alpha,
            "by_class": by_class,
            "coverage": float(covered.mean()),
            "interval": wilson_interval(int(covered.sum()), len(covered)),
            "mean_size": float(sizes.mean()),
            "empty": float((sizes == 0).mean()),
            "per_class": each,
        }

    def _accepted(self, all_: dict[str, np.ndarray], max_error: float) -> dict[str, Any]:
        found = self._classifier.acceptance(max_error)
        accepted = all_["nonconformity"] < found.threshold
        n, wrong = int(accepted.sum()), int((accepted & ~all_["right"]).sum())
        return {
            "max_error": max_error,
            "confidence": found.confidence,
            "share": float(accepted.mean()),
            "n": n,
            "n_wrong": wrong,
            "error": wrong / n if n else None,
        }


@isolated_from_host()
def evaluate(
    classifier: CodeClassifier,
    X: Any,
    y: Any = None,
    *,
    X_train: Any = None,
    y_train: Any = None,
    baselines: str | None = "auto",
    random_state: int | np.random.RandomState | None = None,
    verbose: bool = False,
) -> Evaluation:
    """Evaluate a classifier; with training instances also baselines with the same labels.

    Parameters
    ----------
    classifier : fitted CodeClassifier
    X : array or DataFrame of n test instances, or Stream
        All labelled instances of a stream are used, a chunk at a time. Only the confusion matrix
        and the summed loss are held in memory.
    y : array of shape (n,); None with a stream
        Their labels, which need not be written as the head's classes are: "0" is 0, see
        `isthmus.data.ClassMatcher`. Instances without one (None, NaN, empty text, and -1
        unless that is a class of the head) are left out. A label that is no class of the head
        counts as wrong.
    X_train, y_train : like X and y
        What the classifier was fitted on, with its unlabelled instances where the head uses
        those. The baselines are fitted on it, of a stream on 100,000 instances at most, drawn
        at random, and tested on the same instances as the head.
    baselines : {"auto", "fast", "all"} or None, default="auto"
        `"auto"`: `"fast"` where `X_train` is given, and none otherwise. `"fast"`: raw features,
        PCA of the same width, the untrained encoder. `"all"`: and
        a network supervised from end to end. None: no baselines.
    random_state : int, RandomState instance or None, default=None
    verbose : bool, default=False
        Show progress on standard error.

    Returns
    -------
    Evaluation
        A dict of plain values, a table in a notebook: `head`, `code` and `baselines`, each as
        `class_metrics` gives them, baselines with `n_train`, the instances that they were fitted
        on; `n_known`, how many of the instances the classifier was fitted on, which makes it look
        better; `calibration` of a calibrated classifier, see `CalibrationTally.result`;
        `n_unlabelled`, how many were left out; where some labels are no class of the head,
        `unknown_classes`, each with its count; of a stream `skipped`, files and chunks
        that could not be read (with `on_bad_shard="skip"`).

    Raises
    ------
    DataError
        When no instance is labelled, labels cannot be matched with the classes, or baselines are
        asked for without training instances.

    Examples
    --------
    >>> from isthmus import Autoencoder, load
    >>> digits = load("digits")
    >>> encoder = Autoencoder(max_epochs=5, random_state=0).fit(digits.train.X)
    >>> classifier = CodeClassifier(encoder).fit(digits.train.X, digits.train.y)
    >>> found = evaluate(classifier, digits.test.X, digits.test.y)
    >>> found["code"]["n"], found["code"]["accuracy"] > 0.8, found["code"]["log_loss"] < 1
    (360, True, True)
    """
    check_is_fitted(classifier)
    classifier.check_encoder_unchanged()
    encoder, head = classifier.encoder_, classifier.standardised_head_
    if baselines == "auto":
        baselines = None if X_train is None else "fast"
    names = baseline_names(baselines, encoder)
    instances = as_instances(X, y)
    matcher = ClassMatcher(classifier.classes_)
    chunks = instances.labelled_chunks(y)
    first = list(islice(chunks, 1))
    for chunk in first:  # refuse labels of another kind before baselines are fitted
        matcher.labelled(chunk.y)
    deciders: dict[str, Decider] = {}
    n_train = 0
    if names:
        training = None if X_train is None else as_instances(X_train, y_train)
        # A stream has its labels in its files, which are read with the sample.
        if training is None or (y_train is None and training.in_memory and training.labels is None):
            raise DataError(
                "baselines are fitted on the labelled training instances; pass X_train= and "
                "y_train=, or baselines=None"
            )
        training, y_train = labelled_sample(training, encoder, y_train, random_state)
        n_train = len(training)
        y_train = check_labels(y_train, n_train, unlabelled=uses_unlabelled(classifier.head))
        y_train = as_classes(y_train, classifier.classes_)
        fitted = Baselines(
            encoder, training.held, y_train, random_state=random_state, verbose=verbose
        )
        deciders = {name: fitted.decider(name, classifier.head) for name in names}

    code, tallies = ClassTally(), {name: ClassTally() for name in names}
    calibrated = CalibrationTally(classifier)
    n_unlabelled = n_known = 0
    for chunk in show_progress(instances, chain(first, chunks), verbose):
        codes = encode_cached(encoder, chunk.X, classifier.cache_dir)
        rows, labels = matcher.labelled(chunk.y)
        n_unlabelled += len(chunk) - len(rows)
        if not len(rows):
            continue
        n_known += count_rows_used_in_fit(classifier, as_instances(chunk.X), rows)
        code.update(labels, *decide(head, codes[rows]), head.classes_)
        calibrated.update(codes[rows], labels)
        for name, decider in deciders.items():
            tallies[name].update(labels, *decider(select_rows(chunk.X, rows)))
    result = code.result()
    return Evaluation(
        head=classifier.head if isinstance(classifier.head, str) else repr(classifier.head),
        code=result,
        baselines={name: tally.result() | {"n_train": n_train} for name, tally in tallies.items()},
        n_known=n_known,
        **({"calibration": found} if (found := calibrated.result()) else {}),
        **unknown_classes(result, classifier.classes_),
        **unused_facts(instances, n_unlabelled),
    )


@isolated_from_host()
def fit_and_evaluate(
    encoder: InstanceEncoder,
    data: Dataset | Splits,
    head: str = "linear",
    *,
    test_fraction: float = 0.2,
    baselines: str | None = "fast",
    calibration: str | None = None,
    random_state: int | None = None,
    verbose: bool = False,
) -> tuple[CodeClassifier, Evaluation]:
    """Fit a classifier on labelled data, and evaluate it on labels held out from that fit.

    Data without a test part is split. After the evaluation the classifier is fitted again, on
    all of it. Data with a test part is fitted on its training part alone.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    data : Dataset or Splits
        Labelled, in memory; or stored codes, for which there are no baselines.
    head : str, default="linear"
        See `CodeClassifier`. With `"spreading"` instances may be unlabelled (None, NaN, empty
        text, -1); they are fitted on, and not tested on. With others those without a label are
        left out, with a warning.
    test_fraction : float in (0, 1), default=0.2
        Share of data without a test part that is held out; see `Dataset.split`.
    baselines : {"fast", "all"} or None, default="fast"
        See `evaluate`.
    calibration : {"cross", "split"}, optional
        See `CodeClassifier`.
    random_state : int or None, default=None
        Of the split, the head and the baselines.
    verbose : bool, default=False
        Show progress on standard error.

    Returns
    -------
    classifier : CodeClassifier
        Fitted.
    evaluation : Evaluation
        What `evaluate` returns, and `n_left_out` where training instances were.

    Raises
    ------
    DataError
        When no instance has a label, in the training or the test part, or labels are not usable as
        classes.

    Examples
    --------
    >>> from isthmus import Autoencoder, load
    >>> digits = load("digits").train
    >>> encoder = Autoencoder(max_epochs=5, random_state=0).fit(digits.X)
    >>> classifier, found = fit_and_evaluate(encoder, digits, baselines=None, random_state=0)
    >>> classifier.n_labels_, found["code"]["n"]
    (1437, 288)
    """
    partial = uses_unlabelled(head)
    data, n_left_out = (data, 0) if partial else _without_unlabelled(data)
    y = check_labels(data.train.y, len(data.train.X), unlabelled=partial)
    if isinstance(data, Splits):
        splits = data
    else:
        data = replace(data, y=y) if partial else data
        splits = data.split(test_fraction, random_state=random_state)
    train, test = splits.train, splits.test
    if test.y is None:
        raise DataError("the test part has no labels; pass labelled data")
    if partial:
        test = _labelled(test)
    classifier = CodeClassifier(encoder, head, random_state=random_state, calibration=calibration)
    classifier.fit(train.X, train.y)
    found = evaluate(
        classifier,
        test.X,
        test.y,
        X_train=train.X,
        y_train=train.y,
        baselines=None if as_instances(train.X).encoded else baselines,
        random_state=random_state,
        verbose=verbose,
    )
    if data.test is None:
        classifier.fit(data.train.X, data.train.y)
    if n_left_out:
        found["n_left_out"] = n_left_out
    return classifier, found


def _without_unlabelled(data: Dataset | Splits) -> tuple[Dataset | Splits, int]:
    """Return data without the training instances that have no label, and how many these are."""
    train = data.train
    if train.y is None:
        return data, 0
    labelled = MISSING.has_label(as_labels(train.y))
    n_left_out = len(labelled) - int(labelled.sum())
    if not n_left_out or not labelled.any():
        return data, 0
    warnings.warn(
        f"{n_left_out:,} of {len(labelled):,} rows have no label and are left out; "
        'head="spreading" is fitted on them too (on the command line --head spreading)',
        DataWarning,
        stacklevel=4,
    )
    train = train.take(np.flatnonzero(labelled))
    return (replace(data, train=train) if isinstance(data, Splits) else train), n_left_out


def _labelled(data: Dataset) -> Dataset:
    """Return the instances that have a label, their labels as numbers or text."""
    y = partial_labels(np.asarray(data.y))
    rows = labelled_rows(y)
    if not len(rows):
        raise DataError(f"none of {len(data):,} rows to test on has a label; label some of them")
    return replace(data.take(rows), y=known_labels(y))
