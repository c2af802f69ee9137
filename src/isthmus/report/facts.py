"""All numbers and texts of a report, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from isthmus._core import isolated_from_host
from isthmus.bundle import Bundle, rows_used_in_fit
from isthmus.classification import build_head
from isthmus.data import CLASSES, Dataset, Splits
from isthmus.data.streaming import Stream
from isthmus.detection import (
    AnomalyDetector,
    DetectorLabelReader,
    check_detector_labels,
    read_detector_labels,
)
from isthmus.errors import DataError
from isthmus.evaluation import Advice, Baselines, baseline_names, describe_unknown_classes
from isthmus.report.alarms_chapter import alarm_facts
from isthmus.report.answer_chapter import answer_facts
from isthmus.report.changes_chapter import change_facts
from isthmus.report.classification_chapter import class_facts
from isthmus.report.code_chapter import code_facts
from isthmus.report.comparison_chapter import comparison_facts
from isthmus.report.data_chapter import data_facts
from isthmus.report.detection_chapter import verdict_facts
from isthmus.report.flagged_cases import flagged_facts, numbers_by_hash
from isthmus.report.gallery import (
    StreamSample,
    TestResult,
    evaluate_heads_on_stream,
    sample_if_streamed,
)
from isthmus.report.wording import about_facts, describe_run_in_words


@isolated_from_host()
def report_facts(
    bundle: Bundle,
    data: Dataset | Splits | Stream | StreamSample | None = None,
    *,
    drawn_from: int | None = None,
    normal: str | float | None = None,
    head: str = "linear",
    baselines: str | None = "fast",
    seed: int = 0,
    advice: Advice | Mapping[str, Any] | None = None,
    earlier: Bundle | None = None,
    command: str | None = None,
    measured: Baselines | None = None,
    on_progress: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Measure the facts of a report.

    Parameters
    ----------
    bundle : Bundle
        As `load_bundle` gives it.
    data : Dataset, Splits or Stream, optional
        What to look at. Heads decide on the test part; without one, on all of it. Without data
        the report describes the encoder only. Of a stream of more than 20,000 rows so many are
        drawn at random, each as likely as any other: chapters describe and show these. Heads are
        tested on all rows, of which nine bytes each are kept for a detector.
    drawn_from : int, optional
        How many rows there were, where the data is some of them drawn at random: the report says
        so.
    normal : str, int, float or bool, optional
        Label that means normal, for detectors; by default the one that they were fitted with.
        Without it labels have to be 1, -1 and 0. Labels that a detector cannot read, such as
        only 0 and 1, do not test it, and a warning in the report says why.
    head : see `isthmus.classification.build_head`
        Of the chapter that compares the code with its baselines.
    baselines : {"fast", "all"} or None, default="fast"
        None leaves that chapter out.
    seed : int
        Of what is drawn at random.
    advice : Advice or mapping, optional
        What `isthmus.advise` returned on the width of the code, or what `isthmus advise --json`
        wrote.
    earlier : Bundle, optional
        Earlier bundle to compare with.
    command : str, optional
        The command line that writes this report, to be shown in it.
    measured : isthmus.evaluation.baselines.Baselines, optional
        Of the same encoder, data and seed: what they measured already is not measured again.
    on_progress : callable, optional
        Called with the name of each step that may take long, before it.

    Returns
    -------
    dict
        Chapters by name: `answer`, see `answer_facts`, `about`, `data`, `code`,
        `baseline_comparison`, `classes`, `verdicts`, `flagged` and `alarms` (one entry a head; a
        detector of time points is in `alarms` alone where there are such), `changes`, and
        `summary`, a paragraph. Chapters without data are None or empty.
        Everything in it is a plain value that JSON can hold. Rows are named everywhere by their
        number in the data that was read, as `predict` names them: of `rows="100:200"` the first is
        100. In `data`, `drawn` is None where all data was looked at, otherwise how many were drawn
        (`n`, `of`), `rows`, the number of each that was drawn from a stream, or None, and
        `heads_on_all`.

    Raises
    ------
    DataError, SchemaError
        When the data does not fit the encoder.

    Examples
    --------
    >>> import tempfile
    >>> from isthmus import Autoencoder, load, load_bundle
    >>> digits = load("digits")
    >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(digits.train.X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder.save(f"{folder}/press")
    ...     facts = report_facts(load_bundle(f"{folder}/press"))
    >>> facts["code"]["n_values"], facts["code"]["n_components"], facts["baseline_comparison"]
    (64, 32, None)
    """
    encoder = bundle.encoder
    stream, drawn = None, None if drawn_from is None else _drawn(data, drawn_from)
    data = sample_if_streamed(data, encoder, seed, on_progress)
    if isinstance(data, StreamSample):
        stream, data = data.stream, data.data
        if len(data) < len(stream):
            rows = data.row_numbers().tolist()
            drawn = _drawn(data, len(stream), rows) | {"heads_on_all": bool(bundle.heads)}
    train, looked_at = (None, None) if data is None else _parts(data)
    # Wrong arguments are refused before minutes of work.
    baseline_names(baselines)
    build_head(head, n_labels=2)
    stated = normal is not None
    normal = normal if stated else _normal_of_fit(bundle)
    labels: dict[str, np.ndarray | None] = {"train": None, "test": None}
    unread = ""
    for part_name, part in (("train", train), ("test", looked_at)):
        if part is not None:
            labels[part_name], unread = _detector_labels(
                part.y, len(part), part.name, normal, stated=stated
            )
    widths = None if advice is None else _widths(advice)
    facts: dict[str, Any] = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "about": about_facts(bundle.manifest),
        "data": None,
        "baseline_comparison": None,
        "classes": [],
        "verdicts": [],
        "flagged": [],
        "alarms": [],
        "changes": None,
    }
    on_progress("reconstructions and the map of codes")
    errors = None
    if looked_at is not None and encoder.has_decoder:
        errors = encoder.reconstruction_error(looked_at.X)
    facts["code"] = code_facts(encoder, looked_at, errors, seed) | {"widths": widths}
    if looked_at is not None:
        on_progress("the data")
        given = {"train": train, "test": looked_at}
        hashes = {name: encoder.row_hashes(part.X) for name, part in given.items() if part}
        facts["data"] = data_facts(train, looked_at, hashes, seed) | {"drawn": drawn}
        codes = encoder.transform(looked_at.X)
        facts["data"]["warnings"] += _seen(bundle, hashes["test"])
        if unread and any(isinstance(one, AnomalyDetector) for one in bundle.heads.values()):
            facts["data"]["warnings"].append(f"labels do not test detectors: {unread}")
        tested: dict[str, TestResult] = {}
        if stream is not None and drawn is not None and bundle.heads:
            on_progress(f"heads on {len(stream):,} rows")
            of_drawn = labels["test"]
            tested = evaluate_heads_on_stream(
                stream,
                bundle,
                lambda y: (
                    None if of_drawn is None else DetectorLabelReader(normal, stated=stated).read(y)
                ),
            )
        if stream is not None:
            facts["data"]["warnings"] += _skipped(stream)
        warnings = facts["data"]["warnings"]
        facts |= _by_heads(
            bundle, looked_at, train, labels, codes, hashes, tested, warnings, on_progress
        )
        if looked_at.points is not None:
            of_points, _ = _detector_labels(
                looked_at.points.y, len(looked_at.points), looked_at.name, normal, stated=stated
            )
            facts["alarms"] = _alarms(
                bundle, looked_at, hashes["test"], of_points, normal, on_progress
            )
        if errors is None or (earlier is not None and not earlier.encoder.has_decoder):
            if earlier is not None:  # which asks for it; otherwise the chapter on the code says so
                facts["data"]["warnings"].append(
                    f"what has changed since {earlier.path.name} is not tested: that compares "
                    "reconstruction errors, and an encoder that was trained elsewhere has no "
                    "decoder"
                )
        else:
            on_progress("what changed")
            facts["changes"] = change_facts(
                bundle,
                codes,
                errors,
                looked_at,
                hashes=hashes["test"],
                labels=labels["test"],
                earlier=earlier,
                seed=seed,
            )
    if train is not None and looked_at is not None and baselines is not None:
        facts["baseline_comparison"] = comparison_facts(
            encoder,
            train,
            looked_at,
            head=head,
            baselines=baselines,
            seed=seed,
            measured=measured,
            on_progress=on_progress,
        )
    facts["answer"] = answer_facts(facts)
    return {"summary": describe_run_in_words(facts)} | facts


