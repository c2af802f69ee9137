"""Ways to spoil an instance that a denoising autoencoder learns to undo."""

from __future__ import annotations

from collections.abc import Callable

import torch

from isthmus.workers import drawn, drawn_like, whole

Corruption = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def gaussian(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Add normal noise with a standard deviation of `level`, in the network's units."""
    return x + level * drawn_like(torch.randn_like, x)


def masking(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Set a share `level` of the values to zero: black, or the mean of a column."""
    return x * (drawn_like(torch.rand_like, x) >= level)


def salt_and_pepper(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Set a share `level` of the values to 0 or 1, either as often (Vincent et al., 2010)."""
    draw = drawn_like(torch.rand_like, x)
    x = torch.where(draw < level / 2, torch.zeros_like(x), x)
    return torch.where(draw > 1 - level / 2, torch.ones_like(x), x)


def swapping(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Take a share `level` of the values from other instances of the batch.

    What is put in comes from the column's own distribution, as in the feature corruption of
    SCARF (Bahri et al., 2022).
    """
    everyone, width = whole(x).flatten(1), x[0].numel()
    other = drawn(lambda n: torch.randint(n, (n, width), device=x.device), len(x))
    swapped = everyone.gather(0, other).view_as(x)
    return torch.where(drawn_like(torch.rand_like, x) < level, swapped, x)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian": gaussian,
    "masking": masking,
    "salt_and_pepper": salt_and_pepper,
    "swapping": swapping,
}

#: Which of them "auto" takes, by kind of instance.
OF_KIND = {
    "images": ("gaussian", "masking", "salt_and_pepper"),
    "series": ("gaussian", "masking"),
    "table": ("gaussian", "masking", "swapping"),
}
