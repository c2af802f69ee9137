"""Keep the weights of every epoch that was the best so far, as the Keras tutorials do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from isthmus.storage import write_json
from isthmus.training.listeners import Listener
from isthmus.weights import write_weights


class BestWeights(Listener):
    """Write `weights-EPOCH-ACCURACY.safetensors` after each epoch that is the best so far.

    Parameters
    ----------
    folder : path
        `architecture.json` is written there too.
    architecture : dict
        Plain JSON values that describe the network.
    """

    def __init__(self, folder: str | Path, architecture: dict[str, Any]) -> None:
        self.folder = Path(folder)
        write_json(self.folder / "architecture.json", architecture)

    def epoch_ended(self, record: dict[str, Any], network: nn.Module, improved: bool) -> None:
        """Write the weights if this epoch is the best so far (each one when none is held out)."""
        held_out = "validation_accuracy" in record
        if improved or not held_out:
            accuracy = record["validation_accuracy" if held_out else "train_accuracy"]
            name = f"weights-{record['epoch']:02d}-{accuracy:.4f}.safetensors"
            write_weights(self.folder / name, network)
