"""Reference instances over HTTP: the nearest ones to an instance, and a sample of all."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import Request
from fastapi.responses import Response

from isthmus._core import find_nearest
from isthmus.data.formats import resize_pixels
from isthmus.export import ReferenceInstances, sample_evenly
from isthmus.serve.answers import describe_thumbnails, n_pixels, thumbnail_size
from isthmus.serve.models import Served
from isthmus.serve.refusals import Refusal
from isthmus.serve.service import Service, check_values, json_answer


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
            422, f"at={at}", f"a position below {len(references)}", "see `positions` of GET /known"
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
            "export the bundle again with rows to store: isthmus export BUNDLE DATA --known 200",
        )
    return served.references
