"""Recipes: named sets of training choices; explicit parameters override them.

A row of the table `RECIPES` holds the choices of a recipe for a kind of data. Choices that depend
on the size of the data are functions, named in the row and defined above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from isthmus._core import shown
from isthmus.errors import TrainingError

#: Values of an image up to which dense layers on pixels are affordable.
SMALL_IMAGE = 64 * 64
#: Values of an image from which on it has patches enough for features of them.
LEAST_OF_PATCHES = 16 * 16


@dataclass(frozen=True)
class Choices:
    """Every training choice, with no `"auto"` left but that of `n_components`."""

    architecture: Any
    n_components: Any
    hidden_layer_sizes: Any
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
    """The length of training: the epochs that make about `n_steps`, within bounds.

    Attributes
    ----------
    n_steps, min_epochs, max_epochs : int
    """

    n_steps: int
    min_epochs: int
    max_epochs: int

    def __call__(self, n_rows: int, batch_size: int) -> int:
        """Return the number of epochs for `n_rows` training rows."""
        return choose_max_epochs(n_rows, batch_size, self.n_steps, self.min_epochs, self.max_epochs)


def default_batch_size(n_rows: int, n_features: int, objective: Any) -> int:
    """Return a power of two near a fiftieth of the rows, from 32 to 256.

    An objective that compares instances gets 128 at least, as it estimates variances and
    covariances from a batch. Batches of very large instances are smaller, down to 8.

    Parameters
    ----------
    n_rows, n_features : int
        Training instances, and values in one instance.
    objective : str, Objective or callable

    Returns
    -------
    int
    """
    minimum = 128 if _compares_instances(objective) else 32
    batch_size = choose_batch_size(n_rows, minimum=minimum, maximum=256)
    return max(8, min(batch_size, 2**22 // n_features))


def batch_of_128(n_rows: int, n_features: int, objective: Any) -> int:
    """Return 128, or the number of rows if that is smaller.

    Parameters
    ----------
    n_rows, n_features : int
    objective : str, Objective or callable
        Not used, as `n_features` is not.

    Returns
    -------
    int
    """
    return min(128, n_rows)


def default_lr(batch_size: int) -> float:
    """Return 0.003 √(batch_size/256): square-root scaling fits Adam's normalised steps.

    Malladi et al., 2022.

    Parameters
    ----------
    batch_size : int

    Returns
    -------
    float
    """
    return 3e-3 * math.sqrt(batch_size / 256)


def lr_with_batch_norm(batch_size: int) -> float:
    """Return 0.01 √(batch_size/256): batch normalisation allows, and needs, larger steps.

    Parameters
    ----------
    batch_size : int

    Returns
    -------
    float
    """
    return 1e-2 * math.sqrt(batch_size / 256)


def quarter_of_epochs(max_epochs: int) -> int:
    """Return a quarter of the epochs, 10 at least.

    Parameters
    ----------
    max_epochs : int

    Returns
    -------
    int
    """
    return max(10, max_epochs // 4)


def sqrt_of_values(n_features: int) -> int:
    """Return the largest power of two up to the square root of the number of values.

    Parameters
    ----------
    n_features : int

    Returns
    -------
    int
    """
    return 2 ** int(math.log2(n_features) / 2)


def half_of_values(n_features: int) -> int:
    """Return half the number of values, 32 at most.

    Parameters
    ----------
    n_features : int

    Returns
    -------
    int
    """
    return max(1, min(32, n_features // 2))


@dataclass(frozen=True)
class Row:
    """The choices of a recipe for a kind of data.

    Attributes
    ----------
    architecture : str
        `"auto"` leaves it to `isthmus.networks`: `"conv"` for images, `"random_kernels"` for
        series, `"dense"` for tables. `"patches"` is for images that suit it, else `"strided"`.
    objective : str
    noise : float
        Standard deviation of what the objective `"denoising"` adds.
    max_epochs : int or function of the training rows and the batch size
    options : mapping
        Of the objective.
    n_components : "auto" or function of the number of values
        `"auto"` leaves it to `isthmus.networks.choose_n_components`.
    hidden_layer_sizes : "auto" or tuple of int
        `()` is a linear network.
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
    hidden_layer_sizes: Literal["auto"] | tuple[int, ...] = "auto"
    lr: float | Callable[[int], float] = default_lr
    batch_size: int | Callable[[int, int, Any], int] = default_batch_size
    validation_fraction: float = 0.1
    patience: Callable[[int], int] | None = quarter_of_epochs
    optimizer: str = "adamw"
    schedule: str = "cosine"
    weight_decay: float = 1e-4


