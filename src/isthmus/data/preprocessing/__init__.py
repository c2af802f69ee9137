"""Preprocessing: instances to network inputs, and reconstructions to the units of the data."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
