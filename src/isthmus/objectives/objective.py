"""Training objectives: their interface, reconstruction errors, and plain reconstruction."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from isthmus._core import shown
from isthmus.errors import TrainingError

Loss = Literal["bce", "mse"]


def choose_loss(loss: str, kind: str) -> Loss:
    """Return the reconstruction error to minimise; `"auto"` is `"bce"` for images, else `"mse"`.

    Parameters
    ----------
    loss : {"auto", "bce", "mse"}
    kind : {"images", "series", "table"}

    Returns
    -------
    {"bce", "mse"}

    Raises
    ------
    TrainingError
        When it is unknown, or `"bce"` for other data than images.

    Examples
    --------
    >>> choose_loss("auto", "table")
    'mse'
    """
    if loss == "auto":
        return "bce" if kind == "images" else "mse"
    if loss not in ("bce", "mse"):
        raise TrainingError(f"got loss={loss!r}, expected 'auto', 'bce' or 'mse'")
    if loss == "bce" and kind != "images":
        raise TrainingError(
            "got loss='bce' for a table, expected 'mse': its columns are standardised, and "
            "cross-entropy needs values in [0, 1]; reshape pixels to (n, h, w) instead"
        )
    return loss  # type: ignore[return-value]


def errors_per_value(
    output: torch.Tensor, target: torch.Tensor, loss: Loss, reduction: str = "none"
) -> torch.Tensor:
    """Return the error of each value, in the shape of `output`; see `errors_per_instance`."""
    if loss == "bce":
        return functional.binary_cross_entropy_with_logits(output, target, reduction=reduction)
    return functional.mse_loss(output, target, reduction=reduction)


def errors_per_instance(output: torch.Tensor, target: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return the reconstruction error of each instance: the mean over its values.

    Parameters
    ----------
    output : tensor of shape (batch, *input_shape)
        The decoder's output: logits for `"bce"`, values for `"mse"`.
    target : tensor of the same shape
        The instances; in [0, 1] for `"bce"`.
    loss : {"bce", "mse"}
        `"bce"` is binary cross-entropy per value, natural logarithm:
        -x log p - (1 - x) log(1 - p) with p = sigmoid(output). `"mse"` is (x - output)².

    Returns
    -------
    tensor of shape (batch,)

    Examples
    --------
    >>> errors_per_instance(torch.zeros(1, 4), torch.ones(1, 4), "bce").item()  # log 2
    0.6931471824645996
    """
    return errors_per_value(output, target, loss).flatten(1).mean(dim=1)


