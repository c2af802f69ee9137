"""Known instances over HTTP: those that a new one is nearest to, and some of them to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import Request
from fastapi.responses import Response

from isthmus.export.known import Known, spread
from isthmus.serve.errors import Refusal
from isthmus.serve.models import Served
from isthmus.serve.service import Service, check_values, json_answer

#: Numbers of a block of distances that are held at one time.
BLOCK = 4_000_000


def nearest(codes: np.ndarray, known: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the known codes that are nearest to each of some codes.

    Parameters
    ----------
    codes : array of shape (n, n_components)
    known : array of shape (m, n_components)
    k : int
        At most m.

    Returns
    -------
    distances : float64 array of shape (n, k)
        Euclidean, the nearest first; of equal ones the first in `known`.
    rows : integer array of shape (n, k)
        Of `known`.

    Examples
    --------
    >>> distances, rows = nearest(np.array([[0.0, 0.0]]), np.array([[6, 8], [3, 4], [9, 9]]), 2)
    >>> distances.tolist(), rows.tolist()
    ([[5.0, 10.0]], [[1, 0]])
    """
    references = known.astype(np.float64)
    squares = (references**2).sum(axis=1)
    at_once = max(1, BLOCK // max(len(known), k * known.shape[1]))
    distances = np.empty((len(codes), k))
    rows = np.empty((len(codes), k), dtype=np.intp)
    for first in range(0, len(codes), at_once):
        some = codes[first : first + at_once].astype(np.float64)
        # Less the squared length of the code itself, which does not change the order.
        apart = squares - 2 * (some @ references.T)
        near = np.argpartition(apart, k - 1, axis=1)[:, :k]
        # Anew from differences: what cancels above would leave no zero for one and the same code.
        exact = np.linalg.norm(some[:, None] - references[near], axis=2)
        order = np.lexsort((near, exact))
        distances[first : first + at_once] = np.take_along_axis(exact, order, axis=1)
        rows[first : first + at_once] = np.take_along_axis(near, order, axis=1)
    return distances, rows


async def neighbours(service: Service, request: Request, served: Served, k: int) -> Response:
    """Name the known instances that each one is nearest to, by code."""
    known = _known(served)
    k = min(k, len(known))
    rows = await service.read(request, served)
    n = len(next(iter(rows.values())))
    n_values = n * k * served.schema.n_features
    check_values(n_values, service.limits, "send fewer instances at once, or ask for fewer: ?k=1")
    codes = (await served.run(rows, ["code"]))["code"]

    def answer() -> Response:
        distances, places = nearest(codes, known.codes, k)
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


async def some_known(service: Service, _: Request, served: Served, n: int) -> Response:
    """Give some known instances, as many of each label as of any other."""
    known = _known(served)
    n = min(n, max(1, service.limits.values // served.schema.n_features))

    def answer() -> Response:
        rows = spread(known.labels.tolist(), n).tolist()
        plain: dict[str, Any] = {"digest": served.digest, "rebuilt": known.rebuilt}
        plain["instances"] = [known.plain(at) for at in rows]
        return json_answer(plain | {"labels": [known.label(at) for at in rows]})

    response: Response = await service.aside(answer, 8 * n * served.schema.n_features)
    return response


def _known(served: Served) -> Known:
    if served.known is None:
        raise Refusal(
            404,
            "an export without known instances",
            "one that has some",
            "export the bundle again with rows to keep: isthmus export BUNDLE DATA --known 200",
        )
    return served.known
