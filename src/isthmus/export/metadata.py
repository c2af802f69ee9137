"""Metadata and README of an export."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import __version__
from isthmus._core import library_versions
from isthmus.autoencoder import InstanceEncoder
from isthmus.bundle import Head, missing_facts
from isthmus.detection import AnomalyDetector, n_training_rows
from isthmus.encoding import encoder_identity
from isthmus.export.decision_graph import Output
from isthmus.export.graph import OPSETS
from isthmus.export.inputs import GROUP, Input, describe_cells, describe_readings
from isthmus.export.monitored_heads import MONITOR_FILE
from isthmus.export.parity import Parity
from isthmus.export.point_heads import CHANNEL_PARTS, PointHead
from isthmus.export.reference_instances import ReferenceInstances
from isthmus.export.runtime import FILE_DIGESTS, FIRST_FORMAT, FORMAT_VERSION, KEY

if TYPE_CHECKING:
    from onnx import ModelProto

_DESCRIPTIONS = {
    "code": "the code of the instance",
    "class": "the class",
    "probabilities": "of each class, in the order of `classes`",
    "class_p_values": "conformal p-value of each class: those above alpha are the set at alpha",
    "class_p_values_by_class": "the same, which hold within each class",
    "anomaly_score": "higher is more abnormal",
    "p_value": "conformal p-value: small for abnormal instances",
    "verdict": "1 normal, -1 abnormal",
    "reconstruction_error": "error between the instance and its reconstruction",
    "residual": "squared residual of each value, in the network's units",
    "reconstruction": "decoded from the code, in the network's units",
    CHANNEL_PARTS: "part of each channel in the anomaly score of a window",
}
_REJECTION_DESCRIPTIONS = {
    "anomaly_score": "higher is less like any class",
    "p_value": "conformal p-value: small for instances of no class",
    "verdict": "1 of one of the classes, -1 of none",
}
_LIBRARIES = ("torch", "numpy", "scikit-learn", "onnx", "onnxruntime", "skl2onnx")


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
        "encoder and heads are one graph. `predict.py` runs it, and needs numpy and onnxruntime "
        "only:",
        "",
        "```",
        "pip install numpy onnxruntime",
        f"python predict.py {'rows.csv' if inputs[0]['column'] else 'rows.npy'} decisions.csv",
        "```",
        "",
        "```python",
        "from predict import predict",
        "",
        f"found = predict({_call(inputs)})",
        *(f"found[{one['name']!r}]  # {_describe_output(facts, one)}" for one in facts["outputs"]),
        "```",
        "",
        "## Inputs",
        "",
        "| input | type | shape of one instance | |",
        "| --- | --- | --- | --- |",
        *(_input_line(one) for one in inputs),
        "",
        "## Decisions",
        "",
        *_head_lines(facts),
        *_point_lines(facts),
        *_reference_lines(facts["known"]),
        *_monitor_lines(facts),
        "## Parity",
        "",
        *parity_lines(facts),
        "",
        "All of this and the schema are stored as JSON in the model's metadata under `isthmus`.",
        "",
    ]
    return "\n".join(lines)


def parity_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return the measured parity, one line for each output.

    Parameters
    ----------
    facts : mapping
        Of an export.

    Returns
    -------
    list of str
    """
    parity = facts["parity"]
    lines = [
        f"Measured on {parity['n_rows']:,} rows ({parity['of']}), graph against library:",
        "",
    ]
    for name, worst in parity["worst"].items():
        line = f"- {name}: off by {worst['deviation']:.2g} at most (row {worst['row']})"
        if "wrong_for_score" in worst:
            line += f", {worst['wrong_for_score']} differ from the library's for the same score"
        lines.append(line)
    for name, found in parity["decisions"].items():
        lines.append(
            f"- {name}: {found['differ']} of {parity['n_rows']:,} decisions differ, "
            f"{found['in_band']} of them in the band (rows within {parity['tolerance']:g} of where "
            f"it could go either way: {found['near']:,})"
        )
    for name, found in parity.get("points", {}).items():
        lines.append(
            f"- time points by `{name}`: scores off by {found['deviation']:.2g} at most, "
            f"{found['differ']} of {found['n_points']:,} verdicts differ, {found['in_band']} of "
            "them in the band"
        )
    return lines