# Of images, codes that are invariant between views separate classes far better than codes that
# only reconstruct; the weights were chosen on validation parts of MNIST, and checked on digits.
_VIEWS = {"reconstruction": 3.0}
_FAST_VIEWS = {"reconstruction": 1.5}
_VIEWS_AND_NEIGHBOURS = {"reconstruction": 0.5, "neighbour": 2.0}
# Of series `default` computes the encoder, and the decoder is near its best from the start: few
# epochs do. Detectors that are given another recipe keep a network that is trained, and narrower:
# one that reconstructs nearly everything finds less. It may have five times as many epochs as
# images: training sets of series are small, and longer training improves their classification.
_STEPS_OF_CONV1D = Steps(2000, 10, 1000)
# A step with views costs twice as much, so there are fewer.

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
#: The default choices by recipe and kind of data.
RECIPES: dict[str, dict[str, Row]] = {
    #                     architecture objective        noise steps and epochs       what is special
    "default": {
        "small images": Row("patches", "invariant",      0.0, Steps(700,   4,  200), _VIEWS,
                            lr=lr_with_batch_norm, batch_size=128, optimizer="muon"),
        "large images": Row("auto",    "invariant",      0.0, Steps(1000,  8,  200), _VIEWS),
        "series":       Row("random_kernels", "reconstruction", 0.0, Steps(50, 3, 15), lr=3e-4),
        "table":        Row("auto",    "denoising",      0.6, Steps(2000, 10,  200)),
    },
    "fast": {
        "small images": Row("patches", "invariant",      0.0, Steps(150,   1,  100), _FAST_VIEWS,
                            hidden_layer_sizes=(16, 48), lr=lr_with_batch_norm,
                            batch_size=128, optimizer="muon"),
        "large images": Row("auto",    "reconstruction", 0.0, Steps(1000,  5,  100)),
        "series":       Row("conv1d",  "reconstruction", 0.0, Steps(1000,  5,  500)),
        "table":        Row("auto",    "denoising",      0.6, Steps(1000,  5,  100)),
    },
    "thorough": {
        "small images": Row("patches", "invariant",      0.0, Steps(4000, 40,  600),
                            _VIEWS_AND_NEIGHBOURS, lr=lr_with_batch_norm),
        "large images": Row("auto",    "invariant",      0.0, Steps(4000, 40,  600),
                            _VIEWS_AND_NEIGHBOURS),
        "series":       Row("conv1d",  "reconstruction", 0.0, Steps(6000, 30, 3000)),
        "table":        Row("auto",    "denoising",      0.6, Steps(6000, 30,  600)),
    },
    # For the encoder that a detector trains. Convolutions also reconstruct images of kinds that
    # were not in the training set; a narrow denoising dense network does not. Of a table all
    # rows are trained on, to cover all that is normal; of series too, whose windows overlap: some
    # drawn at random would not be new to the network. A linear network reconstructs windows as
    # well as one with hidden layers (docs/experiments.md), and trains in a tenth of the time.
    "detection": {
        "small images": Row("dense",   "denoising",      1.0, Steps(2000, 10,  200),
                            n_components=sqrt_of_values),
        "large images": Row("auto",    "denoising",      1.0, Steps(2000, 10,  200)),
        "series":       Row("dense",   "reconstruction", 0.0, Steps(400,   5,  400),
                            n_components=half_of_values, hidden_layer_sizes=(), lr=3e-3,
                            batch_size=batch_of_128, validation_fraction=0.0),
        "table":        Row("auto",    "denoising",      1.0, Steps(700,  10, 1000),
                            lr=6e-3, batch_size=batch_of_128, validation_fraction=0.0),
    },
    "reference": {
        "small images": _TUTORIAL,
        "large images": _TUTORIAL,
        "series":       _TUTORIAL,
        "table":        _TUTORIAL,
    },
}
# fmt: on


