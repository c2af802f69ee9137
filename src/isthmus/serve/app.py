"""The FastAPI application: routes, and what every answer and every error looks like."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from isthmus._version import __version__
from isthmus.errors import IsthmusError
from isthmus.serve import describe
from isthmus.serve.answers import explanations, predictions
from isthmus.serve.errors import Refusal, refusal_of
from isthmus.serve.guard import LOOPBACK, Guard
from isthmus.serve.labels import LabelQueue
from isthmus.serve.limits import Limits
from isthmus.serve.metrics import Metrics
from isthmus.serve.models import Models, Served
from isthmus.serve.reading import (
    JSON,
    content_types,
    from_lists,
    read_instances,
    read_json,
)
from isthmus.serve.sources import Source

#: A body of more bytes is read in a thread, so that others need not wait for it.
SMALL = 64 * 1024
#: Bodies that are read at one time.
READERS = 2
Handler = Callable[[Request, Served], Awaitable[Response]]


class Service:
    """What the routes share."""

    def __init__(
        self, models: Models, limits: Limits, metrics: Metrics, queue: LabelQueue | None
    ) -> None:
        self.models, self.limits, self.metrics, self.queue = models, limits, metrics, queue
        self._readers = asyncio.Semaphore(READERS)

    async def read(self, request: Request, served: Served) -> dict[str, Any]:
        """Return a body's instances as the graph takes them."""
        content = await request.body()
        kind = request.headers.get("content-type", "")
        limits = self.limits

        def rows() -> dict[str, Any]:
            X = read_instances(content, kind, served.schema, limits)
            return served.exported.feed(X)

        return await self._in_words(rows, len(content))

    async def _in_words(self, task: Callable[[], Any], size: int) -> Any:
        try:
            if size <= SMALL:
                return task()
            async with self._readers:
                return await asyncio.to_thread(task)
        except Refusal:
            raise
        except IsthmusError as error:
            raise refusal_of(error) from error

    async def predict(self, request: Request, served: Served) -> Response:
        """Decide on every instance."""
        if not served.decisions:
            raise Refusal(
                404,
                "a bundle without heads",
                "one with a classifier or a detector",
                "use /encode, or fit one: isthmus classify, isthmus detect",
            )
        rows = await self.read(request, served)
        values = await served.run(rows, [one["name"] for one in served.decisions])
        found = predictions(served.decisions, served.heads, values)
        self.metrics.instances.labels(served.name).inc(len(found))
        for one in served.decisions:
            if one["what"] == "verdict":
                abnormal = int((values[one["name"]] != 1).sum())
                for word, n in (("abnormal", abnormal), ("normal", len(found) - abnormal)):
                    self.metrics.verdicts.labels(served.name, one["name"], word).inc(n)
        return _answer({"digest": served.digest, "predictions": found})

    async def encode(self, request: Request, served: Served) -> Response:
        """Give every instance's code."""
        names = ["code", "reconstruction_error"]
        values = await served.run(await self.read(request, served), names)
        code, error = (values[name].tolist() for name in names)
        return _answer({"digest": served.digest, "codes": code, "reconstruction_error": error})

    async def explain(self, request: Request, served: Served, top: int) -> Response:
        """Say which values were rebuilt worst."""
        if "residual" not in served.exported.names:
            raise Refusal(
                404,
                "an export without residuals",
                "one that has them",
                "export the bundle again with: isthmus export BUNDLE --residual",
            )
        values = await served.run(await self.read(request, served), ["residual"])
        found = explanations(served.schema, values["residual"], top)
        return _answer({"digest": served.digest, "explanations": found})

    async def labels(self, request: Request, served: Served) -> Response:
        """Queue labels for the next time that a head is decided anew."""
        queue = self.queue
        if queue is None:
            raise Refusal(
                404,
                "a label, and nowhere to keep it",
                "a service with a queue",
                "start it with: isthmus serve BUNDLE --labels queue.jsonl",
            )
        if not served.heads:
            raise Refusal(
                404, "a bundle without heads", "one with a head", "fit one: isthmus detect"
            )
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise Refusal(
                415, f"the content type {kind[:100]!r}", JSON, "send instances and labels as JSON"
            )
        content = await request.body()

        def records() -> list[dict[str, Any]]:
            plain = read_json(content)
            instances = plain["instances"]
            served.exported.feed(from_lists(instances, served.schema, self.limits))
            head = _head(served, plain.get("head"))
            given = _labels(served, head, plain.get("labels"), len(instances))
            known = {"bundle": served.name, "digest": served.digest, "head": head}
            return [
                known | {"label": label, "instance": instance}
                for label, instance in zip(given, instances, strict=True)
            ]

        found = await self._in_words(records, len(content))
        await asyncio.to_thread(queue.add, found)
        return _answer({"digest": served.digest, "queued": len(found)}, 202)

    def schema(self, served: Served) -> Response:
        """Say what an instance is, and what is answered."""
        facts = served.facts
        return _answer(
            {
                "digest": served.digest,
                "encoder_digest": facts["digest"],
                "name": served.name,
                "kind": served.schema.kind,
                "instance": describe.instance_schema(served.schema),
                "content_types": content_types(served.schema),
                "schema": facts["schema"],
                "outputs": facts["outputs"],
                "heads": facts["heads"],
                "explains": "residual" in served.exported.names,
                "takes_labels": self.queue is not None and bool(served.heads),
                "limits": vars(self.limits),
            }
        )

    def health(self) -> Response:
        """Name what is served."""
        models = self.models
        bundles = {name: models.get(name).digest for name in models.names}
        digest = models.get(models.names[0]).digest
        return _answer({"digest": digest, "bundles": bundles, "stale": sorted(models.stale)})


