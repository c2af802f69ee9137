"""Advice on the width of the code: codes of several widths compared with PCA."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from rich.console import Console
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA

from isthmus._core import is_quiet, isolated_from_host, shown
from isthmus.autoencoder import Autoencoder
from isthmus.data import CLASSES, Dataset, Schema, load
from isthmus.data.preprocessing import learn_preprocessor
from isthmus.errors import DataError
from isthmus.evaluation.advice import Advice, FewLabels
from isthmus.networks import choose_n_components
from isthmus.training import draw_seed, raising_interrupts


class PrincipalComponents:
    """One PCA of the training instances, used at several widths.

    Parameters
    ----------
    train, held_out : Dataset
        Preprocessing is learned from `train`, as in `Autoencoder.fit`.

    Attributes
    ----------
    train, held_out : float32 arrays of shape (n, n_features) and (k, n_features)
        Preprocessed network inputs, flattened.
    n_features : int
    mean_error : float
        Squared error when the mean of `train` is the reconstruction of each held-out instance.
    """

    def __init__(self, train: Dataset, held_out: Dataset) -> None:
        schema = Schema.learn(train.X, train.kind)
        preprocessor = learn_preprocessor(schema.check(train.X), schema)
        self.n_features = math.prod(preprocessor.network_shape)
        self.train, self.held_out = (
            preprocessor.to_network(schema.check(part.X)).reshape(len(part), -1)
            for part in (train, held_out)
        )
        self.mean_error = squared_error(self.train.mean(axis=0), self.held_out)
        self._of_images = train.kind == "images"

    def fit(self, max_width: int, seed: int) -> None:
        """Fit `max_width` components, or as many as the data has."""
        # Centred rows span one dimension fewer than there are rows.
        width = min(max_width, self.n_features, len(self.train) - 1)
        self._pca = PCA(width, random_state=seed).fit(self.train)
        self._scores = self._pca.transform(self.held_out)

    def error(self, width: int) -> float:
        """Return the mean squared error of the held-out instances with `width` components."""
        reconstructed = self._scores[:, :width] @ self._pca.components_[:width] + self._pca.mean_
        return squared_error(reconstructed, self.held_out, clip=self._of_images)

    def features(self, width: int, rows: Any, held_out: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the first `width` components of the given training and held-out instances."""
        return self._pca.transform(self.train[rows])[:, :width], self._scores[held_out, :width]


def squared_error(reconstructed: np.ndarray, inputs: np.ndarray, *, clip: bool = False) -> float:
    """Return the mean squared error of a value; `clip` limits reconstructions to [0, 1]."""
    if clip:
        reconstructed = np.clip(reconstructed, 0, 1)
    return float(np.square(reconstructed - inputs, dtype=np.float64).mean())


#: A curve that stays within this distance of the straight line from its first point to its last,
#: both axes scaled to 0..1, has no knee that a second run would reproduce.
MIN_DIP = 0.05


def find_knee(widths: Sequence[int], errors: Sequence[float]) -> int | None:
    """Return the width at the knee of a decreasing error curve, or None.

    Kneedle (Satopää et al., Finding a "Kneedle" in a Haystack, 2011) for a whole curve: both
    axes are scaled to 0..1, the widths by their logarithm, and the knee is the point
    farthest below the diagonal. The curve is not smoothed, as it has few points.

    Parameters
    ----------
    widths : sequence of int
        In increasing order.
    errors : sequence of float
        One for each width.

    Returns
    -------
    int or None
        None with fewer than three widths, and for a curve that is nowhere more than 0.05 below
        the diagonal.

    Examples
    --------
    >>> find_knee([1, 2, 4, 8, 16], [0.7, 0.4, 0.1, 0.09, 0.08])
    4
    >>> find_knee([1, 2, 4, 8, 16], [0.5, 0.4, 0.3, 0.2, 0.1]) is None  # straight
    True
    """
    x, y = np.log2(np.asarray(widths, dtype=float)), np.asarray(errors, dtype=float)
    if len(x) < 3 or np.ptp(y) == 0:
        return None
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y.min()) / np.ptp(y)
    below = 1 - x - y
    best = int(below.argmax())
    return int(widths[best]) if below[best] > MIN_DIP else None