def resolve_choices(
    recipe: str, given: Mapping[str, Any], n_rows: int, n_features: int, kind: str = "images"
) -> Choices:
    """Resolve every choice: the explicit one, else the recipe's, else by rule.

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
    many steps as `default`, and `detection` is for the encoder that a detector trains. The table
    `RECIPES` lists the choices for small images (up to 64 x 64 values), large ones, series and
    tables; the functions named there compute those that depend on the size of the data.

    An explicit objective does not use the row's options of its own objective. A row for networks
    with batch normalisation is not for others: small images get that of large ones, where another
    architecture is given. Explicit `noise` is short for the objective `"denoising"`, 0 for
    `"reconstruction"`. Of series, `"conv1d"` takes the place of `"random_kernels"`, whose encoder
    is not trained, where an objective other than `"reconstruction"`, noise, augmentations or
    hidden layers are given without an architecture. Of small images, `"strided"` takes the place
    of `"patches"` where they have fewer than 16 x 16 values, or the objective makes no views.

    Raises
    ------
    TrainingError
        When a name or a number is out of range.
    """
    if recipe not in RECIPES:
        raise TrainingError(f"got recipe={recipe!r}, expected one of {', '.join(RECIPES)}")
    explicit = {name: value for name, value in given.items() if not _is_auto(value)}
    row = RECIPES[recipe][_kind_of_data(kind, n_features)]
    if row.architecture == "random_kernels" and _asks_for_training(explicit):
        row = replace(row, architecture="conv1d", max_epochs=_STEPS_OF_CONV1D, lr=default_lr)
    if row.architecture == "patches" and not _suits_patches(row, explicit, n_features):
        row = replace(row, architecture="strided")
    architecture = explicit.get("architecture", row.architecture)
    other_network = not _are_alike(architecture, row.architecture)
    if other_network and row.lr is lr_with_batch_norm:
        row = RECIPES[recipe]["large images"]
    if other_network:
        row = replace(row, hidden_layer_sizes="auto")

    def choose(name: str, *sizes: Any) -> Any:
        if name in explicit:
            return explicit[name]
        chosen = getattr(row, name)
        return chosen(*sizes) if callable(chosen) else chosen

    objective, options = _resolve_objective(row, explicit)
    fraction = _checked_number("validation_fraction", choose("validation_fraction"), 0, 0.9)
    batch_size = _checked_count("batch_size", choose("batch_size", n_rows, n_features, objective))
    n_training = math.ceil(n_rows * (1 - fraction))
    max_epochs = _checked_count("max_epochs", choose("max_epochs", n_training, batch_size))
    patience = choose("patience", max_epochs)
    return Choices(
        architecture=architecture,
        n_components=choose("n_components", n_features),
        hidden_layer_sizes=choose("hidden_layer_sizes"),
        optimizer=_checked_name("optimizer", choose("optimizer"), "adamw", "adadelta", "muon"),
        schedule=_checked_name("schedule", choose("schedule"), "cosine", "constant"),
        lr=_checked_number("lr", choose("lr", batch_size), 0, math.inf, above=True),
        weight_decay=_checked_number("weight_decay", choose("weight_decay"), 0, math.inf),
        max_epochs=max_epochs,
        batch_size=batch_size,
        validation_fraction=fraction,
        patience=None if patience is None else _checked_count("patience", patience),
        objective=objective,
        objective_options=options,
    )


