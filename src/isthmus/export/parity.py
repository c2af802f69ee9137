"""Parity of graph and library: their outputs compared on rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isthmus.autoencoder import InstanceEncoder
from isthmus.bundle import Head
from isthmus.data import describe_row, group_codes
from isthmus.detection import (
    AnomalyDetector,
    anomaly_scores,
    extract_features_in_chunks,
    squared_residuals,
)
from isthmus.errors import ExportError
from isthmus.export.decision_graph import Output, decides_by_group
from isthmus.export.point_heads import CHANNEL_PARTS
from isthmus.export.set_graph import CLASS_P_VALUES

#: Outputs that are compared for equality.
DECISIONS = ("class", "verdict")
#: Codes in float32 differ by so much of the larger of 1 and their value: sixteen times its last
#: digit, which is what a network of a few layers adds up.
ROUNDING = 2.0**-20
#: Codes so near that a score is compared at.
N_ROUNDED = 32


@dataclass
class Parity:
    """Deviations of the graph's outputs from the library's.

    Attributes
    ----------
    n_rows : int
    of : str
        Which rows were used.
    tolerance : float
        Largest deviation that passes, relative to the larger of 1 and the library's value.
        Decisions may differ only for rows that are as near to the threshold, or whose two most
        probable classes are as near to each other: that is the band.
    worst : dict of str to dict
        By output: `deviation`, absolute, and `relative`, of the row where that is largest, with
        the `row`'s number. Of p-values also how many are `wrong_for_score`: not what the library
        gives for the graph's own score, or of classes for any score within the tolerance. Only
        that must be 0, because a score that differs in the last digit may lie on the other side of
        a calibration score. Of an anomaly score above the tolerance also how far it is
        `beyond_rounding`, see `compare_within_rounding`: only that must be within the tolerance.
    decisions : dict of str to dict
        By output: number of decisions that `differ`, of these the number `in_band`, number of all
        rows `near` (in the band), and the first `rows` that differ.
    points : dict of str to dict
        By head that decides on time points of series, as
        `isthmus.export.point_heads.measure_points` gives it.
    groups : dict of str to dict
        Of heads that decide by group, for each output of `decisions` the rows `n` by group, and of
        those with some that `differ`.
    """

    n_rows: int
    of: str
    tolerance: float
    worst: dict[str, dict[str, Any]] = field(default_factory=dict)
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    points: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "n_rows": self.n_rows,
            "of": self.of,
            "tolerance": self.tolerance,
            "worst": self.worst,
            "decisions": self.decisions,
            **({"points": self.points} if self.points else {}),
            **({"groups": self.groups} if self.groups else {}),
        }

    def check(self) -> None:
        """Check that outputs are within the tolerance and decisions differ only in the band.

        Raises
        ------
        ExportError
            Naming the output and the row with the largest deviation.
        """
        for name, worst in self.worst.items():
            if worst.get("wrong_for_score"):
                raise ExportError(
                    f"{worst['wrong_for_score']} of {self.n_rows} values of the graph's {name} are "
                    "not what the library gives for the same score, expected none; nothing was "
                    "written; please report this, it is an error of isthmus"
                )
        compared = {
            name: (worst, worst.get("beyond_rounding", worst["relative"]))
            for name, worst in self.worst.items()
            if "wrong_for_score" not in worst
        }
        name, (worst, relative) = max(compared.items(), key=lambda pair: pair[1][1])
        if relative > self.tolerance:
            raise ExportError(
                f"the graph's {name} is off by {worst['deviation']:.3g} in "
                f"{describe_row(worst['row'])} ({worst['relative']:.3g} of the value, or "
                f"of 1 where that is larger), expected at most {self.tolerance:g}; nothing was "
                "written; leave its head out, fit another kind of head, or allow more with a "
                "larger tolerance"
            )
        for name, found in self.decisions.items():
            outside = found["differ"] - found["in_band"]
            if outside:
                raise ExportError(
                    f"{outside} of {self.n_rows} decisions of {name} differ from the library's, "
                    f"the first in {describe_row(found['outside'][0])}, farther than "
                    f"{self.tolerance:g} from where it could go either way; expected none; "
                    "nothing was written; leave its head out, or fit another kind of head"
                )
        for name, found in self.points.items():
            outside = found["differ"] - found["in_band"]
            if found["relative"] > self.tolerance or outside:
                raise ExportError(
                    f"the scores of time points by {name} are off by {found['deviation']:.3g} at "
                    f"most (row {found['row']}), and {outside} verdicts differ, expected at most "
                    f"{self.tolerance:g} and none; nothing was written; leave the head out, fit "
                    "another kind of head, or allow more with a larger tolerance"
                )


def library_outputs(
    encoder: InstanceEncoder,
    heads: Mapping[str, Head],
    outputs: Sequence[Output],
    X: Any,
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the library's value of each output, which the graph is compared with."""
    found: dict[str, np.ndarray] = {}
    for one in outputs:
        head: Any = heads.get(one.head or "")
        detector: Any = head if isinstance(head, AnomalyDetector) else getattr(head, "rejecter_", 0)
        if one.what == "code":
            value = encoder.transform(X)
        elif one.what == "reconstruction_error":
            value = encoder.reconstruction_error(X)
        elif one.what == "residual":
            value = squared_residuals(encoder, X)
        elif one.what == CHANNEL_PARTS:
            n_channels = encoder.schema_.shape[1]
            value = np.concatenate([
                detector.fitted_score_.channel_parts(features, n_channels)
                for features in extract_features_in_chunks(encoder, X)
            ])  # fmt: skip
        elif one.what == "reconstruction":
            value = np.concatenate([batch.outputs.numpy() for batch in encoder.reconstruct(X)])
        elif one.what == "class":
            value = head.predict(X)
        elif one.what == "probabilities":
            value = head.predict_proba(X)
        elif one.what in CLASS_P_VALUES:
            scores = head.class_nonconformity(X)
            by_class = one.what == CLASS_P_VALUES[1]
            value = head.class_calibration_.p_values_of(scores, by_class=by_class)
            found[f"{one.name}/scores"] = np.moveaxis(scores, 1, 0)  # rows first
        elif one.what == "anomaly_score":
            value = -detector.score_samples(X)
        elif one.what == "p_value":
            score = found[_output_of_same_head(one, "anomaly_score", outputs)]
            value = detector.p_values_of(score, _groups_for(detector, groups))
        else:
            score = found[_output_of_same_head(one, "anomaly_score", outputs)]
            value = detector.verdicts_of(score, _groups_for(detector, groups))
        found[one.name] = value
    return found