def narrowest_sufficient(widths: Sequence[int], correct: Sequence[np.ndarray]) -> int:
    """Return the narrowest width within one standard error of the best accuracy.

    The one-standard-error rule (Breiman et al., 1984) on paired differences to the best
    width. The draw of labels and the choice of held-out instances both contribute variance;
    the two variances are added.

    Parameters
    ----------
    widths : sequence of int
        In increasing order.
    correct : sequence of boolean arrays of shape (n_draws, n_held_out)
        For each width, which held-out instances were classified correctly after each draw.

    Examples
    --------
    >>> poor, good = np.eye(4) > 0, np.ones((4, 4)) > 0
    >>> narrowest_sufficient([2, 4, 8], [poor, good, good])
    4
    """
    means = [values.mean() for values in correct]
    best = int(np.argmax(means))
    for width, values in zip(widths, correct, strict=True):
        behind = correct[best].astype(float) - values
        variance = _variance_of_mean(behind.mean(axis=1)) + _variance_of_mean(behind.mean(axis=0))
        if behind.mean() <= np.sqrt(variance):
            return int(width)
    raise AssertionError("the best width is within one standard error of itself")


def _variance_of_mean(values: np.ndarray) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0


#: Rows and values used at most, unless `max_rows` says otherwise.
MAX_ROWS, MAX_VALUES = 10_000, 2**27
#: Widths that "auto" tries at most.
MAX_WIDTHS = 6
#: Columns of the table, in this order.
COLUMNS = (
    *("width", "error", "pca_error", "kept", "pca_kept", "loss"),
    *("accuracy", "accuracy_std", "pca_accuracy", "pca_accuracy_std", "seconds", "epochs"),
)
#: Parameters of a single training run, which the run of the next width would overwrite.
_RUN_PARAMETERS = ("n_components", "checkpoint_dir", "log_dir", "resume")


