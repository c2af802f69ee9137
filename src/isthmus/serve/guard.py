"""The guard before every route: host, token, sizes, times, requests in flight, counters."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Collection
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic_core import to_json

from isthmus.serve.refusals import Limits, Refusal


class Metrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "isthmus_requests",
            "Answers by path and status.",
            ["path", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "isthmus_request_seconds",
            "From the headers to the answer.",
            ["path"],
            registry=self.registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
        )
        self.in_flight = Gauge(
            "isthmus_requests_in_flight", "Requests without an answer yet.", registry=self.registry
        )
        self.batch_rows = Histogram(
            "isthmus_batch_rows",
            "Instances that were run together.",
            registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 10_000),
        )
        self.verdicts = Counter(
            "isthmus_verdicts",
            "Instances by bundle, output and verdict.",
            ["bundle", "output", "verdict"],
            registry=self.registry,
        )
        self.instances = Counter(
            "isthmus_instances", "Instances decided.", ["bundle"], registry=self.registry
        )
        self.reloads = Counter(
            "isthmus_reloads",
            "New versions of a bundle found on disk.",
            ["bundle", "result"],
            registry=self.registry,
        )
        self.serving = Gauge(
            "isthmus_bundle", "1 for the version served.", ["bundle", "digest"],
            registry=self.registry,
        )  # fmt: skip

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)


#: Answered without a token and whatever is in flight: who asks is a supervisor.
OPEN = ("/health", "/ready")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Guard:
    """ASGI middleware: reads a body whole within the limits before any route sees it.

    Parameters
    ----------
    app : ASGI application
    limits : Limits
    metrics : Metrics
    paths : collection of str
        That exist; others are counted as one.
    public : collection of str
        Of them, those that need no token.
    token : str or None
    hosts : collection of str or None
        Names that a request may call the server by, so that no web page reaches a service without
        a token by a name of its own; None is any.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        metrics: Metrics,
        paths: Collection[str],
        public: Collection[str],
        token: str | None,
        hosts: Collection[str] | None,
    ) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._paths, self._public = frozenset(paths), frozenset(public)
        self._token = None if token is None else token.encode()
        self._hosts = None if hosts is None else frozenset(hosts)
        self._in_flight = self._held = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def counted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            await self._pass(scope, receive, counted, lambda: status > 0)
        except Refusal as refusal:
            await _send(refusal, counted)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, str(status or 499)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - begun)

    async def _pass(self, scope: Any, receive: Any, send: Any, started: Any) -> None:
        headers = dict(scope["headers"])
        if scope["path"] not in OPEN:
            self._check_host(headers)
            if scope["path"] not in self._public:
                self._check_token(headers)
            if self._in_flight > self._limits.in_flight:
                raise Refusal(
                    503,
                    f"more than {self._limits.in_flight} requests at one time",
                    f"at most {self._limits.in_flight} without an answer yet",
                    "send it again in a second",
                    {"Retry-After": "1"},
                )
        body = b""
        try:
            if scope["method"] == "POST":
                found = await self._body(headers, receive)
                if found is None:
                    return
                body = found
            given = False

            async def again() -> Any:
                nonlocal given
                if given:
                    return await receive()
                given = True
                return {"type": "http.request", "body": body, "more_body": False}

            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, again, send)
        except TimeoutError:
            if not started():
                raise Refusal(
                    503,
                    f"a request that took longer than {self._limits.seconds:g} s",
                    "one that is answered within that time",
                    "send fewer instances at once, or again when less is asked",
                    {"Retry-After": "5"},
                ) from None
        finally:
            self._held -= len(body)

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        if self._hosts is None:
            return
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name.strip("[]") not in self._hosts:
            raise Refusal(
                403,
                "a request for another host",
                f"one of {', '.join(sorted(self._hosts))} in the header Host",
                "call the service by such a name, or start it with --token",
            )

    def _check_token(self, headers: dict[bytes, bytes]) -> None:
        if self._token is None:
            return
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        same = hmac.compare_digest(given.strip(), self._token)
        if kind.lower() != b"bearer" or not same:
            raise Refusal(
                401,
                "a wrong token" if given else "no token",
                "the token that the service was started with",
                "send the header: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )

    async def _body(self, headers: dict[bytes, bytes], receive: Any) -> bytes | None:
        """Return the body; None when the client has gone."""
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refusal(
                415,
                "a compressed body",
                "one without Content-Encoding",
                "send it as it is; Parquet is compressed in itself",
            )
        declared = headers.get(b"content-length", b"0")
        most = self._limits.body_bytes
        if len(declared) > 20 or int(declared) > most:
            raise self._too_large(f"a body of {declared[:20].decode('latin-1')} bytes")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        self._held -= size
                        return None
                    part = message.get("body", b"")
                    size += len(part)
                    self._held += len(part)
                    parts.append(part)
                    if size > most:
                        raise self._too_large(f"a body of {size} bytes or more")
                    if self._held > self._limits.bodies_bytes:
                        raise Refusal(
                            503,
                            "more in all requests together than is held at one time",
                            f"at most {self._limits.bodies_bytes} bytes",
                            "send it again in a second",
                            {"Retry-After": "1"},
                        )
                    more = message.get("more_body", False)
        except TimeoutError:
            self._held -= size
            raise Refusal(
                408,
                f"{size} bytes of a body in {self._limits.body_seconds:g} s",
                "the whole body within that time",
                "send it faster, or in several requests",
            ) from None
        except Refusal:
            self._held -= size
            raise
        return b"".join(parts)

    def _too_large(self, got: str) -> Refusal:
        return Refusal(
            413,
            got,
            f"at most {self._limits.body_bytes} bytes",
            "send the instances in several requests",
        )


async def _send(refusal: Refusal, send: Any) -> None:
    body = to_json(refusal.to_dict())
    # The connection ends, because the body may still be on its way.
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    headers |= refusal.headers | {"Connection": "close"}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
