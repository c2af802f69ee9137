"""The application behind uvicorn: loopback unless there is a token, and a graceful stop."""

from __future__ import annotations

import ipaddress
import resource
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from isthmus.errors import ServeError
from isthmus.serve.app import build_app
from isthmus.serve.limits import Limits
from isthmus.serve.protocol import protocol_within, watched


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
        http=protocol_within(limits),
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
