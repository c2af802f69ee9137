"""The OpenAPI description of the service: models of its answers, and schemas of bodies."""

from __future__ import annotations

import sys
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from isthmus.data import Column, Schema
from isthmus.data.windows import LARGEST
from isthmus.export import PointHead
from isthmus.serve.bodies import JSON, SERIES_TYPES, content_types
from isthmus.serve.label_requests import (
    MAX_LABEL,
    MAX_LABEL_CHARS,
    PARTIAL_HEADS,
    label_content_types,
)
from isthmus.serve.models import Served
from isthmus.serve.refusals import Limits

#: Of those that JSON may hold: a larger one is read as infinite, and refused.
_LARGEST_NUMBER = sys.float_info.max


class Problem(BaseModel):
    """Why a request was refused."""

    digest: str | None = Field(None, description="Of the requested bundle, where there was one.")
    got: str
    expected: str
    fix: str


#: `Problem` as a reference. From the model, FastAPI would build the schema for each status of each
#: route, half of the time that adding a bundle takes.
PROBLEM = {"content": {JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


class Thumbnails(BaseModel):
    """Height and width of images before and after they were reduced."""

    from_: list[int] = Field(alias="from")
    to: list[int]


class Answer(BaseModel):
    """What every answer about instances states."""

    digest: str
    warnings: list[str] = Field(
        description="What was converted, left out or is suspicious about the instances."
    )
    identifiers: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Of each instance: columns that the fit did not use, `id`, or `file`.",
    )
    resized_from: list[list[int] | None] = Field(
        default_factory=list,
        description="Height and width of each image file that was resized, else null.",
    )


class Prediction(BaseModel):
    """The decision on one instance; a key is absent where the bundle has no such head.

    Where several heads have a key, it is prefixed with the head's name: `normal.verdict`.
    """

    model_config = ConfigDict(extra="allow")

    class_: str | int | float | bool | None = Field(None, alias="class")
    probabilities: dict[str, float] | None = None
    class_p_values: dict[str, float] | None = None
    set_: list[str | int | float | bool] | None = Field(None, alias="set")
    anomaly_score: float | None = None
    p_value: float | None = None
    verdict: str | None = Field(None, pattern="^(normal|abnormal)$")


class Predictions(Answer):
    """The decisions on all instances, in the order sent."""

    predictions: list[Prediction]


class Promise(BaseModel):
    """Whether the promise of a detector's false-alarm rate still holds.

    `summary` says it in a line. Not `valid`: `since` and `warned_at` have `row`, counted from 0
    since the monitor began, and `time`; `moved` names columns, `code` or `anomaly score`. `share`
    of the `n` rows were called abnormal, with its 95 % `interval`; `rate` was asked for.
    `stored`: whether the state survives a restart.
    """

    model_config = ConfigDict(extra="allow")

    summary: str
    valid: bool
    n: int
    level: float
    e_value: float
    since: dict[str, Any] | None
    warned_at: dict[str, Any] | None
    moved: list[str]
    alarms: int
    share: float | None
    interval: list[float] | None
    rate: float
    missing: dict[str, int]
    new_categories: dict[str, int]
    stored: bool


class Monitored(BaseModel):
    """What the monitors of a bundle say, by head."""

    digest: str
    heads: dict[str, Promise]


class Alarm(BaseModel):
    """A run of abnormal time points; the columns of groups are keys too.

    `first`, `last`, `peak` and `known_at` are times, or rows of the table where there is no time.
    """

    model_config = ConfigDict(extra="allow")

    first: Any
    last: Any
    peak: Any
    n_points: int
    known_at: Any
    channel: str
    share: float
    anomaly_score: float
    p_value: float


class PointDecisions(Answer):
    """The decisions on the time points of a series, and its alarms.

    `points` has columns of equal length: those that identify a time point, by their own names
    (`row` where there is no time), `anomaly_score`, `p_value` and `verdict`, null where no window
    covers the time point, and `n_filled`, how many readings were missing and are filled. `shares`
    has the share of each channel in the residual.
    """

    head: str
    points: dict[str, list[Any]]
    shares: dict[str, list[float | None]]
    alarms: list[Alarm]


class Codes(Answer):
    """Codes and reconstruction errors of all instances, in the order sent.

    There are no errors where the encoder was trained elsewhere and has no decoder.
    """

    codes: list[list[float]]
    reconstruction_error: list[float] | None = None


class Feature(BaseModel):
    """One value of an instance, by column name or position, and its residual.

    `missing` is there, and true, where the value is missing and none or few were at fit.
    """

    feature: str | list[int]
    residual: float
    share: float
    missing: bool = False


class Explanation(BaseModel):
    """The values with the largest residuals, and the share of all others.

    With `whole=true` also the reconstruction, in the form that `/predict` takes, and the squared
    residual of every value, in the network's units.
    """

    top: list[Feature]
    rest: float
    reconstruction: Any = None
    residual: list[Any] = Field(default_factory=list)


class Explanations(Answer):
    """The explanations of all instances, in the order sent."""

    thumbnails: Thumbnails | None = None
    explanations: list[Explanation]


class Neighbour(BaseModel):
    """A reference instance, in the form that `/predict` takes, and the distance of its code."""

    instance: Any
    label: str | None
    distance: float


class Neighbours(Answer):
    """The nearest reference instances of each instance, in the order sent, nearest first."""

    rebuilt: bool = Field(description="Whether they are reconstructions and not original rows.")
    thumbnails: Thumbnails | None = None
    neighbours: list[list[Neighbour]]


class ReferenceSample(BaseModel):
    """Some reference instances, and their labels."""

    digest: str
    rebuilt: bool = Field(description="Whether they are reconstructions and not original rows.")
    thumbnails: Thumbnails | None = None
    instances: list[Any]
    labels: list[str | None]
    positions: list[int] = Field(description="Of the instances, for `at`.")
    warnings: list[str]


_LABEL_QUERY = (
    "Other than JSON: a table with its labels in the column that ?label=COLUMN names, for the head "
    "?head=NAME; ?normal=VALUE is the label that means normal, for a detector."
)


class Queued(BaseModel):
    """The number of queued labels."""

    digest: str
    queued: int
    warnings: list[str] = Field(default_factory=list)


class Health(BaseModel):
    """Digests by bundle, and the bundles whose newest version cannot be read."""

    digest: str
    bundles: dict[str, str]
    stale: list[str]


class Status(BaseModel):
    """What a request for another host, or without the token, is told."""

    status: Literal["ok"]


def instance_schema(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema of one instance.

    Examples
    --------
    >>> import numpy as np
    >>> schema = instance_schema(Schema.learn(np.zeros((3, 2, 2), dtype=np.uint8)))
    >>> schema["minItems"], schema["items"]["items"]
    (2, {'type': 'integer', 'minimum': 0, 'maximum': 255})
    """
    if schema.kind == "table" and schema.columns is not None:
        return {
            "type": "object",
            "properties": {
                name: _cell(column)
                for name, column in zip(schema.columns, schema.types, strict=True)
            },
            "required": list(schema.columns),
            "additionalProperties": {
                "type": ["string", "number", "boolean", "null"],
                "minimum": -_LARGEST_NUMBER,
                "maximum": _LARGEST_NUMBER,
                "description": "Not decided on; returned among the identifiers.",
            },
        }
    inner: dict[str, Any] = {
        "type": "number",
        "minimum": -_LARGEST_NUMBER,
        "maximum": _LARGEST_NUMBER,
    }
    if schema.kind == "images":
        inner = {"type": "number", "minimum": 0, "maximum": 1}
        if schema.dtype == "uint8":
            inner = {"type": "integer", "minimum": 0, "maximum": 255}
    elif schema.kind == "table":
        inner["type"] = ["number", "null"]
    for side in reversed(schema.shape):
        inner = {"type": "array", "items": inner, "minItems": side, "maxItems": side}
    return inner


def _cell(column: Column) -> dict[str, Any]:
    if column.type == "category":
        return {"type": ["string", "null"], "examples": list(column.categories[:3])}
    if column.type == "boolean":
        return {"type": ["boolean", "null"]}
    if column.type == "date":
        return {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}
    return {"type": ["number", "null"], "minimum": -_LARGEST_NUMBER, "maximum": _LARGEST_NUMBER}


def request_body(served: Served, limits: Limits, *, labels: bool = False) -> dict[str, Any]:
    """Return the OpenAPI description of a request's body."""
    instances = {
        "type": "array", "items": instance_schema(served.schema),
        "minItems": 1, "maxItems": limits.rows,
    }  # fmt: skip
    if served.schema.kind == "images":
        instances["description"] = "Or image files in base64, as text."
    elif served.schema.kind == "table":
        instances["description"] = "Text is read as in a table: '1.5' is a number too."
    body: dict[str, Any] = {
        "type": "object",
        "properties": {"instances": instances},
        "required": ["instances"],
    }
    if served.exported.group_input is not None and not labels:
        columns = ", ".join(served.exported.group_columns)
        body["properties"]["groups"] = {
            "type": "array",
            "items": {"type": ["string", "number", "null"]},
            "maxItems": limits.rows,
            "description": "The group of each instance, by which a detector decides"
            + (f"; without it the key {columns} of each instance." if columns else "."),
        }
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    if labels:
        by_head = [
            form for name in served.heads for form in _labelled_bodies(name, served, body, limits)
        ]
        content = dict.fromkeys(label_content_types(served.schema)[1:], binary)
        content = {JSON: {"schema": {"anyOf": by_head or [body]}}} | content
        return {"required": True, "description": _LABEL_QUERY, "content": content}
    content = dict.fromkeys(content_types(served.schema)[1:], binary)
    return {"required": True, "content": {JSON: {"schema": body}} | content}


def series_body(served: Served, limits: Limits) -> dict[str, Any]:
    """Return the OpenAPI description of a body with a stretch of a series."""
    heads = list(served.exported.point_heads.values())
    channels = heads[0].channels or ()
    number = {"type": ["number", "null"], "minimum": -LARGEST, "maximum": LARGEST}
    cells = {"type": ["string", "number", "boolean", "null"]}
    lengths = {"minItems": heads[0].window, "maxItems": limits.points}
    row = {
        "type": "object",
        "properties": dict.fromkeys(channels, number),
        "required": list(channels),
        "additionalProperties": cells,
    }
    columns = {
        "type": "object",
        "properties": {name: {"type": "array", "items": number} | lengths for name in channels},
        "required": list(channels),
        "additionalProperties": {"type": "array", "items": cells} | lengths,
        "description": "Columns of one length.",
    }
    series = {"anyOf": [columns, {"type": "array", "items": row} | lengths]}
    body = {"type": "object", "properties": {"series": series}, "required": ["series"]}
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    content = {JSON: {"schema": body}} | dict.fromkeys(SERIES_TYPES[1:], binary)
    return {"required": True, "description": _describe_columns(heads[0]), "content": content}


def _describe_columns(head: PointHead) -> str:
    time = "none" if head.time_column is None else head.time_column
    groups = ", ".join(head.group_columns) or "none"
    return (
        "A stretch of a series: a row for each time point, in order of time, and a column for each "
        f"channel. Columns at fit: of the time {time}, of groups {groups}; others are named in the "
        "query."
    )


#: Not white space alone, and no control character.
_LABEL_TEXT = {
    "type": "string",
    "maxLength": MAX_LABEL_CHARS,
    "pattern": r"^(?=.*\S)[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$",
}


_NORMAL = "The label that means normal; any other is abnormal."


def _class_label(head: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a label for a classifier."""
    classes = head["classes"]
    number: dict[str, Any] = {"type": "integer", "minimum": -MAX_LABEL, "maximum": MAX_LABEL}
    forms: list[dict[str, Any]] = [{"enum": classes}]
    if head["head"] in PARTIAL_HEADS:
        forms.append({"enum": [-1, None], "description": "withdraws a label"})
    elif -1 not in classes:
        number["not"] = {"const": -1}
    if any(isinstance(one, str) for one in classes):
        forms.append(_LABEL_TEXT)
    elif not any(isinstance(one, bool) for one in classes):
        forms += [number, {"type": "string", "pattern": "^[0-9]{1,15}$"}]
    return {"anyOf": forms}


def _labelled_bodies(
    name: str, served: Served, body: dict[str, Any], limits: Limits
) -> list[dict[str, Any]]:
    """Return the JSON Schemas of bodies with instances and labels, for one head."""

    def form(
        label: dict[str, Any], normal: int | None = None, contains: int | None = None
    ) -> dict[str, Any]:
        labels = {"type": "array", "items": label, "minItems": 1, "maxItems": limits.rows}
        labels |= {"description": "One for each instance."}
        labels |= {} if contains is None else {"contains": {"const": contains}}
        stated = {"not": {}} if normal is None else {"const": normal, "description": _NORMAL}
        own = {"labels": labels, "head": {"const": name}, "normal": stated}
        required = ["instances", "labels"] + ["normal"] * (normal is not None)
        required += ["head"] * (len(served.heads) > 1)
        return body | {"properties": body["properties"] | own, "required": required}

    head = served.heads[name]
    text_or_number = {"anyOf": [_LABEL_TEXT, {"type": "integer"}]}
    if head["kind"] != "detector":
        return [form(_class_label(head))]
    binary = {"enum": [0, 1, -1, None], "description": "null withdraws a label"}
    # Where 0 is normal, -1 is abnormal only beside it.
    forms = [form(binary, 1), form({"enum": [0, 1, None]}, 0), form(binary, 0, contains=0)]
    if head.get("normal") is not None:  # how labels are read was stated at fit
        return [*forms, form(text_or_number)]
    signs = {"enum": [1, -1, 0], "description": "1 normal, -1 abnormal, 0 withdraws a label"}
    # Of 0 and 1 alone either may be normal.
    return [*forms, form({"const": 0}), form(signs, contains=-1)]
