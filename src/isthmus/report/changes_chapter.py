"""Chapter "what changed": against held-out data, and against an earlier bundle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Bundle, rows_used_in_fit
from isthmus.classification import CodeClassifier
from isthmus.data import NORMAL, ClassMatcher, Dataset, label_text
from isthmus.detection import UNKNOWN, AnomalyDetector
from isthmus.errors import DataError
from isthmus.evaluation import (
    MIN_INSTANCES,
    compare_classifications,
    compare_detections,
    compare_errors,
    decide,
    holm,
    measure_drift,
)
from isthmus.report.detection_chapter import calibration_rows, column_changes
from isthmus.report.wording import label_or_none, percent, times

#: How a bundle comes to hold instances that the encoder was not trained on.
HOLD_OUT = {
    "images": "An encoder fitted with a validation_fraction holds some.",
    "table": (
        'A detector with calibration="split" (on the command line --calibration split) holds '
        "some, and so does an encoder fitted with a validation_fraction."
    ),
    "series": (
        "An encoder fitted with a validation_fraction holds some; how alarms varied over the "
        "stretches of time that calibrated a detector is told with its alarms."
    ),
}


def describe_drift(facts: dict[str, Any], n_new: int, kind: str = "images") -> str:
    """Describe the result of the drift tests, or why there is none.

    Parameters
    ----------
    facts : dict
        `found`, `n_kept`, `drift_reference` and `dependent`, see `change_facts`.
    n_new : int
        Instances that neither the encoder was trained on nor the detector calibrated.
    kind : {"images", "series", "table"}
    """
    found = facts["found"]
    if found is None:
        if not facts["n_kept"]:
            return (
                "There is no drift to tell: the bundle holds no instances that the encoder was not "
                f"trained on, to compare with. {HOLD_OUT[kind]}"
            )
        if facts["n_kept"] < MIN_INSTANCES:
            return (
                f"The bundle holds {facts['n_kept']:,} reference instances that the encoder was "
                f"not trained on, and a test for drift needs {MIN_INSTANCES}: train with more "
                "instances, or with a larger validation_fraction."
            )
        return (
            f"There is no drift to tell: {n_new:,} of these instances "
            f"{'is' if n_new == 1 else 'are'} new, the model has learned from the others, and a "
            f"test for drift needs {MIN_INSTANCES}: pass new data."
        )
    against = (
        f"{found['n_reference']:,} that calibrated the detector"
        if facts["drift_reference"] == "calibration"
        else f"{found['n_reference']:,} that the encoder was not trained on"
    )
    codes, errors = (_p(found[name]["adjusted"]) for name in ("codes", "errors"))
    chance = percent(found["level"], 0 if found["level"] >= 0.01 else 2)
    if not found["drifted"]:
        text = (
            f"No change was found: codes ({codes}) and reconstruction errors ({errors}) of "
            f"{found['n']:,} new instances are like those of {against}."
        )
    else:
        what = [
            f"{words} ({p})"
            for name, words, p in (
                ("codes", "the codes", codes),
                ("errors", "the reconstruction errors", errors),
            )
            if found[name]["changed"]
        ]
        text = (
            f"A change was found: {' and '.join(what)} of {found['n']:,} new instances are "
            f"not like those of {against}."
        )
    text += f" {_describe_size(found)} The probability of finding a change where there is none is "
    text += f"{chance} at most."
    if facts["dependent"]:
        text += " That holds for independent instances; overlapping windows raise it."
    return text


def describe_errors(
    found: dict[str, Any] | None, *, same: bool, comparable: bool, level: float
) -> str:
    """Describe which of two encoders reconstructs the same instances better."""
    if same:
        return "The encoder is the same."
    if not comparable:
        return (
            "The encoder is another one, and its errors have other units, so that they cannot be "
            "compared."
        )
    if found is None:
        return "The encoder is another one; no instance here is new to both encoders."
    errors = found["median_error"]
    text = (
        f"The encoder is another one: the median error of {found['n']:,} instances that are new "
        f"to both was {errors['then']:.3g} and is {errors['now']:.3g}, and "
        f"{percent(found['better'], 0)} have a smaller error than before"
    )
    return f"{text} ({_p(found['adjusted'])}{_or_chance(found, level)})."


def describe_head_change(head: dict[str, Any], level: float) -> str:
    """Describe which decisions of a head changed, and whether that is better."""
    changed, n = head["changed"], head["n"]
    text = (
        f"{head['name']!r} changed its decision on {changed['count']:,} of {n:,} instances "
        f"({percent(changed['share'])})"
    )
    if head["kind"] == "classifier":
        if head["test"] is None:
            return f"{text}; without labels it is unknown which decisions are right."
        accuracy, test = head["accuracy"], head["test"]
        return (
            f"{text}: accuracy {percent(accuracy['then'])} before, {percent(accuracy['now'])} now "
            f"({_p(test['adjusted'])}{_or_chance(test, level)})."
        )
    flagged = head["flagged"]
    text += f": {flagged['then']:,} classified as abnormal before, {flagged['now']:,} now"
    for name, words in (("false_alarms", "of the normal"), ("found", "of the abnormal")):
        group = head[name]
        if group is not None:
            test = group["test"]
            text += (
                f"; {words} {percent(group['then'])} before, {percent(group['now'])} now "
                f"({_p(test['adjusted'])}{_or_chance(test, level)})"
            )
    return f"{text}."


def _describe_size(found: dict[str, Any]) -> str:
    error, high = found["median_error"], found["high"]
    text = (
        f"{percent(high['share'])} have a high error, where "
        f"{percent(high['expected'])} were expected"
    )
    if error["ratio"] is None:
        return f"{text}."
    between = ""
    if error["interval"] is not None:
        low, top = error["interval"]
        between = f" (95 % interval {times(low)} to {times(top)})"
    return (
        f"The median error is {times(error['ratio'])} times that of the reference{between}; {text}."
    )


def _or_chance(test: dict[str, Any], level: float) -> str:
    return "" if test["adjusted"] <= level else ", not significant"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


Pair = tuple[np.ndarray, np.ndarray]


def head_changes(
    earlier: Bundle,
    bundle: Bundle,
    codes: Pair,
    hashes: Pair,
    part: Dataset,
    labels: np.ndarray | None,
) -> list[dict[str, Any]]:
    """Compare heads that both bundles have, by name and kind.

    Parameters
    ----------
    earlier, bundle : Bundle
    codes, hashes : pairs of arrays, of shape (n, n_components) and (n,)
        Of the earlier and of the later encoder.
    part : Dataset of n instances
    labels : array of shape (n,) or None
        For detectors: 1 normal, -1 abnormal, 0 unlabelled.

    Returns
    -------
    list of dict
        `name`; `kind`, "classifier" or "detector"; `n_known`, instances that one of the two has
        learned from, which are left out; the result of `compare_classifications` or
        `compare_detections`, with `rows` by `Dataset.row_numbers`; `decisions`, those rows with the
        decisions `then` and `now` and the `label`; `tests`, the tests among these. Heads that
        learned from all instances are left out.
    """
    found = []
    for name in bundle.heads:
        then, now = earlier.heads.get(name), bundle.heads[name]
        if isinstance(then, AnomalyDetector) and isinstance(now, AnomalyDetector):
            known = rows_used_in_fit(then, hashes[0]) | rows_used_in_fit(now, hashes[1])
            one = _detectors(then, now, part, labels, np.flatnonzero(~known))
        elif isinstance(then, CodeClassifier) and isinstance(now, CodeClassifier):
            known = rows_used_in_fit(then, hashes[0]) | rows_used_in_fit(now, hashes[1])
            one = _classifiers(then, now, codes, part, known)
        else:
            continue
        if one is not None:
            found.append({"name": name, "n_known": int(known.sum())} | one)
    return found


def _classifiers(
    then: CodeClassifier, now: CodeClassifier, codes: Pair, part: Dataset, known: np.ndarray
) -> dict[str, Any] | None:
    labelled, labels = _labels_for(now, part)
    new = ~known[labelled]
    rows, y = (labelled[new], labels[new]) if len(labelled) else (np.flatnonzero(~known), None)
    if not len(rows):
        return None
    decided = [
        decide(head.standardised_head_, head_codes[rows])[0]
        for head, head_codes in zip((then, now), codes, strict=True)
    ]
    try:
        decided[0] = ClassMatcher(now.classes_).match(decided[0])
    except DataError:  # classes of other types are compared as text
        decided = [_as_text(one) for one in decided]
        y = None if y is None else _as_text(y)
    found = compare_classifications(decided[0], decided[1], y)
    tests = [] if found["test"] is None else [found["test"]]
    return (
        {"kind": "classifier"}
        | found
        | _changed_decisions(part.row_numbers()[rows], found["rows"], decided, y)
        | {"tests": tests}
    )


def _labels_for(now: CodeClassifier, part: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows whose labels test a head, and these labels; none where they do not fit it.

    The chapter on this head states the reason.
    """
    nothing = np.empty(0, dtype=np.intp)
    if part.y is None:
        return nothing, nothing
    try:
        return ClassMatcher(now.classes_).labelled(part.y)
    except DataError:
        return nothing, nothing


