"""Checks before every route (host, token, sizes, times, requests in flight), and metrics."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic_core import to_json

from isthmus.serve.refusals import Limits, Refusal

#: Paths for supervisors, answered for any host, without a token and under any load.
UNGUARDED = ("/health", "/ready")
#: Key of a scope: whether the request has an allowed host, and the token where there is one.
TRUSTED = "isthmus.trusted"
_GZIP = (b"gzip", b"x-gzip")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Metrics:
    """Prometheus metrics of one service."""

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
            "isthmus_requests_in_flight",
            "Whole requests without an answer yet.",
            registry=self.registry,
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
        of_head = ["bundle", "head"]
        self.promise_valid = Gauge(
            "isthmus_promise_valid",
            "1 while nothing speaks against the promise of the false-alarm rate, 0 once it does.",
            of_head,
            registry=self.registry,
        )
        self.monitor_e_value = Gauge(
            "isthmus_monitor_e_value",
            "Largest evidence against the promise so far; a warning is raised at 100.",
            of_head,
            registry=self.registry,
        )
        self.monitored_rows = Gauge(
            "isthmus_monitored_rows", "Rows that the monitor counts.", of_head,
            registry=self.registry,
        )  # fmt: skip
        self.alarm_share = Gauge(
            "isthmus_alarm_share",
            "Share of the monitored rows that were called abnormal.",
            of_head,
            registry=self.registry,
        )
        self.serving = Gauge(
            "isthmus_bundle", "1 for the version served.", ["bundle", "digest"],
            registry=self.registry,
        )  # fmt: skip

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)


class Guard:
    """ASGI middleware: checks a request and reads its body, within limits, before any route runs.

    Parameters
    ----------
    app : ASGI application
    limits : Limits
    metrics : Metrics
    paths : collection of str
        Existing paths; metrics count all others as one.
    public : collection of str
        Paths that need no token.
    token : str or None
    hosts : collection of str or None
        Allowed values of the header Host, so that no web page reaches a service without a token
        by a DNS name of its own; None allows any.
    root_path : str
        Prefix of all paths behind a proxy, "" without one. Requests may come with or without it.
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
        root_path: str = "",
    ) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._paths, self._public = frozenset(paths), frozenset(public)
        self._token = None if token is None else token.encode()
        self._hosts = None if hosts is None else frozenset(hosts)
        self._root_path = root_path
        self._in_flight = self._buffered = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        head = scope["method"] == "HEAD"
        scope, path = self._routed(scope)

        async def send_counted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = message | {"headers": _not_stored(message["headers"])}
            elif head:
                message = message | {"body": b""}
            await send(message)

        try:
            await self._forward(scope, path, receive, send_counted, lambda: status > 0)
        except Refusal as refusal:
            await _send(refusal, send_counted)
        finally:
            counted = path if path in self._paths else "other"
            self._metrics.requests.labels(counted, str(status or 499)).inc()
            self._metrics.seconds.labels(counted).observe(time.perf_counter() - start)

    def _routed(self, scope: Any) -> tuple[Any, str]:
        """Return the scope for the routes, and the path below the prefix of the proxy.

        Some proxies remove the prefix and some do not; ASGI wants it in both `path` and
        `root_path`. HEAD is answered as GET is, without the body.
        """
        root = scope.get("root_path") or self._root_path
        path = scope["path"]
        if root and (path + "/").startswith(root + "/"):
            path = path[len(root) :]
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        return scope | {"method": method, "root_path": root, "path": root + path}, path

    async def _forward(self, scope: Any, path: str, receive: Any, send: Any, started: Any) -> None:
        headers = dict(scope["headers"])
        if not path and scope["root_path"]:
            # Relative, because only the proxy has its own address; the page's files are relative.
            location = scope["root_path"].rpartition("/")[2].encode() + b"/"
            start = {"type": "http.response.start", "status": 307}
            await send(start | {"headers": [(b"location", location), (b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return
        try:
            self._check_host(headers)
            if path not in self._public:
                self._check_token(headers)
            scope[TRUSTED] = True
        except Refusal:
            if path not in UNGUARDED:
                raise
            scope[TRUSTED] = False  # probes call by an address: the status alone, no names
        guarded = path not in UNGUARDED
        if guarded:
            self._check_in_flight()
        content, encoding = b"", b""
        if scope["method"] == "POST":
            encoding = self._encoding(headers)
            body = await self._read_body(headers, receive)
            if body is None:
                return
            content = body
        # Only now: a client that sends its body slowly takes no place of those that are answered.
        held = len(content)
        try:
            if guarded:
                self._check_in_flight()
            with self._counted():
                if content and encoding in _GZIP:
                    # In a thread, because few bytes may become many.
                    content = await asyncio.to_thread(self._decompress, content)
                    self._buffered += len(content) - held
                    held = len(content)
                    self._check_buffered()
                await self._answer(scope, content, receive, send, started)
        finally:
            self._buffered -= held

    def _check_in_flight(self) -> None:
        if self._in_flight >= self._limits.in_flight:
            raise Refusal(
                503,
                f"more than {self._limits.in_flight} requests at one time",
                f"at most {self._limits.in_flight} without an answer yet",
                "send it again in a second",
                {"Retry-After": "1"},
            )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)

    async def _answer(
        self, scope: Any, body: bytes, receive: Any, send: Any, started: Callable[[], bool]
    ) -> None:
        replayed = False

        async def replay() -> Any:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, replay, send)
        except TimeoutError:
            if not started():
                raise Refusal(
                    503,
                    f"a request that took longer than {self._limits.seconds:g} s",
                    "one that is answered within that time",
                    "send fewer instances at once, or try again under less load",
                    {"Retry-After": "5"},
                ) from None

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
                "call the service by such a name; one that was started with a token takes any",
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

    def _encoding(self, headers: dict[bytes, bytes]) -> bytes:
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b"", *_GZIP):
            raise Refusal(
                415,
                f"the Content-Encoding {encoding[:100].decode('latin-1')!r}",
                "gzip, or none",
                "compress the body with gzip, or send it as it is",
                {"Accept-Encoding": "gzip"},
            )
        return encoding

    async def _read_body(self, headers: dict[bytes, bytes], receive: Any) -> bytes | None:
        """Return the body as it was sent; None when the client has disconnected."""
        declared = headers.get(b"content-length", b"0")
        max_bytes = self._limits.body_bytes
        if len(declared) > 20 or int(declared) > max_bytes:
            raise self._too_large(f"a body of {declared[:20].decode('latin-1')} bytes")
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        self._buffered -= size
                        return None
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    self._buffered += len(chunk)
                    chunks.append(chunk)
                    if size > max_bytes:
                        raise self._too_large(f"a body of {size} bytes or more")
                    self._check_buffered()
                    more = message.get("more_body", False)
        except TimeoutError:
            self._buffered -= size
            raise Refusal(
                408,
                f"{size} bytes of a body in {self._limits.body_seconds:g} s",
                "the whole body within that time",
                "send it faster, or in several requests",
            ) from None
        except Refusal:
            self._buffered -= size
            raise
        return b"".join(chunks)

    def _check_buffered(self) -> None:
        if self._buffered > self._limits.bodies_bytes:
            raise Refusal(
                503,
                "more bytes in all requests together than are buffered",
                f"at most {self._limits.bodies_bytes} bytes",
                "send it again in a second",
                {"Retry-After": "1"},
            )

    def _decompress(self, body: bytes) -> bytes:
        """Undo gzip, up to the largest size of a body; it counts as it is when decompressed."""
        max_bytes = self._limits.body_bytes
        try:
            with gzip.GzipFile(fileobj=BytesIO(body)) as file:
                content = file.read(max_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise Refusal(
                400,
                "a body that is not gzip, as its Content-Encoding says, or is cut short",
                "a whole gzip body",
                "compress the body with gzip, or leave the header Content-Encoding out",
            ) from error
        if len(content) > max_bytes:
            raise self._too_large(f"a body of more than {max_bytes} bytes when decompressed")
        return content

    def _too_large(self, got: str) -> Refusal:
        return Refusal(
            413,
            got,
            f"at most {self._limits.body_bytes} bytes",
            "send the instances in several requests",
        )


def _not_stored(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Add the headers that keep caches and browsers from making anything else of an answer.

    Without the first a proxy may store an answer to GET, such as that of /health, for as long as
    it likes (RFC 9111, section 4.2.2).
    """
    found = list(headers)
    there = {name.lower() for name, _ in found}
    wanted = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
    return found + [one for one in wanted if one[0] not in there]


async def _send(refusal: Refusal, send: Any) -> None:
    body = to_json(refusal.to_dict())
    # The connection is closed, because more of the body may still arrive.
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    headers |= refusal.headers | {"Connection": "close"}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