def _kind_of_data(kind: str, n_features: int) -> str:
    """Return the kind of data as `RECIPES` names it."""
    if kind != "images":
        return kind
    return "small images" if n_features <= SMALL_IMAGE else "large images"


def _suits_patches(row: Row, explicit: Mapping[str, Any], n_features: int) -> bool:
    """Whether images have patches enough, and the objective makes the views that features share."""
    objective, _ = _resolve_objective(row, explicit)
    return n_features >= LEAST_OF_PATCHES and _compares_instances(objective)


def _are_alike(architecture: Any, other: str) -> bool:
    """Whether two architectures are the same, or are trained with the same choices."""
    if not isinstance(architecture, str):
        return False
    return architecture == other or {architecture, other} == {"strided", "patches"}


def _asks_for_training(explicit: Mapping[str, Any]) -> bool:
    """Whether explicit choices concern an encoder that is trained, of series."""
    if "architecture" in explicit:
        return bool(explicit["architecture"] != "random_kernels")
    other_objective = explicit.get("objective", "reconstruction") != "reconstruction"
    return (
        other_objective
        or explicit.get("noise", 0) != 0
        or not explicit.keys().isdisjoint(("augmentations", "hidden_layer_sizes"))
    )


def _resolve_objective(row: Row, explicit: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the objective and its options: the explicit one, that of `noise`, or the recipe's."""
    options = {"augmentations": explicit["augmentations"]} if "augmentations" in explicit else {}
    noise = _checked_number("noise", explicit.get("noise", row.noise), 0, math.inf)
    if "objective" in explicit:
        objective = explicit["objective"]
    elif "noise" in explicit:
        objective = "denoising" if noise > 0 else "reconstruction"
    else:
        objective, options = row.objective, dict(row.options) | options
    if "noise" in explicit or "objective" not in explicit:
        options |= {"corruptions": ("gaussian",), "level": (noise, noise)}
    return objective, options


def _compares_instances(objective: Any) -> bool:
    if isinstance(objective, Mapping):
        return any(_compares_instances(part) for part in objective)
    return objective == "invariant" or getattr(objective, "compares_instances", False)


def choose_batch_size(n_rows: int, maximum: int, minimum: int = 32) -> int:
    """Return a power of two near a fiftieth of the rows, from `minimum` to `maximum`.

    Parameters
    ----------
    n_rows, maximum, minimum : int

    Returns
    -------
    int
    """
    power = 2 ** round(math.log2(max(1, n_rows / 50)))
    return min(max(minimum, power), maximum)


def choose_max_epochs(
    n_rows: int, batch_size: int, n_steps: int, minimum: int = 10, maximum: int = 200
) -> int:
    """Return the epochs that make about `n_steps`, from `minimum` to `maximum`.

    Parameters
    ----------
    n_rows, batch_size, n_steps, minimum, maximum : int

    Returns
    -------
    int
    """
    return min(maximum, max(minimum, math.ceil(n_steps / math.ceil(n_rows / batch_size))))


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _checked_count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise TrainingError(
            f"got {name}={shown(value)}, expected a whole number of 1 or more, or 'auto'"
        )
    return int(value)


def _checked_number(
    name: str, value: Any, low: float, high: float, *, above: bool = False
) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (low <= number <= high) or math.isinf(number) or (above and number == low):
        bounds = f"above {low}" if above else f"of {low} or more"
        most = "" if math.isinf(high) else f", {high} at most"
        raise TrainingError(
            f"got {name}={shown(value)}, expected a number {bounds}{most}, or 'auto'"
        )
    return number


def _checked_name(name: str, value: Any, *allowed: str) -> str:
    if value not in allowed:
        raise TrainingError(
            f"got {name}={shown(value)}, expected {' or '.join(map(repr, allowed))}"
        )
    return str(value)
