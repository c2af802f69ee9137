"""Decisions and codes of a stream, written part by part: here, or over a cluster with Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.scoring.write import score as score

__all__ = ["score"]


def __getattr__(name: str) -> Any:
    # A worker that runs the exported graph needs no torch, which reading a bundle does.
    if name == "score":
        from isthmus.scoring.write import score

        return score
    raise AttributeError(f"module 'isthmus.scoring' has no attribute {name!r}")
