"""Random augmentations of images, windows of series and table rows, for training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from numbers import Real
from typing import Any, Literal

import torch
from torch.nn import functional

from isthmus._core import shown
from isthmus.distributed import (
    all_gather,
    current_generator,
    draw_for_batch,
    draw_normal_like,
    draw_uniform_like,
)
from isthmus.errors import TrainingError

ROTATION = math.radians(15)
STRETCH = 0.15  # natural logarithm of the factor, along each side
SHEAR = 0.15
SHIFT = 0.09  # of a side, in each direction
ELASTIC = 0.035  # of a side, standard deviation at the grid's points
GRID = 6  # points a side between which elastic displacements are interpolated


class ImageAugmentation:
    """Draw a displacement field for each image, and resample it bilinearly.

    Affine and elastic displacements (Simard et al., 2003) are added up first, so that an image is
    resampled once. Beyond the image its border is repeated.

    Parameters
    ----------
    affine : float, default=1.0
        Scales all ranges: rotation up to 15 degrees, stretch up to e^0.15 along each side,
        shear up to 0.15, shift up to 9 % of a side. 0 is off.
    elastic : float, default=1.0
        Scales displacements that are smooth between 6 x 6 points, 3.5 % of a side. 0 is off.
    """

    def __init__(self, affine: float = 0.0, elastic: float = 0.0) -> None:
        self.affine, self.elastic = affine, elastic

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return displaced images of the same shape, (batch, c, h, w)."""
        coefficients = _affine(x, self.affine)
        if self.elastic:
            shape = (2, GRID * GRID)
            drawn: dict[str, Any] = {
                "device": x.device,
                "dtype": x.dtype,
                "generator": current_generator(x.device),
            }
            points = draw_for_batch(lambda n: torch.randn(n, *shape, **drawn), len(x))
            points *= 2 * ELASTIC * self.elastic  # the grid runs from -1 to 1
            coefficients = torch.cat([coefficients, points], dim=2)
        fields = _fields(x.shape[2], x.shape[3], x.device, x.dtype)[: coefficients.shape[2]]
        grid = (coefficients @ fields).view(len(x), 2, *x.shape[2:]).permute(0, 2, 3, 1)
        return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


