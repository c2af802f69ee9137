"""What decides on codes."""

from isthmus.heads.build import HEADS, StandardisedHead, build_head
from isthmus.heads.classifier import CodeClassifier
from isthmus.heads.mlp import MLPHead

__all__ = ["HEADS", "CodeClassifier", "MLPHead", "StandardisedHead", "build_head"]
