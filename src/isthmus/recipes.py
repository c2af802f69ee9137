"""Recipes: named sets of training choices. A parameter given explicitly wins over them.

What a recipe takes for a kind of data is a row of the table `RECIPES`; what depends on the size of
the data is a function, named in the row and defined above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from isthmus.errors import TrainingError

#: Values of an image up to which a network may have dense layers for pixels.
SMALL_IMAGE = 64 * 64


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


@dataclass(frozen=True)
class Steps:
    """How long to train: the epochs that make about so many steps, within bounds."""

    about: int
    fewest_epochs: int
    most_epochs: int

    def __call__(self, n_rows: int, batch_size: int) -> int:
        """Return the number of epochs for so many training rows."""
        return choose_max_epochs(
            n_rows, batch_size, self.about, self.fewest_epochs, self.most_epochs
        )


def usual_batch(n_rows: int, n_features: int, objective: Any) -> int:
    """Return a power of two near a fiftieth of the rows, from 32 to 256.

    An objective that compares instances gets 128 at least: variances and covariances of a few say
    nothing. Very large instances are fewer, down to 8.
    """
    least = 128 if _compares_instances(objective) else 32
    usual = choose_batch_size(n_rows, least=least, most=256)
    return max(8, min(usual, 2**22 // n_features))


def batch_of_128(n_rows: int, n_features: int, objective: Any) -> int:
    """Return 128, or the number of rows if that is smaller."""
    return min(128, n_rows)


def usual_lr(batch_size: int) -> float:
    """Return 0.003 √(batch_size/256): square-root scaling fits Adam's normalised steps.

    Malladi et al., 2022.
    """
    return 3e-3 * math.sqrt(batch_size / 256)


def lr_with_batch_norm(batch_size: int) -> float:
    """Return 0.01 √(batch_size/256): batch normalisation bears, and needs, larger steps."""
    return 1e-2 * math.sqrt(batch_size / 256)


def quarter_of_epochs(max_epochs: int) -> int:
    """Return a quarter of the epochs, 10 at least."""
    return max(10, max_epochs // 4)


def root_of_values(n_features: int) -> int:
    """Return the largest power of two up to the root of the number of values."""
    return 2 ** int(math.log2(n_features) / 2)


@dataclass(frozen=True)
class Row:
    """What a recipe takes for a kind of data.

    Attributes
    ----------
    architecture : str
        `"auto"` leaves it to `isthmus.networks`: `"conv"` for images, `"conv1d"` for series,
        `"dense"` for tables.
    objective : str
    noise : float
        Standard deviation of what the objective `"denoising"` adds.
    max_epochs : int or function of the training rows and the batch size
    options : mapping
        Of the objective.
    n_components : "auto" or function of the number of values
        `"auto"` leaves it to `isthmus.networks.architecture`.
    lr : float or function of the batch size
    batch_size : int or function of the numbers of rows and values, and of the objective
    validation_fraction : float
    patience : None or function of the epochs
    optimizer, schedule : str
    weight_decay : float
    """

    architecture: str
    objective: str
    noise: float
    max_epochs: int | Callable[[int, int], int]
    options: Mapping[str, Any] = field(default_factory=dict)
    n_components: Literal["auto"] | Callable[[int], int] = "auto"
    lr: float | Callable[[int], float] = usual_lr
    batch_size: int | Callable[[int, int, Any], int] = usual_batch
    validation_fraction: float = 0.1
    patience: Callable[[int], int] | None = quarter_of_epochs
    optimizer: str = "adamw"
    schedule: str = "cosine"
    weight_decay: float = 1e-4


# Of images, codes that views agree on tell classes apart far better than codes that only
# reconstruct; these weights were chosen on validation parts of MNIST, and checked on digits.
_VIEWS = {"reconstruction": 3.0}
_VIEWS_AND_NEIGHBOURS = {"reconstruction": 0.5, "neighbour": 2.0}
# Training sets of series are small, and what a few epochs leave out tells classes apart: they may
# have five times as many epochs. A step with views costs twice as much: there are fewer.

# The Keras tutorial: all training images, a fixed number of epochs, no selection.
_TUTORIAL = Row(
    "reference",
    "reconstruction",
    0.0,
    50,
    lr=1.0,
    batch_size=128,
    validation_fraction=0.0,
    patience=None,
    optimizer="adadelta",
    schedule="constant",
    weight_decay=0.0,
)

# fmt: off
#: What is chosen when nothing is said, by recipe and kind of data.
RECIPES: dict[str, dict[str, Row]] = {
    #                     architecture objective        noise steps and epochs       what is special
    "default": {
        "small images": Row("strided", "invariant",      0.0, Steps(1000,  8,  200), _VIEWS,
                            lr=lr_with_batch_norm),
        "large images": Row("auto",    "invariant",      0.0, Steps(1000,  8,  200), _VIEWS),
        "series":       Row("auto",    "reconstruction", 0.0, Steps(2000, 10, 1000)),
        "table":        Row("auto",    "denoising",      0.6, Steps(2000, 10,  200)),
    },
    "fast": {
        "small images": Row("dense",   "reconstruction", 0.0, Steps(1000,  5,  100)),
        "large images": Row("auto",    "reconstruction", 0.0, Steps(1000,  5,  100)),
        "series":       Row("auto",    "reconstruction", 0.0, Steps(1000,  5,  500)),
        "table":        Row("auto",    "denoising",      0.6, Steps(1000,  5,  100)),
    },
    "thorough": {
        "small images": Row("strided", "invariant",      0.0, Steps(4000, 40,  600),
                            _VIEWS_AND_NEIGHBOURS, lr=lr_with_batch_norm),
        "large images": Row("auto",    "invariant",      0.0, Steps(4000, 40,  600),
                            _VIEWS_AND_NEIGHBOURS),
        "series":       Row("auto",    "reconstruction", 0.0, Steps(6000, 30, 3000)),
        "table":        Row("auto",    "denoising",      0.6, Steps(6000, 30,  600)),
    },
    # What a detector trains for itself. Convolutions rebuild images of a kind that they have never
    # seen; a narrow dense network that takes noise off does not. Of a table all rows are needed
    # to know what is normal.
    "detection": {
        "small images": Row("dense",   "denoising",      1.0, Steps(2000, 10,  200),
                            n_components=root_of_values),
        "large images": Row("auto",    "denoising",      1.0, Steps(2000, 10,  200)),
        "series":       Row("auto",    "reconstruction", 0.0, Steps(2000, 10, 1000)),
        "table":        Row("auto",    "denoising",      1.0, Steps(1000, 10, 1000),
                            lr=3e-3, batch_size=batch_of_128, validation_fraction=0.0),
    },
    "reference": {
        "small images": _TUTORIAL,
        "large images": _TUTORIAL,
        "series":       _TUTORIAL,
        "table":        _TUTORIAL,
    },
}
# fmt: on


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
    `default` is the best all-round, `fast` takes seconds, `thorough` makes three or more times as
    many steps as `default`, and `detection` is what a detector trains for itself. The table
    `RECIPES` says what each takes for small images (up to 64 x 64 values), large ones, series and
    tables; the functions named there say what follows from the size of the data.

    An objective or an architecture that is given comes without what the row has for its own: the
    options of the objective, and the learning rate that batch normalisation bears. `noise` that is
    given is short for the objective `"denoising"`, 0 for `"reconstruction"`.

    Raises
    ------
    TrainingError
        When a name or a number is out of range.
    """
    if recipe not in RECIPES:
        raise TrainingError(f"got recipe={recipe!r}, expected one of {', '.join(RECIPES)}")
    said = {name: value for name, value in given.items() if not _is_auto(value)}
    row = RECIPES[recipe][_data(kind, n_features)]
    if "architecture" in said and row.lr is lr_with_batch_norm:
        row = replace(row, lr=usual_lr)

    def choose(name: str, *sizes: Any) -> Any:
        if name in said:
            return said[name]
        chosen = getattr(row, name)
        return chosen(*sizes) if callable(chosen) else chosen

    objective, options = _objective(row, said)
    fraction = _number("validation_fraction", choose("validation_fraction"), 0, 0.9)
    batch_size = _whole("batch_size", choose("batch_size", n_rows, n_features, objective))
    n_training = math.ceil(n_rows * (1 - fraction))
    max_epochs = _whole("max_epochs", choose("max_epochs", n_training, batch_size))
    patience = choose("patience", max_epochs)
    return Choices(
        architecture=choose("architecture"),
        n_components=choose("n_components", n_features),
        optimizer=_one_of("optimizer", choose("optimizer"), "adamw", "adadelta"),
        schedule=_one_of("schedule", choose("schedule"), "cosine", "constant"),
        lr=_number("lr", choose("lr", batch_size), 0, math.inf, above=True),
        weight_decay=_number("weight_decay", choose("weight_decay"), 0, math.inf),
        max_epochs=max_epochs,
        batch_size=batch_size,
        validation_fraction=fraction,
        patience=None if patience is None else _whole("patience", patience),
        objective=objective,
        objective_options=options,
    )


def _data(kind: str, n_features: int) -> str:
    """Return which kind of data of `RECIPES` instances are."""
    if kind != "images":
        return kind
    return "small images" if n_features <= SMALL_IMAGE else "large images"


def _objective(row: Row, said: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the objective and its options: the one said, what noise says, or the recipe's."""
    options = {"augmentations": said["augmentations"]} if "augmentations" in said else {}
    noise = _number("noise", said.get("noise", row.noise), 0, math.inf)
    if "objective" in said:
        objective = said["objective"]
    elif "noise" in said:
        objective = "denoising" if noise > 0 else "reconstruction"
    else:
        objective, options = row.objective, dict(row.options) | options
    if "noise" in said or "objective" not in said:
        options |= {"corruptions": ("gaussian",), "level": (noise, noise)}
    return objective, options


def _compares_instances(objective: Any) -> bool:
    if isinstance(objective, Mapping):
        return any(_compares_instances(part) for part in objective)
    return objective == "invariant" or getattr(objective, "compares_instances", False)


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
