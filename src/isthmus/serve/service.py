"""The handlers of the routes: a request's instances in, an answer out."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from fastapi import Request
from fastapi.responses import Response
from pydantic_core import to_json

from isthmus._core import find_nearest
from isthmus.data import decision_counts
from isthmus.data.formats import resize_pixels
from isthmus.data.preprocessing import describe_empty_rows, describe_missing
from isthmus.errors import IsthmusError
from isthmus.export import ReferenceInstances, sample_evenly
from isthmus.serve import openapi as describe
from isthmus.serve.answers import (
    add_reconstructions,
    add_sets,
    describe_thumbnails,
    explanations,
    n_pixels,
    predictions,
    set_outputs,
    thumbnail_size,
)
from isthmus.serve.bodies import (
    JSON,
    Notes,
    content_types,
    read_instances,
)
from isthmus.serve.guard import Metrics
from isthmus.serve.label_queue import LabelQueue
from isthmus.serve.label_requests import read_labelled, takes_labels
from isthmus.serve.models import Models, Served
from isthmus.serve.monitors import Monitors
from isthmus.serve.refusals import Limits, Refusal, refusal_of

#: Bytes above which a body is processed in a thread, so that other requests need not wait.
MAX_INLINE_BYTES = 64 * 1024
#: Number of such threads.
N_READERS = 2
#: Held while warnings are collected, which Python does for the whole process at once.
_collecting = threading.Lock()


class Service:
    """The handlers, and what they share: models, limits, metrics and the queue of labels."""

    def __init__(
        self,
        models: Models,
        limits: Limits,
        metrics: Metrics,
        queue: LabelQueue | None,
        monitors: Monitors,
    ) -> None:
        self.models, self.limits, self.metrics, self.queue = models, limits, metrics, queue
        self.monitors = monitors
        self._readers = asyncio.Semaphore(N_READERS)

    async def read(
        self, request: Request, served: Served, *, decides: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a body's instances as inputs of the graph, and what the answer states of them."""
        content = await request.body()
        kind = request.headers.get("content-type", "")
        limits = self.limits

        def rows() -> tuple[dict[str, Any], dict[str, Any]]:
            notes = Notes()
            X = read_instances(content, kind, served.schema, limits, notes)
            return feed(served, X, notes, decides=decides), notes.to_dict()

        found: tuple[dict[str, Any], dict[str, Any]] = await self.run_task(rows, len(content))
        return found

    async def run_task(self, task: Callable[[], Any], size: int) -> Any:
        """Run a task on `size` bytes, in a thread if many; the library's errors become refusals."""
        try:
            if size <= MAX_INLINE_BYTES and not _collecting.locked():
                return task()
            async with self._readers:
                return await asyncio.to_thread(task)
        except Refusal:
            raise
        except IsthmusError as error:
            raise refusal_of(error) from error

    async def predict(
        self,
        request: Request,
        served: Served,
        alpha: float | None = None,
        by_class: bool = False,
        monitor: bool = True,
    ) -> Response:
        """Decide on every instance; with `alpha` sets of classes are among the decisions.

        With `monitor` the instances count for the monitors of the bundle.
        """
        if not served.decisions:
            raise Refusal(
                404,
                "a bundle without heads",
                "one with a classifier or a detector",
                "use /encode, or have one fitted by isthmus classify or isthmus detect",
            )
        sets = [] if alpha is None else set_outputs(served.outputs, by_class)
        if alpha is not None and not sets:
            raise Refusal(
                404,
                "alpha, and no classifier that is calibrated",
                "one that is",
                "leave alpha out, or have one calibrated: isthmus classify --calibration cross",
            )
        rows, notes = await self.read(request, served, decides=True)
        names = [one["name"] for one in (*served.decisions, *sets)]
        names += self.monitors.outputs(served) if monitor else []
        values = await served.run(rows, list(dict.fromkeys(names)))
        if monitor:
            await self.monitors.add(served, rows, values)
        found = predictions(served.decisions, served.heads, values)
        if alpha is not None:
            add_sets(found, sets, served.heads, values, alpha)
        self.metrics.instances.labels(served.name).inc(len(found))
        for one in served.decisions:
            if one["what"] == "verdict":
                for word, n in decision_counts({"verdict": values[one["name"]]}).items():
                    self.metrics.verdicts.labels(served.name, one["name"], word).inc(n)
        return json_answer({"digest": served.digest, "predictions": found} | notes)

    async def encode(self, request: Request, served: Served) -> Response:
        """Return the code of every instance."""
        keys = {"code": "codes", "reconstruction_error": "reconstruction_error"}
        names = [name for name in keys if name in served.exported.names]  # no error, no decoder
        rows, notes = await self.read(request, served)
        values = await served.run(rows, names)
        found = {keys[name]: values[name].tolist() for name in names}
        return json_answer({"digest": served.digest} | found | notes)

    async def explain(
        self,
        request: Request,
        served: Served,
        top: int,
        whole: bool = False,
        max_side: int | None = None,
    ) -> Response:
        """Return the values with the largest residuals and, if `whole`, the reconstructions."""
        exported, schema = served.exported, served.schema
        if "residual" not in exported.names or (whole and not exported.rebuilds):
            raise Refusal(
                404,
                "an export without residuals"
                if "residual" not in exported.names
                else "an export without reconstructions",
                "one that has them",
                "use /predict, or have the bundle exported with: isthmus export BUNDLE --residual",
            )
        rows, notes = await self.read(request, served)
        size = thumbnail_size(schema, max_side)
        n_values = 2 * len(next(iter(rows.values()))) * n_pixels(schema, size)
        if whole:
            check_values(
                n_values,
                self.limits,
                "send fewer instances at once, whole=false, or ask for thumbnails (max_side=256)",
            )
        values = await served.run(rows, ["residual", "reconstruction"][: 1 + whole])

        def answer() -> Response:
            missing = exported.missing_where_complete(rows)
            found = explanations(schema, values["residual"], top, missing)
            if whole:
                rebuilt = exported.rebuilt(values["reconstruction"])
                found = add_reconstructions(found, schema, values["residual"], rebuilt, size)
            plain = {"digest": served.digest, "explanations": found}
            thumbnails = describe_thumbnails(schema, size) if whole else {}
            return json_answer(plain | thumbnails | notes)

        response: Response = await self.run_task(answer, 8 * n_values)
        return response

    async def labels(self, request: Request, served: Served) -> Response:
        """Queue labels for the next update of a head."""
        queue = self.queue
        if queue is None:
            raise Refusal(
                404,
                "labels, and no queue to store them in",
                "a service with a queue",
                "have it started with: isthmus serve BUNDLE --labels queue.jsonl",
            )
        if not served.heads:
            raise Refusal(
                404,
                "a bundle without heads",
                "one with a head",
                "have one fitted by isthmus classify or isthmus detect",
            )
        content, kind = await request.body(), request.headers.get("content-type", "")

        def records() -> tuple[list[dict[str, Any]], list[str]]:
            given = read_labelled(content, kind, request.query_params, served, self.limits)
            feed(served, given.X, given.notes)
            common = {"bundle": served.name, "digest": served.digest, "head": given.head}
            common["encoder_digest"] = served.facts["digest"]
            pairs = zip(given.labels, given.instances, strict=True)
            found = [common | {"label": label, "instance": one} for label, one in pairs]
            return found, given.notes.warnings

        found, warned = await self.run_task(records, len(content))
        await asyncio.to_thread(queue.add, found)
        plain = {"digest": served.digest, "queued": len(found), "warnings": warned}
        return json_answer(plain, 202)

    def schema(self, served: Served) -> Response:
        """Describe instances, outputs, heads and limits."""
        facts = served.facts
        return json_answer(
            {
                "digest": served.digest,
                "encoder_digest": facts["digest"],
                "name": served.name,
                "kind": served.schema.kind,
                "instance": describe.instance_schema(served.schema),
                "content_types": content_types(served.schema),
                "schema": facts["schema"],
                "outputs": facts["outputs"],
                **_describe_groups(served),
                "heads": facts["heads"],
                "points": {
                    name: head.describe() for name, head in served.exported.point_heads.items()
                },
                "explains": "residual" in served.exported.names,
                "known": None if served.references is None else served.references.to_dict(),
                "takes_labels": self.queue is not None
                and any(map(takes_labels, served.heads.values())),
                "limits": vars(self.limits),
            }
        )

    async def monitor(self, _: Request, served: Served) -> Response:
        """Say whether the promise of each detector still holds."""
        found = await asyncio.to_thread(self.monitors.describe, served)
        return json_answer({"digest": served.digest, "heads": found})

    def health(self, *, trusted: bool) -> Response:
        """Return the digests of the served bundles, but to strangers only that it runs.

        Parameters
        ----------
        trusted : bool
            Whether the request has an allowed host, and the token where there is one.
        """
        if not trusted:
            return json_answer({"status": "ok"})
        models = self.models
        bundles = {name: models.get(name).digest for name in models.names}
        digest = models.get(models.names[0]).digest
        return json_answer({"digest": digest, "bundles": bundles, "stale": sorted(models.stale)})


