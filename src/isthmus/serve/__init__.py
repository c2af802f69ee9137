"""Decisions over HTTP: FastAPI over ONNX Runtime and an export's metadata, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.serve.limits import Limits

if TYPE_CHECKING:
    from isthmus.serve.app import build_app as build_app
    from isthmus.serve.server import serve as serve

__all__ = ["Limits", "build_app", "serve"]


def __getattr__(name: str) -> Any:
    # FastAPI and uvicorn are loaded by whoever serves.
    if name == "build_app":
        from isthmus.serve.app import build_app

        return build_app
    if name == "serve":
        from isthmus.serve.server import serve

        return serve
    raise AttributeError(f"module 'isthmus.serve' has no attribute {name!r}")
