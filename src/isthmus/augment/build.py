"""Augmentations by kind of instance and by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any, Literal

import torch

from isthmus.augment.images import ImageViews
from isthmus.augment.series import crop, jitter, scaling
from isthmus.augment.tables import corruption
from isthmus.errors import TrainingError

Augment = Callable[[torch.Tensor], torch.Tensor]
Augmentations = Literal["auto"] | Sequence[str] | Mapping[str, float] | Augment | None

#: What there is for each kind of instance; "auto" takes all of a kind.
AUGMENTATIONS = {
    "images": ("affine", "elastic"),
    "series": ("jitter", "scaling", "crop"),
    "table": ("corruption",),
}
_ONE_BY_ONE: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "jitter": jitter,
    "scaling": scaling,
    "crop": crop,
    "corruption": corruption,
}


def build_augmentation(chosen: Augmentations, kind: str) -> Augment:
    """Build what turns a batch into one random view of each of its instances.

    Parameters
    ----------
    chosen : "auto", sequence of str, mapping of str to float, callable or None
        `"auto"` is every augmentation of the kind at its usual strength; names are those
        alone; a mapping gives strengths, 1 the usual; a callable gets a batch as the network
        sees it, `(batch, c, h, w)`, `(batch, c, t)` or `(batch, m)`, and returns as much; None
        is none. Choose what leaves the meaning as it is: a 6 turned upside down is a 9.
    kind : {"images", "series", "table"}

    Returns
    -------
    callable
        From a tensor to a tensor of the same shape. It draws from torch's generator.

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
        return _unchanged
    if callable(chosen):
        return chosen
    names = AUGMENTATIONS[kind] if chosen == "auto" else chosen
    if isinstance(names, str):
        names = (names,)
    strengths = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, 1.0)
    wrong = [name for name in strengths if name not in AUGMENTATIONS[kind]]
    if wrong or not all(map(_is_strength, strengths.values())):
        raise TrainingError(
            f"got augmentations={chosen!r}, expected some of {', '.join(AUGMENTATIONS[kind])} "
            f"for {kind}, with strengths of 0 or more"
        )
    if kind == "images":
        return ImageViews(**strengths)
    return partial(_in_turn, [(_ONE_BY_ONE[name], value) for name, value in strengths.items()])


def _is_strength(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and float(value) >= 0


def _unchanged(x: torch.Tensor) -> torch.Tensor:
    return x


def _in_turn(
    steps: list[tuple[Callable[[torch.Tensor, float], torch.Tensor], float]], x: torch.Tensor
) -> torch.Tensor:
    for augment, strength in steps:
        x = augment(x, strength)
    return x