def _by_heads(
    bundle: Bundle,
    part: Dataset,
    train: Dataset | None,
    labels: dict[str, np.ndarray | None],
    codes: np.ndarray,
    hashes: dict[str, np.ndarray],
    tested: dict[str, TestResult],
    warnings: list[str],
    on_progress: Callable[[str], object],
) -> dict[str, list[dict[str, Any]]]:
    """Test every head; append to the warnings why one is not tested, or on fewer instances."""
    facts: dict[str, list[dict[str, Any]]] = {"classes": [], "verdicts": [], "flagged": []}
    for name, decider in bundle.heads.items():
        if part.points is not None and _decides_points(decider):
            continue  # what it promises is of time points: the chapter "alarms over time"
        on_progress(f"head {name}")
        if isinstance(decider, AnomalyDetector):
            try:
                found = verdict_facts(name, decider, part, labels, hashes, train, tested.get(name))
                facts["flagged"].append(
                    flagged_facts(
                        name,
                        decider,
                        part,
                        check_detector_labels(labels["test"], len(part)),
                        hashes["test"],
                        None if train is None else numbers_by_hash(train, hashes["train"]),
                    )
                )
            except DataError as error:  # such as data without the groups that it decides by
                warnings.append(f"the head {name!r} is not tested: {error}")
                continue
            facts["verdicts"] += [] if found is None else [found]
        else:
            try:
                found = class_facts(name, decider, part, codes, hashes["test"], tested.get(name))
            except DataError as error:
                warnings.append(f"the head {name!r} is not tested: {error}")
                continue
            facts["classes"] += [] if found is None else [found]
            if found is not None and "unknown_classes" in found:
                warnings.append(
                    describe_unknown_classes(found["unknown_classes"], f"the head {name!r}")
                )
        if found is None:
            unlabelled = part.y is None or not CLASSES.has_label(part.y).any()
            why = "no instance is labelled" if unlabelled else "it was fitted on all labelled ones"
            if isinstance(decider, AnomalyDetector):
                why = "it was fitted or calibrated on every row of this file"
            warnings.append(f"the head {name!r} is not tested: {why}")
        elif found["n_known"]:
            n = found["n"] + found["n_known"] if name in tested else len(part)
            warnings.append(
                f"{found['n_known']:,} of {n:,} instances that were used to fit or calibrate the "
                f"head {name!r} {'is' if found['n_known'] == 1 else 'are'} left out of its figures"
            )
    return facts


