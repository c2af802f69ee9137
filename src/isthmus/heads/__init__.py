"""What decides on codes."""

from isthmus.heads.build import HEADS, StandardisedHead, build_head
from isthmus.heads.classifier import CodeClassifier
from isthmus.heads.detector import AnomalyDetector
from isthmus.heads.mlp import MLPHead
from isthmus.heads.spreading import SpreadingHead

__all__ = [
    "HEADS",
    "AnomalyDetector",
    "CodeClassifier",
    "MLPHead",
    "SpreadingHead",
    "StandardisedHead",
    "build_head",
]
