"""All workers start from what the first one has: its weights, and its checkpoint."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from isthmus.training.optimizer import Optimizer
from isthmus.training.state import Progress
from isthmus.workers import Workers


def start_together(
    network: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    device: torch.device,
    workers: Workers,
) -> Progress:
    """Give all workers the first one's weights, optimiser and progress.

    Modules of a person's own may start from other weights in every process, and only the first
    worker's machine need have the checkpoint.
    """
    names = ("epoch", "finished", "best_epoch", "history", "middle")
    told = workers.from_first({name: getattr(progress, name) for name in names})
    best = progress.best_state
    if best is None and told["best_epoch"] is not None:
        state = network.state_dict()
        best = {name: torch.empty_like(value, device="cpu") for name, value in state.items()}
    tensors = list(network.state_dict().values())
    tensors += [value for state in optimizer.state.values() for value in state.values()]
    workers.copy_from_first(tensors, device)
    if best is not None:
        # A state that was read from a file has another order.
        workers.copy_from_first([best[name] for name in sorted(best)], device)
    return replace(progress, best_state=best, **told)
