"""What a monitor needs of the detectors of an export: `monitor.json` beside the graph."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._core import from_json, to_json
from isthmus.data import ABNORMAL, category_text
from isthmus.detection import raised_scores
from isthmus.errors import ExportError
from isthmus.export.runtime import FILE_DIGESTS, Exported
from isthmus.monitoring import MonitorReference, Observed

if TYPE_CHECKING:
    from isthmus.bundle import Head
    from isthmus.detection import AnomalyDetector

MONITOR_FILE = "monitor.json"
#: Kinds of outputs that a monitor needs.
_NEEDED = ("anomaly_score", "verdict")


def monitor_references(heads: Mapping[str, Head]) -> bytes | None:
    """Return the content of `monitor.json`; None where no head can be monitored.

    It holds how many of the rows that calibrate are in each of at most 64 bins, for the score, each
    number of the code and each column by itself, and the edges of these bins; no row.
    """
    found = {
        name: head.monitor_reference().to_dict()
        for name, head in heads.items()
        if _can_be_monitored(head)
    }
    return to_json(found).encode() if found else None


def _can_be_monitored(head: Any) -> bool:
    detector: AnomalyDetector = head
    return hasattr(head, "monitor_reference") and detector.point_calibration_ is None


class ExportedDetector:
    """A detector of an export, as `isthmus.monitoring.Monitor` takes it.

    Parameters
    ----------
    exported : Exported
    head : str
    reference : MonitorReference

    Attributes
    ----------
    outputs : list of str
        Of the graph, that `observed` needs.
    """

    def __init__(self, exported: Exported, head: str, reference: MonitorReference) -> None:
        self.exported, self.reference = exported, reference
        named = {
            one["what"]: one["name"] for one in exported.facts["outputs"] if one["head"] == head
        }
        self._score, self._verdict = (named[what] for what in _NEEDED)
        self.outputs = ["code", self._score, self._verdict]

    def monitor_reference(self) -> MonitorReference:
        """Return what a monitor compares new rows with.

        Returns
        -------
        MonitorReference
        """
        return self.reference

    def observe(self, X: Any, groups: Any = None) -> Observed:
        """Return what a monitor needs of instances in memory.

        Parameters
        ----------
        X, groups
            As for `Exported.run`.

        Returns
        -------
        Observed
        """
        rows = self.exported.feed(X, groups)
        return self.observed(rows, self.exported.run_fed(rows, self.outputs))

    def observed(
        self, rows: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]
    ) -> Observed:
        """Return what a monitor needs of rows that were fed, and the outputs of the graph for them.

        Parameters
        ----------
        rows : mapping of str to array of shape (n, ...)
            As `Exported.feed` returns them.
        values : mapping of str to array of shape (n, ...)
            At least `outputs`.

        Returns
        -------
        Observed
        """
        columns, unseen = _columns(self.exported, rows)
        return Observed(
            raised_scores(values[self._score]),
            values[self._verdict] == ABNORMAL,
            values["code"],
            columns,
            unseen,
        )


def _columns(
    exported: Exported, rows: Mapping[str, np.ndarray]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the numbers of the columns of a table, and which are unseen categories."""
    schema, inputs = exported.schema, exported.inputs
    if schema.kind != "table":
        return None, None
    if inputs[0].column is None:
        values = np.asarray(rows[inputs[0].name], dtype=np.float64)
        return values, np.zeros(values.shape, dtype=bool)
    columns, unseen = list[np.ndarray](), list[np.ndarray]()
    for one, column in zip(inputs, schema.types, strict=True):
        given = rows[one.name]
        if one.missing is None:
            columns.append(np.asarray(given, dtype=np.float64))
            unseen.append(np.zeros(len(given), dtype=bool))
            continue
        places: dict[str, float] = {
            category_text(value): at for at, value in enumerate(column.categories)
        }
        places[one.missing] = np.nan
        n = len(column.categories)
        columns.append(np.array([places.get(text, n) for text in given], dtype=np.float64))
        unseen.append(columns[-1] == n)
    return np.stack(columns, axis=1), np.stack(unseen, axis=1)


def monitored_heads(model: Path, exported: Exported) -> dict[str, ExportedDetector]:
    """Return the detectors of an export that can be monitored, by name.

    Of exports of an earlier isthmus, or where `monitor.json` was deleted, rows are compared with
    the first ones of the stream.

    Parameters
    ----------
    model : path
        The graph's file.
    exported : Exported
        That graph.

    Returns
    -------
    dict of str to ExportedDetector

    Raises
    ------
    ExportError
        When `monitor.json` is damaged, or belongs to another graph.
    """
    outputs, heads = exported.facts["outputs"], exported.facts["heads"]
    names = [
        name
        for name, head in heads.items()
        if head["kind"] == "detector"
        and name not in exported.point_heads
        and {one["what"] for one in outputs if one["head"] == name} >= set(_NEEDED)
    ]
    stored = _read(model, exported.facts)
    (code,) = (one["shape"] for one in outputs if one["what"] == "code")
    schema, columns = exported.schema, list[str]()
    if schema.kind == "table":
        columns = list(schema.columns or (f"column {at}" for at in range(schema.n_features)))
    found = {}
    for name in names:
        reference = stored.get(name) or MonitorReference.of_values(
            heads[name]["false_alarm_rate"],
            None,
            None,
            None,
            code[0],
            columns,
            # Of an export of before: a state is of these decisions alone.
            calibration=sha256(
                to_json([exported.facts["digest"], heads[name]]).encode()
            ).hexdigest(),
        )
        if len(reference.names) != 1 + code[0] + len(columns):
            raise _damaged(model, "it is of other columns")
        found[name] = ExportedDetector(exported, name, reference)
    return found


def _read(model: Path, facts: Mapping[str, Any]) -> dict[str, MonitorReference]:
    file = model.with_name(MONITOR_FILE)
    stated = facts.get(FILE_DIGESTS, {}).get(MONITOR_FILE)
    # A file left there by another export does not belong to this graph.
    if stated is None or not file.is_file():
        return {}
    content = file.read_bytes()
    if stated != sha256(content).hexdigest():
        raise _damaged(model, "its SHA-256 is not the one in the graph")
    try:
        plain = from_json(content)
        return {name: MonitorReference.from_dict(one) for name, one in plain.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(model, str(error)) from error


def _damaged(model: Path, reason: str) -> ExportError:
    return ExportError(
        f"{model.with_name(MONITOR_FILE)} is damaged, or does not belong to {model.name} beside it "
        f"({reason[:200]}); export the bundle again, or delete it"
    )
