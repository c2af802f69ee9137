"""Invariance: near codes for two augmented views of an instance, by the terms of VICReg."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from isthmus._core import shown
from isthmus.augmentations import Augment, Augmentations, build_augmentation
from isthmus.distributed import all_gather, local_shard, redirected_draws, unsharded
from isthmus.errors import TrainingError
from isthmus.networks import PatchEncoder
from isthmus.objectives.objective import (
    Batch,
    Network,
    Objective,
    Task,
    Values,
    check_weight,
    is_count,
    mean_error,
)

#: Codes in the memory bank, at most: searching more takes longer than it improves codes.
MAX_CODES = 2**14


class MemoryBank(nn.Module):
    """A ring buffer of codes and their projections; the oldest are overwritten first.

    It is part of the network's state, so a resumed run finds the same neighbours.

    Parameters
    ----------
    n_rows : int
        Training instances. The buffer holds a quarter of them, 16,384 at most: then the nearest
        code is rarely the instance's own of an epoch ago.
    n_components, width : int
        Of codes and of projections.
    """

    codes: torch.Tensor
    expanded: torch.Tensor
    count: torch.Tensor

    def __init__(self, n_rows: int, n_components: int, width: int) -> None:
        super().__init__()
        self.n_rows, size = n_rows, max(1, min(MAX_CODES, n_rows // 4))
        self.register_buffer("codes", torch.zeros(size, n_components))
        self.register_buffer("expanded", torch.zeros(size, width))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def ready(self) -> bool:
        """Return whether an epoch has passed: before that, codes are not informative."""
        return int(self.count) >= self.n_rows

    def nearest(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the projection of the nearest stored code, for codes (n, n_components)."""
        # One neighbour on the device that trains: `isthmus._core.nearest_neighbors` is NumPy's.
        # Half the squared distance is |code|²/2 - query · code + a constant of the query.
        nearness = torch.addmm(self.codes.square().sum(1).mul_(-0.5), codes, self.codes.T)
        return self.expanded[nearness.argmax(dim=1)]

    def add(self, codes: torch.Tensor, expanded: torch.Tensor) -> None:
        """Store a batch of codes and projections in place of the oldest ones."""
        size = len(self.codes)
        self.count += len(codes)
        codes, expanded = codes[-size:], expanded[-size:]
        slots = (self.count - 1 - torch.arange(len(codes), device=codes.device).flip(0)) % size
        self.codes[slots], self.expanded[slots] = codes, expanded


EPSILON = 1e-4  # keeps the gradient of a standard deviation finite where it is zero


