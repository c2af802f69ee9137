"""Recipes: named sets of training choices. A parameter given explicitly wins over them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.errors import TrainingError

SMALL_IMAGE = 64 * 64  # values up to which a network may have dense layers for pixels


@dataclass(frozen=True)
class Choices:
    """Every training choice, settled; `n_components` may stay `"auto"`."""

    architecture: Any
    n_components: Any
    optimizer: str
    schedule: str
    lr: float
    weight_decay: float
    max_epochs: int
    batch_size: int
    validation_fraction: float
    patience: int | None
    objective: Any
    objective_options: dict[str, Any]


# AdamW along one cosine, chosen on the validation parts of MNIST and digits.
_ADAMW = {
    "architecture": "auto",
    "optimizer": "adamw",
    "schedule": "cosine",
    "weight_decay": 1e-4,
    "validation_fraction": 0.1,
}

#: What a recipe says outright; what it leaves out follows the rules in `settle`.
RECIPES: dict[str, dict[str, Any]] = {
    "default": _ADAMW,
    "fast": _ADAMW,
    "thorough": _ADAMW,
    "detection": _ADAMW,
    # The Keras tutorial: all training images, a fixed number of epochs, no selection.
    "reference": {
        "architecture": "reference",
        "optimizer": "adadelta",
        "schedule": "constant",
        "lr": 1.0,
        "weight_decay": 0.0,
        "max_epochs": 50,
        "batch_size": 128,
        "validation_fraction": 0.0,
        "patience": None,
        "objective": "reconstruction",
        "noise": 0.0,
    },
}

#: About how many steps a recipe makes, and the fewest and most epochs; series have more.
_LENGTH = {"fast": (1000, 5, 100), "default": (2000, 10, 200), "thorough": (6000, 30, 600)}
#: The same for images that are compared with their views, two passes a step.
_LENGTH_OF_VIEWS = {"default": (1000, 8, 200), "thorough": (4000, 40, 600)}

# What images are learned with: codes that views agree on tell classes apart far better than codes
# that only reconstruct. Chosen on validation parts of MNIST, checked on digits.
_IMAGES: dict[str, dict[str, Any]] = {
    "fast": {"noise": 0.0},
    "default": {"objective": "invariant", "objective_options": {"reconstruction": 3.0}},
    "thorough": {
        "objective": "invariant",
        "objective_options": {"reconstruction": 0.5, "neighbour": 2.0},
    },
}
# Batch normalisation bears, and needs, larger steps.
_SMALL_IMAGES: dict[str, dict[str, Any]] = {
    "fast": {"architecture": "dense"},
    "default": {"architecture": "strided", "lr_at_256": 1e-2},
    "thorough": {"architecture": "strided", "lr_at_256": 1e-2},
}


def settle(
    recipe: str, given: Mapping[str, Any], n_rows: int, n_features: int, kind: str = "images"
) -> Choices:
    """Settle every choice: given explicitly, else by the recipe, else by rule.

    Parameters
    ----------
    recipe : {"default", "fast", "thorough", "detection", "reference"}
    given : mapping
        The parameters of `Choices`, `noise` and `augmentations`; `"auto"` leaves one to recipe
        and rule.
    n_rows, n_features : int
        Training instances, and values in one instance.
    kind : {"images", "series", "table"}

    Returns
    -------
    Choices

    Notes
    -----
    `default` is the best all-round, `fast` takes seconds, `thorough` makes three
    or more times as many steps as `default`. What they share, by rule:

    - `batch_size` is a power of two near a fiftieth of the rows, 32 (128 for the objective
      `"invariant"`) to 256, smaller when instances are very large.
    - `max_epochs` makes about 1,000 (fast), 2,000 (default) or 6,000 steps (thorough), 5, 10 or 30
      epochs at least, and 100, 200 or 600 at most. Steps with views cost twice as much: of images
      it is 1,000 and 4,000, and 8 and 40 epochs at least. Of series there may be five times as
      many: their training sets are small, and what a few epochs leave out is what tells classes
      apart.
    - `lr` is 0.003 √(batch_size/256): the square-root scaling that fits Adam's normalised steps
      (Malladi et al., 2022). With the batch normalisation of the architecture `"strided"` it is
      0.01 in place of 0.003.
    - `patience` is a quarter of the epochs, 10 at least.

    Images are learned with the objective `"invariant"`, and up to 64 x 64 with the architecture
    `"strided"`; `thorough` weighs reconstruction less and pulls neighbours together. `fast` only
    reconstructs, with a dense network. Series are reconstructed. Tables are reconstructed from rows
    with noise of 0.6 standard deviations: residuals then tell more of what is abnormal.

    `detection` is what a detector trains for itself: noise of 1 for tables and images. For tables
    it makes about 1,000 steps with batches of 128, `lr` 0.003, and no row held out: all are needed
    to know what is normal. For images up to 64 x 64 it takes a dense network and a code of the
    largest power of two up to the root of the number of values: convolutions rebuild images of a
    kind that they have never seen; a narrow dense network that takes noise off does not.

    Raises
    ------
    TrainingError
        When a name or a number is out of range.
    """
    if recipe not in RECIPES:
        raise TrainingError(f"got recipe={recipe!r}, expected one of {', '.join(RECIPES)}")
    said = {name: value for name, value in given.items() if not _is_auto(value)}
    chosen = RECIPES[recipe] | _of_kind(recipe, n_rows, n_features, kind, said) | said
    objective, options = _objective(chosen, said)
    fraction = _number("validation_fraction", chosen["validation_fraction"], 0, 0.9)
    if "batch_size" not in chosen:
        # Variances and covariances of a few instances say nothing.
        least = 128 if _compares_instances(objective) else 32
        usual = choose_batch_size(n_rows, least=least, most=256)
        chosen["batch_size"] = max(8, min(usual, 2**22 // n_features))
    batch_size = _whole("batch_size", chosen["batch_size"])
    if "max_epochs" not in chosen:
        rows = math.ceil(n_rows * (1 - fraction))
        chosen["max_epochs"] = choose_max_epochs(rows, batch_size, *_length(recipe, kind))
    max_epochs = _whole("max_epochs", chosen["max_epochs"])
    lr = chosen.get("lr", chosen.get("lr_at_256", 3e-3) * math.sqrt(batch_size / 256))
    patience = chosen.get("patience", max(10, max_epochs // 4))
    return Choices(
        architecture=chosen["architecture"],
        n_components=chosen.get("n_components", "auto"),
        optimizer=_one_of("optimizer", chosen["optimizer"], "adamw", "adadelta"),
        schedule=_one_of("schedule", chosen["schedule"], "cosine", "constant"),
        lr=_number("lr", lr, 0, math.inf, above=True),
        weight_decay=_number("weight_decay", chosen["weight_decay"], 0, math.inf),
        max_epochs=max_epochs,
        batch_size=batch_size,
        validation_fraction=fraction,
        patience=None if patience is None else _whole("patience", patience),
        objective=objective,
        objective_options=options,
    )


def _of_kind(
    recipe: str, n_rows: int, n_features: int, kind: str, said: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a recipe takes for a kind of instance beside what it says outright."""
    small_images = kind == "images" and n_features <= SMALL_IMAGE
    if recipe == "reference":
        return {}
    if recipe != "detection" and kind == "images":
        # A learning rate belongs to its architecture.
        usual = small_images and "architecture" not in said
        return _IMAGES[recipe] | (_SMALL_IMAGES[recipe] if usual else {})
    if recipe != "detection":
        return {"noise": 0.6 if kind == "table" else 0.0}
    if kind == "table":
        batch_size = min(128, n_rows)
        return {"batch_size": batch_size, "lr": 3e-3, "noise": 1.0, "validation_fraction": 0.0}
    if small_images:
        width = 2 ** int(math.log2(n_features) / 2)
        return {"architecture": "dense", "n_components": width, "noise": 1.0}
    return {"noise": 1.0 if kind == "images" else 0.0}


