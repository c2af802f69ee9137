"""From what a person writes for `objective` to an objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.errors import TrainingError
from isthmus.objectives.base import Objective
from isthmus.objectives.composed import Composed, Own
from isthmus.objectives.denoising import Denoising
from isthmus.objectives.invariant import Invariant
from isthmus.objectives.masked import Masked
from isthmus.objectives.reconstruction import Reconstruction
from isthmus.objectives.variational import Variational

OBJECTIVES: dict[str, type[Objective]] = {
    "reconstruction": Reconstruction,
    "denoising": Denoising,
    "masked": Masked,
    "variational": Variational,
    "invariant": Invariant,
}


def build_objective(chosen: Any, **options: Any) -> Objective:
    """Build an objective, still to be prepared for network and data.

    Parameters
    ----------
    chosen : str, Objective, callable, or mapping
        A name of `OBJECTIVES` with its defaults, an objective with options of your own, a
        callable as in `Own`, or a mapping of any of these to weights, minimised
        together: `{"denoising": 1.0, "invariant": 0.5}`.
    **options
        For each objective that is chosen by name, those that it knows.

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
        known = OBJECTIVES[chosen].options
        return OBJECTIVES[chosen](**{name: options[name] for name in known if name in options})
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
        f"got objective={chosen!r}, expected 'auto', one of {', '.join(OBJECTIVES)}, an "
        "Objective, a mapping of these to weights, or a callable (network, batch) -> loss"
    )


def _parts(
    chosen: Mapping[Any, float], options: Mapping[str, Any]
) -> dict[str, tuple[Objective, float]]:
    parts: dict[str, tuple[Objective, float]] = {}
    for word, weight in chosen.items():
        part = build_objective(word, **options)
        name = word if isinstance(word, str) else _name(part)
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
