"""Connections that end without taking back the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


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

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Return whether nothing is sent or read any more."""
        return self._ending is not None or self._transport.is_closing()

    def close(self) -> None:
        """Close, after the rest of a request that is still on its way; at once if called again."""
        if not self.is_closing() and self._unread():
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