@lru_cache(maxsize=8)
def _fields(height: int, width: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return what coordinates are sums of, at each pixel: (39, h w).

    The pixel's own coordinates and 1, for affine displacements, then the bicubic weight of each of
    the 6 x 6 points. One matrix product with them is ten times as fast as interpolating image by
    image.
    """
    x, y = (
        (torch.arange(side, device=device, dtype=dtype) * 2 + 1) / side - 1
        for side in (width, height)
    )
    unit_grids = torch.eye(GRID * GRID, device=device, dtype=dtype).view(-1, 1, GRID, GRID)
    weights = functional.interpolate(
        unit_grids, size=(height, width), mode="bicubic", align_corners=False
    ).flatten(1)
    ones = torch.ones_like(weights[0])
    return torch.cat(
        [x.repeat(height)[None], y.repeat_interleave(width)[None], ones[None], weights]
    )


def _affine(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Return (n, 2, 3) matrices from output to input coordinates, each from -1 to 1."""
    n, _, height, width = x.shape
    drawn: dict[str, Any] = {
        "device": x.device,
        "dtype": x.dtype,
        "generator": current_generator(x.device),
    }
    draw = draw_for_batch(lambda n: torch.rand(6, n, **drawn), n, dim=1)
    draw = (draw * 2 - 1) * strength
    wide, high = torch.exp(STRETCH * draw[1]), torch.exp(STRETCH * draw[2])
    cos, sin = torch.cos(ROTATION * draw[0]), torch.sin(ROTATION * draw[0])
    # Coordinates are in units of half a side, so the off-diagonal entries, which mix both sides,
    # take the ratio of these; else an oblong image would be sheared instead of rotated.
    ratio = height / width
    theta = torch.zeros(n, 2, 3, device=x.device, dtype=x.dtype)
    theta[:, 0, 0], theta[:, 0, 1] = cos * wide, (SHEAR * draw[3] - sin * high) * ratio
    theta[:, 1, 0], theta[:, 1, 1] = sin * wide / ratio, cos * high
    theta[:, :, 2] = 2 * SHIFT * draw[4:].T
    return theta


JITTER = 0.1  # standard deviation, in those of the channel
SCALING = 0.1  # standard deviation of a channel's factor around 1
CROP = 0.2  # largest share of the length that is cut off


def jitter(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Add normal noise, 0.1 standard deviations of a channel, to (batch, c, t).

    Parameters
    ----------
    x : tensor of shape (batch, c, t)
    strength : float, at least 0
        1 is the strength stated.

    Returns
    -------
    tensor of the same shape
    """
    return x + JITTER * strength * draw_normal_like(x)


def scaling(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Multiply each channel by a factor drawn around 1 with standard deviation 0.1.

    Jitter and scaling are those augmentations of Um et al. (2017) that suit sensors in general.

    Parameters
    ----------
    x : tensor of shape (batch, c, t)
    strength : float, at least 0
        1 is the strength stated.

    Returns
    -------
    tensor of the same shape
    """
    channels = x.shape[1]
    drawn: dict[str, Any] = {
        "device": x.device,
        "dtype": x.dtype,
        "generator": current_generator(x.device),
    }
    factors = draw_for_batch(lambda n: torch.randn(n, channels, 1, **drawn), len(x))
    return x * (1 + SCALING * strength * factors)


def crop(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Cut up to a fifth of the length off, and stretch the rest to the old length.

    Parameters
    ----------
    x : tensor of shape (batch, c, t)
    strength : float, at least 0
        1 is the strength stated.

    Returns
    -------
    tensor of the same shape
    """
    rows, length = len(x), x.shape[2]
    drawn: dict[str, Any] = {
        "device": x.device,
        "dtype": x.dtype,
        "generator": current_generator(x.device),
    }
    draw = partial(draw_for_batch, lambda n: torch.rand(n, 1, **drawn), rows)
    share = 1 - CROP * min(strength, 1 / CROP / 2) * draw()
    start = (1 - share) * draw()
    steps = torch.linspace(0, 1, length, device=x.device, dtype=x.dtype)
    at = (start + share * steps) * (length - 1)
    left = at.floor().long().clamp(max=max(0, length - 2))
    weight = (at - left)[:, None, :]
    index = left[:, None, :].expand_as(x)
    after = (index + 1).clamp(max=length - 1)
    return x.gather(2, index) * (1 - weight) + x.gather(2, after) * weight


SWAPPED = 0.3  # share of the values that are replaced


def corruption(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Replace 30 % of the values of (batch, m) by those of other rows of the batch.

    The feature corruption of SCARF (Bahri et al., 2022), at half its rate.

    Parameters
    ----------
    x : tensor of shape (batch, m)
    strength : float, at least 0
        1 is the strength stated.

    Returns
    -------
    tensor of the same shape
    """
    width = x.shape[1]
    drawn: dict[str, Any] = {"device": x.device, "generator": current_generator(x.device)}
    rows = draw_for_batch(lambda n: torch.randint(n, (n, width), **drawn), len(x))
    other = all_gather(x).gather(0, rows)
    return torch.where(draw_uniform_like(x) < SWAPPED * strength, other, x)


Augment = Callable[[torch.Tensor], torch.Tensor]
Augmentations = Literal["auto"] | Sequence[str] | Mapping[str, float] | Augment | None

#: Augmentations by kind of instance; "auto" takes all of a kind.
AUGMENTATIONS = {
    "images": ("affine", "elastic"),
    "series": ("jitter", "scaling", "crop"),
    "table": ("corruption",),
}
_FUNCTIONS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "jitter": jitter,
    "scaling": scaling,
    "crop": crop,
    "corruption": corruption,
}


def build_augmentation(chosen: Augmentations, kind: str) -> Augment:
    """Build the function from a batch to one random view of each of its instances.

    Parameters
    ----------
    chosen : "auto", sequence of str, mapping of str to float, callable or None
        `"auto"` is every augmentation of the kind at strength 1; names choose some of them; a
        mapping also sets their strengths; a callable maps a batch of network inputs,
        `(batch, c, h, w)`, `(batch, c, t)` or `(batch, m)`, to one of the same shape; None is no
        augmentation. Choose those that do not change the meaning: a 6 turned upside down is a 9.
    kind : {"images", "series", "table"}

    Returns
    -------
    callable
        From a tensor to a tensor of the same shape. In training it draws from the generators of
        the run, elsewhere from torch's.

    Raises
    ------
    TrainingError
        When the kind is unknown, a name does not belong to it, or a strength is negative.

    Examples
    --------
    >>> view = build_augmentation({"affine": 0.5}, "images")
    >>> view(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 1, 8, 8])
    """
    if kind not in AUGMENTATIONS:
        raise TrainingError(f"got kind={kind!r}, expected one of {', '.join(AUGMENTATIONS)}")
    if chosen is None:
        return _identity
    if callable(chosen):
        return chosen
    names = AUGMENTATIONS[kind] if chosen == "auto" else chosen
    if isinstance(names, str):
        names = (names,)
    strengths = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, 1.0)
    unknown = [name for name in strengths if name not in AUGMENTATIONS[kind]]
    if unknown or not all(map(_is_strength, strengths.values())):
        raise TrainingError(
            f"got augmentations={shown(chosen)}, expected some of {', '.join(AUGMENTATIONS[kind])} "
            f"for {kind}, with strengths of 0 or more"
        )
    if kind == "images":
        return ImageAugmentation(**strengths)
    return partial(
        _apply_in_order, [(_FUNCTIONS[name], value) for name, value in strengths.items()]
    )


def _is_strength(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and float(value) >= 0


def _identity(x: torch.Tensor) -> torch.Tensor:
    return x


def _apply_in_order(
    steps: list[tuple[Callable[[torch.Tensor, float], torch.Tensor], float]], x: torch.Tensor
) -> torch.Tensor:
    for augment, strength in steps:
        x = augment(x, strength)
    return x
