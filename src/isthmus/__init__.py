"""Learn a code from unlabelled data, freeze it, and decide from a handful of labels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*__all__, "__version__"])

__version__ = "0.1.0"
