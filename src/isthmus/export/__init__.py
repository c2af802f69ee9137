"""Export of a bundle's whole decision as one ONNX graph, with its parity measured."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
