"""The server: uvicorn on loopback unless there is a token, and a graceful stop.

uvicorn has no time limit for headers, closes a connection while a refused request is still being
sent, and answers a request that is not HTTP in plain text. So each of its connections is wrapped,
using only what uvicorn documents: `Config(http=...)` takes a class of asyncio protocols, and the
state of the lifespan reaches the application in `scope["state"]`. The rest is asyncio's contract
between transport and protocol. Tested with uvicorn 0.32 to 0.54.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvicorn
from pydantic_core import to_json
from uvicorn.protocols.http.h11_impl import H11Protocol

from isthmus.errors import ServeError
from isthmus.serve.app import build_app
from isthmus.serve.monitors import default_folder
from isthmus.serve.refusals import Limits, Refusal

_STATE = "isthmus.connection"


def limited_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return a class of connections with these limits, for `uvicorn.Config(http=...)`."""
    connected = Connections(limits.connections)

    class LimitedConnection(Connection):
        def __init__(self, app_state: dict[str, Any], **options: Any) -> None:
            inner = H11Protocol(app_state=app_state | {_STATE: self}, **options)
            super().__init__(inner, limits, connected)

    return LimitedConnection


def track_requests(app: Any) -> Any:
    """Return an ASGI application that reports each request to its connection."""

    async def tracked(scope: Any, receive: Any, send: Any) -> None:
        connection = scope.get("state", {}).get(_STATE)
        if connection is None:
            await app(scope, receive, send)
            return

        async def receive_tracked() -> Any:
            message = await receive()
            connection.receive_more(message.get("more_body", False))
            return message

        headers = dict(scope["headers"])
        chunked = b"transfer-encoding" in headers
        request = Request(unread=chunked or headers.get(b"content-length", b"0") != b"0")
        connection.begin(request)
        try:
            await app(scope, receive_tracked, send)
        finally:
            connection.end()

    return tracked


@dataclass
class Request:
    """Progress of a request.

    Attributes
    ----------
    unread : bool
        Whether more of its body may arrive.
    answered : bool
    """

    unread: bool
    answered: bool = False