@isolated_from_host()
@raising_interrupts()
def advise(
    X: Any,
    y: Any = None,
    widths: Sequence[int] | Literal["auto"] = "auto",
    *,
    kind: str = "auto",
    recipe: str = "fast",
    n_labels: int | Literal["auto"] = "auto",
    n_draws: int = 5,
    head: str | BaseEstimator = "linear",
    validation_fraction: float = 0.2,
    max_rows: int | Literal["auto"] = "auto",
    random_state: int | np.random.RandomState | None = None,
    verbose: bool = False,
    **parameters: Any,
) -> Advice:
    """Recommend `n_components`: train codes of several widths and compare them with PCA.

    Everything is measured on instances held out from `X`: the reconstruction error of code and
    PCA and, with labels, the accuracy of a head fitted on few labels. Do not pass test
    instances, because the width is chosen by these measurements.

    Parameters
    ----------
    X : array, DataFrame or Dataset
        Or anything else that `isthmus.load` takes; of data with a training and a test part,
        the training part. Windows of a long table are held out so that none shares a row
        with a training window (`Dataset.split`).
    y : array of shape (n,), optional
        Labels. None, NaN, empty text and -1 mark unlabelled instances (-1 is a class when
        the only other label is 1).
    widths : sequence of int or "auto", default="auto"
        `"auto"` takes up to six: powers of two up to twice the width that
        `Autoencoder(n_components="auto")` chooses, and that width.
    kind : {"auto", "images", "series", "table"}, default="auto"
        What an array of three dimensions holds: images, unless this says `"series"`.
    recipe : str, default="fast"
        See `Autoencoder`; `"default"` measures the codes that it gives without a recipe, and
        takes longer.
    n_labels : int or "auto", default="auto"
        Labels in a draw, balanced between the classes as far as possible. `"auto"` is ten a
        class, at most half of the labels.
    n_draws : int, default=5
        Draws of labels, the same ones for every width, for PCA and for the raw features.
    head : {"linear", "mlp", "neighbours", "svm", "spreading"} or scikit-learn classifier, \
default="linear"
        A head that uses unlabelled instances gets all training instances outside the draw too.
    validation_fraction : float in (0, 1), default=0.2
        Share of the instances that is held out. (Training holds out some of the others, as the
        recipe says, to choose its best epoch.)
    max_rows : int or "auto", default="auto"
        Instances used at most, drawn at random. `"auto"` is 10,000, fewer when they are very
        large. Where most instances are unlabelled, up to half of those drawn are labelled.
    random_state : int, RandomState instance or None, default=None
    verbose : bool, default=False
        Show progress on standard error.
    **parameters
        Other parameters of `Autoencoder`, such as `architecture` or `max_epochs`.

    Returns
    -------
    Advice
        With `n_components`, `why`, `table`, `summary()` and `to_frame()`;
        `isthmus.plots.plot_widths` draws it. With labels the width recommended is the
        narrowest whose accuracy is within one standard error of the best; without, the knee
        of the code's reconstruction error (Kneedle, Satopää et al., 2011); and where there is
        no knee, the width of the lowest error.

    Raises
    ------
    DataError
        When widths, labels or instances cannot be used.
    TrainingError
        When a parameter of `Autoencoder` is out of range.

    Notes
    -----
    Errors of code and PCA are both squared errors of the network's inputs, which makes the
    comparison fair: PCA minimises it, and the minimisers of squared error and of cross-entropy
    both reconstruct the mean of the inputs with the same code. Reconstructions of images are
    clipped to [0, 1], the range of pixels. PCA is fitted on the same instances as the network,
    with those by which training chooses its epoch. The variance between training runs is not
    measured; treat widths within a few percent of each other as equal.

    Examples
    --------
    >>> digits = load("digits").train
    >>> advice = advise(digits.X, digits.y, widths=[4, 16], max_epochs=5, random_state=0)
    >>> advice.to_frame().shape, advice.n_components
    ((2, 11), 16)
    """
    unusable = [name for name in _RUN_PARAMETERS if name in parameters]
    if unusable:
        raise DataError(
            f"got {unusable[0]}, which cannot be set because a network is trained for each width; "
            "leave it out" + (", and pass widths=" if unusable[0] == "n_components" else "")
        )
    seed = draw_seed(random_state)
    quiet = not verbose or is_quiet()
    console = Console(stderr=True, markup=False, emoji=False, highlight=False, quiet=quiet)
    data = load(X, y, kind=kind).train
    n_rows = len(data)
    data = _subsample(data, _max_rows(max_rows, data), seed)
    parts = data.split(validation_fraction, random_state=seed)
    labels = None
    if parts.train.y is not None and parts.test.y is not None:
        n_draws = _checked_count("n_draws", n_draws)
        labels = FewLabels(parts.train.y, parts.test.y, n_labels, n_draws, head, seed)
    pca = PrincipalComponents(parts.train, parts.test)
    chosen = _chosen_widths(widths, pca.n_features)
    pca.fit(max(chosen), seed)
    table: list[dict[str, Any]] = []
    correct: list[np.ndarray] = []
    for width in chosen:
        console.print(f"width {width} ({len(table) + 1} of {len(chosen)})")
        settings = {"kind": data.kind, "recipe": recipe} | parameters
        settings |= {"random_state": seed, "verbose": verbose and console.is_terminal}
        started = time.perf_counter()
        encoder = Autoencoder(width, **settings).fit(parts.train.X, warn=False)
        seconds = time.perf_counter() - started
        row: dict[str, Any] = {"seconds": seconds, "epochs": len(encoder.history_)}
        codes, error, row["loss"] = _measure(encoder, parts.test.X)
        errors = {"": error, "pca_": pca.error(width)}
        for name, error in errors.items():
            row[f"{name}error"] = error
            row[f"{name}kept"] = 1 - error / pca.mean_error if pca.mean_error > 0 else None
            row |= _accuracy(name, None)
        if labels is not None:
            few = encoder.transform(parts.train.take(labels.rows).X)
            correct.append(labels.correct_predictions(few, codes[labels.held_out]))
            row |= _accuracy("", correct[-1])
            of_pca = pca.features(width, labels.rows, labels.held_out)
            row |= _accuracy("pca_", labels.correct_predictions(*of_pca))
        table.append({name: ({"width": width} | row)[name] for name in COLUMNS})

    raw = None
    if labels is not None:
        raw = labels.correct_predictions(pca.train[labels.rows], pca.held_out[labels.held_out])
    knee = find_knee(chosen, [row["error"] for row in table])
    enough = narrowest_sufficient(chosen, correct) if correct else None
    recommended, why = _recommend(table, knee, enough, pca.n_features - 1)
    return Advice(
        n_components=recommended,
        why=why,
        knee=knee,
        knee_pca=find_knee(chosen, [row["pca_error"] for row in table]),
        enough_for_labels=enough,
        table=table,
        mean_error=pca.mean_error,
        kind=data.kind,
        n_features=pca.n_features,
        n_rows=n_rows,
        n_train=len(parts.train),
        n_held_out=len(parts.test),
        n_labels=None if labels is None else labels.n_labels,
        n_draws=None if labels is None else n_draws,
        n_labelled_held_out=None if labels is None else len(labels.held_out),
        head=None if labels is None else head if isinstance(head, str) else repr(head),
        recipe=recipe,
        **_accuracy("raw_", raw),
    )


