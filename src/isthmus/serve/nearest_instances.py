"""Known instances over HTTP: those that a new one is nearest to, and some of them to look at."""

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
    """Name the known instances that each one is nearest to, by code."""
    known = _known(served)
    k = min(k, len(known))
    rows = await service.read(request, served)
    n = len(next(iter(rows.values())))
    n_values = n * k * served.schema.n_features
    check_values(n_values, service.limits, "send fewer instances at once, or ask for fewer: ?k=1")
    codes = (await served.run(rows, ["code"]))["code"]

    def answer() -> Response:
        distances, places = find_nearest(
            codes.astype(np.float64), known.codes.astype(np.float64), k
        )
        plain = {at: known.plain(at) for at in np.unique(places).tolist()}
        found = [
            [
                {"instance": plain[at], "label": known.label(at), "distance": distance}
                for at, distance in zip(*pair, strict=True)
            ]
            for pair in zip(places.tolist(), distances.tolist(), strict=True)
        ]
        head = {"digest": served.digest, "rebuilt": known.rebuilt}
        return json_answer(head | {"neighbours": found})

    response: Response = await service.aside(answer, 8 * max(n_values, n * len(known)))
    return response


async def sample_references(service: Service, _: Request, served: Served, n: int) -> Response:
    """Give some known instances, as many of each label as of any other."""
    known = _known(served)
    n = min(n, max(1, service.limits.values // served.schema.n_features))

    def answer() -> Response:
        rows = sample_evenly(known.labels.tolist(), n).tolist()
        plain: dict[str, Any] = {"digest": served.digest, "rebuilt": known.rebuilt}
        plain["instances"] = [known.plain(at) for at in rows]
        return json_answer(plain | {"labels": [known.label(at) for at in rows]})

    response: Response = await service.aside(answer, 8 * n * served.schema.n_features)
    return response


def _known(served: Served) -> ReferenceInstances:
    if served.known is None:
        raise Refusal(
            404,
            "an export without known instances",
            "one that has some",
            "export the bundle again with rows to keep: isthmus export BUNDLE DATA --known 200",
        )
    return served.known