def build_app(
    bundles: Sequence[str | Path],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Collection[str] | None = LOOPBACK,
    labels: str | Path | None = None,
    threads: int = 0,
) -> FastAPI:
    """Return the application that serves bundles or exports.

    Parameters
    ----------
    bundles : sequence of path or "name=path"
        Folders that `isthmus export` or `isthmus fit` wrote; a bundle is exported first, in
        another process. The first is served at `/predict`, each at `/bundles/NAME/predict`.
    limits : Limits, optional
    token : str, optional
        That every request must carry; then any host may be asked for.
    hosts : collection of str or None
        What the header `Host` may say without a token; None is anything.
    labels : path, optional
        File that labels are queued in.
    threads : int, default=0
        Of ONNX Runtime; 0 is one a core.

    Returns
    -------
    FastAPI

    Raises
    ------
    ServeError
        When there is no bundle, no such bundle, or two have one name.
    ExportError, BundleError
        When one cannot be read.
    """
    limits = limits or Limits()
    metrics = Metrics()
    models = Models([Source(str(word)) for word in bundles], metrics, threads)
    queue = None if labels is None else LabelQueue(labels, limits.labels_bytes)
    service = Service(models, limits, metrics, queue)

    @contextlib.asynccontextmanager
    async def watching(_: FastAPI) -> AsyncIterator[None]:
        watcher = asyncio.create_task(models.watch())
        yield
        watcher.cancel()
        models.close()

    app = FastAPI(
        title="isthmus",
        version=__version__,
        description="Decisions of a bundle: which class, or normal or not.",
        lifespan=watching,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.service = service
    _add_common(app, service)
    for name in models.names:
        _add_bundle(app, service, name, f"/bundles/{name}")
    _add_bundle(app, service, models.names[0], "")
    _add_errors(app)
    app.openapi = partial(_openapi, app, service, token is not None)  # type: ignore[method-assign]
    app.add_middleware(
        Guard,
        limits=limits,
        metrics=metrics,
        paths={route.path for route in app.routes if hasattr(route, "path")},
        token=token,
        hosts=None if token is not None else hosts,
    )
    return app


def _add_common(app: FastAPI, service: Service) -> None:
    refused: Any = {403: {"model": describe.Problem}, 401: {"model": describe.Problem}}

    @app.get("/health", response_model=describe.Health, summary="Whether the process lives")
    async def health() -> Response:
        return service.health()

    @app.get("/ready", response_model=describe.Health, summary="Whether requests are answered")
    async def ready() -> Response:
        return service.health()

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        responses={200: {"content": {"text/plain": {}}}} | refused,
        response_class=Response,
    )
    async def metrics() -> Response:
        return Response(service.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _add_bundle(app: FastAPI, service: Service, name: str, prefix: str) -> None:
    models = service.models

    def add(word: str, model: Any, codes: Sequence[int], summary: str, status: int = 200) -> Any:
        responses: dict[int | str, dict[str, Any]] = {
            code: {"model": describe.Problem} for code in (401, 403, *codes)
        }
        return app.api_route(
            f"{prefix}/{word}",
            methods=["GET" if word == "schema" else "POST"],
            response_model=model,
            responses=responses,
            status_code=status,
            summary=summary,
            tags=[name] if prefix else ["first bundle"],
            operation_id="_".join([*prefix.strip("/").split("/"), word]).lstrip("_"),
        )

    async def told(handler: Handler, request: Request) -> Response:
        # The version that a request begins with answers it, whatever comes meanwhile.
        served = models.get(name)
        try:
            return await handler(request, served)
        except Refusal as refusal:
            refusal.digest = served.digest
            raise

    reading = (400, 404, 408, 413, 415, 422, 503)

    @add("predict", describe.Predictions, reading, "Decide on every instance")
    async def predict(request: Request) -> Response:
        return await told(service.predict, request)

    @add("encode", describe.Codes, reading, "Give every instance's code")
    async def encode(request: Request) -> Response:
        return await told(service.encode, request)

    @add("explain", describe.Explanations, reading, "Say which values were rebuilt worst")
    async def explain(request: Request, top: Annotated[int, Query(ge=1, le=100)] = 5) -> Response:
        return await told(partial(service.explain, top=top), request)

    @add("labels", describe.Queued, reading, "Queue labels for the next decision", 202)
    async def labels(request: Request) -> Response:
        return await told(service.labels, request)

    @add("schema", dict[str, Any], (), "Say what an instance is")
    async def schema() -> Response:
        return service.schema(models.get(name))


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return _answer(error.to_dict(), error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        refusal = Refusal(
            422, f"{where}={str(first.get('input'))[:100]}", first["msg"][:300], "see /docs"
        )
        return _answer(refusal.to_dict(), 422)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            allowed = headers.get("Allow", headers.get("allow", "another method"))
            refusal = Refusal(405, f"the method {request.method}", allowed, "see /docs")
        else:
            refusal = Refusal(
                error.status_code, "a path that is not served", "one that is", "see /docs"
            )
        return _answer(refusal.to_dict(), error.status_code, headers)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        refusal = Refusal(
            500,
            "an error that was not foreseen",
            "an answer",
            "look at the service's log, and report it",
        )
        return _answer(refusal.to_dict(), 500)


def _openapi(app: FastAPI, service: Service, with_token: bool) -> dict[str, Any]:
    """Return the description of the versions that are served now."""
    plain = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    models = service.models
    for name in models.names:
        served = models.get(name)
        for prefix in [f"/bundles/{name}"] + [""] * (name == models.names[0]):
            for word in ("predict", "encode", "explain", "labels"):
                plain["paths"][f"{prefix}/{word}"]["post"]["requestBody"] = describe.request_body(
                    served, service.limits, labels=word == "labels"
                )
    if with_token:
        scheme = {"type": "http", "scheme": "bearer"}
        plain.setdefault("components", {})["securitySchemes"] = {"token": scheme}
        for path, operations in plain["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if path in ("/health", "/ready") else [{"token": []}]
    return plain


def _head(served: Served, name: Any) -> str:
    heads = list(served.heads)
    if name is None and len(heads) == 1:
        return heads[0]
    if name not in heads:
        raise Refusal(
            422,
            "no head" if name is None else "a head that the bundle does not have",
            f"one of {', '.join(heads)}",
            'say which head the labels are for: "head": NAME',
        )
    return str(name)


def _labels(served: Served, head: str, given: Any, n: int) -> list[str | int]:
    plain = isinstance(given, list) and all(
        isinstance(label, str | int) and not isinstance(label, bool) for label in given
    )
    if not plain or len(given) != n:
        raise Refusal(
            422,
            f"{len(given)} labels" if plain else "no list of labels",
            f"{n}, one an instance: text or whole numbers",
            '"labels": [...] beside "instances": [...]',
        )
    if served.heads[head]["kind"] == "detector" and not set(given) <= {1, -1, 0}:
        raise Refusal(
            422,
            "another label of a detector",
            "1 normal, -1 abnormal, or 0 to take a label back",
            "send one of these for each instance",
        )
    return list(given)


def _answer(plain: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    content = to_json(plain, inf_nan_mode="null")
    return Response(content, status, headers, media_type=JSON)
