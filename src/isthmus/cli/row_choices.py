"""Options of `isthmus predict` that choose rows: accepted classes, selected and adaptive alarms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from isthmus._core import from_json, to_json, write_bytes
from isthmus.errors import DataError

#: Confidence of a bound of the normal ones among those selected, as in `AnomalyDetector.selection`.
CONFIDENCE = 0.9


class Chosen(NamedTuple):
    """Columns of the output, facts for JSON, lines to print, and the state after these rows."""

    columns: dict[str, np.ndarray]
    facts: dict[str, Any]
    lines: list[str]
    state: dict[str, Any] | None = None


@dataclass(frozen=True)
class RowChoices:
    """Which rows are chosen beside the prediction; every field is an option."""

    max_error: Annotated[
        float | None,
        typer.Option(
            help="Of a classifier that is calibrated: add the column accepted, predictions of "
            "which at most this share is wrong, with a confidence of 95 %."
        ),
    ] = None
    select_fdr: Annotated[
        float | None,
        typer.Option(
            help="Of a detector: add the column selected, abnormal rows of which at most this "
            "share is normal, on average. With --state row by row, as they come."
        ),
    ] = None
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive",
            help="Of a detector: add the column adaptive, 1 or -1 by a threshold that follows the "
            "rows as they come, so that in the long run the share of the false-alarm rate is -1.",
        ),
    ] = False
    state: Annotated[
        Path | None,
        typer.Option(
            help="File for the state of --adaptive or of --select-fdr, .json: where it exists rows "
            "go on from it, and it is written at the end."
        ),
    ] = None

    @property
    def given(self) -> list[str]:
        """The options that choose rows, of those that are given."""
        values = {
            "--max-error": self.max_error,
            "--select-fdr": self.select_fdr,
            "--adaptive": self.adaptive or None,
        }
        return [name for name, value in values.items() if value is not None]

    def check(self, *, of_points: bool = False) -> None:
        """Check that what is asked for goes together, and with a decision on time points.

        Raises
        ------
        DataError
            When it does not.
        """
        if self.given and of_points:
            raise DataError(
                f"got {self.given[0]}, and the detector decides on time points, which depend on "
                "each other; leave it out, or pass --by window"
            )
        if self.adaptive and self.select_fdr is not None:
            raise DataError("got --adaptive and --select-fdr; pass one of them")
        if self.state is not None and not self.adaptive and self.select_fdr is None:
            raise DataError(
                f"got --state {self.state}, which is for --adaptive or --select-fdr; add one"
            )

    def choose(self, decider: Any, instances: Any, table: Any) -> Chosen:
        """Choose rows; the state is stored by `write_state`, once their output is written.

        Parameters
        ----------
        decider : CodeClassifier or AnomalyDetector
        instances : Dataset
        table : DataFrame
            Of predictions.

        Raises
        ------
        DataError
            When it is asked of a head of the other kind, or the state is of another one.
        """
        detects = "anomaly_score" in table
        if self.max_error is not None:
            if detects:
                raise DataError(
                    "got --max-error, which is for classifiers, and the head is a detector; leave "
                    "it out, or choose the head with --head"
                )
            return self._accepted(decider, instances)
        if not self.adaptive and self.select_fdr is None:
            return Chosen({}, {}, [])
        if not detects:
            raise DataError(
                f"got {'--adaptive' if self.adaptive else '--select-fdr'}, which is for detectors, "
                "and the head is a classifier; leave it out, or choose the head with --head"
            )
        if self.adaptive:
            return self._adaptive(decider, table["p_value"].to_numpy())
        if self.state is not None:
            return self._online(decider, table["p_value"].to_numpy())
        found = decider.selection(instances, self.select_fdr, CONFIDENCE)
        line = (
            f"{len(found):,} of {len(found.mask):,} selected: at most {100 * found.fdr:g} % of "
            f"them normal on average, here {found.most_false:,} at most (confidence "
            f"{100 * CONFIDENCE:g} %)"
        )
        return Chosen({"selected": found.mask}, {"selection": found.facts()}, [line])

    def _accepted(self, classifier: Any, instances: Any) -> Chosen:
        assert self.max_error is not None
        mask = classifier.accept(instances.X, self.max_error)
        found = classifier.acceptance(self.max_error)
        facts = asdict(found) | {
            "threshold": found.threshold if np.isfinite(found.threshold) else None,
            "n_calibration": classifier.class_calibration_.n,
            "n_accepted": int(mask.sum()),
        }
        line = (
            f"{int(mask.sum()):,} of {len(mask):,} accepted: at most {100 * self.max_error:g} % of "
            f"such predictions are wrong (confidence {100 * found.confidence:g} %)"
        )
        return Chosen({"accepted": mask}, {"accepted": facts}, [line])

    def _adaptive(self, detector: Any, p_values: np.ndarray) -> Chosen:
        from isthmus.detection import AdaptiveRate

        before = self._read(detector, "adaptive")
        rate = detector.false_alarm_rate_
        adaptive = AdaptiveRate(rate) if before is None else AdaptiveRate.from_state(before)
        found = adaptive.decide(p_values)
        line = (
            f"{int((found == -1).sum()):,} of {len(found):,} alarms by the adaptive threshold, now "
            f"{adaptive.threshold:.4g}; {adaptive.alarms:,} of {adaptive.n:,} so far, in the long "
            f"run {100 * rate:g} % (within {100 * min(1.0, adaptive.bound):.3g} % by now)"
        )
        facts = adaptive.state() | {"n_alarms": int((found == -1).sum()), "bound": adaptive.bound}
        return Chosen({"adaptive": found}, {"adaptive": facts}, [line], adaptive.state())

    def _online(self, detector: Any, p_values: np.ndarray) -> Chosen:
        from isthmus.detection import OnlineSelection

        before = self._read(detector, "lond")
        assert self.select_fdr is not None
        online = (
            OnlineSelection(self.select_fdr)
            if before is None
            else OnlineSelection.from_state(before)
        )
        if online.fdr != self.select_fdr:
            raise DataError(
                f"got --select-fdr {self.select_fdr:g}, and {self.state} is the state of a "
                f"selection at {online.fdr:g}; pass that, or begin another file"
            )
        mask = online.update(p_values)
        least = 1 / (detector.n_calibration_ + 1)
        line = (
            f"{int(mask.sum()):,} of {len(mask):,} selected, {online.n_selected:,} of "
            f"{online.n_seen:,} so far: at most {100 * self.select_fdr:g} % of them normal on "
            f"average; the next needs a p-value of {online.level:.2g}"
        )
        beyond = f", which none has: the smallest is {least:.2g}; select a batch, without --state"
        facts = online.state() | {"level": online.level, "smallest_p_value": least}
        lines = [line + beyond * (online.level < least)]
        return Chosen({"selected": mask}, {"selection": facts}, lines, online.state())

    def _read(self, detector: Any, rule: str) -> dict[str, Any] | None:
        if self.state is None or not self.state.exists():
            return None
        try:
            found = from_json(self.state.read_bytes())
            state, digest = dict(found["state"]), found["calibration"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.state} is damaged, or no state of isthmus predict ({error}); begin another "
                "file"
            ) from error
        if state.get("rule") != rule:
            options = {"adaptive": "--adaptive", "lond": "--select-fdr"}
            raise DataError(
                f"{self.state} was begun with {options.get(state.get('rule', ''), 'neither')}, "
                f"expected a state of {options[rule]}; pass that option, or begin another file"
            )
        if digest != _calibration_of(detector):
            raise DataError(
                f"{self.state} is of a detector that was calibrated on other rows or at another "
                "rate; begin another file"
            )
        return state

    def write_state(self, detector: Any, chosen: Chosen) -> None:
        """Write the file --state, where it is given, for the rows that come next."""
        if self.state is not None and chosen.state is not None:
            stored = {"state": chosen.state, "calibration": _calibration_of(detector)}
            write_bytes(self.state, to_json(stored).encode())


NONE = RowChoices()


def _calibration_of(detector: Any) -> str:
    from isthmus.monitoring import calibration_digest

    return calibration_digest(detector.score_calibration_.scores, detector.false_alarm_rate_)
