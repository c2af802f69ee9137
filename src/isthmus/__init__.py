"""Learn a code from unlabelled data, freeze it, and decide from a handful of labels."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from isthmus._version import __version__

if TYPE_CHECKING:
    from isthmus.autoencoder import Autoencoder as Autoencoder
    from isthmus.bundle import Bundle as Bundle
    from isthmus.bundle import load_bundle as load_bundle
    from isthmus.bundle import save_bundle as save_bundle
    from isthmus.data import Dataset as Dataset
    from isthmus.data import StoredCodes as StoredCodes
    from isthmus.data import Stream as Stream
    from isthmus.data import load as load
    from isthmus.data import load_codes as load_codes
    from isthmus.errors import IsthmusError as IsthmusError
    from isthmus.evaluation import advise as advise
    from isthmus.evaluation import evaluate as evaluate
    from isthmus.export import export_bundle as export_bundle
    from isthmus.heads import AnomalyDetector as AnomalyDetector
    from isthmus.heads import CodeClassifier as CodeClassifier
    from isthmus.report import write_report as write_report

# Where each public name lives. It is imported at first use, so that `import isthmus`
# and `isthmus --help` stay quick and load no torch.
_HOMES = {
    "AnomalyDetector": "isthmus.heads",
    "Autoencoder": "isthmus.autoencoder",
    "Bundle": "isthmus.bundle",
    "CodeClassifier": "isthmus.heads",
    "Dataset": "isthmus.data",
    "IsthmusError": "isthmus.errors",
    "StoredCodes": "isthmus.data",
    "Stream": "isthmus.data",
    "advise": "isthmus.evaluation",
    "evaluate": "isthmus.evaluation",
    "export_bundle": "isthmus.export",
    "load": "isthmus.data",
    "load_bundle": "isthmus.bundle",
    "load_codes": "isthmus.data",
    "save_bundle": "isthmus.bundle",
    "write_report": "isthmus.report",
}

__all__ = [
    "AnomalyDetector",
    "Autoencoder",
    "Bundle",
    "CodeClassifier",
    "Dataset",
    "IsthmusError",
    "StoredCodes",
    "Stream",
    "__version__",
    "advise",
    "evaluate",
    "export_bundle",
    "load",
    "load_bundle",
    "load_codes",
    "save_bundle",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'isthmus' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
