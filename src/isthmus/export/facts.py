"""What the graph says of itself: its metadata, as plain values."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._extras import library_versions
from isthmus._version import __version__
from isthmus.autoencoder import Autoencoder
from isthmus.export.assemble import Output
from isthmus.export.exported import FORMAT_VERSION, KEY
from isthmus.export.graph import OPSETS
from isthmus.export.inputs import Input
from isthmus.export.known import Known
from isthmus.export.parity import Parity
from isthmus.heads import AnomalyDetector
from isthmus.heads.binding import Head
from isthmus.heads.identity import encoder_identity

if TYPE_CHECKING:
    from onnx import ModelProto

_LIBRARIES = ("torch", "numpy", "scikit-learn", "onnx", "onnxruntime", "skl2onnx")


def facts_of(
    encoder: Autoencoder,
    heads: Mapping[str, Head],
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    parity: Parity,
    known: Known | None,
) -> dict[str, Any]:
    """Return what goes into the metadata, as plain JSON values."""
    return {
        "format_version": FORMAT_VERSION,
        "isthmus_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": library_versions(_LIBRARIES),
        "opset": OPSETS[""],
        "schema": encoder.schema_.to_dict(),
        "preprocessing": encoder.preprocessor_.to_dict(),
        "loss": encoder.loss_,
        "digest": encoder.digest_,
        "encoder_identity": encoder_identity(encoder),
        "inputs": [one.to_dict() for one in inputs],
        "outputs": [one.to_dict() for one in outputs],
        "heads": {name: _of_head(head) for name, head in heads.items()},
        "known": None if known is None else known.to_dict(),
        "parity": parity.to_dict(),
    }


def write_facts(model: ModelProto, facts: Mapping[str, Any]) -> None:
    """Write facts into a model's metadata, in place of what is there."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(facts, ensure_ascii=False, allow_nan=False)


def _of_head(head: Head) -> dict[str, Any]:
    facts: dict[str, Any] = {"data_fingerprint": head.data_fingerprint_}
    if isinstance(head, AnomalyDetector):
        return {"kind": "detector"} | facts | _of_detector(head)
    facts |= {
        "kind": "classifier",
        "head": head.head if isinstance(head.head, str) else type(head.head_).__name__,
        "classes": np.asarray(head.classes_).tolist(),
        "n_labels": head.n_labels_,
        # One of very many labels keeps no codes, and is fitted again to learn from more.
        "takes_labels": head.labelled_ is not None,
    }
    if head.rejecter_ is not None:
        facts |= {"unknown": head.unknown_label_, "rejecter": _of_detector(head.rejecter_)}
    return facts


def _of_detector(detector: AnomalyDetector) -> dict[str, Any]:
    threshold, rate, n = -detector.offset_, detector.false_alarm_rate_, detector.n_calibration_
    k = int((detector.calibrated_.scores >= threshold).sum())
    return {
        "method": detector.method_,
        "threshold": float(threshold),
        "false_alarm_rate": float(rate),
        "calibration": detector.calibration_,
        "n_calibration": n,
        "threshold_set_by": f"a false-alarm rate of {rate:g}: {k} of {n} calibration scores "
        f"({detector.calibration_} calibration) are as high or higher; abnormal is what lies above",
    }
