"""Advice on the width of the code: its result, and the few labels it is measured with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from isthmus._core import shown, table
from isthmus.classification import StandardisedHead, build_head, check_labels, uses_unlabelled
from isthmus.data import CLASSES, ClassMatcher
from isthmus.errors import DataError

#: Units of the squared error.
UNITS = {
    "images": "squared error of a pixel in [0, 1]",
    "series": "squared error of a standardised value",
    "table": "squared error of a standardised value",
}
#: Labels drawn of each class, unless a number is given.
LABELS_PER_CLASS = 10


@dataclass(frozen=True, eq=False, repr=False)
class Advice:
    """Measurements of codes of several widths and of PCA, and the recommended width.

    Attributes
    ----------
    n_components : int
        The recommended width.
    why : str
        The rule by which it was chosen, as a phrase.
    knee, knee_pca : int or None
        Width at the knee of the reconstruction error of the code, and of PCA; None where the
        curve has none (see `isthmus.evaluation.width_advice.find_knee`).
    enough_for_labels : int or None
        The narrowest width whose few-label accuracy is within one standard error of the
        best; None without labels.
    table : list of dict
        One for each width, in increasing order:

        - `width`;
        - `error`, `pca_error`: mean squared error of a value of the held-out instances, in the
          network's units, the same formula for both;
        - `kept`, `pca_kept`: 1 - error / `mean_error`, the share of the variance explained;
        - `loss`: the training loss on the held-out instances;
        - `accuracy`, `accuracy_std`, `pca_accuracy`, `pca_accuracy_std`: of held-out labelled
          instances, mean and standard deviation over the draws of labels; None without
          labels, and the deviation of a single draw;
        - `seconds` and `epochs` of training.
    mean_error : float
        Squared error when the mean of the training instances is the reconstruction of each.
    raw_accuracy, raw_accuracy_std : float or None
        Few-label accuracy on the raw features.
    kind : {"images", "series", "table"}
    n_features : int
        Values of a network input; a code is narrower.
    n_rows, n_train, n_held_out : int
        Instances given, trained on, and held out for measuring.
    n_labels, n_draws, n_labelled_held_out : int or None
        Labels in a draw, draws, and the labelled among the held-out instances.
    head : str or None
    recipe : str

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus import advise
    >>> X = np.random.default_rng(0).normal(size=(200, 8))
    >>> advice = advise(X, widths=[2, 4], random_state=0)
    >>> advice.to_frame().index.tolist(), advice.n_components == advice.to_dict()["n_components"]
    ([2, 4], True)
    >>> advice.summary().count("PCA") > 0
    True
    """

    n_components: int
    why: str
    knee: int | None
    knee_pca: int | None
    enough_for_labels: int | None
    table: list[dict[str, Any]]
    mean_error: float
    raw_accuracy: float | None
    raw_accuracy_std: float | None
    kind: str
    n_features: int
    n_rows: int
    n_train: int
    n_held_out: int
    n_labels: int | None
    n_draws: int | None
    n_labelled_held_out: int | None
    head: str | None
    recipe: str

    def __repr__(self) -> str:
        widths = ", ".join(str(row["width"]) for row in self.table)
        return f"Advice(n_components={self.n_components}, of widths {widths})"

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame, a row for each width.

        Returns
        -------
        DataFrame
        """
        return pd.DataFrame(self.table).set_index("width")

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes as plain values, which JSON can hold.

        Returns
        -------
        dict
        """
        return asdict(self)

    def _repr_html_(self) -> str:
        rows = [
            [
                f"{row['width']}{' (recommended)' if row['width'] == self.n_components else ''}",
                *(f"{row[name]:.4g}" for name in ("error", "pca_error")),
                *(
                    [
                        _spread(row[name], row[f"{name}_std"])
                        for name in ("accuracy", "pca_accuracy")
                    ]
                    if self.n_labels is not None
                    else []
                ),
            ]
            for row in self.table
        ]
        head = ["width", "error", "of PCA", "accuracy %", "of PCA"]
        return table(rows, head[: len(rows[0])], f"{self.n_components} recommended, {self.why}")

    def summary(self) -> str:
        """Return the table as text, with the recommendation below.

        Returns
        -------
        str
        """
        labels = self.n_labels is not None
        head = f"{'width':>7}  {'error':>8}  {'PCA':>8}  {'kept %':>6}  {'PCA':>6}"
        head += f"  {'accuracy %':>11}  {'PCA':>11}" if labels else ""
        lines = [*self._preamble(), f"{head}  {'seconds':>7}"]
        for row in self.table:
            mark = "*" if row["width"] == self.n_components else " "
            line = f"{mark} {row['width']:>5}  {row['error']:>8.4g}  {row['pca_error']:>8.4g}"
            line += f"  {_percent(row['kept']):>6}  {_percent(row['pca_kept']):>6}"
            if labels:
                for name in ("accuracy", "pca_accuracy"):
                    line += f"  {_spread(row[name], row[f'{name}_std']):>11}"
            lines.append(f"{line}  {row['seconds']:>7.1f}")
        return "\n".join([*lines, *self._conclusions()])

    def _preamble(self) -> list[str]:
        used = self.n_train + self.n_held_out
        drawn = f", drawn from {self.n_rows:,}" if used < self.n_rows else ""
        lines = [
            f"{self.n_train:,} training instances, {self.n_held_out:,} held out{drawn}",
            f"error     {UNITS[self.kind]}; kept: share of the variance",
        ]
        if self.n_labels is not None:
            lines.append(
                f"accuracy  of a {self.head} head after {self.n_labels:,} labels, on "
                f"{self.n_labelled_held_out:,} labelled held-out instances"
            )
            spread = "mean ± standard deviation of {} draws" if self.n_draws != 1 else "of one draw"
            lines.append(f"          {spread.format(self.n_draws)}")
        return lines

    def _conclusions(self) -> list[str]:
        lines = []
        if self.raw_accuracy is not None:
            raw = _spread(self.raw_accuracy, self.raw_accuracy_std)
            lines.append(f"accuracy on raw features, without a code: {raw} %")
        knees = [str(knee) if knee else "none" for knee in (self.knee, self.knee_pca)]
        lines.append(f"knee of the error: {knees[0]} (PCA: {knees[1]})")
        return [*lines, f"* recommended: n_components={self.n_components}, {self.why}"]


class FewLabels:
    """Draws of few labels, with which a head is fitted on any features of the instances.

    Parameters
    ----------
    y_train, y_held_out : arrays of shape (n,) and (k,)
        Labels of all instances, those without one included: see `CLASSES`.
    n_labels : int or "auto"
        Labels in a draw, balanced between the classes as far as possible. `"auto"` is ten
        a class, and at most half of the labels, so that draws differ.
    n_draws : int
    head : see `isthmus.classification.build_head`
    seed : int

    Attributes
    ----------
    rows : int array
        The training instances whose features are needed: those in some draw, or all for a head
        that uses unlabelled instances, as which those outside a draw then count.
    held_out : int array
        The labelled among the held-out instances.
    n_labels : int
    classes : array
        Of the labelled training instances, sorted.

    Raises
    ------
    DataError
        When there are too few labels.
    """

    def __init__(
        self,
        y_train: np.ndarray,
        y_held_out: np.ndarray,
        n_labels: int | Literal["auto"],
        n_draws: int,
        head: str | BaseEstimator,
        seed: int,
    ) -> None:
        labelled = np.flatnonzero(CLASSES.has_label(y_train))
        n_held_out = int(CLASSES.has_label(y_held_out).sum())
        if not len(labelled) or not n_held_out:
            raise DataError(
                f"got {len(labelled)} labelled training instances and {n_held_out} "
                "held-out ones, expected at least one of each; label more, or leave y out"
            )
        # As a list, so that labels of type object, because some are missing, get their own type.
        y = check_labels(np.array(y_train[labelled].tolist()), len(labelled))
        self.classes = np.unique(y)
        # Whether a held-out -1 is a class follows from the training labels.
        self.held_out, self._y_held_out = ClassMatcher(self.classes).labelled(y_held_out)
        if not len(self.held_out):
            raise DataError(
                "got held-out labels of -1 only, which marks an instance as unlabelled; "
                " label more, or leave y out"
            )
        self.n_labels = _checked_number(n_labels, len(y), len(self.classes))
        rng = np.random.default_rng([seed, 1])
        draws = [_draw(y, self.n_labels, rng) for _ in range(n_draws)]
        self._head, self._seed = head, seed
        self._semi_supervised = uses_unlabelled(self._built())
        drawn = np.unique(labelled[np.concatenate(draws)])
        self.rows = np.arange(len(y_train)) if self._semi_supervised else drawn
        # Of each draw, the positions among `rows`, and the labels.
        self._draws = [(np.searchsorted(self.rows, labelled[draw]), y[draw]) for draw in draws]

    def correct_predictions(self, train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Fit the head on each draw, and return which held-out instances it classifies correctly.

        Parameters
        ----------
        train : array of shape (len(rows), m)
            Features of the instances `rows`.
        held_out : array of shape (len(held_out), m)
            Features of the instances `held_out`.

        Returns
        -------
        boolean array of shape (n_draws, len(held_out))
        """
        correct = []
        for rows, labels in self._draws:
            features = train[rows]
            if self._semi_supervised:
                y = np.full(len(train), None, dtype=object)
                y[rows] = labels.tolist()
                features, labels = train, y
            fitted = StandardisedHead(self._built()).fit(features, labels)
            correct.append(fitted.predict(held_out) == self._y_held_out)
        return np.array(correct)

    def _built(self) -> Any:
        return build_head(self._head, n_labels=self.n_labels, random_state=self._seed)


def _draw(y: np.ndarray, n_labels: int, rng: np.random.Generator) -> np.ndarray:
    """Return the positions of `n_labels` random labels, equally many of each class if possible."""
    order = rng.permutation(len(y))
    turn = pd.Series(y[order]).groupby(y[order]).cumcount().to_numpy()
    return order[np.argsort(turn, kind="stable")[:n_labels]]


def _checked_number(n_labels: Any, n_available: int, n_classes: int) -> int:
    if isinstance(n_labels, str) and n_labels == "auto":
        return max(n_classes, min(LABELS_PER_CLASS * n_classes, n_available // 2))
    whole = hasattr(n_labels, "__index__") and not isinstance(n_labels, bool)
    if not whole or not n_classes <= n_labels <= n_available:
        raise DataError(
            f"got n_labels={shown(n_labels)}, expected 'auto' or a whole number from {n_classes:,} "
            f"(one a class) to {n_available:,} (the labelled instances that are not held out)"
        )
    return int(n_labels)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _spread(mean: float, deviation: float | None) -> str:
    return f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")
