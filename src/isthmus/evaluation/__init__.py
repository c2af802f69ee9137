"""How good it is, and beside what."""

from isthmus.evaluation.advice import Advice
from isthmus.evaluation.advise import advise
from isthmus.evaluation.controls import CONTROLS, Controls
from isthmus.evaluation.evaluate import evaluate
from isthmus.evaluation.metrics import class_metrics

__all__ = ["CONTROLS", "Advice", "Controls", "advise", "class_metrics", "evaluate"]
