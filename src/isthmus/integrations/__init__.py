"""Programs of others: models and runs of MLflow, and a server for assistants."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