class Connections:
    """All open connections, at most so many.

    Beyond the limit an idle one is closed, the longest idle first, so that idle clients keep no
    others out, such as an orchestrator's probe. Where more than half are in the middle of their
    headers or body, or none is idle, it is the one that has been so longest. Those that are being
    answered stay.

    Parameters
    ----------
    limit : int
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[Connection] = set()
        # In the order in which they began to be so.
        self._idle: dict[Connection, None] = {}
        self._slow: dict[Connection, None] = {}

    def add(self, connection: Connection) -> bool:
        """Add an idle connection and return True; False where no other can be closed for it."""
        if len(self._open) >= self._limit:
            slow_first = 2 * len(self._slow) > self._limit or not self._idle
            oldest = next(iter(self._slow if slow_first else self._idle), None)
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.close_for_another(self._limit)
        self._open.add(connection)
        self._idle[connection] = None
        return True

    def remove(self, connection: Connection) -> None:
        """Remove a connection that is closed."""
        self._open.discard(connection)
        self.set_answering(connection)

    def set_idle(self, connection: Connection) -> None:
        """State that a connection waits for the next request."""
        self.set_answering(connection)
        if connection in self._open:
            self._idle[connection] = None

    def set_slow(self, connection: Connection) -> None:
        """State that a connection is in the middle of the headers or the body of a request."""
        self.set_answering(connection)
        if connection in self._open:
            self._slow[connection] = None

    def set_answering(self, connection: Connection) -> None:
        """State that a connection does not wait for its client."""
        self._idle.pop(connection, None)
        self._slow.pop(connection, None)


class Connection(asyncio.Protocol):
    """A client's connection: forwards to another protocol, within the limits.

    Parameters
    ----------
    inner : asyncio.Protocol
        Reads requests and writes answers.
    limits : Limits
    connected : Connections
        All open connections.
    """

    def __init__(self, inner: asyncio.Protocol, limits: Limits, connected: Connections) -> None:
        self._inner, self._limits, self._connected = inner, limits, connected
        self._transport: DrainingTransport
        self._header_timer: asyncio.TimerHandle | None = None
        self._request = Request(unread=False, answered=True)
        #: No request came yet, or the headers of the next have begun.
        self._expecting = True
        self._received = False  # whether bytes of the next request did

    def connection_made(self, transport: Any) -> None:
        """Start the time limit of the headers, or refuse a connection beyond the limit."""
        seconds = self._limits.body_seconds
        self._transport = DrainingTransport(transport, seconds, lambda: self._request.unread)
        self._inner.connection_made(self._transport)  # type: ignore[arg-type]
        if not self._connected.add(self):
            self.close_for_another(self._limits.connections)
            return
        self._start_header_timer()

    def close_for_another(self, limit: int) -> None:
        """Close at once; a client that may wait for an answer gets a refusal."""
        self._stop_header_timer()
        if self._expecting or not self._request.answered:
            refusal = Refusal(
                503,
                f"more than {limit} connections",
                f"at most {limit} at one time",
                "close those that are idle, and try again with the whole request at once",
                {"Retry-After": "1"},
            )
            self._transport.write(_closing_answer(refusal))
        self._transport.close_at_once()

    def data_received(self, data: bytes) -> None:
        """Forward bytes; the first of a request start the time limit of its headers."""
        if self._transport.is_closing():
            return
        if self._request.answered:
            if self._header_timer is None:
                self._start_header_timer()
            if not self._received:
                self._expecting = self._received = True
                self._connected.set_slow(self)
        self._inner.data_received(data)

    def begin(self, request: Request) -> None:
        """Set the current request, whose headers are complete."""
        self._stop_header_timer()
        self._request = request
        self._expecting = self._received = False
        if request.unread:
            self._connected.set_slow(self)
        else:
            self._connected.set_answering(self)

    def receive_more(self, unread: bool) -> None:
        """Set whether more of the current request's body may arrive."""
        self._request.unread = unread
        if not unread and not self._request.answered:
            self._connected.set_answering(self)

    def end(self) -> None:
        """Set that the current request was answered."""
        self._request.answered = True
        self._connected.set_idle(self)

    def eof_received(self) -> bool | None:
        """Forward that the client has closed its sending side."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forward that the connection is lost."""
        self._stop_header_timer()
        self._connected.remove(self)
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Forward that the client reads too slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Forward that the client reads again."""
        self._inner.resume_writing()

    def _start_header_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._header_timer = loop.call_later(self._limits.body_seconds, self._refuse_late_headers)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse_late_headers(self) -> None:
        self._header_timer = None
        if self._request.answered and not self._transport.is_closing():
            refusal = Refusal(
                408,
                f"incomplete headers after {self._limits.body_seconds:g} s",
                "the headers within that time",
                "send the request as soon as the connection is open",
            )
            self._transport.write(_closing_answer(refusal))
            self._transport.drain()


class DrainingTransport:
    """A transport that drains the rest of a request before it closes.

    The system answers bytes that arrive on a closed connection, or that were never read, with a
    reset, which can destroy an answer that the client has not read yet (RFC 9112, section 9.6). So
    the sending side is closed first, further bytes are discarded, and the connection is closed when
    the client has closed it or the time is over.

    Parameters
    ----------
    transport : asyncio.Transport
        Handles everything else.
    seconds : float
        To wait for the client.
    unread : callable
        Returns whether more of the request may arrive.
    """

    def __init__(
        self, transport: asyncio.Transport, seconds: float, unread: Callable[[], bool]
    ) -> None:
        self._transport, self._seconds, self._unread = transport, seconds, unread
        self._abort_timer: asyncio.TimerHandle | None = None
        self._not_http = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes; uvicorn's plain text answer to a request that is not HTTP becomes JSON."""
        if self._not_http or self._abort_timer is not None:
            return  # the last answer was sent
        # The only plain text answer of this status is uvicorn's own.
        if data.startswith(b"HTTP/1.1 400 ") and b"content-type: text/plain" in data:
            self._not_http, data = True, _NOT_HTTP
        self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether nothing is sent or read any more."""
        return self._abort_timer is not None or self._transport.is_closing()

    def close(self) -> None:
        """Close, after draining an unread request; at once if called again."""
        if not self.is_closing() and (self._not_http or self._unread()):
            self.drain()
            return
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._transport.close()

    def close_at_once(self) -> None:
        """Close without draining; what cannot be sent now is not."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def drain(self) -> None:
        """Close the sending side, discard what arrives, and then close."""
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the client has disconnected
            self._transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._abort_timer = loop.call_later(self._seconds, self._transport.abort)
        self._transport.resume_reading()