def _point_lines(facts: Mapping[str, Any]) -> list[str]:
    if "points" not in facts:
        return []
    points = next(iter(facts["points"].values()))
    time = points["time_column"] or "COLUMN"
    groups = "".join(f" --group {name}" for name in points["group_columns"])
    return [
        "## Time points of series",
        "",
        "A long table, a row for each time point and a column for each channel, is decided on time "
        "point by time point, and alarms are runs of abnormal ones:",
        "",
        "```",
        f"python predict.py new.csv points.csv --time {time}{groups} --alarms alarms.csv",
        "```",
        "",
    ]


def _reference_lines(references: Mapping[str, Any] | None) -> list[str]:
    if references is None:
        return []
    source = (
        "reconstructions of codes stored by the heads; the file holds none of your rows"
        if references["rebuilt"]
        else "rows that were passed to the export, unchanged"
    )
    return [
        "## Reference instances",
        "",
        f"`known.npz` holds {references['n']:,} instances to compare new ones with: {source}. "
        "It has `codes`, (k, n_components); `labels`, empty where there is none; `instances`, of a "
        "table with column names one JSON object a row; `rebuilt`; and the `digest` of the "
        "encoder. The graph does not need the file: delete it to keep these instances private.",
        "",
    ]


def _monitor_lines(facts: Mapping[str, Any]) -> list[str]:
    if MONITOR_FILE not in facts[FILE_DIGESTS]:
        return []
    return [
        "## Monitor",
        "",
        f"`{MONITOR_FILE}` is for `isthmus serve`, which tests whether later rows are like those "
        "that calibrated a detector: how many of these are in each of at most 64 bins of the "
        "score, of each number of the code, and of each column by itself. It holds no row, but "
        "edges of bins are values of columns. The graph does not need the file: where it is "
        "deleted, later rows are compared with the first ones that are served.",
        "",
    ]


def _call(inputs: list[dict[str, Any]]) -> str:
    if inputs[0]["column"] is None:
        shape = ", ".join(str(side) for side in inputs[0]["shape"])
        return f"X)  # {inputs[0]['dtype']}, shape (n, {shape}"
    named = [one for one in inputs if one["column"] is not None]
    columns = ", ".join(f"{one['column']!r}: [...]" for one in named[:2])
    return f"{{{columns}{', ...' if len(inputs) > 2 else ''}}}"