def _objective(chosen: Mapping[str, Any], said: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the objective and its options: the one said, what noise says, or the recipe's."""
    options = {"augmentations": said["augmentations"]} if "augmentations" in said else {}
    noise = _number("noise", chosen.get("noise", 0.0), 0, math.inf)
    if "objective" in said or ("objective" in chosen and "noise" not in said):
        objective = chosen["objective"]
        if "objective" not in said:
            options = chosen.get("objective_options", {}) | options
    else:
        objective = "denoising" if noise > 0 else "reconstruction"
    if "noise" in said or "objective" not in said:
        options |= {"corruptions": ("gaussian",), "level": (noise, noise)}
    return objective, options


def _compares_instances(objective: Any) -> bool:
    if isinstance(objective, Mapping):
        return any(_compares_instances(part) for part in objective)
    return objective == "invariant" or getattr(objective, "compares_instances", False)


def _length(recipe: str, kind: str) -> tuple[int, int, int]:
    """Return about how many steps a recipe makes, and the fewest and most epochs."""
    if recipe == "detection" and kind == "table":
        return 1000, 10, 1000
    if kind == "images" and recipe in _LENGTH_OF_VIEWS:
        return _LENGTH_OF_VIEWS[recipe]
    steps, least, most = _LENGTH.get(recipe, _LENGTH["default"])
    # Training sets of series are small, and what a few epochs leave out tells classes apart.
    return steps, least, 5 * most if kind == "series" else most


def choose_batch_size(n_rows: int, most: int, least: int = 32) -> int:
    """Return a power of two near a fiftieth of the rows, from `least` to `most`."""
    power = 2 ** round(math.log2(max(1, n_rows / 50)))
    return min(max(least, power), most)


def choose_max_epochs(
    n_rows: int, batch_size: int, steps: int, least: int = 10, most: int = 200
) -> int:
    """Return how many epochs make about so many steps, from `least` to `most`."""
    return min(most, max(least, math.ceil(steps / math.ceil(n_rows / batch_size))))


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise TrainingError(
            f"got {name}={value!r}, expected a whole number of 1 or more, or 'auto'"
        )
    return int(value)


def _number(name: str, value: Any, low: float, high: float, *, above: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (low <= number <= high) or math.isinf(number) or (above and number == low):
        bounds = f"above {low}" if above else f"of {low} or more"
        most = "" if math.isinf(high) else f", {high} at most"
        raise TrainingError(f"got {name}={value!r}, expected a number {bounds}{most}, or 'auto'")
    return number


def _one_of(name: str, value: Any, *allowed: str) -> str:
    if value not in allowed:
        raise TrainingError(f"got {name}={value!r}, expected {' or '.join(map(repr, allowed))}")
    return str(value)
