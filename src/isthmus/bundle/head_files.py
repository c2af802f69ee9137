"""Heads as files of a bundle: arrays as safetensors, scikit-learn's estimators as skops.

::

    heads/normal/1/
      detector.safetensors   score/..., calibration, memory/..., folds/0/..., ...
      folds/0/               only of a "cross" calibration that trained encoders of its own:
                             encoder.json encoder.safetensors decoder.safetensors ...
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from isthmus._core import from_json, write_by, write_json
from isthmus.autoencoder import InstanceEncoder
from isthmus.bundle.encoder_files import read_encoder, write_encoder
from isthmus.data import ABNORMAL, NORMAL
from isthmus.detection import (
    ALL_LABEL_FREE,
    UNKNOWN,
    AnomalyDetector,
    BlendedScore,
    Calibration,
    ColumnReference,
    Contamination,
    CostChoice,
    Features,
    Fold,
    GroupCalibration,
    HeadScore,
    LabelCurve,
    MissingPenalty,
    PointCalibration,
    ReferenceSet,
    Score,
    Timeline,
    groups_from_state,
    groups_state,
)
from isthmus.errors import BundleError

#: Of the dates that a zip archive can hold, as heads of scikit-learn are.
FIRST_ZIP_YEAR = 1980
DETECTOR = "detector"
ARRAYS, FACTS = "detector.safetensors", "encoder.json"
SCORES: dict[str, type[Score]] = {**ALL_LABEL_FREE, "head": HeadScore, "blend": BlendedScore}
SKOPS, WEIGHTS = "head.skops", "head.safetensors"
#: Folder of the rejecter: the name in all bundles so far.
REJECTER = "novelty"
LABELLED, SPREADING = "labelled.safetensors", "spreading.safetensors"
FITTED_ON = "fitted_on.safetensors"


def write_detector(folder: Path, detector: AnomalyDetector) -> dict[str, Any]:
    """Write a fitted detector into a folder; return its manifest entry."""
    reference_set, by_group = detector.reference_set_, detector.group_calibration_
    bounded = detector.contamination_
    for number, fold in enumerate(reference_set.folds):
        if fold.encoder is not None:
            own = folder / "folds" / str(number)
            write_json(own / FACTS, write_encoder(fold.encoder, own))
    state = {
        "score": detector.fitted_score_.state(),
        "calibration": detector.score_calibration_.scores,
        "memory": {  # keys on disk stay as the first bundles have them
            "views": _features_state(reference_set.features),
            "y": reference_set.y,
            "hashes": reference_set.hashes,
            "seed": int(reference_set.seed),
            **groups_state(reference_set.groups),
            **({} if reference_set.columns is None else {"columns": reference_set.columns.state()}),
            **({} if reference_set.trimmed is None else {"trimmed": reference_set.trimmed}),
        },
        "folds": {
            str(number): _fold_state(fold) for number, fold in enumerate(reference_set.folds)
        },
        **_time_state(detector),
        **({"by_group": by_group.state()} if by_group else {}),
        **({"left_out": bounded.left_out} if bounded else {}),
    }
    at_fit, random_state = detector.parameter_at_fit, detector.random_state
    rate = at_fit("false_alarm_rate")
    return {
        "method": detector.method_,
        "false_alarm_rate": float(detector.false_alarm_rate_),
        "offset": float(detector.offset_),
        "calibration": detector.calibration_,
        "n_calibration": detector.n_calibration_,
        "n_rows": len(reference_set.y),
        "labels": label_counts(reference_set.y),
        "label_curve": detector.label_curve_,
        "wins_from": detector.wins_from_,
        "head_weight": detector.head_weight_,
        **({} if detector.normal_ is None else {"normal": detector.normal_}),
        "parameters": {
            "method": at_fit("method"),
            "false_alarm_rate": rate if isinstance(rate, str) else float(rate),
            "calibration": at_fit("calibration"),
            # A generator cannot be rebuilt from a file, and its draw is in the reference set.
            "random_state": int(random_state) if isinstance(random_state, Integral) else None,
            **_time_parameters(detector),
            **({"contamination": at_fit("contamination")} if bounded else {}),
        },
        "state": write_state(folder / ARRAYS, state),
        **({"points": detector.point_facts_} if detector.point_calibration_ else {}),
        **({"groups": by_group.facts()} if by_group else {}),
        **({"contamination": bounded.facts()} if bounded else {}),
        **({} if detector.cost_choice_ is None else {"cost_choice": detector.cost_choice_.facts()}),
        **({"unlabelled_abnormal": found} if (found := detector.unlabelled_abnormal_) else {}),
        **({"group_columns": list(detector.group_columns_)} if detector.group_columns_ else {}),
    } | missing_facts(detector)


def _time_state(detector: AnomalyDetector) -> dict[str, Any]:
    """Return the state of a detector on series by time point; empty for others."""
    timeline, calibration = detector.reference_set_.timeline, detector.point_calibration_
    if timeline is None or calibration is None:
        return {}
    return {
        "timeline": timeline.state(),
        "points": calibration.state(),
    }


def _time_parameters(detector: AnomalyDetector) -> dict[str, Any]:
    """Return the parameters of a detector that are for time points, where it decides on them."""
    if detector.point_calibration_ is None:
        return {}
    names = ("false_alarms", "merge_gap", "min_length", "causal")
    by_group = {"by_group": True} if detector.parameter_at_fit("by_group") else {}
    return {name: detector.parameter_at_fit(name) for name in names} | by_group


def read_detector(folder: Path, facts: dict[str, Any], encoder: InstanceEncoder) -> AnomalyDetector:
    """Rebuild a fitted detector from what `write_detector` wrote.

    Raises
    ------
    BundleError
        When something is missing, or a fold's weights are not those it was saved with.
    """
    try:
        state = read_state(folder / ARRAYS, facts["state"])
        normal = facts.get("normal")  # older bundles have none
        detector = AnomalyDetector(encoder, **facts["parameters"], normal=normal)
        detector.encoder_, detector.normal_ = encoder, normal
        detector.method_, detector.calibration_ = facts["method"], facts["calibration"]
        detector.fitted_score_ = SCORES[facts["method"]].from_state(state["score"])
        detector.missing_penalty_ = _read_penalty(facts.get("missing_penalty"), encoder)
        # Detectors from before there was a choice count a missing value as the median.
        detector.missing = facts.get("missing", "ignore")
        detector.score_calibration_ = Calibration(state["calibration"])
        detector.n_calibration_ = detector.score_calibration_.n
        detector.reference_set_ = _read_reference_set(folder, state, encoder)
        detector.cost_choice_ = (
            CostChoice(**facts["cost_choice"]) if "cost_choice" in facts else None
        )
        detector.contamination_ = _read_contamination(facts, state)
        detector.unlabelled_abnormal_ = facts.get("unlabelled_abnormal")
        detector.curve_ = LabelCurve(facts["label_curve"], facts["wins_from"])
        detector.head_weight_ = facts["head_weight"]
        detector.false_alarm_rate_ = _number(facts, "false_alarm_rate")
        detector.offset_ = _number(facts, "offset")
        detector.group_columns_ = tuple(facts.get("group_columns", ()))
        detector.group_calibration_ = None
        if "by_group" in state:
            rate = detector.false_alarm_rate_
            detector.group_calibration_ = GroupCalibration.from_state(state["by_group"], rate)
        detector.point_calibration_ = detector.point_facts_ = detector.update_facts_ = None
        if "points" in facts:
            detector.point_calibration_ = PointCalibration.from_state(state["points"])
            detector.point_facts_ = facts["points"]
            detector.point_threshold_ = _number(facts["points"], "threshold")
        detector.record_parameters()
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"the detector in {folder} is damaged: {error} is missing or of the wrong type; "
            "copy or save the bundle again"
        ) from error
    return detector


def _read_contamination(facts: dict[str, Any], state: dict[str, Any]) -> Contamination | None:
    if "contamination" not in facts:
        return None
    given, trimmed = facts["contamination"], state["memory"]["trimmed"]
    n = int(given["n_calibration_before"])
    return Contamination(_number(given, "bound"), given["auto"], trimmed, state["left_out"], n)


def _number(facts: Mapping[str, Any], name: str) -> float:
    value = facts[name]
    if type(value) not in (int, float) or not math.isfinite(value):  # True is an int too
        raise TypeError(f"{name} = {value!r}, which is no finite number,")
    return float(value)


def missing_facts(detector: AnomalyDetector) -> dict[str, Any]:
    """Return policy and penalty of a detector for missing values; nothing for `"ignore"`.

    Parameters
    ----------
    detector : fitted AnomalyDetector

    Returns
    -------
    dict
    """
    policy = detector.parameter_at_fit("missing")
    if policy == "ignore":
        return {}
    penalty = detector.missing_penalty_
    facts: dict[str, Any] = {"missing": policy}
    if penalty is not None:
        columns = np.flatnonzero(penalty.columns).tolist()
        facts["missing_penalty"] = {"columns": columns, "amount": penalty.amount}
        if (rare := np.flatnonzero(np.isfinite(penalty.levels))).size:
            levels = {"rare": rare.tolist(), "levels": penalty.levels[rare].tolist()}
            facts["missing_penalty"] |= levels
    return facts


def _read_penalty(
    facts: Mapping[str, Any] | None, encoder: InstanceEncoder
) -> MissingPenalty | None:
    if facts is None:
        return None
    columns = np.isin(np.arange(encoder.schema_.n_features), facts["columns"])
    levels = np.full(len(columns), -np.inf)
    levels[facts.get("rare", [])] = facts.get("levels", [])  # older bundles have none
    return MissingPenalty(columns, facts["amount"], levels)


def label_counts(y: np.ndarray) -> dict[str, int]:
    """Return the numbers of labels that are normal, abnormal and unknown.

    Parameters
    ----------
    y : int array of shape (n,)
        1 normal, -1 abnormal, 0 unknown.

    Returns
    -------
    dict of str to int

    Examples
    --------
    >>> label_counts(np.array([1, 0, 0, -1]))
    {'normal': 1, 'abnormal': 1, 'unknown': 2}
    """
    named = {"normal": NORMAL, "abnormal": ABNORMAL, "unknown": UNKNOWN}
    return {name: int((y == label).sum()) for name, label in named.items()}


def _read_reference_set(
    folder: Path, state: dict[str, Any], encoder: InstanceEncoder
) -> ReferenceSet:
    rows, folds = state["memory"], state["folds"]
    return ReferenceSet(
        Features(**rows["views"]),
        rows["y"],
        rows["hashes"],
        [_fold(folder, number, folds[str(number)], encoder) for number in range(len(folds))],
        rows["seed"],
        timeline=Timeline.from_state(state["timeline"]) if "timeline" in state else None,
        groups=groups_from_state(rows),
        columns=ColumnReference.from_state(rows),
        trimmed=rows.get("trimmed"),
    )


def _fold_state(fold: Fold) -> dict[str, Any]:
    features = {} if fold.features is None else {"views": _features_state(fold.features)}
    purged = {} if fold.purged is None else {"purged": fold.purged}
    return {"held_out": fold.held_out} | purged | features


def _fold(folder: Path, number: int, state: dict[str, Any], encoder: InstanceEncoder) -> Fold:
    features = Features(**state["views"]) if "views" in state else None
    own = folder / "folds" / str(number)
    if not (own / FACTS).is_file():
        return Fold(state["held_out"], None, features, state.get("purged"))
    try:
        facts = from_json((own / FACTS).read_bytes())
    except ValueError as error:
        raise BundleError(
            f"{own / FACTS} is damaged ({error}); copy or save the bundle again"
        ) from error
    given = encoder.architecture
    modules = (given[0], given[1]) if isinstance(given, tuple | list) else None
    trained = read_encoder(own, facts, modules)
    return Fold(state["held_out"], trained, features, state.get("purged"))


def _features_state(features: Features) -> dict[str, Any]:
    state = {part.name: getattr(features, part.name) for part in fields(features)}
    return {name: value for name, value in state.items() if value is not None}


def write_state(path: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """Write the arrays of a tree as one safetensors file, and return the rest.

    Parameters
    ----------
    path : Path
    state : mapping of str to array, NumPy scalar, plain value or such a mapping
        Names without a slash.

    Returns
    -------
    dict
        The tree without its arrays and NumPy scalars, as plain JSON values.
    """
    arrays: dict[str, np.ndarray] = {}
    plain = _without_arrays(state, "", arrays)
    write_by(path, partial(_save_arrays, arrays), sum(one.nbytes for one in arrays.values()))
    return plain


def _save_arrays(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write arrays straight into a file: as bytes they would be in memory twice more."""
    try:
        safetensors.numpy.save_file(arrays, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


def read_state(path: Path, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Rebuild a tree from what `write_state` wrote and returned.

    Values and dtypes are as written; all arrays are C-contiguous.

    Raises
    ------
    BundleError
        When the file is missing or damaged.
    """
    try:
        arrays = safetensors.numpy.load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} is damaged ({error}); copy or save the bundle again") from error
    state = _copied(plain)
    for name, value in arrays.items():
        *groups, last = name.split("/")
        place = state
        for group in groups:
            place = place.setdefault(group, {})
        # A copy, because loaded arrays are read-only; [()] turns 0-dimensional ones into scalars.
        place[last] = np.array(value)[()]
    return state


def _without_arrays(
    state: Mapping[str, Any], prefix: str, arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Mapping):
            plain[name] = _without_arrays(value, f"{prefix}{name}/", arrays)
        elif isinstance(value, np.ndarray | np.generic):
            arrays[prefix + name] = np.asarray(value, order="C")
        else:
            plain[name] = value
    return plain


def _copied(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copied(v) if isinstance(v, Mapping) else v for k, v in plain.items()}