def measure(
    heads: Mapping[str, Head],
    outputs: Sequence[Output],
    expected: Mapping[str, np.ndarray],
    got: Mapping[str, np.ndarray],
    tolerance: float,
    of: str,
    groups: np.ndarray | None = None,
) -> Parity:
    """Compare the graph's outputs, `got`, with the library's, `expected`."""
    parity = Parity(len(expected["code"]), of, tolerance)
    for one in outputs:
        reference, actual = expected[one.name], got[one.name]
        if one.what in DECISIONS:
            near = _near_boundary(heads, one, outputs, expected, tolerance, groups)
            differ = reference.astype(object) != actual.astype(object)
            parity.decisions[one.name] = {
                "differ": int(differ.sum()),
                "in_band": int((differ & near).sum()),
                "near": int(near.sum()),
                "rows": np.flatnonzero(differ)[:10].tolist(),
                "outside": np.flatnonzero(differ & ~near)[:10].tolist(),
            }
            if groups is not None and decides_by_group(heads.get(one.head or "")):
                names, codes = group_codes(groups)
                parity.groups[one.name] = {
                    "n": {name: int((codes == at).sum()) for at, name in enumerate(names)},
                    "differ": {
                        name: int(differ[codes == at].sum())
                        for at, name in enumerate(names)
                        if differ[codes == at].any()
                    },
                }
            continue
        if one.what == CHANNEL_PARTS:
            # Of two references that are as near the graph may find the other, which has the same
            # distance: the sum of the parts.
            reference, actual = reference.sum(axis=1), actual.sum(axis=1)
        parity.worst[one.name] = _largest_deviation(reference, actual)
        if one.what in CLASS_P_VALUES:
            outside = _outside_band(heads, one, expected[f"{one.name}/scores"], actual, tolerance)
            parity.worst[one.name]["wrong_for_score"] = outside
        if one.what == "p_value":
            # A score that differs in the last digit may pass a calibration score, which moves the
            # p-value by 1 / (n + 1). So it is compared with the library's for the same score.
            own = got[_output_of_same_head(one, "anomaly_score", outputs)]
            detector = _detector(heads, one)
            wrong = detector.p_values_of(own, _groups_for(detector, groups)) != actual
            parity.worst[one.name]["wrong_for_score"] = int(wrong.sum())
    return parity