class Invariant(Objective):
    """Minimise the distance between codes of two views, with VICReg's terms, and reconstruct.

    Two augmented views x', x'' of each instance are encoded and their codes projected to p', p''
    by a small network that is dropped afterwards. The loss, with the terms of VICReg
    (Bardes et al., 2022, equations 1 to 6), is

        r · ½ [error(x') + error(x'')]
        + λ s(p', p'') + μ [v(p') + v(p'')] + ν [c(p') + c(p'')] + κ s(q', p'')

    s is the mean squared distance over values, v the mean over columns of max(0, 1 - standard
    deviation), c the sum of squared covariances between different columns, divided by their
    number. Each view is reconstructed itself, so that the code still holds position and pose of
    an instance, and residuals have their usual meaning. In evaluation mode views are drawn too.

    q' is the projection of the code nearest to that of x' among the latest ones (Dwibedi et al.,
    2021): so instances of one kind get near codes though no augmentation turns one into another.
    The term is used in training only, from the second epoch on.

    Parameters
    ----------
    reconstruction : float, default=3.0
        The weight r: the larger, the more codes hold the pose of an instance and the less its
        class.
    invariance, variance, covariance : float, default=1.0, 0.5 and 0.04
        λ, μ and ν; the paper has 25, 25 and 1.
    neighbour : float, default=0.0
        κ; takes a fifth more time. Harmful where neighbours are often of another class.
    expander : sequence of int or "auto", default="auto"
        Widths of the projection network: `"auto"` is two layers, four times as wide as the code,
        `()` compares the codes themselves.
    augmentations : "auto", sequence of str, mapping, callable or None, default="auto"
        How views are made, see `isthmus.augmentations.build_augmentation`.

    Raises
    ------
    TrainingError
        When a weight or a width is out of range, an augmentation unknown, or its views of
        another shape than the batch.

    Examples
    --------
    >>> Invariant(reconstruction=1.0, augmentations=("affine",)).describe()["augmentations"]
    ['affine']

    >>> from isthmus.objectives import Task
    >>> objective = Invariant(augmentations=("jitter",)).prepare(Task("series", (2, 16), 32, "mse"))
    >>> network = torch.nn.Identity()
    >>> network.encoder, network.decoder = torch.nn.Flatten(), torch.nn.Unflatten(1, (2, 16))
    >>> "loss" in objective.forward(network, (torch.ones(3, 2, 16),))
    True
    >>> objective.views(torch.ones(3, 2, 16)).shape
    torch.Size([6, 2, 16])
    """

    options = (
        "reconstruction",
        "invariance",
        "variance",
        "covariance",
        "neighbour",
        "expander",
        "augmentations",
    )
    compares_instances = True

    def __init__(
        self,
        reconstruction: float = 3.0,
        invariance: float = 1.0,
        variance: float = 0.5,
        covariance: float = 0.04,
        neighbour: float = 0.0,
        expander: Sequence[int] | Literal["auto"] = "auto",
        augmentations: Augmentations = "auto",
    ) -> None:
        super().__init__()
        self.reconstruction, self.invariance = reconstruction, invariance
        self.variance, self.covariance = variance, covariance
        self.neighbour = neighbour
        self.expander, self.augmentations = expander, augmentations

    def _prepare(self, task: Task) -> None:
        for name in ("reconstruction", "invariance", "variance", "covariance", "neighbour"):
            check_weight(name, getattr(self, name))
        width = task.n_trained or task.n_components
        expander = (4 * width,) * 2 if self.expander == "auto" else self.expander
        widths = list(expander) if isinstance(expander, Iterable) else [None]
        if not all(is_count(width) for width in widths):
            raise TrainingError(
                f"got expander={shown(self.expander)}, expected whole numbers above 0"
            )
        self.augment = build_augmentation(self.augmentations, task.kind)
        widths = [width, *(int(width) for width in widths)]
        self.expand = _expander(widths)
        self.memory_bank = (
            MemoryBank(task.n_rows, widths[0], widths[-1]) if self.neighbour else None
        )
        self.register_load_state_dict_pre_hook(_rename_memory_bank)

    def views(self, x: torch.Tensor) -> torch.Tensor:
        """Return two augmented views of each instance.

        Parameters
        ----------
        x : tensor of shape (batch, *input_shape)

        Returns
        -------
        tensor of shape (2 batch, *input_shape)

        Raises
        ------
        TrainingError
            When augmentations return another shape.
        """
        twice = torch.cat([x, x])
        # The coordinates of a pixel need more digits than bfloat16 has.
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            # A custom augmentation may draw for, or compare, the rows of a batch.
            custom = callable(self.augmentations)
            views = _augment_whole_batch(self.augment, twice) if custom else self.augment(twice)
        if views.shape != twice.shape:
            raise TrainingError(
                f"augmentations returned shape {tuple(views.shape)} for a batch of shape "
                f"{tuple(twice.shape)}, expected the same shape"
            )
        return views

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `loss` and its terms for a batch `(x,)`.

        Parameters
        ----------
        network : Network
        batch : tuple of one tensor

        Returns
        -------
        dict of str to tensor
        """
        (x,) = batch
        views = self.views(x)
        if isinstance(network.encoder, PatchEncoder):
            # Features of patches are not trained, and computing them takes long: of one view, and
            # that alone is reconstructed.
            codes = network.encoder.trained(views)
            views = views[: len(x)]
            whole = torch.cat([codes[: len(x)], network.encoder.features(views)], dim=1)
        else:
            whole = codes = network.encoder(views)
        error = mean_error(network.decoder(whole), views, self.task.loss)
        # Variances and covariances are those of the whole batch, also when it is sharded.
        first, second = all_gather(self.expand(codes).float()).chunk(2)
        terms = {
            "invariance": functional.mse_loss(first, second),
            "variance": variance_term(first) + variance_term(second),
            "covariance": covariance_term(first) + covariance_term(second),
        }
        if self.memory_bank is not None and self.training:
            terms["neighbour"] = _neighbour_term(self.memory_bank, codes.chunk(2)[0], first, second)
        loss = self.reconstruction * error
        for name, term in terms.items():
            loss = loss + getattr(self, name) * term
        return {"loss": loss, "reconstruction": error} | terms


def variance_term(p: torch.Tensor) -> torch.Tensor:
    """Return the mean over columns of max(0, 1 - standard deviation), p of shape (n, d).

    Examples
    --------
    >>> round(variance_term(torch.tensor([[0.0, 9.0], [0.0, -9.0]])).item(), 3)
    0.495
    """
    if len(p) < 2:  # the last batch may be one instance
        return p.sum() * 0
    return functional.relu(1 - torch.sqrt(p.var(dim=0) + EPSILON)).mean()


def covariance_term(p: torch.Tensor) -> torch.Tensor:
    """Return the sum of squared covariances of different columns over d, p of shape (n, d)."""
    if len(p) < 2:
        return p.sum() * 0
    centred = p - p.mean(dim=0)
    covariances = centred.T @ centred / (len(p) - 1)
    off_diagonal = covariances.square().sum() - covariances.diagonal().square().sum()
    return off_diagonal / p.shape[1]


def _augment_whole_batch(augment: Augment, x: torch.Tensor) -> torch.Tensor:
    whole_batch = all_gather(x)
    with unsharded(), redirected_draws():
        views = augment(whole_batch)
    return local_shard(views) if views.shape == whole_batch.shape else views


def _neighbour_term(
    bank: MemoryBank, codes: torch.Tensor, first: torch.Tensor, second: torch.Tensor
) -> torch.Tensor:
    """Return the mean squared distance of second views to neighbours of first ones; store these."""
    codes = codes.detach().float()
    ready = bank.ready()
    own = local_shard(second)
    term = functional.mse_loss(bank.nearest(codes), own) if ready else own.sum() * 0
    bank.add(all_gather(codes), first.detach())
    return term


def _rename_memory_bank(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Load checkpoints of before, in which the memory bank has another name."""
    for name in [name for name in state if name.startswith(f"{prefix}seen.")]:
        state[f"{prefix}memory_bank.{name.removeprefix(f'{prefix}seen.')}"] = state.pop(name)


def _expander(widths: Sequence[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    if len(widths) > 1:
        layers.append(nn.Linear(widths[-2], widths[-1]))
    return nn.Sequential(*layers)
