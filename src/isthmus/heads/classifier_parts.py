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
from isthmus.heads.build import StandardisedHead
from isthmus.heads.classifier import CodeClassifier
from isthmus.heads.detector_parts import read_detector, write_detector
from isthmus.heads.labelled_codes import LabelledCodes
from isthmus.heads.mlp import MLPHead, mlp
from isthmus.heads.state_file import read_state, write_state
from isthmus.storage import write_bytes
from isthmus.weights import read_weights, write_weights

SKOPS, WEIGHTS, NOVELTY = "head.skops", "head.safetensors", "novelty"
LABELLED = "labelled.safetensors"


def write_classifier(folder: Path, classifier: CodeClassifier) -> dict[str, Any]:
    """Write a fitted classifier's head into a folder; return what the manifest says of it."""
    standardised, head = classifier.standardised_head_, classifier.head_
    facts: dict[str, Any] = {
        "kind": "mlp" if isinstance(head, MLPHead) else "scikit-learn",
        "head": classifier.head if isinstance(classifier.head, str) else type(head).__name__,
        "classes": np.asarray(classifier.classes_).tolist(),
        "n_rows": classifier.n_labels_,
        "unknown_rate": None if classifier.unknown_rate is None else float(classifier.unknown_rate),
        "novelty": None,
    }
    novelty = classifier.novelty_
    if novelty is not None:
        facts["novelty"] = write_detector(folder / NOVELTY, novelty) | binding(novelty)
    if classifier.labelled_ is not None:
        kept = classifier.labelled_
        places = np.searchsorted(classifier.classes_, kept.y)
        write_state(
            folder / LABELLED, {"codes": kept.codes, "places": places, "hashes": kept.hashes}
        )
    content = {"scaler": standardised.scaler_, "classes": np.asarray(classifier.classes_)}
    if isinstance(head, MLPHead):
        facts |= {"architecture": head.architecture(), "best_epoch": head.best_epoch_}
        write_weights(folder / WEIGHTS, head.network_)
    else:
        content["head"] = head
    packed = skops.io.dumps(content)
    # Named here so that who loads it knows beforehand what to look at and trust.
    facts["types_to_trust"] = sorted(skops.io.get_untrusted_types(data=packed))
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
        content = skops.io.load(folder / SKOPS, trusted=list(trusted))
    except UntrustedTypesFoundException as error:
        raise BundleError(
            f"the head in {folder} holds types that could run code when loaded: "
            f"{facts['types_to_trust']}; when you trust where the bundle is from, "
            f"pass load_bundle(path, trusted={facts['types_to_trust']})"
        ) from error
    if facts["kind"] == "mlp":
        shape = facts["architecture"]
        head = MLPHead(shape["hidden_layer_sizes"], dropout=shape["dropout"])
        head.network_ = mlp(
            shape["n_features"], shape["hidden_layer_sizes"], shape["n_classes"], shape["dropout"]
        )
        read_weights(folder / WEIGHTS, head.network_)
        head.network_.eval().requires_grad_(False)
        head.classes_, head.n_features_in_ = content["classes"], shape["n_features"]
        head.best_epoch_ = facts["best_epoch"]
    else:
        head = content["head"]
    standardised = StandardisedHead(head)
    standardised.scaler_, standardised.head_ = content["scaler"], head
    named = facts["head"] if facts["head"] in ("linear", "mlp", "neighbours") else head
    classifier = CodeClassifier(encoder, named, unknown_rate=facts["unknown_rate"])
    classifier.encoder_, classifier.standardised_head_ = encoder, standardised
    classifier.n_labels_, classifier.novelty_ = facts["n_rows"], None
    classifier.labelled_ = None
    if (folder / LABELLED).exists():
        kept = read_state(folder / LABELLED, {})
        labels = np.asarray(content["classes"])[kept["places"]]
        classifier.labelled_ = LabelledCodes(kept["codes"], labels, kept["hashes"])
    if facts["novelty"] is not None:
        classifier.novelty_ = read_detector(folder / NOVELTY, facts["novelty"], encoder)
        restore_binding(classifier.novelty_, facts["novelty"])
    return classifier
