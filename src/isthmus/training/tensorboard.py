"""Curves and pictures for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from isthmus._extras import require
from isthmus.training.listeners import Listener


class TensorBoard(Listener):
    """Losses, learning rate and reconstruction pictures for TensorBoard.

    Parameters
    ----------
    log_dir : path
        Folder that `tensorboard --logdir` is pointed at.
    examples : array of shape (n, *input_shape), float32, optional
        Network inputs to show beside their reconstructions, when they are images.
    to_picture : callable, optional
        From the network's output tensor to values in [0, 1].

    Raises
    ------
    MissingExtraError
        When tensorboard is not installed.
    """

    def __init__(
        self,
        log_dir: str | Path,
        examples: np.ndarray | None = None,
        to_picture: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid,
    ) -> None:
        require("tensorboard", extra="tensorboard", purpose="log_dir= (curves in TensorBoard)")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(log_dir))
        self.examples, self.to_picture = examples, to_picture

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write out what is still buffered."""
        self.writer.close()

    def epoch_ended(self, record: dict[str, Any], network: nn.Module, improved: bool) -> None:
        """Write the epoch's numbers, and the pictures if there are any."""
        epoch = record["epoch"]
        for name, value in record.items():
            if name != "epoch":
                part, _, what = name.partition("_")
                split = part in ("train", "validation")
                self.writer.add_scalar(f"{part}/{what}" if split else name, value, epoch)
        if self.examples is None:
            return
        x = torch.from_numpy(self.examples)
        network.eval()
        with torch.no_grad():
            device = next(network.parameters()).device
            back = self.to_picture(network(x.to(device))).float().cpu()
        rows = torch.cat([torch.cat(list(part), dim=-1) for part in (x, back)], dim=-2)
        if rows.shape[0] in (1, 3):
            self.writer.add_image("originals over reconstructions", rows, epoch)
