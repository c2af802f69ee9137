"""Objectives with noise, on the instance or its code: denoising, masking and variational."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from isthmus._core import shown
from isthmus.distributed import (
    all_gather,
    current_generator,
    draw_for_batch,
    draw_normal_like,
    draw_uniform_like,
    rescaled_sum,
)
from isthmus.errors import TrainingError
from isthmus.objectives.objective import (
    Batch,
    Network,
    Objective,
    Task,
    Values,
    check_share,
    check_weight,
    errors_per_value,
    is_count,
    mean_error,
)

Corruption = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def gaussian(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Add normal noise with a standard deviation of `level`, in the network's units."""
    return x + level * draw_normal_like(x)


def masking(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Set a share `level` of the values to zero: black, or the mean of a column."""
    return x * (draw_uniform_like(x) >= level)


def salt_and_pepper(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Set a share `level` of the values to 0 or 1, equally often (Vincent et al., 2010)."""
    draw = draw_uniform_like(x)
    x = torch.where(draw < level / 2, torch.zeros_like(x), x)
    return torch.where(draw > 1 - level / 2, torch.ones_like(x), x)


def swapping(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Replace a share `level` of the values by those of other instances of the batch.

    Replacements follow the column's own distribution, as in the feature corruption of
    SCARF (Bahri et al., 2022).
    """
    whole_batch, width = all_gather(x).flatten(1), x[0].numel()
    drawn: dict[str, Any] = {"device": x.device, "generator": current_generator(x.device)}
    other = draw_for_batch(lambda n: torch.randint(n, (n, width), **drawn), len(x))
    swapped = whole_batch.gather(0, other).view_as(x)
    return torch.where(draw_uniform_like(x) < level, swapped, x)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian": gaussian,
    "masking": masking,
    "salt_and_pepper": salt_and_pepper,
    "swapping": swapping,
}

#: The corruptions of "auto", by kind of instance.
AUTO_CORRUPTIONS = {
    "images": ("gaussian", "masking", "salt_and_pepper"),
    "series": ("gaussian", "masking"),
    "table": ("gaussian", "masking", "swapping"),
}


class Denoising(Objective):
    """Minimise the error of reconstructing an instance from a corrupted copy.

    E over c of error(decoder(encoder(c(x))), x): the residual then points towards where
    instances are more frequent (Vincent et al., 2010; Alain and Bengio, 2014). Each instance
    gets one of the corruptions, drawn evenly, at a level drawn evenly between the two given,
    so that the network is trained for every level between them. In evaluation mode nothing is
    corrupted.

    Parameters
    ----------
    corruptions : str or sequence of str, default="auto"
        `"gaussian"`, `"masking"`, `"salt_and_pepper"`, `"swapping"`. `"auto"` is
        all that suit the kind: swapping for tables, salt and pepper for images.
    level : (float, float), default=(0.0, 0.5)
        Lowest and highest: standard deviation in the network's units for `"gaussian"`, share
        of the values for the others (at most 1 is meaningful).

    Raises
    ------
    TrainingError
        When a corruption is unknown or a level out of range.

    Examples
    --------
    >>> Denoising(["gaussian"], level=(0.6, 0.6))
    Denoising(corruptions=['gaussian'], level=(0.6, 0.6))

    >>> from isthmus.objectives import Task
    >>> objective = Denoising(["gaussian"]).prepare(Task("table", (4,), 2, "mse"))
    >>> x = torch.ones(3, 4)
    >>> objective.corrupt(x).shape
    torch.Size([3, 4])
    >>> objective.eval().forward(torch.nn.Identity(), (x,))["loss"].item()
    0.0
    """

    options = ("corruptions", "level")

    def __init__(
        self,
        corruptions: str | Sequence[str] = "auto",
        level: tuple[float, float] = (0.0, 0.5),
    ) -> None:
        super().__init__()
        self.corruptions, self.level = corruptions, level

    def _prepare(self, task: Task) -> None:
        names = AUTO_CORRUPTIONS[task.kind] if self.corruptions == "auto" else self.corruptions
        chosen = (names,) if isinstance(names, str) else tuple(names)
        unknown = [name for name in chosen if name not in CORRUPTIONS]
        if unknown or not chosen:
            raise TrainingError(
                f"got corruptions={shown(self.corruptions)}, expected some of "
                f"{', '.join(CORRUPTIONS)}"
            )
        if not isinstance(self.level, Sequence) or len(self.level) != 2:
            raise TrainingError(
                f"got level={shown(self.level)}, expected the lowest and the highest"
            )
        low, high = (check_weight("level", bound) for bound in self.level)
        if low > high:
            raise TrainingError(f"got level={shown(self.level)}, expected the lowest first")
        self.chosen, self.low, self.high = chosen, low, high

    @property
    def noise(self) -> float | None:
        """Standard deviation of the noise, where it is normal and of one level. None otherwise."""
        gaussian_alone = type(self) is Denoising and self.chosen == ("gaussian",)
        return self.low if gaussian_alone and self.low == self.high else None

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
        output = network(self.corrupt(x) if self.training else x)
        return {"loss": mean_error(output, x, self.task.loss)}

    def corrupt(self, x: torch.Tensor) -> torch.Tensor:
        """Corrupt each instance of a batch by a corruption and a level of its own.

        Parameters
        ----------
        x : tensor of shape (batch, *input_shape)

        Returns
        -------
        tensor of the same shape
        """
        ones = (1,) * (x.ndim - 1)
        generator = current_generator(x.device)
        level = torch.full((), self.low, device=x.device, dtype=x.dtype)
        if self.low < self.high:

            def draw_levels(n: int) -> torch.Tensor:
                levels = torch.empty(n, *ones, device=x.device, dtype=x.dtype)
                return levels.uniform_(self.low, self.high, generator=generator)

            level = draw_for_batch(draw_levels, len(x))
        if len(self.chosen) == 1:
            return CORRUPTIONS[self.chosen[0]](x, level)
        n_chosen = len(self.chosen)
        which = draw_for_batch(
            lambda n: torch.randint(n_chosen, (n, *ones), device=x.device, generator=generator),
            len(x),
        )
        corrupted = x
        for index, name in enumerate(self.chosen):
            corrupted = torch.where(which == index, CORRUPTIONS[name](x, level), corrupted)
        return corrupted


class Masked(Objective):
    """Hide parts of the instance and minimise the error, mostly of the hidden values.

    With M the hidden ones of a batch's N values and w `visible`: (Σ_{i in M} e_i +
    w Σ_{i not in M} e_i) divided by (|M| + w (N - |M|)). Hidden are patches of images, spans of
    series (all channels at once) and single columns of tables; they become zero, black or a
    column's mean. With `visible`
    of 0 this is the loss of masked autoencoders (He et al., 2022); but then the
    decoder is not trained to reconstruct visible values, and residuals mean nothing. In evaluation
    mode nothing is hidden, and all values have the same weight.

    Parameters
    ----------
    share : float in (0, 1], default=0.5
        Of the patches, spans or columns that are hidden, each drawn on its own.
    size : int or "auto", default="auto"
        Side of a patch in pixels, or length of a span in time steps. `"auto"` is a seventh of
        the shorter side, or a sixteenth of the window.
    visible : float in [0, 1], default=0.2
        Weight of the visible values.

    Raises
    ------
    TrainingError
        When a number is out of range.

    Examples
    --------
    >>> Masked(share=0.3)
    Masked(share=0.3, size='auto', visible=0.2)

    >>> from isthmus.objectives import Task
    >>> objective = Masked().prepare(Task("table", (4,), 2, "mse"))
    >>> x = torch.ones(3, 4)
    >>> objective.draw(x).unique().numel() <= 2
    True
    >>> objective.eval().forward(torch.nn.Identity(), (x,))["loss"].item()
    0.0
    """

    options = ("share", "size", "visible")

    def __init__(
        self, share: float = 0.5, size: int | Literal["auto"] = "auto", visible: float = 0.2
    ) -> None:
        super().__init__()
        self.share, self.size, self.visible = share, size, visible

    def _prepare(self, task: Task) -> None:
        check_share("share", self.share, above=True)
        check_share("visible", self.visible)
        extent = task.input_shape[1:]  # of an image or a series; a table has none
        if self.size == "auto":
            side = math.ceil(min(extent) / (7 if len(extent) == 2 else 16)) if extent else 1
        elif is_count(self.size) and int(self.size) <= min(extent, default=1):
            side = int(self.size)
        else:
            raise TrainingError(
                f"got size={shown(self.size)}, expected 1 to {min(extent, default=1)} "
                f"for instances of shape {task.input_shape}, or 'auto'"
            )
        self.side = side

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `{"loss": weighted mean error}` for a batch `(x,)`.

        Parameters
        ----------
        network : Network
        batch : tuple of one tensor

        Returns
        -------
        dict of str to tensor
        """
        (x,) = batch
        if not self.training:
            return {"loss": mean_error(network(x), x, self.task.loss)}
        mask = self.draw(x)
        errors = errors_per_value(network(x * mask).float(), x, self.task.loss)
        weights = (1 - mask + self.visible * mask).expand_as(errors)
        return {"loss": (errors * weights).sum() / rescaled_sum(weights.sum()).clamp(min=1e-12)}

    def draw(self, x: torch.Tensor) -> torch.Tensor:
        """Draw a mask to multiply x by: 1 for visible values, 0 for hidden ones.

        Parameters
        ----------
        x : tensor of shape (batch, *input_shape)

        Returns
        -------
        tensor of shape (batch, 1, ...) or of that of x
        """
        extent = x.shape[2:]
        if not extent:
            return (draw_uniform_like(x) >= self.share).to(x.dtype)
        coarse = [math.ceil(side / self.side) for side in extent]
        drawn: dict[str, Any] = {
            "device": x.device,
            "dtype": x.dtype,
            "generator": current_generator(x.device),
        }
        draw = draw_for_batch(lambda n: torch.rand(n, 1, *coarse, **drawn), len(x))
        cells = (draw >= self.share).to(x.dtype)
        blocks = functional.interpolate(cells, scale_factor=float(self.side), mode="nearest")
        for axis, side in enumerate(extent, start=2):
            blocks = blocks.narrow(axis, 0, side)
        return blocks


class Variational(Objective):
    """Minimise the negative evidence lower bound, divided by the number of values.

    error(decoder(μ + σ ε), x) + β/m KL(N(μ, σ²) ‖ N(0, 1)) with ε standard normal and
    KL = ½ Σ (μ² + σ² - log σ² - 1) over the code (Kingma and Welling, 2014; β: Higgins et al.,
    2017). With squared error the bound is, up to a constant, that of normal values around the
    output with a variance of ½. The code is the mean μ; log σ² is an affine function of it that
    is trained with it and dropped afterwards, since an encoder here returns one code. In evaluation
    mode ε is zero.

    Parameters
    ----------
    beta : float of 0 or more, default=1.0

    Raises
    ------
    TrainingError
        When `beta` is out of range.

    Examples
    --------
    >>> Variational(beta=0.5)
    Variational(beta=0.5)

    >>> from isthmus.objectives import Task
    >>> objective = Variational().prepare(Task("table", (4,), 4, "mse")).eval()
    >>> network = torch.nn.Identity()
    >>> network.encoder = network.decoder = torch.nn.Identity()
    >>> sorted(objective.forward(network, (torch.ones(3, 4),)))
    ['kl', 'loss', 'reconstruction']
    """

    options = ("beta",)

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta

    def _prepare(self, task: Task) -> None:
        check_weight("beta", self.beta)
        self.log_variance = nn.Linear(task.n_components, task.n_components)
        # Little noise at first: a decoder that gets only noise learns to ignore the code.
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, -2.0)

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `loss`, `reconstruction` and `kl` (in nats an instance) for a batch `(x,)`.

        Parameters
        ----------
        network : Network
        batch : tuple of one tensor

        Returns
        -------
        dict of str to tensor
        """
        (x,) = batch
        mean = network.encoder(x).float()
        log_variance = self.log_variance(mean).clamp(-20, 20)
        code = mean
        if self.training:
            noise = draw_normal_like(mean)
            code = mean + torch.exp(0.5 * log_variance) * noise
        error = mean_error(network.decoder(code), x, self.task.loss)
        kl = kl_from_standard_normal(mean, log_variance).mean()
        loss = error + self.beta / math.prod(self.task.input_shape) * kl
        return {"loss": loss, "reconstruction": error, "kl": kl}


def kl_from_standard_normal(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Return KL(N(mean, exp(log_variance)) ‖ N(0, 1)) in nats, summed over columns: (batch,).

    Examples
    --------
    >>> kl_from_standard_normal(torch.tensor([[1.0]]), torch.tensor([[0.0]])).item()
    0.5
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1)
