"""Explanations of anomaly scores, and which instances to inspect next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from isthmus._core import find_nearest, isolated_from_host
from isthmus.autoencoder import InstanceEncoder
from isthmus.data import (
    ABNORMAL,
    Instances,
    Kind,
    as_instances,
    missing_first,
    row_index,
    take_rows,
)
from isthmus.data.preprocessing import issue_warnings
from isthmus.detection.features import Features, extract_features
from isthmus.detection.labelled_scores import LabelledScore
from isthmus.detection.reference_set import ReferenceSet
from isthmus.detection.scores import MissingPenalty, Score, anomaly_scores
from isthmus.encoding import most_informative


@dataclass(frozen=True, eq=False)
class Explanation:
    """Explanations of the scores of n instances.

    Attributes
    ----------
    anomaly_scores : array of shape (n,)
        Higher is more abnormal.
    residuals : array of shape (n, *shape of one instance) or None
        Squared residual of each column, pixel and channel, or time step and channel, in the
        network's units (standardised; [0, 1] for images). Their mean is the squared
        reconstruction error. None of an encoder without decoder.
    feature_names : tuple of str or None
        Of a table's columns or a series' channels.
    neighbours : integer array of shape (n, k)
        Row numbers, in the X given to `fit`, of the nearest normal training rows by code.
    distances : array of shape (n, k)
        Distances between the codes.
    head : array of shape (n,) or None
        Contribution of the head to the anomaly score, where one was trained on labels: positive
        is more abnormal.
    kind : {"images", "series", "table"}
    missing : boolean array of shape (n, m) or None
        Values of a table that are missing where none or few were at fit, and that raise the
        score; None where none is.
    index : Index or None
        Of the DataFrame that the instances came as.
    """

    anomaly_scores: np.ndarray
    residuals: np.ndarray | None
    feature_names: tuple[str, ...] | None
    neighbours: np.ndarray
    distances: np.ndarray
    head: np.ndarray | None = None
    kind: Kind = "table"
    missing: np.ndarray | None = None
    index: pd.Index | None = None

    def top(self, k: int = 3) -> list[list[tuple[str, float]]]:
        """Return the k features with the largest residual of each instance, and their share.

        Parameters
        ----------
        k : int, default=3

        Returns
        -------
        list of n lists of (name, share)
            A pixel is named by row and column, such as `"3, 7"`; the shares of all features
            add up to 1. A value that is missing where none or few were at fit is named
            `"temp (missing)"` and comes first: it counts as all residuals and 1 together. Empty
            lists without residuals.
        """
        if self.residuals is None:
            return [[] for _ in self.anomaly_scores]
        flat = self.residuals.reshape(len(self.residuals), -1)
        flat = missing_first(flat, self.missing)
        shares = flat / np.maximum(flat.sum(axis=1, keepdims=True), 1e-30)
        places = np.argsort(-shares, axis=1, kind="stable")[:, :k]
        shape = self.residuals.shape[1:]
        return [
            [(self._name(int(place), row, shape), float(share[place])) for place in ranked]
            for row, (ranked, share) in enumerate(zip(places, shares, strict=True))
        ]

    def by_channel(self) -> pd.DataFrame:
        """Return the share of each channel in the squared residual of a window, all steps together.

        Returns
        -------
        DataFrame of shape (n, n_channels)
            Columns `share_NAME`, or `share_channel 0` and so on without names; each row adds up to
            1. Of series alone: without columns for other kinds, and without residuals.
        """
        if self.kind != "series" or self.residuals is None:
            rows = range(len(self.anomaly_scores)) if self.index is None else self.index
            return pd.DataFrame(index=rows)
        names = self.feature_names or [f"channel {at}" for at in range(self.residuals.shape[-1])]
        sums = self.residuals.sum(axis=1, dtype=np.float64)
        shares = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-30)
        return pd.DataFrame(shares, columns=[f"share_{name}" for name in names], index=self.index)

    def frame(self, k: int = 3) -> pd.DataFrame:
        """Return a row for each instance: score, k features of largest residual, nearest normal.

        Its index is that of the DataFrame that the instances came as.

        Parameters
        ----------
        k : int
            How many of each instance's features are named.

        Returns
        -------
        DataFrame of n rows
        """
        columns: dict[str, Any] = {"anomaly_score": self.anomaly_scores}
        for rank, reasons in enumerate(zip(*self.top(k), strict=True), start=1):
            columns[f"reason_{rank}"] = [name for name, _ in reasons]
            columns[f"share_{rank}"] = [share for _, share in reasons]
        if self.head is not None:
            columns["head"] = self.head
        columns["nearest_normal"] = self.neighbours[:, 0]
        return pd.DataFrame(columns, index=self.index)

    def _name(self, place: int, row: int, shape: tuple[int, ...]) -> str:
        index = np.unravel_index(place, shape)
        if self.kind == "images":
            return ", ".join(str(int(i)) for i in index)
        number = int(index[-1])  # of a table's columns, or of a series' channels
        word = "column" if self.kind == "table" else "channel"
        name = f"{word} {number}" if self.feature_names is None else self.feature_names[number]
        if self.missing is not None and self.missing[row, place]:
            name += " (missing)"
        return name if self.kind == "table" else f"{name} at step {int(index[0])}"


class ExplainedDecisionsMixin:
    """What a fitted detector explains, and what it would have a person label next."""

    encoder_: InstanceEncoder
    reference_set_: ReferenceSet
    fitted_score_: Score
    missing_penalty_: MissingPenalty | None
    false_alarm_rate_: float
    check_encoder_unchanged: Callable[[], None]
    p_values_of: Callable[..., np.ndarray]
    _scores: Callable[[Features], np.ndarray]
    instances_and_groups: Callable[[Any, Any], tuple[Instances, np.ndarray | None]]

    @isolated_from_host()
    def explain(self, X: Any, n_neighbors: int = 5) -> Explanation:
        """Return the residual of each feature and the nearest normal training rows by code.

        See `isthmus.detection.Explanation`.

        Parameters
        ----------
        X : array or DataFrame of n instances, Dataset
        n_neighbors : int, at least 1, default=5
            Normal training rows to return for each instance.

        Returns
        -------
        Explanation

        Examples
        --------
        >>> import numpy as np
        >>> from isthmus import AnomalyDetector, Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(300, 4))
        >>> detector = AnomalyDetector(
        ...     Autoencoder(max_epochs=2), calibration="split", random_state=0
        ... ).fit(X)
        >>> found = detector.explain(np.array([[0.0, 9.0, 0.0, 0.0]]), n_neighbors=2)
        >>> [[name for name, share in top] for top in found.top(1)]
        [['column 1']]
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
        score = self.fitted_score_, self.missing_penalty_
        return explain(self.encoder_, self.reference_set_, *score, X, n_neighbors)

    @isolated_from_host()
    def suggest(self, X: Any, n: int = 20, *, groups: Any = None) -> np.ndarray:
        """Return which instances to inspect next: near the threshold or beyond, and diverse.

        With groups near the threshold of each; see `predict`.

        Parameters
        ----------
        X : array or DataFrame of n instances, Dataset
            Those without a label: which have one is not looked at here, as `isthmus suggest` does.
        n : int, at least 1, default=20
        groups : optional
            See `predict`.

        Returns
        -------
        integer array of shape (min(n, len(X)),)
            Row numbers of X, the most informative first.

        Examples
        --------
        >>> import numpy as np
        >>> from isthmus import AnomalyDetector, Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(300, 4))
        >>> detector = AnomalyDetector(
        ...     Autoencoder(max_epochs=2), calibration="split", random_state=0
        ... ).fit(X)
        >>> new = np.vstack([np.zeros((5, 4)), np.full((5, 4), 3.0)])
        >>> detector.suggest(new, 3).tolist()
        [5, 0, 6]
        >>> detector.suggestions(new, 3)["row"].tolist()
        [5, 0, 6]
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
        instances, of_rows = self.instances_and_groups(X, groups)
        features = extract_features(self.encoder_, instances)
        p_values = self.p_values_of(self._scores(features), of_rows)
        # Uncertainty is largest where the p-value equals the rate.
        doubt = -np.abs(np.log(p_values / self.false_alarm_rate_))
        return most_informative(doubt, features.codes, n)

    @isolated_from_host()
    def suggestions(self, X: Any, n: int = 20, *, groups: Any = None) -> pd.DataFrame:
        """Return the instances that `suggest` chooses as a table, with a reason for each.

        Parameters
        ----------
        X : array or DataFrame of n instances, Dataset
        n : int, at least 1, default=20
        groups : optional
            See `predict`.

        Returns
        -------
        DataFrame of min(n, len(X)) rows
            With the index of X, where it is a DataFrame. `row`, its number in X; `anomaly_score`;
            `p_value`; `reason`, the feature of the largest residual, with its share of their sum,
            empty without residuals.
        """
        instances, of_rows = self.instances_and_groups(X, groups)
        rows = self.suggest(instances, n, groups=of_rows)
        found = self.explain(take_rows(instances.held, rows))
        of_found = None if of_rows is None else of_rows[rows]
        return pd.DataFrame(
            {
                "row": rows,
                "anomaly_score": found.anomaly_scores,
                "p_value": self.p_values_of(found.anomaly_scores, of_found),
                "reason": [
                    ", ".join(f"{name} ({share:.0%})" for name, share in top)
                    for top in found.top(1)
                ],
            },
            index=found.index,
        )


def explain(
    encoder: InstanceEncoder,
    reference_set: ReferenceSet,
    score: Score,
    penalty: MissingPenalty | None,
    X: Any,
    n_neighbors: int,
) -> Explanation:
    """Return the explanation of a detector's scores; see `Explanation`."""
    X = as_instances(X).held
    if not encoder.has_decoder:
        text = (
            f"{type(encoder).__name__} has no decoder, so which features make an instance unusual "
            "is not known; the nearest normal rows are"
        )
        issue_warnings([text])
    features = extract_features(encoder, X)
    normal = np.flatnonzero(reference_set.y != ABNORMAL)
    k = min(n_neighbors, len(normal))
    codes = reference_set.features.codes[normal].astype(np.float64)
    distances, rows = find_nearest(features.codes.astype(np.float64), codes, k)
    return Explanation(
        anomaly_scores=anomaly_scores(score, features, penalty),
        residuals=squared_residuals(encoder, X) if encoder.has_decoder else None,
        feature_names=encoder.schema_.columns,
        neighbours=normal[rows],
        distances=distances,
        head=score.contribution(features) if isinstance(score, LabelledScore) else None,
        kind=encoder.schema_.kind,
        missing=None if penalty is None else penalty.unusual(features),
        index=row_index(X),
    )


def squared_residuals(encoder: InstanceEncoder, X: Any) -> np.ndarray:
    """Return the squared residual of each value of an instance, (n, *schema_.shape).

    Parameters
    ----------
    encoder : InstanceEncoder
        Fitted, with a decoder.
    X : instances (n, ...)

    Returns
    -------
    array of shape (n, *schema_.shape)
    """
    parts = [
        encoder.preprocessor_.per_feature(((batch.inputs - batch.outputs) ** 2).numpy())
        for batch in encoder.reconstruct(X)
    ]
    return np.concatenate(parts)