def _as_text(labels: np.ndarray) -> np.ndarray:
    return np.array([label_text(label) for label in labels.tolist()], dtype=object)


def _detectors(
    then: AnomalyDetector,
    now: AnomalyDetector,
    part: Dataset,
    labels: np.ndarray | None,
    rows: np.ndarray,
) -> dict[str, Any] | None:
    if not len(rows):
        return None
    by_group = any(one.group_calibration_ is not None for one in (then, now))
    X = part.take(rows) if by_group else part.take(rows).X
    decided, y = [then.predict(X), now.predict(X)], None if labels is None else labels[rows]
    # Read by the detector's own rule already: 0, which would be abnormal beside 1, is unlabelled.
    known = None if y is None else np.where(y == UNKNOWN, np.nan, y)
    found = compare_detections(decided[0], decided[1], known, normal=None if y is None else NORMAL)
    groups = (found["false_alarms"], found["found"])
    return (
        {"kind": "detector"}
        | found
        | _changed_decisions(part.row_numbers()[rows], found["rows"], decided, y)
        | {"tests": [group["test"] for group in groups if group is not None]}
    )


def _changed_decisions(
    numbers: np.ndarray, otherwise: list[int], decided: list[np.ndarray], y: np.ndarray | None
) -> dict[str, Any]:
    """Return the instances whose decision changed, by their row numbers."""
    return {
        "rows": numbers[otherwise].tolist(),
        "decisions": [
            {
                "row": int(numbers[at]),
                "then": label_or_none(decided[0][at]),
                "now": label_or_none(decided[1][at]),
                "label": None if y is None else label_or_none(y[at]),
            }
            for at in otherwise
        ],
    }


