"""The FastAPI application: routes, error handlers, and the page at `/`."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from isthmus import __version__
from isthmus.errors import ServeError
from isthmus.serve import openapi as describe
from isthmus.serve.guard import LOOPBACK, TRUSTED, UNGUARDED, Guard, Metrics
from isthmus.serve.label_queue import LabelQueue
from isthmus.serve.models import Models, Served, Source
from isthmus.serve.monitors import Monitors
from isthmus.serve.refusals import Limits, Refusal, describe_statuses
from isthmus.serve.series_requests import SeriesColumns, decide_series
from isthmus.serve.service import (
    Service,
    json_answer,
    nearest_instances,
    sample_references,
)

PAGE = Path(__file__).parent / "page"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
#: The page may load, run and request only what the service itself serves.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
#: Longest side of images in an answer; larger ones become thumbnails.
MaxSide = Annotated[int | None, Query(ge=1, le=4096)]
Handler = Callable[[Request, Served], Awaitable[Response]]


def add_page(app: FastAPI) -> frozenset[str]:
    """Add the page and its files to an application.

    Parameters
    ----------
    app : FastAPI

    Returns
    -------
    frozenset of str
        The paths, none of which shows content of a bundle.
    """
    files = _read_page()
    for path, (content_type, content) in files.items():
        app.get(path, include_in_schema=False)(_file_handler(content_type, content))
    return frozenset(files)


def _read_page() -> dict[str, tuple[str, bytes]]:
    """Return content type and bytes by path."""
    found = {}
    for file in PAGE.iterdir():
        name, _, suffix = file.name.rpartition(".")
        if suffix in _TYPES:
            path = "/" if name == "index" else f"/page/{file.name}"
            found[path] = f"{_TYPES[suffix]}; charset=utf-8", file.read_bytes()
    return found


def _file_handler(content_type: str, content: bytes) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(content, headers=_HEADERS | {"Content-Type": content_type})

    return answer


def build_app(
    bundles: Sequence[str | Path],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Collection[str] | None = LOOPBACK,
    labels: str | Path | None = None,
    threads: int = 0,
    root_path: str = "",
    monitors: str | Path | None = None,
) -> FastAPI:
    """Build the application that serves bundles or exports.

    Parameters
    ----------
    bundles : sequence of path or "name=path"
        Folders that `isthmus export` or `isthmus fit` wrote; a bundle is exported first, in
        another process. The first is served at `/predict`, each at `/bundles/NAME/predict`.
    limits : Limits, optional
    token : str, optional
        Required of every request; any value of the header Host is then allowed.
    hosts : collection of str or None
        Allowed values of the header Host without a token; None allows any.
    labels : path, optional
        File to queue labels in.
    threads : int, default=0
        Of ONNX Runtime; 0 is one a core.
    root_path : str, default=""
        Prefix of the paths behind a proxy, such as "/models". The proxy may remove it or not.
    monitors : path, optional
        Folder for the states of the monitors of detectors; without one they are in memory only.

    Returns
    -------
    FastAPI

    Raises
    ------
    ServeError
        When there is no bundle, no such bundle, two have one name, or the prefix is no path.
    ExportError, BundleError
        When one cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isthmus import Autoencoder, export_bundle
    >>> from isthmus.serve import build_app
    >>> X = np.random.default_rng(0).normal(size=(100, 6))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Autoencoder(2, max_epochs=1, random_state=0).fit(X).save(f"{folder}/press")
    ...     facts = export_bundle(f"{folder}/press", f"{folder}/onnx", X)
    ...     app = build_app([f"{folder}/onnx"])
    >>> type(app).__name__
    'FastAPI'
    """
    root_path = check_root_path(root_path)
    limits = limits or Limits()
    metrics = Metrics()
    models = Models([Source(str(word)) for word in bundles], metrics, threads)
    queue = None if labels is None else LabelQueue(labels, limits.labels_bytes)
    watched = Monitors(models, metrics, monitors)
    service = Service(models, limits, metrics, queue, watched)

    @contextlib.asynccontextmanager
    async def watch_models(_: FastAPI) -> AsyncIterator[None]:
        watchers = [asyncio.create_task(one.watch()) for one in (models, watched)]
        yield
        for watcher in watchers:
            watcher.cancel()
        await asyncio.to_thread(watched.close)
        models.close()

    app = FastAPI(
        title="isthmus",
        version=__version__,
        description="Decisions of bundles: the class of an instance, or whether it is normal.",
        lifespan=watch_models,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    public = add_page(app)
    _add_common(app, service)
    for name in models.names:
        _add_bundle(app, service, name, f"/bundles/{name}")
    _add_bundle(app, service, models.names[0], "")
    _add_errors(app)
    app.openapi = partial(_openapi, app, service, token is not None, root_path)  # type: ignore[method-assign]
    app.add_middleware(
        Guard,
        limits=limits,
        metrics=metrics,
        paths={route.path for route in app.routes if hasattr(route, "path")},
        public=public,
        token=token,
        hosts=None if token is not None else hosts,
        root_path=root_path,
    )
    return app


def check_root_path(root_path: str) -> str:
    """Return the prefix of a proxy with a slash in front and none at the end; "" for none.

    Raises
    ------
    ServeError
        When it is no path.

    Examples
    --------
    >>> check_root_path("models/"), check_root_path("/")
    ('/models', '')
    """
    plain = root_path.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", plain) or "//" in plain or ".." in plain:
        raise ServeError(
            f"got the root path {root_path!r}, expected one of letters, digits, dots, -, _, ~ and "
            "/; pass the path that the proxy serves this service under, such as /models"
        )
    return f"/{plain}" if plain else ""


def _add_common(app: FastAPI, service: Service) -> None:
    refused: Any = {403: {"model": describe.Problem}, 401: {"model": describe.Problem}}

    answer = describe.Health | describe.Status

    @app.get("/health", response_model=answer, summary="Check that the process runs")
    async def health(request: Request) -> Response:
        return service.health(trusted=request.scope.get(TRUSTED, False))

    @app.get("/ready", response_model=answer, summary="Check that requests are answered")
    async def ready(request: Request) -> Response:
        return service.health(trusted=request.scope.get(TRUSTED, False))

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        responses={200: {"content": {"text/plain": {}}}} | refused,
        response_class=Response,
    )
    async def metrics() -> Response:
        await asyncio.to_thread(service.monitors.count)
        return Response(service.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _add_bundle(app: FastAPI, service: Service, name: str, prefix: str) -> None:
    models = service.models

    def add(word: str, model: Any, codes: Sequence[int], summary: str, status: int = 200) -> Any:
        responses: dict[int | str, dict[str, Any]] = dict.fromkeys(
            (401, 403, *codes), describe.PROBLEM
        )
        return app.api_route(
            f"{prefix}/{word}",
            methods=["GET" if word in ("schema", "known", "monitor") else "POST"],
            response_model=model,
            responses=responses,
            status_code=status,
            summary=summary,
            tags=[name] if prefix else ["first bundle"],
            operation_id="_".join([*prefix.strip("/").split("/"), word]).lstrip("_"),
        )

    async def run(handler: Handler, request: Request) -> Response:
        # A request is answered by the version it began with, even if another is loaded meanwhile.
        served = models.get(name)
        try:
            return await handler(request, served)
        except Refusal as refusal:
            refusal.digest = served.digest
            raise

    body_errors = (400, 404, 408, 413, 415, 422, 503)

    @add("predict", describe.Predictions, body_errors, "Decide on every instance")
    async def predict(
        request: Request,
        alpha: Annotated[float | None, Query(gt=0, lt=1)] = None,
        by_class: bool = False,
        monitor: bool = True,
    ) -> Response:
        handler = partial(service.predict, alpha=alpha, by_class=by_class, monitor=monitor)
        return await run(handler, request)

    @add("monitor", describe.Monitored, (503,), "Say whether the promise of detectors still holds")
    async def monitor(request: Request) -> Response:
        return await run(service.monitor, request)

    @add("encode", describe.Codes, body_errors, "Return the code of every instance")
    async def encode(request: Request) -> Response:
        return await run(service.encode, request)

    @add(
        "explain",
        describe.Explanations,
        body_errors,
        "Return the values with the largest residuals",
    )
    async def explain(
        request: Request,
        top: Annotated[int, Query(ge=1, le=100)] = 5,
        whole: bool = False,
        max_side: MaxSide = None,
    ) -> Response:
        handler = partial(service.explain, top=top, whole=whole, max_side=max_side)
        return await run(handler, request)

    @add("nearest", describe.Neighbours, body_errors, "Return the nearest reference instances")
    async def nearest(
        request: Request, k: Annotated[int, Query(ge=1, le=50)] = 6, max_side: MaxSide = None
    ) -> Response:
        return await run(partial(nearest_instances, service, k=k, max_side=max_side), request)

    @add("known", describe.ReferenceSample, (404, 422, 503), "Return some reference instances")
    async def known(
        request: Request,
        n: Annotated[int, Query(ge=1, le=100)] = 24,
        max_side: MaxSide = None,
        at: Annotated[int | None, Query(ge=0, le=2**31)] = None,
    ) -> Response:
        handler = partial(sample_references, service, n=n, max_side=max_side, at=at)
        return await run(handler, request)

    @add(
        "points",
        describe.PointDecisions,
        body_errors,
        "Decide on every time point of a series, and return the alarms",
    )
    async def points(
        request: Request,
        time: str | None = None,
        group: Annotated[list[str] | None, Query()] = None,
        key: Annotated[list[str] | None, Query()] = None,
        resample: Annotated[str | None, Query(max_length=50)] = None,
        head: str | None = None,
    ) -> Response:
        columns = SeriesColumns(time, group or (), key or (), resample)
        return await run(partial(decide_series, service, columns=columns, head=head), request)

    @add("labels", describe.Queued, body_errors, "Queue labels for the next update of a head", 202)
    async def labels(request: Request) -> Response:
        return await run(service.labels, request)

    @add("schema", dict[str, Any], (), "Describe an instance")
    async def schema() -> Response:
        return service.schema(models.get(name))


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return json_answer(error.to_dict(), error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        refusal = Refusal(
            422, f"{where}={str(first.get('input'))[:100]}", first["msg"][:300], "see /openapi.json"
        )
        return json_answer(refusal.to_dict(), 422)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            allowed = headers.pop("allow", headers.pop("Allow", "another method"))
            if "GET" in allowed and "HEAD" not in allowed:
                allowed += ", HEAD"
            headers["Allow"] = allowed
            refusal = Refusal(405, f"the method {request.method}", allowed, "see /openapi.json")
        else:
            refusal = Refusal(
                error.status_code,
                "a path that is not served",
                "one of /openapi.json",
                "see /openapi.json",
            )
        return json_answer(refusal.to_dict(), error.status_code, headers)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        refusal = Refusal(
            500,
            "an unexpected error",
            "an answer",
            "look at the service's log, and report the error",
        )
        return json_answer(refusal.to_dict(), 500)


def _openapi(
    app: FastAPI, service: Service, with_token: bool, root_path: str = ""
) -> dict[str, Any]:
    """Return the OpenAPI description of the versions that are served now."""
    plain = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=[{"url": root_path}] if root_path else None,
    )
    describe_statuses(plain)
    models = service.models
    for name in models.names:
        served = models.get(name)
        for prefix in [f"/bundles/{name}"] + [""] * (name == models.names[0]):
            for word in ("predict", "encode", "explain", "nearest", "labels"):
                plain["paths"][f"{prefix}/{word}"]["post"]["requestBody"] = describe.request_body(
                    served, service.limits, labels=word == "labels"
                )
            if served.exported.point_heads:
                body = describe.series_body(served, service.limits)
                plain["paths"][f"{prefix}/points"]["post"]["requestBody"] = body
            else:
                del plain["paths"][f"{prefix}/points"]
    if with_token:
        scheme = {"type": "http", "scheme": "bearer"}
        plain.setdefault("components", {})["securitySchemes"] = {"token": scheme}
        for path, operations in plain["paths"].items():
            for operation in operations.values():
                probe = path in UNGUARDED  # which answers more with a token
                operation["security"] = [{}] * probe + [{"token": []}]
    return plain