def _describe_output(facts: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    shape = ", ".join(["n", *(str(side) for side in one["shape"])]) if one["shape"] else "n,"
    of_classifier = one["head"] and facts["heads"][one["head"]]["kind"] == "classifier"
    meaning = (_DESCRIPTIONS | _REJECTION_DESCRIPTIONS if of_classifier else _DESCRIPTIONS)[
        one["what"]
    ]
    return f"({shape}) {one['dtype']}: {meaning}"


def _input_line(one: Mapping[str, Any]) -> str:
    shape = " x ".join(str(side) for side in one["shape"]) or "one value"
    note = {
        "category": f"text; {one['missing']!r} is missing; other text counts as an unseen category",
        "boolean": "1, 0, NaN where missing",
        "date": "seconds since 1970 in UTC, NaN where missing",
        "number": "NaN where missing",
        GROUP: f"text; {one['missing']!r} is missing; of the group of the instance",
        "table": "NaN where missing",
    }.get(one["type"], "")
    return f"| `{one['name']}` | {one['dtype']} | {shape} | {note} |"


def _head_lines(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, head in facts["heads"].items():
        detector = head if head["kind"] == "detector" else head.get("rejecter")
        if head["kind"] == "classifier":
            classes = ", ".join(str(value) for value in head["classes"])
            lines.append(f"- `{name}`: a classifier ({head['head']}) of the classes {classes}.")
        if detector:
            of_detector = head["kind"] == "detector"
            start = (
                f"- `{name}`: a detector" if of_detector else "  Rejection of instances of no class"
            )
            groups = detector.get("groups")
            if groups is None:
                lines.append(
                    f"{start} ({detector['method']}): threshold {detector['threshold']:g}, for "
                    f"{detector['threshold_set_by']}."
                )
            else:
                lines.append(
                    f"{start} ({detector['method']}) by group: a false-alarm rate of "
                    f"{groups['rate']:g} in each of {groups['n_own']} of {groups['n_groups']} "
                    "groups; the others, and groups that were not there at fit, are decided as "
                    "`heads` of the metadata says."
                )
    return [*lines, ""] if lines else ["No head was exported: the graph gives codes.", ""]


def describe_export(
    encoder: InstanceEncoder,
    heads: Mapping[str, Head],
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    parity: Parity,
    references: ReferenceInstances | None,
    points: Mapping[str, PointHead],
    beside: Mapping[str, bytes],
    group_columns: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the metadata of an export, as plain JSON values; `beside` are other files by name."""
    by_group = inputs[-1].type == GROUP
    newest = by_group or any(one.groups is not None for one in points.values())
    return {
        "format_version": FORMAT_VERSION if newest else FIRST_FORMAT,
        **({"group_columns": list(group_columns)} if by_group else {}),
        "isthmus_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": library_versions(_LIBRARIES),
        "opset": OPSETS[""],
        "schema": encoder.schema_.to_dict(),
        "preprocessing": encoder.preprocessor_.to_dict(),
        "loss": encoder.loss_ if encoder.has_decoder else None,
        "digest": encoder.digest_,
        "n_fit": n_training_rows(encoder),
        "encoder_identity": encoder_identity(encoder),
        "inputs": [one.to_dict() for one in inputs],
        "outputs": [one.to_dict() for one in outputs],
        "heads": {name: _describe_head(head) for name, head in heads.items()},
        **_describe_points(points),
        "known": None if references is None else references.to_dict(),
        "parity": parity.to_dict(),
        FILE_DIGESTS: {name: sha256(content).hexdigest() for name, content in beside.items()},
    } | ({} if inputs[0].column is None else {"cells": describe_cells(encoder.schema_)})


def _describe_points(points: Mapping[str, PointHead]) -> dict[str, Any]:
    if not points:
        return {}
    found = {name: head.to_dict() for name, head in points.items()}
    return {"points": found, "cells": describe_readings()}


def write_facts(model: ModelProto, facts: Mapping[str, Any]) -> None:
    """Replace a model's metadata by these facts."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(facts, ensure_ascii=False, allow_nan=False)


def _describe_head(head: Head) -> dict[str, Any]:
    facts: dict[str, Any] = {"data_fingerprint": head.data_fingerprint_}
    if isinstance(head, AnomalyDetector):
        facts |= {} if head.normal_ is None else {"normal": head.normal_}
        return {"kind": "detector"} | facts | _describe_detector(head)
    facts |= {
        "kind": "classifier",
        "head": head.head if isinstance(head.head, str) else type(head.head_).__name__,
        "classes": np.asarray(head.classes_).tolist(),
        "n_labels": head.n_labels_,
        # With very many labels no codes are stored: such a head has to be fitted again.
        "takes_labels": head.labelled_ is not None,
    }
    if head.class_calibration_ is not None:
        facts["class_calibration"] = {
            "source": head.calibration_,
            "n": head.class_calibration_.n,
            "n_by_class": head.class_calibration_.n_by_class.tolist(),
            "temperature": head.temperature_,
        }
    if head.rejecter_ is not None:
        facts |= {"unknown": head.unknown_label_, "rejecter": _describe_detector(head.rejecter_)}
    return facts


def _describe_detector(detector: AnomalyDetector) -> dict[str, Any]:
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
        **({} if detector.group_calibration_ is None else _describe_groups(detector)),
    } | missing_facts(detector)


def _describe_groups(detector: AnomalyDetector) -> dict[str, Any]:
    assert detector.group_calibration_ is not None  # of a detector by group
    columns = list(detector.group_columns_)
    return {"groups": detector.group_calibration_.facts(), "group_columns": columns}
