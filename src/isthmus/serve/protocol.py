"""Connections of uvicorn that do not wait for ever, and are not more than allowed."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import to_json
from uvicorn.protocols.http.h11_impl import H11Protocol

from isthmus.serve.errors import Refusal
from isthmus.serve.limits import Limits
from isthmus.serve.lingering import Lingering


def protocol_within(limits: Limits) -> type[H11Protocol]:
    """Return the class of connections within these limits."""

    class Within(H11Protocol):
        """Ends when a request's headers do not come, which uvicorn would wait for."""

        transport: Any
        _headers_due: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            lingering: Any = Lingering(transport, limits.body_seconds, self._unread)
            super().connection_made(lingering)
            if len(self.connections) > limits.connections:
                self._answer(
                    503,
                    f"more than {limits.connections} connections",
                    f"at most {limits.connections} at one time",
                    "close those that are idle, and try again",
                )
                lingering.close()  # none stays of those beyond what may be open
                return
            self._wait_for_headers()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self._answering():
                self._stop_waiting()
            elif self._headers_due is None:
                self._wait_for_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(
                400,
                "a request that is not HTTP/1.1",
                "HTTP/1.1 in plain text",
                "send it by http://",
            )

        def _answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _unread(self) -> bool:
            return self.cycle is not None and self.cycle.more_body

        def _wait_for_headers(self) -> None:
            self._headers_due = self.loop.call_later(limits.body_seconds, self._no_headers)

        def _stop_waiting(self) -> None:
            if self._headers_due is not None:
                self._headers_due.cancel()
                self._headers_due = None

        def _no_headers(self) -> None:
            self._headers_due = None
            if not self._answering() and not self.transport.is_closing():
                self._refuse(
                    408,
                    f"no whole header in {limits.body_seconds:g} s",
                    "the headers within that time",
                    "send the request as soon as the connection is open",
                )

        def _refuse(self, status: int, got: str, expected: str, fix: str) -> None:
            self._answer(status, got, expected, fix)
            self.transport.linger()

        def _answer(self, status: int, got: str, expected: str, fix: str) -> None:
            body = to_json(Refusal(status, got, expected, fix).to_dict())
            head = (
                f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)

    return Within


_PHRASES = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}
