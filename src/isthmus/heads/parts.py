"""A head as files in a bundle: arrays and weights as safetensors, scikit-learn's as skops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.autoencoder import Autoencoder
from isthmus.heads.binding import Head, binding, check_bound_in_bundle, restore_binding
from isthmus.heads.classifier_parts import read_classifier, write_classifier
from isthmus.heads.detector import AnomalyDetector
from isthmus.heads.detector_parts import read_detector, write_detector

DETECTOR = "detector"


def write_head(folder: Path, head: Head) -> dict[str, Any]:
    """Write a fitted head into a folder of its own; return the manifest's entry."""
    if isinstance(head, AnomalyDetector):
        facts = {"kind": DETECTOR} | write_detector(folder, head)
    else:
        facts = write_classifier(folder, head)
    return facts | binding(head)


def read_head(
    folder: Path, facts: dict[str, Any], encoder: Autoencoder, trusted: Sequence[str] = ()
) -> Head:
    """Rebuild a fitted head from what `write_head` wrote.

    Raises
    ------
    BundleError
        When it is bound to another encoder, is damaged, or holds types that skops does not
        vouch for and that are not in `trusted`.
    """
    check_bound_in_bundle(folder, facts, encoder)
    head: Head
    if facts["kind"] == DETECTOR:
        head = read_detector(folder, facts, encoder)
    else:
        head = read_classifier(folder, facts, encoder, trusted)
    restore_binding(head, facts)
    return head