def change_facts(
    bundle: Bundle,
    codes: np.ndarray,
    errors: np.ndarray,
    looked_at: Dataset,
    *,
    hashes: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    earlier: Bundle | None = None,
    level: float = 0.05,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure what changed since an encoder was trained, and since an earlier bundle.

    Parameters
    ----------
    bundle : Bundle
    codes : array of shape (n, n_components)
        The bundle's codes of the instances looked at.
    errors : array of shape (n,)
        Their reconstruction errors.
    looked_at : Dataset of n instances
    hashes : uint64 array of shape (n,), optional
        As `bundle.encoder.row_hashes` gives them.
    labels : array of shape (n,), optional
        1 normal, -1 abnormal, 0 unlabelled: for detectors.
    earlier : Bundle, optional
        To compare encoders with, and heads of the same name and kind.
    level : float in (0, 1), default=0.05
        The chance of a false alarm: of each drift test, and of all comparisons with the earlier
        bundle together.
    seed : int, default=0

    Returns
    -------
    dict
        `drift` : `found`, see `isthmus.evaluation.measure_drift`, None where there is too little to
        test; `n_left_out`, instances that the encoder was trained on; `n_kept`, those of the
        reference; `drift_reference`, "held out" by the encoder, or "calibration" where it held out
        none: rows that calibrate a detector of the table; `untested`, the reason where there is no
        test; `dependent`, whether the instances are windows that overlap; `verdict`, a
        sentence. `moved_columns` : see `column_changes`.

        `earlier` : None without one, else its `name`; `created`, `digest` and `n_components`
        (`then`, `now`); `same_encoder`; `errors`, see `compare_errors`, None for the same encoder
        or other units, with `verdict`; `heads`, see `head_changes`, with `verdict`; names of
        heads that are `only_then` and `only_now`; `drift`, the same instances against the held-out
        instances of the earlier encoder. Every test has `adjusted`, Holm's p-value among all.

    Raises
    ------
    SchemaError
        When the earlier encoder cannot take these instances.
    """
    if hashes is None:
        hashes = bundle.encoder.row_hashes(looked_at.X)
    dependent = _overlapping(looked_at)
    facts: dict[str, Any] = {
        "level": level,
        "drift": _drift(bundle, codes, errors, hashes, dependent, level, seed),
        "moved_columns": column_changes(bundle, looked_at.X, hashes, level),
        "earlier": None,
    }
    if earlier is not None:
        facts["earlier"] = _against(
            bundle, earlier, codes, errors, looked_at, hashes, labels, dependent, level, seed
        )
    return facts


def _drift(
    bundle: Bundle,
    codes: np.ndarray,
    errors: np.ndarray,
    hashes: np.ndarray,
    dependent: bool,
    level: float,
    seed: int,
) -> dict[str, Any]:
    encoder = bundle.encoder
    kept, new = encoder.held_out_, _new(encoder, hashes)
    calibrating = None if len(kept) else calibration_rows(bundle)
    if calibrating is not None:
        kept = calibrating.rows
        new &= ~np.isin(hashes, calibrating.hashes)
    # New rows that equal a training row are left out, and so must be such reference rows: common
    # rows would otherwise be on one side only, and appear as a change.
    reference = np.ones(len(kept), dtype=bool) if new.all() else ~kept.repeated
    found = None
    if min(reference.sum(), new.sum()) >= MIN_INSTANCES:
        found = measure_drift(
            kept.codes[reference],
            kept.errors[reference],
            codes[new],
            errors[new],
            level=level,
            seed=seed,
        )
    facts: dict[str, Any] = {
        "found": found,
        "n_left_out": int((~new).sum()),
        "n_kept": int(reference.sum()),
        "drift_reference": "held out" if calibrating is None else "calibration",
        "dependent": dependent,
    }
    n_new = int(new.sum())
    if found is None:
        facts["untested"] = (
            f"{n_new:,} of these instances are new, and the test needs {MIN_INSTANCES}"
            if facts["n_kept"] >= MIN_INSTANCES
            else "the bundle holds too few instances that it did not learn from to compare with"
        )
    return facts | {"verdict": describe_drift(facts, n_new, encoder.schema_.kind)}


def _against(
    bundle: Bundle,
    earlier: Bundle,
    codes: np.ndarray,
    errors: np.ndarray,
    looked_at: Dataset,
    hashes: np.ndarray,
    labels: np.ndarray | None,
    dependent: bool,
    level: float,
    seed: int,
) -> dict[str, Any]:
    then, now = earlier.encoder, bundle.encoder
    codes_then, errors_then = then.transform(looked_at.X), then.reconstruction_error(looked_at.X)
    hashes_then = then.row_hashes(looked_at.X)
    new = _new(now, hashes) & _new(then, hashes_then)
    comparable = _units(then) == _units(now)
    # Scaled data gives the same weights behind another standardising.
    same = comparable and then.digest_ == now.digest_
    found = None
    if comparable and not same and new.any():
        found = compare_errors(errors_then[new], errors[new])
    heads = head_changes(
        earlier, bundle, (codes_then, codes), (hashes_then, hashes), looked_at, labels
    )
    tests = [test for test in (found, *(t for head in heads for t in head["tests"])) if test]
    for test, adjusted in zip(tests, holm([test["p_value"] for test in tests]), strict=True):
        test["adjusted"] = adjusted
    for head in heads:
        head["verdict"] = describe_head_change(head, level)
        del head["tests"]
    return {
        "name": earlier.path.name,
        "created": {
            "then": earlier.manifest.get("created"),
            "now": bundle.manifest.get("created"),
        },
        "digest": {"then": then.digest_, "now": now.digest_},
        "n_components": {"then": then.n_components_, "now": now.n_components_},
        "same_encoder": same,
        "errors": found,
        "verdict": describe_errors(found, same=same, comparable=comparable, level=level),
        "heads": heads,
        "only_then": [name for name in earlier.heads if name not in bundle.heads],
        "only_now": [name for name in bundle.heads if name not in earlier.heads],
        "drift": _drift(earlier, codes_then, errors_then, hashes_then, dependent, level, seed),
    }


def _new(encoder: Autoencoder, hashes: np.ndarray) -> np.ndarray:
    """Return which instances the encoder was not trained on, boolean (n,).

    All, where no more rows equal a training row than by chance.
    """
    seen = encoder.training_row_hashes_.overlap(hashes)
    if seen.sum() <= encoder.training_row_hashes_.max_overlap_by_chance(len(hashes)):
        return np.ones(len(hashes), dtype=bool)
    return ~seen


def _units(encoder: Autoencoder) -> tuple[Any, ...]:
    """Return what decides the units of reconstruction errors."""
    return encoder.loss_, encoder.preprocessor_.to_dict()


def _overlapping(part: Dataset) -> bool:
    """Return whether instances are windows of which some share rows of their table."""
    windows = part.windows
    if windows is None or len(windows) < 2:
        return False
    groups = np.zeros(len(windows)) if windows.group is None else pd.factorize(windows.group)[0]
    order = np.lexsort((windows.first_row, groups))
    meets = windows.first_row[order][1:] <= windows.last_row[order][:-1]
    return bool((meets & (np.diff(groups[order]) == 0)).any())