def mean_error(output: torch.Tensor, target: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return the mean over all values of a batch, in one fused operation."""
    return errors_per_value(output.float(), target, loss, reduction="mean")


Values = dict[str, torch.Tensor]
Batch = tuple[torch.Tensor, ...]


class Network(Protocol):
    """The autoencoder that objectives are called with: its halves can be called separately."""

    training: bool

    def encoder(self, x: torch.Tensor, /) -> torch.Tensor:
        """`(batch, *input_shape) -> (batch, n_components)`.

        Parameters
        ----------
        x : tensor of shape (batch, *input_shape)

        Returns
        -------
        tensor of shape (batch, n_components)
        """
        ...

    def decoder(self, code: torch.Tensor, /) -> torch.Tensor:
        """`(batch, n_components) -> (batch, *input_shape)`: logits for `"bce"`.

        Parameters
        ----------
        code : tensor of shape (batch, n_components)

        Returns
        -------
        tensor of shape (batch, *input_shape)
        """
        ...

    def __call__(self, x: torch.Tensor, /) -> torch.Tensor:
        """`decoder(encoder(x))`."""
        ...


@dataclass(frozen=True)
class Task:
    """The facts about data and network that an objective is prepared with.

    Attributes
    ----------
    kind : {"images", "series", "table"}
    input_shape : tuple of int
        Of one instance as network input: `(c, h, w)`, `(c, t)` or `(m,)`.
    n_components : int
    loss : {"bce", "mse"}
        The reconstruction error, see `errors_per_instance`.
    n_rows : int
        Training instances.
    n_trained : int or None
        Numbers of the code that are trained, the first ones; None of all.
    """

    kind: str
    input_shape: tuple[int, ...]
    n_components: int
    loss: Loss
    n_rows: int = 1
    n_trained: int | None = None


class Objective(nn.Module):
    """Base class of objectives. Their own parameters are trained, and dropped afterwards.

    A subclass stores its options as attributes of the same names, creates what depends on the
    data in `_prepare`, and returns from `forward(network, batch)` a dict of mean values,
    of which `"loss"` is minimised. In evaluation mode `"loss"` is the value
    by which the best epoch is chosen.

    Examples
    --------
    >>> import torch
    >>> class AbsoluteError(Objective):
    ...     options = ("weight",)
    ...
    ...     def __init__(self, weight=1.0):
    ...         super().__init__()
    ...         self.weight = weight
    ...
    ...     def forward(self, network, batch):
    ...         return {"loss": self.weight * (network(batch[0]) - batch[0]).abs().mean()}
    >>> objective = AbsoluteError(2.0).prepare(Task("table", (4,), 2, "mse"))
    >>> objective.describe(), objective.extra_repr()
    ({'objective': 'AbsoluteError', 'weight': 2.0}, 'weight=2.0')
    >>> objective.forward(torch.nn.Identity(), (torch.ones(3, 4),))["loss"].item()
    0.0
    """

    options: tuple[str, ...] = ()
    #: Whether the loss compares the instances of a batch, so that batches should not be small.
    compares_instances = False
    task: Task

    def prepare(self, task: Task) -> Self:
        """Return a copy prepared for a network and its data; this one is not changed.

        Parameters
        ----------
        task : Task

        Returns
        -------
        Objective
        """
        ready = copy.deepcopy(self)
        ready.task = task
        ready._prepare(task)  # noqa: SLF001
        return ready

    def describe(self) -> dict[str, Any]:
        """Return name and options as plain JSON values.

        Returns
        -------
        dict
        """
        return {"objective": type(self).__name__} | {
            name: _plain(getattr(self, name)) for name in self.options
        }

    @property
    def noise(self) -> float | None:
        """Standard deviation of normal noise on the instance, if that is all the objective does.

        0 where the error of reconstructing the instance as it is is minimised; None of objectives
        that minimise anything else.
        """
        return None

    def views(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return two views of each instance of a batch, which are to get the same code.

        Parameters
        ----------
        x : tensor of shape (batch, *input_shape)

        Returns
        -------
        tensor of shape (2 batch, *input_shape) or None
            First one view of all, then the other; None of objectives that make none.
        """
        return None

    def extra_repr(self) -> str:
        """Show the options in the module's repr.

        Returns
        -------
        str
        """
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.options)

    def _prepare(self, task: Task) -> None:
        """Create what depends on the data."""


def check_share(name: str, value: float, *, above: bool = False) -> float:
    """Return a number from 0 (not included when `above`) to 1, as float.

    Raises
    ------
    TrainingError
        Otherwise.
    """
    if not _is_number(value) or not 0 <= value <= 1 or (above and value == 0):
        low = "above 0" if above else "from 0"
        raise TrainingError(f"got {name}={shown(value)}, expected a number {low} to 1")
    return float(value)


def check_weight(name: str, value: float) -> float:
    """Return a finite number of 0 or more, as float.

    Raises
    ------
    TrainingError
        Otherwise.
    """
    if not _is_number(value) or not 0 <= value < float("inf"):
        raise TrainingError(f"got {name}={shown(value)}, expected a number of 0 or more")
    return float(value)


def is_count(value: Any) -> bool:
    """Return whether a value is a whole number of 1 or more."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, str | int | float | bool | None):
        return value
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"own: {named.__module__}.{named.__qualname__}"


class Reconstruction(Objective):
    """Minimise the reconstruction error, as a plain autoencoder does.

    The mean over the batch of `errors_per_instance(decoder(encoder(x)), x)`. A linear network
    trained so on squared error spans the principal subspace (Baldi and Hornik, 1989).

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from isthmus.objectives.objective import Task
    >>> objective = Reconstruction().prepare(Task("table", (4,), 2, "mse"))
    >>> objective(nn.Identity(), (torch.ones(3, 4),))["loss"].item()
    0.0
    """

    @property
    def noise(self) -> float | None:
        """0: instances are reconstructed as they are. None of subclasses."""
        return 0.0 if type(self) is Reconstruction else None

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `{"loss": mean error}` for a batch `(x,)`.

        Parameters
        ----------
        network : Network
        batch : tuple of one tensor

        Returns
        -------
        dict of str to tensor
        """
        (x,) = batch
        return {"loss": mean_error(network(x), x, self.task.loss)}


class Model(nn.Module):
    """Encoder and decoder as one module, with which objectives are called.

    The objective is a submodule, so that optimiser, checkpoints and best weights include its own
    parameters.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
    objective : Objective
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.objective = objective

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the reconstructions.

        Parameters
        ----------
        x : Tensor of shape (n, ...)

        Returns
        -------
        Tensor of shape (n, ...)
        """
        output: torch.Tensor = self.decoder(self.encoder(x))
        return output
