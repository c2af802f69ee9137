"""The page at `/`: files of the package, read once. No path from a request reaches the disk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import Response

PAGE = Path(__file__).parent / "page"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
#: Only what the service itself sends is shown, run and asked.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI) -> frozenset[str]:
    """Add the page and what it is made of to an application.

    Parameters
    ----------
    app : FastAPI

    Returns
    -------
    frozenset of str
        The paths, which hold nothing of any bundle.
    """
    served = _read()
    for path in served:
        app.get(path, include_in_schema=False)(_answer(served[path]))
    return frozenset(served)


def _read() -> dict[str, tuple[str, bytes]]:
    """Return content type and bytes by path."""
    found = {}
    for file in PAGE.iterdir():
        name, _, end = file.name.rpartition(".")
        if end in _TYPES:
            path = "/" if name == "index" else f"/page/{file.name}"
            found[path] = f"{_TYPES[end]}; charset=utf-8", file.read_bytes()
    return found


def _answer(served: tuple[str, bytes]) -> Callable[[], Awaitable[Response]]:
    content_type, content = served

    async def answer() -> Response:
        return Response(content, headers=_HEADERS | {"Content-Type": content_type})

    return answer
