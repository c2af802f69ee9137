"""Metadata and README of an export."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import __version__
from isthmus._core import library_versions
from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Head
from isthmus.detection import AnomalyDetector
from isthmus.encoding import encoder_identity
from isthmus.export.decision_graph import Output
from isthmus.export.graph import OPSETS
from isthmus.export.inputs import Input
from isthmus.export.parity import Parity
from isthmus.export.reference_instances import ReferenceInstances
from isthmus.export.runtime import FORMAT_VERSION, KEY

if TYPE_CHECKING:
    from onnx import ModelProto

_MEANING = {
    "code": "what the encoder makes of an instance",
    "class": "the class",
    "probabilities": "of each class, in the order of `classes`",
    "anomaly_score": "higher is more abnormal",
    "p_value": "how often a normal instance would look at least as abnormal",
    "verdict": "1 normal, -1 abnormal",
    "reconstruction_error": "how far the instance is from its reconstruction",
    "residual": "squared residual of each value, in the network's units",
    "reconstruction": "what the code is decoded to, in the network's units",
}
_NOVELTY = {
    "anomaly_score": "higher is less like any class",
    "p_value": "how often an instance of a known class would look at least as odd",
    "verdict": "1 of a known class, -1 of none",
}


def readme(facts: Mapping[str, Any]) -> str:
    """Return the README as Markdown.

    Parameters
    ----------
    facts : mapping
        The graph's metadata.
    """
    schema, inputs = facts["schema"], facts["inputs"]
    lines = [
        "# An exported decision",
        "",
        f"`model.onnx` takes raw instances ({schema['kind']}) and gives decisions: preprocessing, "
        "encoder and heads are in the one graph. `predict.py` calls it, and needs numpy and "
        "onnxruntime, nothing else:",
        "",
        "```",
        "pip install numpy onnxruntime",
        f"python predict.py {'rows.csv' if inputs[0]['column'] else 'rows.npy'} decisions.npz",
        "```",
        "",
        "```python",
        "from predict import predict",
        "",
        f"found = predict({_call(inputs)})",
        *(f"found[{one['name']!r}]  # {_what(facts, one)}" for one in facts["outputs"]),
        "```",
        "",
        "## What goes in",
        "",
        "| input | type | of one instance | |",
        "| --- | --- | --- | --- |",
        *(_input_line(one) for one in inputs),
        "",
        "## How it decides",
        "",
        *_head_lines(facts),
        *_known_lines(facts["known"]),
        "## Parity",
        "",
        *parity_lines(facts),
        "",
        "All of this, with the schema, stands as JSON in the model's metadata under `isthmus`.",
        "",
    ]
    return "\n".join(lines)


def parity_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what was measured, a line for each output."""
    parity = facts["parity"]
    lines = [
        f"Measured on {parity['n_rows']:,} rows ({parity['of']}), graph against library:",
        "",
    ]
    for name, worst in parity["worst"].items():
        line = f"- {name}: off by {worst['deviation']:.2g} at most (row {worst['row']})"
        if "wrong_for_score" in worst:
            line += f", {worst['wrong_for_score']} other than the library's for the same score"
        lines.append(line)
    for name, found in parity["decisions"].items():
        lines.append(
            f"- {name}: {found['differ']} of {parity['n_rows']:,} decisions differ, "
            f"{found['in_band']} of them in the band (rows within {parity['tolerance']:g} of where "
            f"it could go either way: {found['near']:,})"
        )
    return lines


def _known_lines(known: Mapping[str, Any] | None) -> list[str]:
    if known is None:
        return []
    whose = (
        "reconstructions of codes that heads keep; it holds no row that anybody brought"
        if known["rebuilt"]
        else "rows that were given to be kept, as they were"
    )
    return [
        "## Known instances",
        "",
        f"`known.npz` holds {known['n']:,} instances that a new one may be compared with: {whose}. "
        "`codes`, (k, n_components); `labels`, empty where there is none; `instances`, of a table "
        "with names one JSON object a row; `rebuilt`; and the `digest` of the encoder. The graph "
        "does without it: delete it where nobody is to see it.",
        "",
    ]


def _call(inputs: list[dict[str, Any]]) -> str:
    if inputs[0]["column"] is None:
        shape = ", ".join(str(side) for side in inputs[0]["shape"])
        return f"X)  # {inputs[0]['dtype']}, shape (n, {shape}"
    some = ", ".join(f"{one['column']!r}: [...]" for one in inputs[:2])
    return f"{{{some}{', ...' if len(inputs) > 2 else ''}}}"


def _what(facts: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    shape = ", ".join(["n", *(str(side) for side in one["shape"])]) if one["shape"] else "n,"
    of_classifier = one["head"] and facts["heads"][one["head"]]["kind"] == "classifier"
    meaning = (_MEANING | _NOVELTY if of_classifier else _MEANING)[one["what"]]
    return f"({shape}) {one['dtype']}: {meaning}"


def _input_line(one: Mapping[str, Any]) -> str:
    shape = " x ".join(str(side) for side in one["shape"]) or "one value"
    note = {
        "category": f"text; {one['missing']!r} is missing, any other text one never seen",
        "boolean": "1, 0, NaN where missing",
        "date": "seconds since 1970 in UTC, NaN where missing",
        "number": "NaN where missing",
        "table": "NaN where missing",
    }.get(one["type"], "")
    return f"| `{one['name']}` | {one['dtype']} | {shape} | {note} |"


def _head_lines(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, head in facts["heads"].items():
        judge = head if head["kind"] == "detector" else head.get("rejecter")
        if head["kind"] == "classifier":
            classes = ", ".join(str(value) for value in head["classes"])
            lines.append(f"- `{name}`: a classifier ({head['head']}) of the classes {classes}.")
        if judge:
            of_detector = head["kind"] == "detector"
            begins = f"- `{name}`: a detector" if of_detector else "  What is of no class"
            lines.append(
                f"{begins} ({judge['method']}): threshold {judge['threshold']:g}, for "
                f"{judge['threshold_set_by']}."
            )
    return [*lines, ""] if lines else ["It gives codes; no head was exported.", ""]


_LIBRARIES = ("torch", "numpy", "scikit-learn", "onnx", "onnxruntime", "skl2onnx")


def facts_of(
    encoder: Autoencoder,
    heads: Mapping[str, Head],
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    parity: Parity,
    known: ReferenceInstances | None,
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
    k = int((detector.score_calibration_.scores >= threshold).sum())
    return {
        "method": detector.method_,
        "threshold": float(threshold),
        "false_alarm_rate": float(rate),
        "calibration": detector.calibration_,
        "n_calibration": n,
        "threshold_set_by": f"a false-alarm rate of {rate:g}: {k} of {n} calibration scores "
        f"({detector.calibration_} calibration) are as high or higher; abnormal is what lies above",
    }
