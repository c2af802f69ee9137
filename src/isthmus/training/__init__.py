"""The one training loop, and what surrounds it."""

from isthmus.training.best_weights import BestWeights
from isthmus.training.checkpoint import Checkpoints
from isthmus.training.device import (
    choose_device,
    choose_precision,
    derived_seed,
    draw_seed,
    own_randomness,
)
from isthmus.training.listeners import Listener
from isthmus.training.loop import Progress, Settings, train
from isthmus.training.progress import ProgressBar
from isthmus.training.rows import Rows, place, to_tensor
from isthmus.training.stream_rows import StreamRows
from isthmus.training.tensorboard import TensorBoard

__all__ = [
    "BestWeights",
    "Checkpoints",
    "Listener",
    "Progress",
    "ProgressBar",
    "Rows",
    "Settings",
    "StreamRows",
    "TensorBoard",
    "choose_device",
    "choose_precision",
    "derived_seed",
    "draw_seed",
    "own_randomness",
    "place",
    "to_tensor",
    "train",
]
