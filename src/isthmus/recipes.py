"""Recipes: named sets of training choices. A parameter given explicitly wins over them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.errors import TrainingError


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
    noise: float


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
        "noise": 0.0,
    },
}


def settle(
    recipe: str, given: Mapping[str, Any], n_rows: int, n_features: int, kind: str = "images"
) -> Choices:
    """Settle every choice: given explicitly, else by the recipe, else by rule.

    Parameters
    ----------
    recipe : {"default", "detection", "reference"}
    given : mapping
        The parameters of `Choices`; `"auto"` leaves one to recipe and rule.
    n_rows, n_features : int
        Training instances, and values in one instance.
    kind : {"images", "series", "table"}

    Returns
    -------
    Choices
        By rule: `batch_size` is a power of two near a fiftieth of the rows, 32 to 256,
        smaller when instances are very large. `max_epochs` makes about 2,000 steps, 10 to
        200 epochs. `lr` is 0.003 √(batch_size/256), the square-root scaling that fits
        Adam's normalised steps (Malladi et al., 2022). `patience` is a quarter of the
        epochs, 10 at least. Of series there may be 1,000 epochs: their training sets are
        small, and what a few epochs leave out is what tells classes apart. `noise` is 0.6 for
        tables, in standard deviations of a column, and 0 otherwise: with it residuals tell
        more of what is abnormal. The recipe `"detection"` takes
        noise of 1 for tables and images. For tables it makes about 1,000 steps with batches
        of 128, `lr` 0.003, and no row held out: all are needed to know what is normal. For
        images up to 64 x 64 it takes a dense network and a code of the largest power of two up
        to the root of the number of values: convolutions rebuild images of a kind that they
        have never seen; a narrow dense network that takes noise off does not, so its residual
        tells more.

    Raises
    ------
    TrainingError
        When a name or a number is out of range.
    """
    if recipe not in RECIPES:
        raise TrainingError(f"got recipe={recipe!r}, expected one of {', '.join(RECIPES)}")
    names = ("n_components", "lr", "max_epochs", "batch_size", "patience", "noise")
    chosen: dict[str, Any] = dict.fromkeys(names, "auto") | RECIPES[recipe]
    chosen |= {name: value for name, value in given.items() if not _is_auto(value)}
    steps, most = 2000, 1000 if kind == "series" else 200
    if recipe == "detection" and kind == "table":
        steps, most = 1000, 1000
        _fill(chosen, batch_size=min(128, n_rows), lr=3e-3, noise=1.0)
        if _is_auto(given.get("validation_fraction", "auto")):
            chosen["validation_fraction"] = 0.0
    if recipe == "detection" and kind == "images":
        _fill(chosen, noise=1.0)
        if _is_auto(chosen["architecture"]) and n_features <= 64 * 64:
            chosen["architecture"] = "dense"
            _fill(chosen, n_components=2 ** int(math.log2(n_features) / 2))
    fraction = _number("validation_fraction", chosen["validation_fraction"], 0, 0.9)
    if chosen["batch_size"] == "auto":
        usual = choose_batch_size(n_rows, most=256)
        chosen["batch_size"] = max(8, min(usual, 2**22 // n_features))
    batch_size = _whole("batch_size", chosen["batch_size"])
    if chosen["max_epochs"] == "auto":
        rows = math.ceil(n_rows * (1 - fraction))
        chosen["max_epochs"] = choose_max_epochs(rows, batch_size, steps, most)
    max_epochs = _whole("max_epochs", chosen["max_epochs"])
    if chosen["lr"] == "auto":
        chosen["lr"] = 3e-3 * math.sqrt(batch_size / 256)
    if chosen["patience"] == "auto":
        chosen["patience"] = max(10, max_epochs // 4)
    if chosen["noise"] == "auto":
        chosen["noise"] = 0.6 if kind == "table" else 0.0
    patience = chosen["patience"]
    return Choices(
        architecture=chosen["architecture"],
        n_components=chosen["n_components"],
        optimizer=_one_of("optimizer", chosen["optimizer"], "adamw", "adadelta"),
        schedule=_one_of("schedule", chosen["schedule"], "cosine", "constant"),
        lr=_number("lr", chosen["lr"], 0, math.inf, above=True),
        weight_decay=_number("weight_decay", chosen["weight_decay"], 0, math.inf),
        max_epochs=max_epochs,
        batch_size=batch_size,
        validation_fraction=fraction,
        patience=None if patience is None else _whole("patience", patience),
        noise=_number("noise", chosen["noise"], 0, math.inf),
    )


def choose_batch_size(n_rows: int, most: int) -> int:
    """Return a power of two near a fiftieth of the rows, from 32 to `most`."""
    power = 2 ** round(math.log2(max(1, n_rows / 50)))
    return min(max(32, power), most)


def choose_max_epochs(n_rows: int, batch_size: int, steps: int, most: int = 200) -> int:
    """Return how many epochs make about so many steps, from 10 to `most`."""
    return min(most, max(10, math.ceil(steps / math.ceil(n_rows / batch_size))))


def _fill(chosen: dict[str, Any], **rules: Any) -> None:
    """Put what a rule says where nothing else was said."""
    chosen |= {name: value for name, value in rules.items() if _is_auto(chosen[name])}


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