def compare_within_rounding(
    parity: Parity,
    encoder: InstanceEncoder,
    heads: Mapping[str, Head],
    outputs: Sequence[Output],
    X: Any,
    got: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
) -> list[str]:
    """Compare scores beyond the tolerance with the library's at codes as near as float32 resolves.

    Codes are float32 in graph and library, and differ in the last digits. Where references lie as
    near to each other as a thousand of these, as in a code of one number with 2,000 references,
    the score of the same instance differs in the fourth digit, and in the third where of two
    references that are as near the other one is found. Such a score is right where the
    library gives it for a code that differs by no more than rounding: the graph's own, or one of
    `N_ROUNDED` draws. `beyond_rounding` of `parity.worst` is the largest deviation from the
    nearest of these; a verdict that one of them has is in the band.

    Returns
    -------
    list of str
        What is to be warned of: which scores differ by more than the tolerance, and why.
    """
    said = []
    for one in outputs:
        worst = parity.worst.get(one.name, {})
        if one.what != "anomaly_score" or worst["relative"] <= parity.tolerance:
            continue
        detector, scores = _detector(heads, one), []
        rng = np.random.default_rng(0)
        features = list(extract_features_in_chunks(encoder, X))
        codes = np.concatenate([part.codes for part in features])
        size = ROUNDING * np.maximum(1, np.abs(codes))
        moved = [codes + size * rng.uniform(-1, 1, codes.shape) for _ in range(N_ROUNDED)]
        for near in (codes, got["code"], *moved):
            parts = np.split(near.astype(codes.dtype), np.cumsum([len(f) for f in features])[:-1])
            scores.append(
                np.concatenate([
                    anomaly_scores(
                        detector.fitted_score_, replace(part, codes=own), detector.missing_penalty_
                    )
                    for part, own in zip(features, parts, strict=True)
                ])
            )  # fmt: skip
        near_scores = np.stack(scores)
        away = np.abs(near_scores - got[one.name]) / np.maximum(1, np.abs(near_scores))
        worst["beyond_rounding"] = float(away.min(axis=0).max())
        verdict = _output_of_same_head(one, "verdict", outputs)
        if verdict in parity.decisions:
            decided = parity.decisions[verdict]
            of_groups = _groups_for(detector, groups)
            own = np.stack([detector.verdicts_of(s, of_groups) for s in near_scores])
            reached = (own == got[verdict]).any(axis=0)
            decided["in_band"] += sum(bool(reached[row]) for row in decided["outside"])
            decided["outside"] = [row for row in decided["outside"] if not reached[row]]
        said.append(
            f"the graph's {one.name} is off by {worst['deviation']:.3g} in "
            f"{describe_row(worst['row'])}, more than {parity.tolerance:g}: reference rows lie as "
            "near to each other in the code as float32 tells them apart; a code of more numbers, "
            "or method='combined', spreads them"
        )
    return said


def _largest_deviation(expected: np.ndarray, got: np.ndarray) -> dict[str, Any]:
    """Return the largest deviation; NaN in either counts as the largest float."""
    reference = expected.reshape(len(expected), -1).astype(np.float64)
    actual = got.reshape(len(got), -1).astype(np.float64)
    deviation = np.abs(reference - actual)
    deviation[np.isnan(deviation)] = np.finfo(np.float64).max
    relative = deviation / np.maximum(1, np.abs(reference))
    row, column = np.unravel_index(int(relative.argmax()), relative.shape)
    return {
        "deviation": float(deviation[row, column]),
        "relative": float(relative[row, column]),
        "row": int(row),
    }


def _near_boundary(
    heads: Mapping[str, Head],
    one: Output,
    outputs: Sequence[Output],
    expected: Mapping[str, np.ndarray],
    tolerance: float,
    groups: np.ndarray | None,
) -> np.ndarray:
    """Return where a decision could go either way, boolean of shape (n,)."""
    near = np.zeros(len(expected["code"]), dtype=bool)
    detector = _detector(heads, one)
    if detector is not None:
        threshold = detector.thresholds_of(_groups_for(detector, groups))
        score = expected[_output_of_same_head(one, "anomaly_score", outputs)]
        near |= np.abs(score - threshold) <= tolerance * np.maximum(1, np.abs(threshold))
    probabilities = _output_of_same_head(one, "probabilities", outputs)
    if one.what == "class" and probabilities in expected:
        two = np.sort(expected[probabilities], axis=1)[:, -2:]
        near |= two[:, 1] - two[:, 0] <= tolerance
    return near


def _outside_band(
    heads: Mapping[str, Head], one: Output, scores: np.ndarray, actual: np.ndarray, tolerance: float
) -> int:
    """Count p-values of classes that no nonconformity within the tolerance has."""
    calibration: Any = getattr(heads[one.head or ""], "class_calibration_", None)
    by_class = one.what == CLASS_P_VALUES[1]
    # The logarithm of odds near 0 or 1 magnifies what probabilities are off by.
    scores = np.moveaxis(scores, 0, 1)
    near = 10 * tolerance * np.maximum(1, np.abs(scores))
    low, high = (
        calibration.p_values_of(scores + shift, by_class=by_class) for shift in (near, -near)
    )
    return int(((actual < low) | (actual > high)).sum())


def _groups_for(detector: Any, groups: np.ndarray | None) -> np.ndarray | None:
    return groups if decides_by_group(detector) else None


def _detector(heads: Mapping[str, Head], one: Output) -> Any:
    head = heads[one.head or ""]
    return head if isinstance(head, AnomalyDetector) else head.rejecter_


def _output_of_same_head(one: Output, what: str, outputs: Sequence[Output]) -> str:
    """Return the name of another output of the same head, "" when there is none."""
    names = [other.name for other in outputs if (other.what, other.head) == (what, one.head)]
    return names[0] if names else ""
