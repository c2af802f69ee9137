"""The output should equal the input."""

from __future__ import annotations

from isthmus.objectives.base import Batch, Network, Objective, Values
from isthmus.objectives.errors import mean_error


class Reconstruction(Objective):
    """Minimise the reconstruction error: an autoencoder in the plain sense.

    The mean over the batch of `errors_per_instance(decoder(encoder(x)), x)`. A linear network
    trained so on squared error spans the principal subspace (Baldi and Hornik, 1989).

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from isthmus.objectives import Task
    >>> objective = Reconstruction().prepare(Task("table", (4,), 2, "mse"))
    >>> objective(nn.Identity(), (torch.ones(3, 4),))["loss"].item()
    0.0
    """

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `{"loss": mean error}` for a batch `(x,)`."""
        (x,) = batch
        return {"loss": mean_error(network(x), x, self.task.loss)}
