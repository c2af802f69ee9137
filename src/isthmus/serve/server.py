"""The server: uvicorn on loopback unless there is a token, and a graceful stop.

uvicorn has no time limit for headers, closes a connection while a refused request is still being
sent, and answers what is no HTTP in plain text. So each of its connections is wrapped, by what
uvicorn documents alone: `Config(http=...)` takes a class of asyncio protocols, the state of the
lifespan comes to the application in `scope["state"]`, and all else is asyncio's contract between
transport and protocol. Tested with uvicorn 0.32 to 0.54.
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
from isthmus.serve.refusals import Limits, Refusal

_STATE = "isthmus.connection"


def limited_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return the class of connections within these limits, for `uvicorn.Config(http=...)`."""
    connected: set[Connection] = set()

    class Within(Connection):
        def __init__(self, app_state: dict[str, Any], **options: Any) -> None:
            own = H11Protocol(app_state=app_state | {_STATE: self}, **options)
            super().__init__(own, limits, connected)

    return Within


def watched(app: Any) -> Any:
    """Return an ASGI application that reports each request to its connection."""

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        connection = scope.get("state", {}).get(_STATE)
        if connection is None:
            await app(scope, receive, send)
            return

        async def reported() -> Any:
            message = await receive()
            request.unread = message.get("more_body", False)
            return message

        headers = dict(scope["headers"])
        chunked = b"transfer-encoding" in headers
        request = Request(unread=chunked or headers.get(b"content-length", b"0") != b"0")
        connection.begin(request)
        try:
            await app(scope, reported, send)
        finally:
            request.answered = True

    return watching


@dataclass
class Request:
    """How far a request is.

    Attributes
    ----------
    unread : bool
        Whether more of its body may come.
    answered : bool
    """

    unread: bool
    answered: bool = False


class Connection(asyncio.Protocol):
    """One client's connection: passes everything on to another protocol, within the limits.

    Parameters
    ----------
    inner : asyncio.Protocol
        Reads requests and writes answers.
    limits : Limits
    connected : set of Connection
        All that are open now.
    """

    def __init__(self, inner: asyncio.Protocol, limits: Limits, connected: set[Connection]) -> None:
        self._inner, self._limits, self._connected = inner, limits, connected
        self._transport: Lingering
        self._headers_due: asyncio.TimerHandle | None = None
        self._request = Request(unread=False, answered=True)

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for headers, or refuse one connection too many."""
        self._connected.add(self)
        seconds = self._limits.body_seconds
        self._transport = Lingering(transport, seconds, lambda: self._request.unread)
        self._inner.connection_made(self._transport)  # type: ignore[arg-type]
        if len(self._connected) > self._limits.connections:
            refusal = Refusal(
                503,
                f"more than {self._limits.connections} connections",
                f"at most {self._limits.connections} at one time",
                "close those that are idle, and try again",
            )
            self._transport.write(_last_answer(refusal))
            self._transport.close()  # none stays of those beyond what may be open
            return
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; those that begin a request are the first of its headers."""
        if self._transport.is_closing():
            return
        if self._request.answered and self._headers_due is None:
            self._wait_for_headers()
        self._inner.data_received(data)

    def begin(self, request: Request) -> None:
        """Note that a request's headers are there."""
        self._stop_waiting()
        self._request = request

    def eof_received(self) -> bool | None:
        """Pass on that the client sends no more."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection is gone."""
        self._stop_waiting()
        self._connected.discard(self)
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the client reads too slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client has read."""
        self._inner.resume_writing()

    def _wait_for_headers(self) -> None:
        loop = asyncio.get_running_loop()
        self._headers_due = loop.call_later(self._limits.body_seconds, self._no_headers)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _no_headers(self) -> None:
        self._headers_due = None
        if self._request.answered and not self._transport.is_closing():
            refusal = Refusal(
                408,
                f"no whole header in {self._limits.body_seconds:g} s",
                "the headers within that time",
                "send the request as soon as the connection is open",
            )
            self._transport.write(_last_answer(refusal))
            self._transport.linger()


class Lingering:
    """A transport that, where a request was not read to its end, stays for what is on its way.

    The system answers bytes that come to a closed connection, or that nobody has read, with a
    reset, which takes an answer that has arrived from the client's hands (RFC 9112, section
    9.6). So the sending half is closed first, what comes is thrown away, and the whole is closed
    when the client has closed or the time is over.

    Parameters
    ----------
    transport : asyncio.Transport
        Everything else is left to it.
    seconds : float
        That a client is waited for.
    unread : callable
        Says whether more of the request may come.
    """

    def __init__(
        self, transport: asyncio.Transport, seconds: float, unread: Callable[[], bool]
    ) -> None:
        self._transport, self._seconds, self._unread = transport, seconds, unread
        self._ending: asyncio.TimerHandle | None = None
        self._not_http = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes; what is no HTTP is answered as every other error is, not in plain text."""
        if self._not_http or self._ending is not None:
            return  # the last answer was sent
        # The only answer of this status that is no JSON is uvicorn's own.
        if data.startswith(b"HTTP/1.1 400 ") and b"content-type: text/plain" in data:
            self._not_http, data = True, _NOT_HTTP
        self._transport.write(data)

    def is_closing(self) -> bool:
        """Return whether nothing is sent or read any more."""
        return self._ending is not None or self._transport.is_closing()

    def close(self) -> None:
        """Close, after the rest of a request that is still on its way; at once if called again."""
        if not self.is_closing() and (self._not_http or self._unread()):
            self.linger()
            return
        if self._ending is not None:
            self._ending.cancel()
        self._transport.close()

    def linger(self) -> None:
        """Close after whatever is on its way."""
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # nobody is there any more
            self._transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._ending = loop.call_later(self._seconds, self._transport.abort)
        self._transport.resume_reading()


def _last_answer(refusal: Refusal) -> bytes:
    """Return a refusal as bytes of HTTP, after which the connection ends."""
    body = to_json(refusal.to_dict())
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body


_NOT_HTTP = _last_answer(
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
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve bundles until the process is told to stop; what is in flight is finished.

    Parameters
    ----------
    bundles : sequence of path or "name=path"
        As `build_app` has them.
    host : str, default="127.0.0.1"
        Any but the loopback needs a token.
    port : int, default=8000
        0 takes a free one.
    token : str, optional
    limits : Limits, optional
    labels : path, optional
    threads : int, default=0
    ready : callable, optional
        Told the address when requests are answered.

    Raises
    ------
    ServeError
        When the host needs a token, the token is short, or the port is taken.
    """
    check_host(host, token)
    limits = limits or Limits()
    app = build_app(bundles, limits=limits, token=token, labels=labels, threads=threads)
    listening = _listen(host, port)
    _allow_files(limits.connections + 100)
    config = uvicorn.Config(
        watched(app),
        http=limited_protocol(limits),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )
    if ready is not None:
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{listening.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[listening])


def check_host(host: str, token: str | None) -> None:
    """Check that a service that others reach has a token.

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
    # asyncio sends at once only on sockets that name their protocol; on others every answer
    # waits 40 ms for the client's acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ServeError(
            f"{host} port {port} cannot be listened on ({error.strerror or error}); "
            "choose another with --port"
        ) from error
    listening.listen(2048)
    listening.setblocking(False)
    return listening


def _allow_files(n: int) -> None:
    """Allow so many files to be open, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n:
        most = n if hard == resource.RLIM_INFINITY else min(n, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
