"""Chapter "comparison with baselines": accuracy of one head on each, by number of labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data import CLASSES, ClassMatcher, Dataset
from isthmus.evaluation import BASELINE_TITLES, Baselines, FewLabels, baseline_names, select_rows
from isthmus.report.wording import percent

SIZES = (10, 30, 100, 300, 1000)
N_DRAWS = 5
CODE = "frozen code"
#: Accuracies that differ by less than this, half a percentage point, count as level.
LEVEL = 0.005


def comparison_facts(
    encoder: Autoencoder,
    train: Dataset,
    test: Dataset,
    *,
    head: str = "linear",
    baselines: str = "fast",
    seed: int = 0,
    measured: Baselines | None = None,
    on_progress: Callable[[str], object] = lambda _: None,
) -> dict[str, Any] | None:
    """Measure a head on the code and on every baseline, with more and more labels.

    Parameters
    ----------
    encoder : fitted Autoencoder
    train, test : Dataset
        With labels, and of more than one class, else None is returned.
    head : see `build_head`
    baselines : {"fast", "all"}
        `"all"` trains the supervised network with all labels too.
    seed : int
    measured : Baselines, optional
        Results for the same encoder, data and seed, which are not measured again unless some
        instance has no label.
    on_progress : callable, optional
        Called with the name of each step that may take long, before it.

    Returns
    -------
    dict or None
        `head`; `n_draws`; `curves`, from the name of the features to points with `n_labels`,
        `accuracy` (mean over draws), `low` and `high` (lowest and highest draw; with all labels
        the 95 % Wilson score interval); `verdict`, one sentence.
    """
    if train.y is None or test.y is None:
        return None
    fitted = np.flatnonzero(CLASSES.has_label(train.y))
    y = _typed(train.y[fitted])
    if len(np.unique(y)) < 2:
        return None
    tested, truth = ClassMatcher(np.unique(y)).labelled(test.y)
    if not len(truth):
        return None
    train = train if len(fitted) == len(train) else train.take(fitted)
    test = test if len(tested) == len(test) else test.take(tested)
    if measured is not None and len(measured.y_train) == len(y):
        tests = measured
    else:
        tests = Baselines(encoder, train.X, y, test.X, truth, random_state=seed)
    sizes = [n for n in SIZES if len(np.unique(y)) <= n <= len(y) // 2]
    draws = {n: FewLabels(y, truth, n, N_DRAWS, head, seed) for n in sizes}
    # Raw features take four times the memory of images, so only those needed are made.
    rows = np.unique(np.concatenate([[], *(drawn.rows for drawn in draws.values())])).astype(int)
    curves: dict[str, list[dict[str, Any]]] = {}
    names = baseline_names(baselines, encoder)
    for name in ("code", *(name for name in names if name != "supervised")):
        called = CODE if name == "code" else BASELINE_TITLES[name]
        on_progress(f"{head} head on {called}")
        whole = tests.test(name, head)
        fitted_on, tested_on = tests.train_features(name, rows), tests.test_features(name)
        points = []
        for n, drawn in draws.items():
            at = np.searchsorted(rows, drawn.rows)
            found = drawn.correct_predictions(
                fitted_on[at], select_rows(tested_on, drawn.held_out)
            ).mean(axis=1)
            points.append(_point(n, found.mean(), found.min(), found.max()))
        curves[called] = [*points, _point(len(y), whole["accuracy"], *whole["interval"])]
    if "supervised" in names:
        on_progress("supervised network")
        found = tests.test_supervised()
        low, high = found["interval"]
        curves[BASELINE_TITLES["supervised"]] = [_point(len(y), found["accuracy"], low, high)]
    return {
        "head": head,
        "n_draws": N_DRAWS,
        "n_test": len(truth),
        "curves": curves,
        "verdict": verdict(curves),
    }


def verdict(curves: dict[str, list[dict[str, Any]]]) -> str:
    """Return a sentence that compares the code with the best baseline at the same labels.

    Examples
    --------
    >>> few = {"n_labels": 100, "accuracy": 0.9}
    >>> verdict({"frozen code": [few], "raw features": [few | {"accuracy": 0.8}]})
    'With 100 labels the frozen code is 10.0 percentage points better than the best baseline \
(90.0 % against 80.0 % for raw features): the code improves on the baselines.'
    """
    code = {point["n_labels"]: point["accuracy"] for point in curves[CODE]}
    clauses: list[str] = []
    gains: list[float] = []
    for n in dict.fromkeys((min(code, key=lambda n: abs(np.log(n / 100))), max(code))):
        others = {
            name: point["accuracy"]
            for name, points in curves.items()
            if name not in (CODE, BASELINE_TITLES["supervised"])
            for point in points
            if point["n_labels"] == n
        }
        best = max(others, key=others.__getitem__)
        gain = code[n] - others[best]
        gains.append(gain)
        if abs(gain) < LEVEL:
            how = "level with the best baseline"
        else:
            better = "better" if gain > 0 else "worse"
            how = f"{100 * abs(gain):.1f} percentage points {better} than the best baseline"
        clauses.append(
            f"{'with' if clauses else 'With'} {n:,} labels "
            f"{'it' if clauses else 'the frozen code'} is "
            f"{how} ({percent(code[n])} against {percent(others[best])} for {best})"
        )
    return "; ".join(clauses) + f": {_conclusion(gains)}."


def _conclusion(gains: list[float]) -> str:
    if max(gains) < LEVEL:
        return "the code does not improve on the baselines here"
    if min(gains) > -LEVEL:
        return "the code improves on the baselines"
    if gains[0] >= LEVEL:
        return "the code improves on the baselines while labels are few"
    return "the code improves on the baselines only once labels are many"


def _point(n: int, mean: float, low: float, high: float) -> dict[str, Any]:
    return {"n_labels": n, "accuracy": float(mean), "low": float(low), "high": float(high)}


def _typed(y: np.ndarray) -> np.ndarray:
    """Return labels in their own type, where missing ones had made them objects."""
    return np.array(y.tolist())