def _alarms(
    bundle: Bundle,
    part: Dataset,
    hashes: np.ndarray,
    labels: np.ndarray | None,
    normal: Any,
    on_progress: Callable[[str], object],
) -> list[dict[str, Any]]:
    """Describe the alarms of the detectors that were fitted on series with time points."""
    found = []
    for name, head in bundle.heads.items():
        if not _decides_points(head):
            continue
        on_progress(f"alarms of {name}")
        seen = _points_of_windows(part, rows_used_in_fit(head, hashes))
        found.append(alarm_facts(name, head, part, labels, seen, normal))
    return found


def _decides_points(head: Any) -> bool:
    return getattr(head, "point_calibration_", None) is not None


def _points_of_windows(part: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return which time points are in one of the chosen windows."""
    assert part.points is not None
    assert part.windows is not None
    assert part.windows.first_position is not None
    inside = np.zeros(len(part.points), dtype=bool)
    inside[part.windows.first_position[rows][:, None] + np.arange(part.points.window)] = True
    return inside


def _parts(data: Dataset | Splits) -> tuple[Dataset | None, Dataset | None]:
    return (data.train, data.test) if isinstance(data, Splits) else (None, data)


def _widths(advice: Advice | Mapping[str, Any]) -> dict[str, Any]:
    found = advice.to_dict() if isinstance(advice, Advice) else dict(advice)
    if not isinstance(found.get("table"), list) or "n_components" not in found:
        raise DataError(
            "got advice without a table of widths, expected what isthmus.advise(X) returns, or the "
            "JSON that `isthmus advise --json PATH` writes"
        )
    return found


def _seen(bundle: Bundle, hashes: np.ndarray) -> list[str]:
    seen = bundle.encoder.training_row_hashes_.overlap(hashes)
    if not seen.any():
        return []
    return [
        f"{int(seen.sum()):,} of {len(hashes):,} test instances were among those that the "
        "encoder was trained on: their reconstruction errors are smaller than those of new ones"
    ]


def _normal_of_fit(bundle: Bundle) -> Any:
    """Return the label that means normal to the bundle's detectors; None where they differ."""
    found = {one.normal_ for one in bundle.heads.values() if isinstance(one, AnomalyDetector)}
    return found.pop() if len(found) == 1 else None


def _detector_labels(
    y: Any, n: int, source: str, normal: Any, *, stated: bool
) -> tuple[np.ndarray | None, str]:
    """Return labels as a detector has them, or None and the reason why it cannot read them."""
    if y is None:
        return None, ""
    try:
        labels = read_detector_labels(
            y, n, normal, source=source, stated=stated, may_lack_normal=stated
        )
    except DataError as error:
        if stated:
            raise
        return None, str(error)
    return labels, ""


def _drawn(data: Any, of: int, rows: list[int] | None = None) -> dict[str, Any]:
    n = len(data.train) + len(data.test) if isinstance(data, Splits) else len(data)
    return {"n": n, "of": of, "rows": rows, "heads_on_all": False}


def _skipped(stream: Stream) -> list[str]:
    return [
        f"{part.source} could not be read and is left out: {part.reason}" for part in stream.skipped
    ]
