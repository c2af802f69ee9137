"""The OpenAPI description of the service."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from isthmus.data import Column, Schema
from isthmus.serve.bodies import JSON, content_types
from isthmus.serve.models import Served
from isthmus.serve.refusals import Limits

_LARGEST = 1e300


class Problem(BaseModel):
    """Why a request was not answered as asked."""

    digest: str | None = Field(None, description="Of the bundle asked, where there was one.")
    got: str
    expected: str
    fix: str


#: The same as OpenAPI has it. Given the model, FastAPI builds it anew for each status of each
#: route, which is half of what a bundle takes to be added.
PROBLEM = {"content": {JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


class Prediction(BaseModel):
    """Of one instance; a key is absent where the bundle has no such head.

    Where several heads give a key, each has the head's name before it: `normal.verdict`.
    """

    model_config = ConfigDict(extra="allow")

    class_: str | int | float | bool | None = Field(None, alias="class")
    probabilities: dict[str, float] | None = None
    anomaly_score: float | None = None
    p_value: float | None = None
    verdict: str | None = Field(None, pattern="^(normal|abnormal)$")


class Predictions(BaseModel):
    """Of every instance, in the order sent."""

    digest: str
    predictions: list[Prediction]


class Codes(BaseModel):
    """Codes, and how far each instance is from what its code is decoded to."""

    digest: str
    codes: list[list[float]]
    reconstruction_error: list[float]


class Feature(BaseModel):
    """One value of an instance: a column's name, or its place in the instance."""

    feature: str | list[int]
    residual: float
    share: float


class Explanation(BaseModel):
    """The values that were rebuilt worst, and the share of all others.

    With `whole=true` also what the instance was rebuilt to, in the form that `/predict` takes,
    and the squared residual of every value, in the network's units.
    """

    top: list[Feature]
    rest: float
    reconstruction: Any = None
    residual: list[Any] = Field(default_factory=list)


class Explanations(BaseModel):
    """Of every instance, in the order sent."""

    digest: str
    explanations: list[Explanation]


class Neighbour(BaseModel):
    """A known instance, in the form that `/predict` takes, and how far its code is."""

    instance: Any
    label: str | None
    distance: float


class Neighbours(BaseModel):
    """Of every instance, in the order sent: the nearest known ones, the nearest first."""

    digest: str
    rebuilt: bool = Field(description="Whether they are reconstructions, and no rows.")
    neighbours: list[list[Neighbour]]


class KnownInstances(BaseModel):
    """Some known instances, and their labels."""

    digest: str
    rebuilt: bool = Field(description="Whether they are reconstructions, and no rows.")
    instances: list[Any]
    labels: list[str | None]


class Queued(BaseModel):
    """How many labels were queued."""

    digest: str
    queued: int


class Health(BaseModel):
    """The digest of every bundle by name, and those whose newest version cannot be read."""

    digest: str
    bundles: dict[str, str]
    stale: list[str]


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
            "additionalProperties": False,
        }
    inner: dict[str, Any] = {"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST}
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
    return {"type": ["number", "null"], "minimum": -_LARGEST, "maximum": _LARGEST}


def request_body(served: Served, limits: Limits, *, labels: bool = False) -> dict[str, Any]:
    """Return what OpenAPI has of a request's body."""
    instances = {
        "type": "array", "items": instance_schema(served.schema),
        "minItems": 1, "maxItems": limits.rows,
    }  # fmt: skip
    body: dict[str, Any] = {
        "type": "object",
        "properties": {"instances": instances},
        "required": ["instances"],
    }
    if labels:
        of_heads = [_labelled(name, served, body, limits) for name in served.heads]
        return {"required": True, "content": {JSON: {"schema": {"anyOf": of_heads or [body]}}}}
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = dict.fromkeys(content_types(served.schema)[1:], binary)
    return {"required": True, "content": {JSON: {"schema": body}} | content}


def _labelled(name: str, served: Served, body: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the body with labels beside the instances, for one head."""
    label: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    if served.heads[name]["kind"] == "detector":
        label = {
            "type": "integer",
            "enum": [1, -1, 0],
            "description": "1 normal, -1 abnormal, 0 takes a label back",
        }
    labels = {"type": "array", "items": label, "minItems": 1, "maxItems": limits.rows}
    labels["description"] = "One an instance."
    return body | {
        "properties": body["properties"] | {"labels": labels, "head": {"const": name}},
        "required": ["instances", "labels"] + ["head"] * (len(served.heads) > 1),
    }
