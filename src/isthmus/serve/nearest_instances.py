"""Reference instances over HTTP: the nearest ones to an instance, and a sample of all."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import Request
from fastapi.responses import Response

from isthmus._core import find_nearest
from isthmus.export import ReferenceInstances, sample_evenly
from isthmus.serve.models import Served
from isthmus.serve.refusals import Refusal
from isthmus.serve.service import Service, check_values, json_answer


async def nearest_instances(service: Service, request: Request, served: Served, k: int) -> Response:
    """Return the reference instances nearest to each instance, by code."""
    references = _references_of(served)
    k = min(k, len(references))
    rows = await service.read(request, served)
    n = len(next(iter(rows.values())))
    n_values = n * k * served.schema.n_features
    check_values(n_values, service.limits, "send fewer instances at once, or ask for fewer: ?k=1")
    codes = (await served.run(rows, ["code"]))["code"]

    def answer() -> Response:
        distances, places = find_nearest(
            codes.astype(np.float64), references.codes.astype(np.float64), k
        )
        plain = {at: references.plain(at) for at in np.unique(places).tolist()}
        found = [
            [
                {"instance": plain[at], "label": references.label(at), "distance": distance}
                for at, distance in zip(*pair, strict=True)
            ]
            for pair in zip(places.tolist(), distances.tolist(), strict=True)
        ]
        head = {"digest": served.digest, "rebuilt": references.rebuilt}
        return json_answer(head | {"neighbours": found})

    response: Response = await service.run_task(answer, 8 * max(n_values, n * len(references)))
    return response


async def sample_references(service: Service, _: Request, served: Served, n: int) -> Response:
    """Return a sample of the reference instances, evenly over their labels."""
    references = _references_of(served)
    n = min(n, max(1, service.limits.values // served.schema.n_features))

    def answer() -> Response:
        rows = sample_evenly(references.labels.tolist(), n).tolist()
        plain: dict[str, Any] = {"digest": served.digest, "rebuilt": references.rebuilt}
        plain["instances"] = [references.plain(at) for at in rows]
        return json_answer(plain | {"labels": [references.label(at) for at in rows]})

    response: Response = await service.run_task(answer, 8 * n * served.schema.n_features)
    return response


def _references_of(served: Served) -> ReferenceInstances:
    if served.references is None:
        raise Refusal(
            404,
            "an export without reference instances",
            "one that has some",
            "export the bundle again with rows to store: isthmus export BUNDLE DATA --known 200",
        )
    return served.references
