"""Heads in the folders of a bundle: any head, and classifiers; detectors see `head_files`.

::

    heads/linear/1/
      head.skops             scaler, classes, and a head of scikit-learn
      head.safetensors       the weights of a neural head
      labelled.safetensors   codes and labels, or fitted_on.safetensors, their hashes alone
      calibration.safetensors   only of a calibrated one: scores, ...
      folds/0/               of one calibrated by "cross": head.skops, ...
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from isthmus._core import check_archive, write_bytes
from isthmus.autoencoder import InstanceEncoder
from isthmus.bundle.head_binding import Head, binding, check_bound_in_bundle, restore_binding
from isthmus.bundle.head_files import (
    DETECTOR,
    read_detector,
    read_state,
    write_detector,
    write_state,
)
from isthmus.bundle.head_versions import next_version, version_folder, with_version
from isthmus.classification import (
    CALIBRATIONS,
    HEADS,
    TRUSTED_TYPES,
    ClassCalibration,
    CodeClassifier,
    LabelledCodes,
    MLPHead,
    SpreadingHead,
    StandardisedHead,
    known_labels,
    labelled_rows,
    mlp,
    uses_unlabelled,
)
from isthmus.detection import AnomalyDetector
from isthmus.errors import BundleError
from isthmus.networks import check_weights, read_weights, write_weights
from isthmus.training import isolated_random_state

#: Of the dates that a zip archive can hold, as heads of scikit-learn are.
FIRST_ZIP_YEAR = 1980
SKOPS, WEIGHTS = "head.skops", "head.safetensors"
#: Folder of the rejecter: the name in all bundles so far.
REJECTER = "novelty"
LABELLED, SPREADING = "labelled.safetensors", "spreading.safetensors"
FITTED_ON, CALIBRATION = "fitted_on.safetensors", "calibration.safetensors"
#: Folder of the heads that a cross calibration kept.
FOLDS = "folds"


def write_head(folder: Path, head: Head) -> dict[str, Any]:
    """Write a fitted head into a folder of its own; return the manifest's entry."""
    if isinstance(head, AnomalyDetector):
        facts = {"kind": DETECTOR} | write_detector(folder, head)
    else:
        facts = write_classifier(folder, head)
    return facts | binding(head)


def read_head(
    folder: Path, facts: dict[str, Any], encoder: InstanceEncoder, trusted: Sequence[str] = ()
) -> Head:
    """Rebuild a fitted head from what `write_head` wrote.

    Raises
    ------
    BundleError
        When it belongs to another encoder, is damaged, or holds types that skops does not trust
        by itself and that are not in `trusted`.
    """
    check_bound_in_bundle(folder, facts, encoder)
    head: Head
    if facts["kind"] == DETECTOR:
        head = read_detector(folder, facts, encoder)
    else:
        head = read_classifier(folder, facts, encoder, trusted)
    restore_binding(head, facts)
    return head


def write_classifier(folder: Path, classifier: CodeClassifier) -> dict[str, Any]:
    """Write a fitted classifier's head into a folder; return its manifest entry."""
    standardised, head = classifier.standardised_head_, classifier.head_
    rate, rejecter = classifier.rejection_rate, classifier.rejecter_
    facts: dict[str, Any] = {
        "kind": _kind(head),
        "head": classifier.head if isinstance(classifier.head, str) else type(head).__name__,
        "classes": np.asarray(classifier.classes_).tolist(),
        "n_rows": classifier.n_labels_,
        "n_unlabelled": classifier.n_unlabelled_,
        "rejection_rate": None if rate is None else float(rate),
        "rejecter": None,
    }
    if rejecter is not None:
        facts["rejecter"] = write_detector(folder / REJECTER, rejecter) | binding(rejecter)
    if classifier.labelled_ is not None:
        stored = classifier.labelled_
        places = np.full(len(stored.y), -1)
        labels = known_labels(stored.y)
        places[labelled_rows(stored.y)] = np.searchsorted(classifier.classes_, labels)
        write_state(
            folder / LABELLED, {"codes": stored.codes, "places": places, "hashes": stored.hashes}
        )
    else:
        write_state(folder / FITTED_ON, {"hashes": classifier.fitted_on_})
    facts |= _write_standardised(folder, standardised)
    calibration = classifier.class_calibration_
    if calibration is not None:
        facts["class_calibration"] = {
            "source": classifier.calibration_,
            "n": calibration.n,
            "temperature": classifier.temperature_,
            "n_seen": classifier.n_seen_,
            "state": {
                "scores": write_state(folder / CALIBRATION, calibration.state()),
                "folds": [
                    _write_standardised(folder / FOLDS / str(number), fold)
                    for number, fold in enumerate(classifier.fold_heads_)
                ],
            },
        }
    return facts