def feed(served: Served, X: Any, notes: Notes, *, decides: bool = False) -> dict[str, Any]:
    """Return instances as inputs of the graph; the library's warnings are added to the notes.

    Raises
    ------
    Refusal
        422 where a detector that `decides` does so by group, and the instances bring no groups.
    """
    exported = served.exported
    groups: list[Any] | None = notes.groups
    if exported.group_input is not None and (decides or groups is not None):
        groups = notes.groups_in(exported.group_columns)
        if groups is None:
            columns = ", ".join(map(repr, exported.group_columns))
            raise Refusal(
                422,
                "instances without groups",
                "the group of each, by which the detector decides"
                + (f" (at fit the column {columns})" if columns else ""),
                '"groups": [...] beside "instances": [...] in JSON, or a table with the column',
            )
    with collect_warnings(notes):
        rows = exported.feed(X, groups, decides=decides or groups is not None)
    n = len(next(iter(rows.values())))
    found = served.exported.more_missing(served.exported.count_missing(rows), n)
    notes.warnings += [describe_missing(one) for one in found]
    notes.warnings += describe_empty_rows(served.exported.count_empty(rows), n)
    return rows


def _describe_groups(served: Served) -> dict[str, Any]:
    """Return the columns that named the groups at fit, where a detector decides by group."""
    exported = served.exported
    return {} if exported.group_input is None else {"group_columns": list(exported.group_columns)}