def _measure(encoder: Autoencoder, X: Any) -> tuple[np.ndarray, float, float]:
    """Return codes, mean squared error of a value, and mean loss of an instance."""
    clip = encoder.schema_.kind == "images"
    codes, errors, losses = [], [], []
    for batch in encoder.reconstruct(X):
        codes.append(batch.codes.numpy())
        error = squared_error(batch.outputs.numpy(), batch.inputs.numpy(), clip=clip)
        errors.append(error * len(codes[-1]))
        losses.append(batch.errors.numpy())
    n = sum(map(len, codes))
    return np.concatenate(codes), sum(errors) / n, float(np.concatenate(losses).mean())


def _accuracy(name: str, correct: np.ndarray | None) -> dict[str, float | None]:
    """Return mean and standard deviation of the accuracy over the draws, rows of `correct`."""
    if correct is None:
        return {f"{name}accuracy": None, f"{name}accuracy_std": None}
    of_draws = correct.mean(axis=1)
    deviation = float(of_draws.std(ddof=1)) if len(of_draws) > 1 else None
    return {f"{name}accuracy": float(of_draws.mean()), f"{name}accuracy_std": deviation}


def _recommend(
    table: list[dict[str, Any]], knee: int | None, enough: int | None, max_width: int
) -> tuple[int, str]:
    """Return the recommended width, and the rule in words."""
    widest = table[-1]["width"]
    wider = "; try wider ones too" if widest < max_width else ""
    if enough is not None:
        best = max(table, key=lambda row: row["accuracy"])
        why = (
            "the narrowest within one standard error of the best few-label accuracy "
            f"({100 * best['accuracy']:.1f} % at {best['width']})"
        )
        return enough, why + (wider if enough == widest else "")
    if knee is not None:
        return knee, "the knee of the reconstruction error: beyond it a wider code gains little"
    best = min(table, key=lambda row: row["error"])
    why = "the lowest reconstruction error, which has no knee among these widths"
    return best["width"], why + (wider if best is table[-1] else "")


def _chosen_widths(widths: Any, n_features: int) -> list[int]:
    """Return widths in increasing order, each once."""
    most = n_features - 1
    if isinstance(widths, str) and widths == "auto":
        if most <= MAX_WIDTHS:
            return list(range(1, most + 1)) or [1]
        usual = choose_n_components(n_features)
        powers = [2**power for power in range(1, n_features.bit_length())]
        near = {width for width in powers if width <= min(2 * usual, most)} | {usual}
        return sorted(near)[-MAX_WIDTHS:]
    try:
        chosen = sorted({operator.index(width) for width in widths})
    except TypeError:
        chosen = []
    if isinstance(widths, str) or not chosen or chosen[0] < 1 or chosen[-1] > most:
        raise DataError(
            f"got widths={shown(widths)}, expected 'auto' or whole numbers from 1 to {most:,}, "
            f"such as [{', '.join(map(str, _chosen_widths('auto', n_features)))}]: a code is "
            f"narrower than the {n_features:,} values of an instance"
        )
    return chosen


def _max_rows(max_rows: Any, data: Dataset) -> int:
    if isinstance(max_rows, str) and max_rows == "auto":
        return max(100, min(MAX_ROWS, MAX_VALUES // data.schema.n_features))
    return _checked_count("max_rows", max_rows, "'auto' or ")


def _checked_count(name: str, value: Any, also: str = "") -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise DataError(f"got {name}={shown(value)}, expected {also}a whole number of 1 or more")
    return int(value)


def _subsample(data: Dataset, max_rows: int, seed: int) -> Dataset:
    """Return `max_rows` random instances, up to half of them labelled ones; all if not more."""
    n = len(data)
    if n <= max_rows:
        return data
    order = np.random.default_rng([seed, 0]).permutation(n)
    if data.y is None:
        return data.take(np.sort(order[:max_rows]))
    labelled = CLASSES.has_label(data.y)[order]
    wanted = min(int(labelled.sum()), max(int(labelled[:max_rows].sum()), max_rows // 2))
    rows = [order[labelled][:wanted], order[~labelled][: max_rows - wanted]]
    return data.take(np.sort(np.concatenate(rows)))