def _write_standardised(folder: Path, standardised: StandardisedHead) -> dict[str, Any]:
    """Write a head with its scaler into a folder; return what its rebuilding needs."""
    head = standardised.head_
    facts: dict[str, Any] = {"kind": _kind(head)}
    content = {"scaler": standardised.scaler_, "classes": np.asarray(standardised.classes_)}
    if isinstance(head, MLPHead):
        facts |= {"architecture": head.architecture(), "best_epoch": head.best_epoch_}
        if head.history_:  # of heads in older bundles it is not known
            facts["history"] = head.history_
        write_weights(folder / WEIGHTS, head.network_)
    elif isinstance(head, SpreadingHead):
        facts["state"] = write_state(folder / SPREADING, head.state())
    else:
        content["head"] = head
    if time.localtime().tm_year < FIRST_ZIP_YEAR:
        raise BundleError(
            f"the clock of this machine is in {time.localtime().tm_year}, expected "
            f"{FIRST_ZIP_YEAR} or later, as heads are stored in zip archives, which have no "
            "earlier dates; set the clock, and run again"
        )
    import skops.io  # takes a second: only when a head is written or read

    # As skops' own `dumps` copies what it has packed.
    skops.io.dump(content, SimpleNamespace(write=partial(write_bytes, folder / SKOPS)))
    # In the manifest, so that types can be checked before the head is loaded.
    facts["types_to_trust"] = sorted(
        set(skops.io.get_untrusted_types(file=folder / SKOPS)).difference(TRUSTED_TYPES)
    )
    return facts


def read_classifier(
    folder: Path, facts: dict[str, Any], encoder: InstanceEncoder, trusted: Sequence[str] = ()
) -> CodeClassifier:
    """Rebuild a fitted classifier from what `write_classifier` wrote.

    Raises
    ------
    BundleError
        When it holds types that skops does not trust by itself and that are not in `trusted`.
    """
    standardised, classes = _read_standardised(folder, facts, trusted)
    calibrated = facts.get("class_calibration")  # older bundles have none
    source = None if calibrated is None else calibrated["source"]
    classifier = CodeClassifier(
        encoder,
        facts["head"] if facts["head"] in HEADS else standardised.head_,
        rejection_rate=facts["rejection_rate"],
        calibration=source if source in CALIBRATIONS else None,
    )
    classifier.encoder_, classifier.standardised_head_ = encoder, standardised
    classifier.n_labels_, classifier.rejecter_ = facts["n_rows"], None
    classifier.n_unlabelled_ = facts.get("n_unlabelled", 0)
    classifier.labelled_, classifier.fitted_on_ = None, np.empty(0, np.uint64)
    if (folder / LABELLED).exists():
        stored = read_state(folder / LABELLED, {})
        labels = _labels(classes, stored["places"])
        classifier.labelled_ = LabelledCodes(stored["codes"], labels, stored["hashes"])
        classifier.fitted_on_ = np.unique(stored["hashes"])
    elif (folder / FITTED_ON).exists():
        classifier.fitted_on_ = read_state(folder / FITTED_ON, {})["hashes"]
    classifier.calibration_, classifier.class_calibration_ = source, None
    classifier.fold_heads_ = []
    if calibrated is not None:
        _read_calibration(folder, calibrated, classifier, trusted)
    if facts["rejecter"] is not None:
        classifier.rejecter_ = read_detector(folder / REJECTER, facts["rejecter"], encoder)
        restore_binding(classifier.rejecter_, facts["rejecter"])
    classifier.record_parameters()
    return classifier


