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
from isthmus.heads.build import StandardisedHead
from isthmus.heads.classifier import CodeClassifier
from isthmus.heads.mlp import MLPHead, mlp
from isthmus.storage import write_bytes
from isthmus.weights import read_weights, write_weights

SKOPS, WEIGHTS = "head.skops", "head.safetensors"


def write_head(folder: Path, classifier: CodeClassifier) -> dict[str, Any]:
    """Write a fitted head into a folder of its own; return the manifest's entry."""
    standardised, head = classifier.standardised_head_, classifier.head_
    facts: dict[str, Any] = {
        "kind": "mlp" if isinstance(head, MLPHead) else "scikit-learn",
        "head": classifier.head if isinstance(classifier.head, str) else type(head).__name__,
        "classes": np.asarray(classifier.classes_).tolist(),
        "encoder_digest": classifier.digest_after_,
        "digest_before": classifier.digest_before_,
        "digest_after": classifier.digest_after_,
    }
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


def read_head(
    folder: Path, facts: dict[str, Any], encoder: Autoencoder, trusted: Sequence[str] = ()
) -> CodeClassifier:
    """Rebuild a fitted classifier from what `write_head` wrote.

    Raises
    ------
    BundleError
        When it is bound to another encoder, or holds types that skops does not vouch for
        and that are not in `trusted`.
    """
    if facts["encoder_digest"] != encoder.digest_:
        raise BundleError(
            f"the head in {folder} was fitted on the codes of another encoder (digest "
            f"{facts['encoder_digest'][:12]}, here {encoder.digest_[:12]}); fit it again"
        )
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
    classifier = CodeClassifier(encoder, named)
    classifier.encoder_, classifier.standardised_head_ = encoder, standardised
    classifier.digest_before_, classifier.digest_after_ = (
        facts["digest_before"],
        facts["digest_after"],
    )
    return classifier
