"""A classifier's head as files in a bundle: weights as safetensors, the rest as skops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from isthmus.autoencoder import Autoencoder
from isthmus.errors import BundleError
from isthmus.heads.binding import binding, restore_binding
from isthmus.heads.build import HEADS, StandardisedHead, uses_unlabelled
from isthmus.heads.classifier import CodeClassifier
from isthmus.heads.detector_parts import read_detector, write_detector
from isthmus.heads.labelled_codes import LabelledCodes
from isthmus.heads.labels import known_labels, labelled_rows
from isthmus.heads.mlp import MLPHead, mlp
from isthmus.heads.spreading import SpreadingHead
from isthmus.heads.state_file import read_state, write_state
from isthmus.heads.svm import TYPES
from isthmus.storage import write_bytes
from isthmus.weights import read_weights, write_weights

SKOPS, WEIGHTS = "head.skops", "head.safetensors"
#: The rejecter's folder; bundles have always had it under this name.
REJECTER = "novelty"
LABELLED, SPREADING = "labelled.safetensors", "spreading.safetensors"
FITTED_ON = "fitted_on.safetensors"


def write_classifier(folder: Path, classifier: CodeClassifier) -> dict[str, Any]:
    """Write a fitted classifier's head into a folder; return what the manifest says of it."""
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
        kept = classifier.labelled_
        places = np.full(len(kept.y), -1)
        places[labelled_rows(kept.y)] = np.searchsorted(classifier.classes_, known_labels(kept.y))
        write_state(
            folder / LABELLED, {"codes": kept.codes, "places": places, "hashes": kept.hashes}
        )
    else:
        write_state(folder / FITTED_ON, {"hashes": classifier.fitted_on_})
    content = {"scaler": standardised.scaler_, "classes": np.asarray(classifier.classes_)}
    if isinstance(head, MLPHead):
        facts |= {"architecture": head.architecture(), "best_epoch": head.best_epoch_}
        write_weights(folder / WEIGHTS, head.network_)
    elif isinstance(head, SpreadingHead):
        facts["state"] = write_state(folder / SPREADING, head.state())
    else:
        content["head"] = head
    packed = skops.io.dumps(content)
    # Named here so that who loads it knows beforehand what to look at and trust.
    facts["types_to_trust"] = sorted(
        set(skops.io.get_untrusted_types(data=packed)).difference(TYPES)
    )
    write_bytes(folder / SKOPS, packed)
    return facts


def read_classifier(
    folder: Path, facts: dict[str, Any], encoder: Autoencoder, trusted: Sequence[str] = ()
) -> CodeClassifier:
    """Rebuild a fitted classifier from what `write_classifier` wrote.

    Raises
    ------
    BundleError
        When it holds types that skops does not vouch for and that are not in `trusted`.
    """
    try:
        content = skops.io.load(folder / SKOPS, trusted=[*TYPES, *trusted])
    except UntrustedTypesFoundException as error:
        raise BundleError(
            f"the head in {folder} holds types that could run code when loaded: "
            f"{facts['types_to_trust']}; when you trust where the bundle is from, "
            f"pass load_bundle(path, trusted={facts['types_to_trust']})"
        ) from error
    if facts["kind"] == "mlp":
        shape = facts["architecture"]
        head: Any = MLPHead(shape["hidden_layer_sizes"], dropout=shape["dropout"])
        head.network_ = mlp(
            shape["n_features"], shape["hidden_layer_sizes"], shape["n_classes"], shape["dropout"]
        )
        read_weights(folder / WEIGHTS, head.network_)
        head.network_.eval().requires_grad_(False)
        head.classes_, head.n_features_in_ = content["classes"], shape["n_features"]
        head.best_epoch_ = facts["best_epoch"]
    elif facts["kind"] == "spreading":
        head = SpreadingHead.from_state(read_state(folder / SPREADING, facts["state"]))
    else:
        head = content["head"]
    standardised = StandardisedHead(head)
    standardised.scaler_, standardised.head_ = content["scaler"], head
    standardised.numbered_ = content["classes"] if uses_unlabelled(head) else None
    named = facts["head"] if facts["head"] in HEADS else head
    classifier = CodeClassifier(encoder, named, rejection_rate=facts["rejection_rate"])
    classifier.encoder_, classifier.standardised_head_ = encoder, standardised
    classifier.n_labels_, classifier.rejecter_ = facts["n_rows"], None
    classifier.n_unlabelled_ = facts.get("n_unlabelled", 0)
    classifier.labelled_, classifier.fitted_on_ = None, np.empty(0, np.uint64)
    if (folder / LABELLED).exists():
        kept = read_state(folder / LABELLED, {})
        labels = _labels(np.asarray(content["classes"]), kept["places"])
        classifier.labelled_ = LabelledCodes(kept["codes"], labels, kept["hashes"])
        classifier.fitted_on_ = np.unique(kept["hashes"])
    elif (folder / FITTED_ON).exists():
        classifier.fitted_on_ = read_state(folder / FITTED_ON, {})["hashes"]
    if facts["rejecter"] is not None:
        classifier.rejecter_ = read_detector(folder / REJECTER, facts["rejecter"], encoder)
        restore_binding(classifier.rejecter_, facts["rejecter"])
    return classifier


def _kind(head: Any) -> str:
    if isinstance(head, MLPHead):
        return "mlp"
    return "spreading" if isinstance(head, SpreadingHead) else "scikit-learn"


def _labels(classes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the labels at these places of the classes, None at -1."""
    labels = classes[places]
    if (places >= 0).all():
        return labels
    partial = np.full(len(places), None, dtype=object)
    partial[places >= 0] = labels[places >= 0].tolist()
    return partial