def _closing_answer(refusal: Refusal) -> bytes:
    """Return a refusal as the bytes of an HTTP answer that closes the connection."""
    body = to_json(refusal.to_dict())
    more = "".join(f"{name}: {value}\r\n" for name, value in refusal.headers.items())
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n{more}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body


_NOT_HTTP = _closing_answer(
    Refusal(400, "a request that is not HTTP/1.1", "HTTP/1.1 in plain text", "send it by http://")
)


def serve(
    bundles: Sequence[str | Path],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    token: str | None = None,
    limits: Limits | None = None,
    labels: str | Path | None = None,
    threads: int = 0,
    root_path: str = "",
    monitors: str | Path | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve bundles until the process is stopped; requests in flight are finished.

    Parameters
    ----------
    bundles : sequence of path or "name=path"
        As in `build_app`.
    host : str, default="127.0.0.1"
        Any other than the loopback needs a token.
    port : int, default=8000
        0 for a free one.
    token, limits, labels, threads, root_path
        As in `build_app`.
    monitors : path, optional
        Folder for the states of monitors; by default one in the user's cache.
    ready : callable, optional
        Called with the address when requests are answered.

    Raises
    ------
    ServeError
        When the host needs a token, the token is short, or the port is taken.

    Examples
    --------
    >>> from isthmus.serve import serve
    >>> serve(["press=exported/"], port=8000)  # doctest: +SKIP
    """
    check_host(host, token)
    limits = limits or Limits()
    app = build_app(
        bundles,
        limits=limits,
        token=token,
        labels=labels,
        threads=threads,
        root_path=root_path,
        monitors=default_folder() if monitors is None else monitors,
    )
    listening = _listen(host, port)
    _raise_file_limit(limits.connections + 100)
    config = uvicorn.Config(
        track_requests(app),
        http=limited_protocol(limits),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}"
    AnnouncedServer(config, lambda: ready and ready(address)).run(sockets=[listening])


class AnnouncedServer(uvicorn.Server):
    """A server that calls a function as soon as it answers requests.

    By then its handlers of signals are set. An interrupt that arrives before, while asyncio and
    uvicorn set theirs, can be lost, so whoever waits for the address must not see it earlier.

    Parameters
    ----------
    config : uvicorn.Config
    announce : callable
        Takes nothing.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[], object]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer requests, and call the function."""
        await super().startup(sockets)
        if self.started:
            self._announce()


def check_host(host: str, token: str | None) -> None:
    """Check that a service on another host than the loopback has a token.

    Raises
    ------
    ServeError
        When it has none, or one of fewer than 16 characters.
    """
    if token is not None and (len(token) < 16 or not token.isascii() or " " in token):
        raise ServeError(
            f"got a token of {len(token)} characters, expected at least 16 of ASCII without "
            "blanks; make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if token is None and not _is_loopback(host):
        raise ServeError(
            f"got --host {host} without a token, expected 127.0.0.1 alone, because anyone who "
            "reaches the port could ask; pass --token TOKEN, or leave --host out"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it every answer
    # waits 40 ms for the client's acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ServeError(
            f"{host} port {port} cannot be bound ({error.strerror or error}); "
            "choose another with --port"
        ) from error
    listening.listen(2048)
    listening.setblocking(False)
    return listening


def _raise_file_limit(n: int) -> None:
    """Raise the limit of open files to n, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n:
        limit = n if hard == resource.RLIM_INFINITY else min(n, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
