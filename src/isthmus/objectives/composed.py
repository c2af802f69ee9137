"""Objectives that are minimised together, each with a weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from isthmus.errors import TrainingError
from isthmus.objectives.base import Batch, Network, Objective, Task, Values, check_weight
from isthmus.workers import Part, current, mine, sharing, unshared, whole


class Own(Objective):
    """A person's own objective: any callable `(network, batch) -> mean value or dict of them`.

    Parameters
    ----------
    function : callable
        `network` has `encoder`, `decoder` and `training`, and gives the output when called;
        `batch` is `(x,)` with x of shape `(batch, *input_shape)`. It returns a scalar tensor, or
        a dict of them in which `"loss"` is minimised. When it is a `torch.nn.Module`
        its parameters are trained too.
    """

    options = ("function",)

    def __init__(self, function: Callable[[Network, Batch], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, network: Network, batch: Batch) -> Values:
        """Call the function, and check what it returns.

        Raises
        ------
        TrainingError
            When that is no scalar tensor, nor a dict of them with `"loss"`.
        """
        if isinstance(self.function, nn.Module):
            self.function.train(network.training)
        found = _of_whole_batch(self.function, network, batch)
        values = found if isinstance(found, Mapping) else {"loss": found}
        scalars = all(isinstance(v, torch.Tensor) and v.ndim == 0 for v in values.values())
        if "loss" not in values or not scalars:
            raise TrainingError(
                f"the objective {self.describe()['function']} returned {_shape_of(found)}, "
                "expected a scalar tensor, or a dict of scalar tensors with 'loss'"
            )
        return dict(values)


class Composed(Objective):
    """The weighted sum of objectives: Σ wᵢ lossᵢ, each evaluated on the same batch.

    Parameters
    ----------
    parts : mapping of str to (Objective, float)
        Objective and weight by name; the names appear in `history_`.

    Raises
    ------
    TrainingError
        When there is none, a weight is out of range, or a part is named like the sum.
    """

    def __init__(self, parts: Mapping[str, tuple[Objective, float]]) -> None:
        super().__init__()
        if not parts:
            raise TrainingError("got an empty mapping of objectives, expected names and weights")
        if "loss" in parts:
            raise TrainingError(
                "got an objective named 'loss', expected another name: 'loss' is the weighted sum; "
                "rename the function"
            )
        self.weights = {name: check_weight(name, weight) for name, (_, weight) in parts.items()}
        # No ModuleDict: it refuses names that are methods of it, such as 'train'.
        self.parts = nn.ModuleList([part for part, _ in parts.values()])

    def describe(self) -> dict[str, Any]:
        """Return every part with its weight, as plain JSON values."""
        parts = {
            name: part.describe() | {"weight": self.weights[name]} for name, part in self._named()
        }
        return {"objective": "Composed", "parts": parts}

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `loss`, and each part's loss by its name, for a batch `(x,)`."""
        losses = {name: part(network, batch)["loss"] for name, part in self._named()}
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return {"loss": total} | losses

    def _prepare(self, task: Task) -> None:
        self.parts = nn.ModuleList([part.prepare(task) for _, part in self._named()])

    def _named(self) -> list[tuple[str, Objective]]:
        pairs = zip(self.weights, self.parts, strict=True)
        return [(name, part) for name, part in pairs if isinstance(part, Objective)]


def _of_whole_batch(
    function: Callable[[Network, Batch], Any], network: Network, batch: Batch
) -> Any:
    """Call what a person gave with a whole batch: what it draws and compares is not known."""
    part = current()
    if part is None:
        return function(network, batch)
    everyone = tuple(whole(values) for values in batch)
    with unshared():
        return function(_Divided(network, part), everyone)


class _Divided:
    """A network that runs on whole batches, each worker doing its part."""

    def __init__(self, network: Network, part: Part) -> None:
        self._network, self._part = network, part

    def encoder(self, x: torch.Tensor) -> torch.Tensor:
        return self._divided(self._network.encoder, x)

    def decoder(self, code: torch.Tensor) -> torch.Tensor:
        return self._divided(self._network.decoder, code)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._divided(self._network, x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def _divided(
        self, run: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
    ) -> torch.Tensor:
        if len(x) % self._part.n:  # rows that are not those of the batch: each worker takes all
            return run(x)
        with sharing(self._part):
            return whole(run(mine(x)))


def _shape_of(found: Any) -> str:
    if isinstance(found, torch.Tensor):
        return f"a tensor of shape {tuple(found.shape)}"
    if isinstance(found, Mapping):
        parts = [f"{name!r}: {_shape_of(value)}" for name, value in found.items()]
        return f"a dict of {', '.join(parts) or 'nothing'}"
    return f"{type(found).__name__}"
