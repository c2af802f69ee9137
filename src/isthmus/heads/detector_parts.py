"""A detector as files in a bundle: what it remembers, its score, and its folds' encoders.

::

    heads/normal/1/
      detector.safetensors   score/..., calibration, memory/..., folds/0/..., ...
      folds/0/               only of a "cross" calibration that trained encoders of its own:
                             encoder.json encoder.safetensors decoder.safetensors ...
"""

from __future__ import annotations

import json
from dataclasses import fields
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.autoencoder.parts import read_parts, write_parts
from isthmus.errors import BundleError
from isthmus.heads.calibration import Calibration
from isthmus.heads.combined import LABEL_FREE
from isthmus.heads.detector import AnomalyDetector
from isthmus.heads.detector_labels import ABNORMAL, NORMAL, UNKNOWN
from isthmus.heads.label_curve import LabelCurve
from isthmus.heads.labelled import BlendedScore, HeadScore
from isthmus.heads.memory import Fold, Memory
from isthmus.heads.scores import Score
from isthmus.heads.state_file import read_state, write_state
from isthmus.heads.views import Views
from isthmus.storage import write_json

ARRAYS, FACTS = "detector.safetensors", "encoder.json"
SCORES: dict[str, type[Score]] = {**LABEL_FREE, "head": HeadScore, "blend": BlendedScore}


def write_detector(folder: Path, detector: AnomalyDetector) -> dict[str, Any]:
    """Write a fitted detector into a folder; return what the manifest says of it."""
    memory = detector.memory_
    for number, fold in enumerate(memory.folds):
        if fold.encoder is not None:
            own = folder / "folds" / str(number)
            write_json(own / FACTS, write_parts(fold.encoder, own))
    state = {
        "score": detector.fitted_score_.state(),
        "calibration": detector.calibrated_.scores,
        "memory": {
            "views": _views_state(memory.views),
            "y": memory.y,
            "hashes": memory.hashes,
            "seed": int(memory.seed),
        },
        "folds": {str(number): _fold_state(fold) for number, fold in enumerate(memory.folds)},
    }
    rate, random_state = detector.false_alarm_rate, detector.random_state
    return {
        "method": detector.method_,
        "false_alarm_rate": float(detector.false_alarm_rate_),
        "offset": float(detector.offset_),
        "calibration": detector.calibration_,
        "n_calibration": detector.n_calibration_,
        "n_rows": len(memory.y),
        "labels": label_counts(memory.y),
        "label_curve": detector.label_curve_,
        "wins_from": detector.wins_from_,
        "head_weight": detector.head_weight_,
        "parameters": {
            "method": detector.method,
            "false_alarm_rate": rate if isinstance(rate, str) else float(rate),
            "calibration": detector.calibration,
            # A generator cannot be rebuilt from a file, and what it drew is in the memory.
            "random_state": int(random_state) if isinstance(random_state, Integral) else None,
        },
        "state": write_state(folder / ARRAYS, state),
    }


def read_detector(folder: Path, facts: dict[str, Any], encoder: Autoencoder) -> AnomalyDetector:
    """Rebuild a fitted detector from what `write_detector` wrote.

    Raises
    ------
    BundleError
        When something is missing, or a fold's weights are not those it was saved with.
    """
    try:
        state = read_state(folder / ARRAYS, facts["state"])
        detector = AnomalyDetector(encoder, **facts["parameters"])
        detector.encoder_ = encoder
        detector.method_, detector.calibration_ = facts["method"], facts["calibration"]
        detector.fitted_score_ = SCORES[facts["method"]].from_state(state["score"])
        detector.calibrated_ = Calibration(state["calibration"])
        detector.n_calibration_ = detector.calibrated_.n
        detector.memory_ = _memory(folder, state, encoder)
        detector.curve_ = LabelCurve(facts["label_curve"], facts["wins_from"])
        detector.head_weight_ = facts["head_weight"]
        detector.false_alarm_rate_, detector.offset_ = facts["false_alarm_rate"], facts["offset"]
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"the detector in {folder} is damaged: {error} is missing or not what it should be; "
            "copy or save the bundle again"
        ) from error
    return detector


def label_counts(y: np.ndarray) -> dict[str, int]:
    """Return how many labels say normal, abnormal, and that nobody looked.

    Examples
    --------
    >>> label_counts(np.array([1, 0, 0, -1]))
    {'normal': 1, 'abnormal': 1, 'unknown': 2}
    """
    named = {"normal": NORMAL, "abnormal": ABNORMAL, "unknown": UNKNOWN}
    return {name: int((y == label).sum()) for name, label in named.items()}


def _memory(folder: Path, state: dict[str, Any], encoder: Autoencoder) -> Memory:
    kept, folds = state["memory"], state["folds"]
    return Memory(
        Views(**kept["views"]),
        kept["y"],
        kept["hashes"],
        [_fold(folder, number, folds[str(number)], encoder) for number in range(len(folds))],
        kept["seed"],
    )


def _fold_state(fold: Fold) -> dict[str, Any]:
    views = {} if fold.views is None else {"views": _views_state(fold.views)}
    return {"held_out": fold.held_out} | views


def _fold(folder: Path, number: int, state: dict[str, Any], encoder: Autoencoder) -> Fold:
    views = Views(**state["views"]) if "views" in state else None
    own = folder / "folds" / str(number)
    if not (own / FACTS).is_file():
        return Fold(state["held_out"], None, views)
    facts = json.loads((own / FACTS).read_text(encoding="utf-8"))
    given = encoder.architecture
    modules = (given[0], given[1]) if isinstance(given, tuple | list) else None
    trained = read_parts(own, facts, modules)
    if trained.digest_ != facts["digest"]:
        raise BundleError(
            f"the encoder in {own} has the digest {trained.digest_[:12]}, and {FACTS} there says "
            f"{facts['digest'][:12]}; save the bundle again"
        )
    return Fold(state["held_out"], trained, views)


def _views_state(views: Views) -> dict[str, Any]:
    return {part.name: getattr(views, part.name) for part in fields(views)}