@contextmanager
def collect_warnings(notes: Notes) -> Iterator[None]:
    """Add the library's warnings to the notes, each once."""
    with _collecting, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for one in caught:
        if issubclass(one.category, UserWarning) and str(one.message) not in notes.warnings:
            notes.warnings.append(str(one.message))


def json_answer(plain: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return plain values as a JSON answer; NaN and infinity become null."""
    content = to_json(plain, inf_nan_mode="null")
    return Response(content, status, headers, media_type=JSON)


def check_values(n: int, limits: Limits, fix: str) -> None:
    """Check the number of values in an answer's instances.

    Raises
    ------
    Refusal
        413 when it exceeds the limit.
    """
    if n > limits.values:
        raise Refusal(
            413, f"an answer of {n} values", f"one of at most {limits.values} values", fix
        )


async def nearest_instances(
    service: Service, request: Request, served: Served, k: int, max_side: int | None = None
) -> Response:
    """Return the reference instances nearest to each instance, by code."""
    references = _references_of(served)
    k = min(k, len(references))
    rows, notes = await service.read(request, served)
    n = len(next(iter(rows.values())))
    size = thumbnail_size(served.schema, max_side)
    n_values = n * k * n_pixels(served.schema, size)
    check_values(
        n_values,
        service.limits,
        "send fewer instances at once, ask for fewer (?k=1), or for thumbnails (?max_side=128)",
    )
    codes = (await served.run(rows, ["code"]))["code"]

    def answer() -> Response:
        distances, places = find_nearest(
            codes.astype(np.float64), references.codes.astype(np.float64), k
        )
        plain = {at: _plain(references, at, size) for at in np.unique(places).tolist()}
        found = [
            [
                {"instance": plain[at], "label": references.label(at), "distance": distance}
                for at, distance in zip(*pair, strict=True)
            ]
            for pair in zip(places.tolist(), distances.tolist(), strict=True)
        ]
        head = {"digest": served.digest, "rebuilt": references.rebuilt}
        head |= describe_thumbnails(served.schema, size)
        return json_answer(head | {"neighbours": found} | notes)

    response: Response = await service.run_task(answer, 8 * max(n_values, n * len(references)))
    return response


async def sample_references(
    service: Service,
    _: Request,
    served: Served,
    n: int,
    max_side: int | None = None,
    at: int | None = None,
) -> Response:
    """Return a sample of the reference instances, evenly over their labels, or the one at `at`."""
    references = _references_of(served)
    if at is not None and at >= len(references):
        raise Refusal(
            404, f"at={at}", f"a position below {len(references)}", "see `positions` of GET /known"
        )
    size = thumbnail_size(served.schema, max_side)
    most = max(1, service.limits.values // n_pixels(served.schema, size))
    notes = []
    if min(n, len(references)) > most and at is None:
        notes.append(
            f"{most} reference instances, not {min(n, len(references))}: an answer may hold "
            f"{service.limits.values} values; ask for thumbnails: ?max_side=128"
        )

    def answer() -> Response:
        rows = [at] if at is not None else sample_evenly(references.labels.tolist(), min(n, most))
        rows = [int(row) for row in rows]
        plain: dict[str, Any] = {"digest": served.digest, "rebuilt": references.rebuilt}
        plain |= describe_thumbnails(served.schema, size)
        plain["instances"] = [_plain(references, row, size) for row in rows]
        plain["labels"] = [references.label(row) for row in rows]
        return json_answer(plain | {"positions": rows, "warnings": notes})

    response: Response = await service.run_task(answer, 8 * n * served.schema.n_features)
    return response


def _plain(references: ReferenceInstances, at: int, size: tuple[int, int] | None) -> Any:
    if size is None:
        return references.plain(at)
    return resize_pixels(references.instances[at], size).tolist()


def _references_of(served: Served) -> ReferenceInstances:
    if served.references is None:
        raise Refusal(
            404,
            "an export without reference instances",
            "one that has some",
            "have the bundle exported with rows: isthmus export BUNDLE DATA --known 200",
        )
    return served.references
