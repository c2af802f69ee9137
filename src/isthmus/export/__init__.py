"""The whole decision as one ONNX graph, from raw instance to verdict, with its parity measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.export.exported import Exported

if TYPE_CHECKING:
    from isthmus.export.write import export_bundle as export_bundle

__all__ = ["Exported", "export_bundle"]


def __getattr__(name: str) -> Any:
    # Whoever runs an export needs no torch, which writing one does.
    if name == "export_bundle":
        from isthmus.export.write import export_bundle

        return export_bundle
    raise AttributeError(f"module 'isthmus.export' has no attribute {name!r}")