def _read_calibration(
    folder: Path, facts: Mapping[str, Any], classifier: CodeClassifier, trusted: Sequence[str]
) -> None:
    """Rebuild the calibration of a classifier.

    Raises
    ------
    BundleError
        When something is missing or of the wrong type.
    """
    try:
        scores = read_state(folder / CALIBRATION, facts["state"]["scores"])
        classifier.class_calibration_ = ClassCalibration.from_state(scores)
        classifier.fold_heads_ = [
            _read_standardised(folder / FOLDS / str(number), fold, trusted)[0]
            for number, fold in enumerate(facts["state"]["folds"])
        ]
        classifier.n_seen_ = facts.get("n_seen", 0)
        temperature = facts["temperature"]
        if type(temperature) is not float or not 0 < temperature < math.inf:
            raise TypeError(f"temperature = {temperature!r}, which is no number above 0,")
        classifier.standardised_head_.temperature_ = temperature
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"the calibration in {folder} is damaged: {error} is missing or of the wrong type; "
            "copy or save the bundle again"
        ) from error


def _read_standardised(
    folder: Path, facts: Mapping[str, Any], trusted: Sequence[str]
) -> tuple[StandardisedHead, np.ndarray]:
    """Rebuild a head from what `_write_standardised` wrote; return it and its classes."""
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    check_archive(folder / SKOPS)
    try:
        content = skops.io.load(folder / SKOPS, trusted=[*TRUSTED_TYPES, *trusted])
    except UntrustedTypesFoundException as error:
        raise BundleError(
            f"the head in {folder} holds types that could run code when loaded: "
            f"{facts['types_to_trust']}; when you trust where the bundle is from, "
            f"pass load_bundle(path, trusted={facts['types_to_trust']})"
        ) from error
    if facts["kind"] == "mlp":
        shape = facts["architecture"]
        head: Any = MLPHead(shape["hidden_layer_sizes"], dropout=shape["dropout"])
        make = functools.partial(
            mlp,
            shape["n_features"],
            shape["hidden_layer_sizes"],
            shape["n_classes"],
            shape["dropout"],
        )
        check_weights(make, [folder / WEIGHTS])
        with isolated_random_state(0):  # the weights drawn are replaced
            head.network_ = make()
        read_weights(folder / WEIGHTS, head.network_)
        head.network_.eval().requires_grad_(False)
        head.classes_, head.n_features_in_ = content["classes"], shape["n_features"]
        head.best_epoch_ = facts["best_epoch"]
        head.history_ = facts.get("history", [])  # older bundles have none
    elif facts["kind"] == "spreading":
        head = SpreadingHead.from_state(read_state(folder / SPREADING, facts["state"]))
    else:
        head = content["head"]
    standardised = StandardisedHead(head)
    standardised.scaler_, standardised.head_ = content["scaler"], head
    standardised.indexed_classes_ = content["classes"] if uses_unlabelled(head) else None
    return standardised, np.asarray(content["classes"])


def _kind(head: Any) -> str:
    if isinstance(head, MLPHead):
        return "mlp"
    return "spreading" if isinstance(head, SpreadingHead) else "scikit-learn"


def _labels(classes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the classes at these positions, None at -1."""
    labels = classes[places]
    if (places >= 0).all():
        return labels
    partial = np.full(len(places), None, dtype=object)
    partial[places >= 0] = labels[places >= 0].tolist()
    return partial


def add_version(
    folder: Path,
    facts: Mapping[str, Any],
    name: str,
    head: Head,
    metrics: Mapping[str, Any],
    window_label: str | None,
) -> dict[str, Any]:
    """Write a head as a new version of that name; return heads and history with it.

    Parameters
    ----------
    folder : Path
        Of the bundle that is being written.
    facts : mapping
        What its manifest holds so far.
    name : str
    head : fitted CodeClassifier or AnomalyDetector
    metrics : mapping
        Plain values.
    window_label : str or None
        The rule that labels of windows followed; by default that of the version before.

    Returns
    -------
    dict
    """
    version = next_version(facts, name)
    entry = {"version": version, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    entry |= write_head(folder / version_folder(name, version), head)
    rule = window_label or facts["heads"].get(name, {}).get("window_label")
    entry |= {} if rule is None else {"window_label": rule}
    return with_version(facts, name, entry | {"metrics": dict(metrics)})
