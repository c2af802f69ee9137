"""Objectives by name, custom ones, and weighted sums of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from isthmus._core import shown
from isthmus.distributed import (
    Shard,
    all_gather,
    current_shard,
    local_shard,
    redirected_draws,
    sharded,
    unsharded,
)
from isthmus.errors import TrainingError
from isthmus.objectives.denoising import Denoising, Masked, Variational
from isthmus.objectives.invariant import Invariant
from isthmus.objectives.objective import (
    Batch,
    Network,
    Objective,
    Reconstruction,
    Task,
    Values,
    check_weight,
)


class Own(Objective):
    """A custom objective: any callable `(network, batch) -> mean value or dict of them`.

    Parameters
    ----------
    function : callable
        `network` has `encoder`, `decoder` and `training`, and returns the output when called;
        `batch` is `(x,)` with x of shape `(batch, *input_shape)`. It returns a scalar tensor, or
        a dict of them in which `"loss"` is minimised. When it is a `torch.nn.Module`
        its parameters are trained too.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from isthmus.objectives import Own, Task
    >>> def absolute_error(network, batch):
    ...     return (network(batch[0]) - batch[0]).abs().mean()
    >>> objective = Own(absolute_error).prepare(Task("table", (4,), 2, "mse"))
    >>> objective.forward(nn.Identity(), (torch.ones(3, 4),))["loss"].item()
    0.0
    """

    options = ("function",)

    def __init__(self, function: Callable[[Network, Batch], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, network: Network, batch: Batch) -> Values:
        """Call the function, and check what it returns.

        Parameters
        ----------
        network : Network
        batch : tuple of one tensor

        Returns
        -------
        dict of str to tensor

        Raises
        ------
        TrainingError
            When that is neither a scalar tensor nor a dict of them with `"loss"`.
        """
        if isinstance(self.function, nn.Module):
            self.function.train(network.training)
        found = _call_on_whole_batch(self.function, network, batch)
        values = found if isinstance(found, Mapping) else {"loss": found}
        scalars = all(isinstance(v, torch.Tensor) and v.ndim == 0 for v in values.values())
        if "loss" not in values or not scalars:
            raise TrainingError(
                f"the objective {self.describe()['function']} returned {_describe_value(found)}, "
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
        """Return every part with its weight, as plain JSON values.

        Returns
        -------
        dict
        """
        parts = {
            name: part.describe() | {"weight": self.weights[name]} for name, part in self._named()
        }
        return {"objective": "Composed", "parts": parts}

    def views(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return the views of the first part that makes any."""
        made = (part.views(x) for _, part in self._named())
        return next((views for views in made if views is not None), None)

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `loss`, and each part's loss by its name, for a batch `(x,)`.

        Parameters
        ----------
        network : Network
        batch : tuple of one tensor

        Returns
        -------
        dict of str to tensor
        """
        losses = {name: part(network, batch)["loss"] for name, part in self._named()}
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return {"loss": total} | losses

    def _prepare(self, task: Task) -> None:
        self.parts = nn.ModuleList([part.prepare(task) for _, part in self._named()])

    def _named(self) -> list[tuple[str, Objective]]:
        pairs = zip(self.weights, self.parts, strict=True)
        return [(name, part) for name, part in pairs if isinstance(part, Objective)]


def _call_on_whole_batch(
    function: Callable[[Network, Batch], Any], network: Network, batch: Batch
) -> Any:
    """Call a custom function with the whole batch, as it may draw for or compare its rows."""
    shard = current_shard()
    if shard is None:
        with redirected_draws():
            return function(network, batch)
    whole_batch = tuple(all_gather(values) for values in batch)
    with unsharded(), redirected_draws():
        return function(_ShardedNetwork(network, shard), whole_batch)


class _ShardedNetwork:
    """A network called with whole batches, of which each process computes its shard."""

    def __init__(self, network: Network, shard: Shard) -> None:
        self._network, self._shard = network, shard

    def encoder(self, x: torch.Tensor) -> torch.Tensor:
        return self._run(self._network.encoder, x)

    def decoder(self, code: torch.Tensor) -> torch.Tensor:
        return self._run(self._network.decoder, code)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._run(self._network, x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def _run(
        self, function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
    ) -> torch.Tensor:
        if len(x) % self._shard.n:  # not the rows of the batch: each process computes all
            return function(x)
        with sharded(self._shard):
            return all_gather(function(local_shard(x)))


def _describe_value(found: Any) -> str:
    if isinstance(found, torch.Tensor):
        return f"a tensor of shape {tuple(found.shape)}"
    if isinstance(found, Mapping):
        parts = [f"{name!r}: {_describe_value(value)}" for name, value in found.items()]
        return f"a dict of {', '.join(parts) or 'nothing'}"
    return f"{type(found).__name__}"


OBJECTIVES: dict[str, type[Objective]] = {
    "reconstruction": Reconstruction,
    "denoising": Denoising,
    "masked": Masked,
    "variational": Variational,
    "invariant": Invariant,
}


def build_objective(chosen: Any, **options: Any) -> Objective:
    """Build an objective; `prepare` then adapts it to network and data.

    Parameters
    ----------
    chosen : str, Objective, callable, or mapping
        A name of `OBJECTIVES` with its defaults, an objective with options of your own, a
        callable as in `Own`, or a mapping of any of these to weights, minimised
        together: `{"denoising": 1.0, "invariant": 0.5}`.
    **options
        For objectives chosen by name: each takes those that are among its `options`.

    Returns
    -------
    Objective

    Raises
    ------
    TrainingError
        When it is none of these.

    Examples
    --------
    >>> build_objective({"denoising": 1.0, Masked(share=0.3): 0.5}).describe()["parts"].keys()
    dict_keys(['denoising', 'masked'])
    """
    if isinstance(chosen, Objective):
        return chosen
    if isinstance(chosen, str) and chosen in OBJECTIVES:
        accepted = OBJECTIVES[chosen].options
        return OBJECTIVES[chosen](**{name: options[name] for name in accepted if name in options})
    if isinstance(chosen, type):
        raise TrainingError(
            f"got the class {chosen.__name__} for an objective, expected an instance: "
            f"{chosen.__name__}(...)"
        )
    if isinstance(chosen, Mapping):
        return Composed(_parts(chosen, options))
    if callable(chosen):
        return Own(chosen)
    raise TrainingError(
        f"got objective={shown(chosen)}, expected 'auto', one of {', '.join(OBJECTIVES)}, an "
        "Objective, a mapping of these to weights, or a callable (network, batch) -> loss"
    )


def _parts(
    chosen: Mapping[Any, float], options: Mapping[str, Any]
) -> dict[str, tuple[Objective, float]]:
    parts: dict[str, tuple[Objective, float]] = {}
    for key, weight in chosen.items():
        part = build_objective(key, **options)
        name = key if isinstance(key, str) else _name(part)
        if name in parts:
            raise TrainingError(
                f"got two objectives named {name!r}, expected one weight for each; "
                "put their sum into a callable of your own"
            )
        parts[name] = (part, weight)
    return parts


def _name(part: Objective) -> str:
    named = part.function if isinstance(part, Own) else part
    return getattr(named, "__name__", type(named).__name__.lower())
