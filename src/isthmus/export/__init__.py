"""The whole decision as one ONNX graph, from raw instance to verdict, with its parity measured."""

from isthmus.export.write import export_bundle

__all__ = ["export_bundle"]
