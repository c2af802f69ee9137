"""Preprocessing: from a person's own units to the inputs of a network, and back."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
