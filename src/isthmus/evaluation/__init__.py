"""How good it is, and beside what."""

from isthmus.evaluation.controls import CONTROLS, Controls
from isthmus.evaluation.evaluate import evaluate
from isthmus.evaluation.metrics import class_metrics

__all__ = ["CONTROLS", "Controls", "class_metrics", "evaluate"]
