"""`isthmus detect`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus._core import check_writable
from isthmus.cli.data_options import (
    DEFAULTS,
    ByGroup,
    DataOptions,
    point_options,
    warnings_as_lines,
    with_option_groups,
)
from isthmus.cli.labelled_data import check_detector_labels_of, read_instances_or_codes
from isthmus.cli.options import (
    BundlePath,
    Causal,
    Contamination,
    FalseAlarmRate,
    FalseAlarms,
    Json,
    MergeGap,
    MinLength,
    Missing,
    Normal,
    Seed,
    console_for,
    contamination_of,
    detector_facts,
    number_or_auto,
    window_label_facts,
    window_label_of,
    write_json_facts,
)
from isthmus.errors import DataError

CostOfMiss = Annotated[
    float | None,
    typer.Option(help="Cost of an abnormal instance that is missed; with --cost-of-alarm."),
]
CostOfAlarm = Annotated[
    float | None, typer.Option(help="Cost of a false alarm, in the same unit as that of a miss.")
]
Prevalence = Annotated[
    float | None,
    typer.Option(
        help="With costs: the share of abnormal instances among those to come; by default that of "
        "the labels."
    ),
]


@with_option_groups
def detect(
    bundle: BundlePath,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Mostly normal rows that the encoder was not trained on: a name or path, as for "
            "isthmus fit. Without DATA only the rate of false alarms of a detector is changed."
        ),
    ] = None,
    normal: Normal = None,
    false_alarm_rate: FalseAlarmRate = None,
    false_alarms: FalseAlarms = None,
    merge_gap: MergeGap = None,
    min_length: MinLength = None,
    causal: Causal = False,
    by_group: ByGroup = False,
    method: Annotated[
        str | None,
        typer.Option(
            help="Anomaly score: auto, combined, neighbours, mahalanobis or reconstruction; with "
            "labels also head or blend."
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="How the threshold is calibrated: auto, split (on held-out rows) or cross (by "
            "cross-fitting)."
        ),
    ] = None,
    missing: Missing = None,
    contamination: Contamination = None,
    name: Annotated[str, typer.Option(help="Name of the head in the bundle.")] = "normal",
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate",
            help="DATA is normal rows of today: the detector is calibrated on them, and nothing "
            "is fitted anew.",
        ),
    ] = False,
    cost_of_miss: CostOfMiss = None,
    cost_of_alarm: CostOfAlarm = None,
    prevalence: Prevalence = None,
    seed: Seed = 0,
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """Fit an anomaly detector on the frozen encoder, and add it to the bundle.

    DATA is mostly normal, and has no rows that the encoder was trained on. With one file of
    normal rows for both, use isthmus fit DATA -o BUNDLE --detector. Labels are optional: 1
    normal, -1 abnormal, 0 or empty for unlabelled; others, and labels of only 0 and 1, need
    --normal, which the bundle stores for later labels. DATA may be codes that isthmus encode
    --for-heads wrote; the encoder is then not run.

    Of a long table the detector decides on time points too, and calibrates on blocks of time.

    With --recalibrate a detector of the bundle is calibrated on DATA, such as when isthmus monitor
    says that its promise no longer holds; encoder and score stay as they are.

    With --cost-of-miss and --cost-of-alarm DATA is labelled rows, normal and abnormal, that were
    not fitted on: the threshold of a detector of the bundle is moved to where it costs least.

    Without DATA, --false-alarm-rate moves the thresholds of a detector in the bundle, and
    --false-alarms that of time points. The bundle keeps the earlier version of a detector of the
    same name: see isthmus history.
    """
    console = console_for(json)
    of_points = point_options(false_alarms, merge_gap, min_length, causal, by_group)
    by_point = False
    if data is None:
        given: dict[str, Any] = {"--label": reading.label, "--normal": normal, "--method": method}
        given |= {"--calibration": calibration, "--missing": missing}
        given |= {"--contamination": contamination}
        given |= {"--merge-gap": merge_gap, "--min-length": min_length}
        given |= {"--causal": causal or None, "--by-group": by_group or None}
        given |= {"--recalibrate": recalibrate or None, "--cost-of-miss": cost_of_miss}
        given |= {"--cost-of-alarm": cost_of_alarm, "--prevalence": prevalence}
        detector, version = _move_threshold(bundle, name, false_alarm_rate, false_alarms, given)
    elif cost_of_miss is not None or cost_of_alarm is not None or prevalence is not None:
        if cost_of_miss is None or cost_of_alarm is None:
            raise DataError(
                "a threshold by cost needs both --cost-of-miss and --cost-of-alarm, such as 50 and "
                "1: only their ratio decides"
            )
        given = {"--method": method, "--missing": missing, "--calibration": calibration}
        given |= {"--false-alarms": false_alarms, "--false-alarm-rate": false_alarm_rate}
        given |= {"--contamination": contamination, "--recalibrate": recalibrate or None}
        given |= {"--merge-gap": merge_gap, "--min-length": min_length}
        given |= {"--causal": causal or None, "--by-group": by_group or None}
        _check_alone(given, "--cost-of-miss")
        loaded = read_instances_or_codes(
            reading, data, bundle, None, console, normal=normal, head=name, by_point=False
        ).train
        costs: dict[str, float | None] = {
            "cost_of_miss": cost_of_miss,
            "cost_of_alarm": cost_of_alarm,
        }
        costs |= {"prevalence": prevalence}
        detector, version = _move_by_cost(bundle, name, loaded, normal, costs)
    elif recalibrate:
        given = {"--normal": normal, "--method": method, "--missing": missing}
        given |= {"--calibration": calibration, "--false-alarms": false_alarms}
        given |= {"--merge-gap": merge_gap, "--min-length": min_length}
        given |= {"--causal": causal or None, "--by-group": by_group or None}
        _check_alone(given, "--recalibrate")
        loaded = read_instances_or_codes(
            reading, data, bundle, None, console, head=name, by_point=None
        ).train
        detector, version = _recalibrate(bundle, name, loaded, false_alarm_rate)
    else:
        check_writable(bundle, folder=True)
        read = read_instances_or_codes(
            reading, data, bundle, None, console, normal=normal, head=name, by_point=True
        )
        loaded = read.train
        from isthmus.bundle import add_head, load_bundle
        from isthmus.detection import AnomalyDetector

        by_point = loaded.points is not None
        if not by_point or normal is not None:
            check_detector_labels_of(loaded, normal)
        rate = number_or_auto("--false-alarm-rate", false_alarm_rate or "auto")
        detector = AnomalyDetector(
            load_bundle(bundle).encoder,
            method=method or "auto",
            false_alarm_rate=rate,
            calibration=calibration or "auto",  # type: ignore[arg-type]
            random_state=seed,
            normal=normal,
            missing=missing or "unusual",  # type: ignore[arg-type]
            contamination=contamination_of(contamination),
            **of_points,
        )
        with warnings_as_lines(loaded):
            if by_point:
                detector.fit(loaded)
            else:
                detector.fit(loaded if loaded.group_columns else loaded.X, loaded.y)
        rule = window_label_of(loaded, by_point=by_point)
        version = add_head(bundle, name, detector, window_label=rule)
    facts = detector_facts(detector) | ({} if missing is None else {"missing": missing})
    if data is not None:
        facts |= loaded.reading_facts()
        facts |= window_label_facts(console, loaded, by_point=by_point)
    from isthmus.cli.results import print_detector  # it imports pandas

    print_detector(console, facts)
    console.print(f"head {name!r}, version {version}, is in {bundle}", soft_wrap=True)
    how = ["-o", "points.csv"] if by_point and reading.time else ["--explain"]
    words = ["predict", str(bundle), "NEW", "--head", name, *reading.for_later_files(), *how]
    console.print(f"next   isthmus {shlex.join(words)}", soft_wrap=True)
    write_json_facts(json, facts | {"name": name, "version": version, "bundle": str(bundle)})


def _move_threshold(
    bundle: Path, name: str, rate: str | None, alarms: str | None, given: dict[str, Any]
) -> tuple[Any, int]:
    """Set the threshold of a detector for another rate; return it and its version in the bundle."""
    surplus = [option for option, value in given.items() if value is not None]
    if surplus:
        raise DataError(f"got {surplus[0]} and no DATA to fit a detector on; pass the normal rows")
    if rate is None and alarms is None:
        raise DataError(
            "got neither DATA to fit a detector on nor a --false-alarm-rate to move one to; pass "
            "the normal rows, or --false-alarm-rate or, of time points, --false-alarms"
        )
    from isthmus.bundle import add_head, bundle_lock, load_bundle, read_manifest

    read_manifest(bundle)  # before a lock is made beside it
    # From loading to saving: labels that another process adds in between would be lost.
    with bundle_lock(bundle), warnings_as_lines():
        detector = load_bundle(bundle).detector(name)
        if rate is not None:
            detector.set_false_alarm_rate(number_or_auto("--false-alarm-rate", rate))
        if alarms is not None:
            detector.set_false_alarms(alarms)
        return detector, add_head(bundle, name, detector)


def _check_alone(given: dict[str, Any], option: str) -> None:
    """Refuse options beside one that changes the threshold alone."""
    surplus = [name for name, value in given.items() if value is not None]
    if surplus:
        raise DataError(
            f"got {surplus[0]} and {option}, which changes the threshold alone; leave one of them "
            "out"
        )


def _move_by_cost(
    bundle: Path, name: str, loaded: Any, normal: str | None, costs: dict[str, Any]
) -> tuple[Any, int]:
    """Set the threshold of a detector by cost; return it and its version in the bundle."""
    from isthmus.bundle import add_head, bundle_lock, load_bundle, read_manifest

    read_manifest(bundle)  # before a lock is made beside it
    if loaded.y is None:
        raise DataError(
            "a threshold by cost is chosen on labelled rows, normal and abnormal; name their "
            "column with --label COLUMN"
        )
    with bundle_lock(bundle), warnings_as_lines(loaded):
        detector = load_bundle(bundle).detector(name)
        detector.set_threshold_by_cost(loaded, normal=normal, **costs)
        return detector, add_head(bundle, name, detector)


def _recalibrate(bundle: Path, name: str, loaded: Any, rate: str | None) -> tuple[Any, int]:
    """Calibrate a detector on other rows; return it and its version in the bundle."""
    import numpy as np

    from isthmus.bundle import add_head, bundle_lock, load_bundle, read_manifest
    from isthmus.data import ABNORMAL
    from isthmus.detection import read_labels_of

    read_manifest(bundle)  # before a lock is made beside it
    with bundle_lock(bundle), warnings_as_lines(loaded):
        detector = load_bundle(bundle).detector(name)
        if loaded.y is not None and detector.point_calibration_ is None:
            y = read_labels_of(loaded.instances(), None, detector.normal_, None)
            loaded = loaded.take(np.flatnonzero(y != ABNORMAL))
        detector.recalibrate(loaded)
        if rate is not None:
            detector.set_false_alarm_rate(number_or_auto("--false-alarm-rate", rate))
        return detector, add_head(bundle, name, detector)
