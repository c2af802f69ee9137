"""Prediction sets, accepted predictions and calibrated probabilities of classifiers."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.pipeline import make_pipeline

from common.guarantee_measures.guarantee import Facts, Measure, at_most, yes_or_no
from common.markdown import markdown, number
from common.records import errors
from isthmus import Autoencoder, CodeClassifier, load
from isthmus.classification import ClassCalibration, LinearHead, StandardisedHead, build_head
from isthmus.data import prediction_sets
from isthmus.errors import CalibrationWarning
from isthmus.evaluation import reliability

ALPHAS = (0.1, 0.05)
#: Images of MNIST that are drawn, and rows to label, to hold out and to test on, at most.
N_MNIST, MOST = 12_000, 2_000
#: Largest share of wrong predictions among the accepted, by data set; its confidence.
MAX_ERRORS = {"digits": 0.01, "mnist": 0.01, "cancer": 0.03, "wine": 0.1}
CONFIDENCE = 0.95
#: Calibrated on rows that the encoder was trained on without labels.
KNOWN = "held out, encoder trained on it"
Split = dict[str, np.ndarray]


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--sets-data", metavar="NAME,NAME", default="digits,mnist,cancer,wine", help="default all")
    add("--sets-heads", metavar="NAME,NAME", default="linear,neighbours")
    add("--sets-splits", type=int, default=40, help="default 40; 0 leaves them out")
    add("--sets-refit", type=int, default=0, help="splits that train an encoder each")
    add("--data-dir", metavar="FOLDER", help="where the files of MNIST lie")


def measure(options: argparse.Namespace) -> list[Facts]:
    """Return the facts of each data set and head, over splits of rows new to the encoder."""
    found: list[Facts] = []
    for name in options.sets_data.split(","):
        X, y = read(name, options.data_dir, options.seed)
        for head in options.sets_heads.split(","):
            given = (name, head, X, y, options.seed)
            if options.sets_splits:
                found += splits_of(*given, options.sets_splits, refit=False)
            if options.sets_refit:
                found += splits_of(*given, options.sets_refit, refit=True)
    return found


def splits_of(
    name: str, head: str, X: np.ndarray, y: np.ndarray, seed: int, n: int, *, refit: bool
) -> list[Facts]:
    """Return the facts over splits of rows new to one encoder, or to one of each split."""
    runs = []
    title = f"{name}, encoders" if refit else name
    for split in track(range(n), f"{title}, {head}", console=errors):
        if refit or split == 0:
            drawn = [seed, 0, split] if refit else [seed, 0]
            order = np.random.default_rng(drawn).permutation(len(X))
            seen, new = np.split(order, [len(X) // 3])
            encoder = Autoencoder(random_state=seed + split).fit(X[seen])
            codes = np.asarray(encoder.transform(X))
        rows = divide(seen, new, [seed, 1, split])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)
            warnings.simplefilter("ignore", UserWarning)  # of rare classes, by MAPIE
            runs.append(one_run(name, encoder, head, X, codes, y, rows, split))
    return summarise(title, name, head, runs)


def read(name: str, folder: str | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return instances and classes, numbered from 0."""
    if name == "digits":
        data = load_digits()
        return np.rint(data.images * (255 / 16)).astype(np.uint8), data.target
    if name == "mnist":
        train = load("mnist", data_dir=folder).train
        rows = np.random.default_rng([seed, 2]).permutation(len(train.X))[:N_MNIST]
        return np.asarray(train.X)[rows], np.asarray(train.y)[rows].astype(int)
    data = {"cancer": load_breast_cancer, "wine": load_wine}[name]()
    return data.data, data.target


def divide(seen: np.ndarray, new: np.ndarray, seed: list[int]) -> Split:
    """Draw rows to label, hold out and test on, new to the encoder, and others known to it."""
    rng = np.random.default_rng(seed)
    order, known = rng.permutation(new), rng.permutation(seen)
    size = min(MOST, len(new) // 3)
    half = len(known) // 2
    return {
        "labelled": order[:size],
        "held": order[size : 2 * size],
        "test": order[2 * size :][: 2 * MOST],
        "labelled, known": known[:half][:MOST],
        "held, known": known[half:][:MOST],
    }


def one_run(
    name: str,
    encoder: Autoencoder,
    head: str,
    X: np.ndarray,
    codes: np.ndarray,
    y: np.ndarray,
    rows: Split,
    seed: int,
) -> dict[str, Facts]:
    """Return figures on the test rows by what calibrates."""
    test, truth = rows["test"], y[rows["test"]]
    mine, held = rows["labelled"], rows["held"]
    found = {}
    for source in ("cross", "split"):
        classifier = CodeClassifier(encoder, head, calibration=source, random_state=seed)
        classifier.fit(X[mine], y[mine])
        found[source] = of_classifier(name, classifier, X[test], truth)
    plain = CodeClassifier(encoder, head, random_state=seed).fit(X[mine], y[mine])
    found["held out"] = of_classifier(name, plain.calibrate(X[held], y[held]), X[test], truth)
    known = rows["labelled, known"], rows["held, known"]
    own = CodeClassifier(encoder, head, random_state=seed).fit(X[known[0]], y[known[0]])
    own.calibrate(X[known[1]], y[known[1]])
    found[KNOWN] = of_classifier(name, own, X[test], truth)
    found |= of_mapie(plain, codes[held], y[held], codes[test], truth)
    if head == "linear":
        found["held out, raw features"] = of_raw(X, y, rows)
    found |= of_scikit_learn(head, codes[mine], y[mine], codes[test], truth)
    return found


def of_classifier(name: str, classifier: CodeClassifier, X: np.ndarray, truth: np.ndarray) -> Facts:
    found = sets_facts(lambda by_class: classifier.class_p_values(X, by_class=by_class), truth)
    predicted = classifier.predict(X)
    wrong = predicted != truth
    accepted = classifier.accept(X, MAX_ERRORS[name], confidence=CONFIDENCE)
    found["accepted"] = float(accepted.mean())
    found["wrong accepted"] = float((wrong & accepted).sum() / max(1, accepted.sum()))
    head = classifier.standardised_head_
    codes = np.asarray(classifier.encoder_.transform(X))
    found |= probability_facts(
        "before", head.head_.predict_proba(head.scaler_.transform(codes)), truth
    )
    return found | probability_facts("after", classifier.predict_proba(X), truth)


def of_mapie(
    classifier: CodeClassifier, held: np.ndarray, y: np.ndarray, new: np.ndarray, truth: np.ndarray
) -> dict[str, Facts]:
    """Return figures of MAPIE's sets by three scores, on the same head and calibration rows."""
    from mapie.classification import SplitConformalClassifier

    found = {}
    standardised = classifier.standardised_head_
    model = make_pipeline(standardised.scaler_, standardised.head_)
    for score in ("lac",) if len(np.unique(y)) == 2 else ("lac", "aps"):
        oracle = SplitConformalClassifier(
            model, confidence_level=[1 - a for a in ALPHAS], conformity_score=score, random_state=0
        ).conformalize(held, y)
        sets = oracle.predict_set(new)[1]
        facts = {f"{a}": of_sets(sets[:, :, at], truth) for at, a in enumerate(ALPHAS)}
        found[f"held out, MAPIE {score.upper()}"] = {"sets": facts}
    return found


def of_raw(X: np.ndarray, y: np.ndarray, rows: Split) -> Facts:
    """Return figures of a logistic regression on raw features."""
    flat = X.reshape(len(X), -1).astype(np.float64)
    model = StandardisedHead(LinearHead()).fit(flat[rows["labelled"]], y[rows["labelled"]])
    calibration = ClassCalibration.of(model.head_proba(flat[rows["held"]]), y[rows["held"]])
    given, truth = model.head_proba(flat[rows["test"]]), y[rows["test"]]
    facts = sets_facts(lambda by: calibration.p_values(given[None], by_class=by), truth)
    return facts | probability_facts("before", given, truth)


def of_scikit_learn(
    head: str, codes: np.ndarray, y: np.ndarray, new: np.ndarray, truth: np.ndarray
) -> dict[str, Facts]:
    """Return figures of probabilities calibrated class by class, on folds of the same labels."""
    plain = StandardisedHead(build_head(head, n_labels=len(y), random_state=0)).fit(codes, y)
    scaler, found = plain.scaler_, {}
    for method in ("sigmoid", "isotonic"):
        model = CalibratedClassifierCV(
            build_head(head, n_labels=len(y), random_state=0), method=method, cv=5, ensemble=False
        ).fit(scaler.transform(codes), y)
        given = model.predict_proba(scaler.transform(new))
        facts = probability_facts("after", given, truth)
        facts["changed"] = float(
            (model.classes_[given.argmax(axis=1)] != plain.predict(new)).mean()
        )
        found[f"scikit-learn, {method}"] = facts
    return found


def sets_facts(p_values: Callable[[bool], np.ndarray], truth: np.ndarray) -> Facts:
    both = {by_class: p_values(by_class) for by_class in (False, True)}
    found: Facts = {"sets": {}}
    for alpha in ALPHAS:
        facts = of_sets(prediction_sets(both[False], alpha), truth)
        by_class = of_sets(prediction_sets(both[True], alpha), truth)
        found["sets"][f"{alpha}"] = facts | {f"{k} by class": v for k, v in by_class.items()}
    return found


def of_sets(sets: np.ndarray, truth: np.ndarray) -> Facts:
    missed, sizes = ~sets[np.arange(len(truth)), truth], sets.sum(axis=1)
    classes = range(sets.shape[1])
    each = [float(missed[truth == c].mean()) if (truth == c).any() else np.nan for c in classes]
    empty = float((sizes == 0).mean())
    return {
        "missed": float(missed.mean()),
        "size": float(sizes.mean()),
        "empty": empty,
        "each": each,
    }


def probability_facts(when: str, probabilities: np.ndarray, truth: np.ndarray) -> Facts:
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    loss = float(-np.log(np.maximum(of_truth, np.finfo(np.float64).eps)).mean())
    right = probabilities.argmax(axis=1) == truth
    error = reliability(probabilities.max(axis=1), right)["error"]
    return {f"loss {when}": loss, f"ece {when}": error, f"accuracy {when}": float(right.mean())}


def summarise(title: str, name: str, head: str, runs: list[dict[str, Facts]]) -> list[Facts]:
    """Return means and standard errors over the runs, one set of facts by what calibrates."""
    found = []
    for source in runs[0]:
        given = [run[source] for run in runs]
        facts: Facts = {"data": title, "head": head, "source": source}
        for alpha in ALPHAS if "sets" in given[0] else ():
            sets = [one["sets"][f"{alpha}"] for one in given]
            part = at_most([one["missed"] for one in sets], alpha)
            if source == KNOWN:  # of which nothing is promised
                del part["holds"]
            part |= {key: mean_of(sets, key) for key in ("size", "empty")}
            for by_class in ("", " by class"):
                if f"each{by_class}" in sets[0]:
                    part[f"worst{by_class}"] = worst_class([one[f"each{by_class}"] for one in sets])
            if "size by class" in sets[0]:
                part["size by class"] = mean_of(sets, "size by class")
            facts[f"sets at {alpha}"] = part
        if "accepted" in given[0]:
            most = MAX_ERRORS[name]
            broken = [float(one["wrong accepted"] > most) for one in given]
            facts["accepted"] = at_most(broken, 1 - CONFIDENCE) | {
                "max_error": most,
                "share": mean_of(given, "accepted"),
                "wrong": mean_of(given, "wrong accepted"),
            }
            if source == KNOWN:
                del facts["accepted"]["holds"]
        for key in given[0]:
            if key.split(" ")[0] in ("loss", "ece", "accuracy", "changed"):
                facts[key] = mean_of(given, key)
        found.append(facts)
    return found


def mean_of(facts: list[Facts], key: str) -> list[float]:
    """Return the mean over runs and its standard error."""
    values = [one[key] for one in facts]
    return [float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))]


def worst_class(each: list[list[float]]) -> list[float]:
    """Return the largest share missed of a class, a mean over runs, and its standard error."""
    shares = np.array(each)
    means = np.nanmean(shares, axis=0)
    at = int(means.argmax())
    return [float(means[at]), float(np.nanstd(shares[:, at], ddof=1) / np.sqrt(len(shares)))]


def show(console: Console, found: list[Facts]) -> None:
    rows = []
    for one in found:
        for alpha in ALPHAS:
            part: Any = one.get(f"sets at {alpha}")
            if part is not None:
                row = [f"{one['data']}, {one['head']}, {one['source']}", f"{alpha:g}"]
                row += [f"{part['mean']:.4f} ({part['se']:.4f})", holds(part)]
                row += [
                    *(number(part[key][0], 3) for key in ("size", "empty")),
                    pair(part["worst"]),
                ]
                by_class = part.get("worst by class")
                row += (
                    [pair(by_class), number(part["size by class"][0], 3)] if by_class else ["", ""]
                )
                rows.append(row)
    columns = ["sets: calibrated by", "alpha", "class missed", "holds", "mean size", "empty"]
    columns += ["worst class", "by class: worst class", "mean size"]
    markdown(console, columns, rows)
    rows = []
    for one in found:
        if "accepted" in one:
            part = one["accepted"]
            row = [f"{one['data']}, {one['head']}, {one['source']}", f"{part['max_error']:g}"]
            row += [pair(part["wrong"]), number(part["share"][0], 3), number(part["mean"], 3)]
            rows.append([*row, holds(part)])
    columns = ["accepted: calibrated by", "error allowed", "wrong", "share accepted"]
    markdown(console, [*columns, "runs above", "holds"], rows)
    rows = []
    for one in found:
        if "loss after" in one:
            row = [f"{one['data']}, {one['head']}, {one['source']}"]
            for key in ("loss before", "loss after", "ece before", "ece after"):
                row.append(pair(one.get(key), 4))
            rows.append([*row, number(one["accuracy after"][0], 4), pair(one.get("changed"), 4)])
    columns = ["probabilities: calibrated by", "log-loss before", "after", "ECE before", "after"]
    markdown(console, [*columns, "accuracy", "classes changed"], rows)


def holds(part: Facts) -> str:
    return yes_or_no(part["holds"]) if "holds" in part else ""


def pair(found: list[float] | None, digits: int = 3) -> str:
    return "" if found is None else f"{found[0]:.{digits}f} ({found[1]:.{digits}f})"


MEASURE = Measure("prediction_sets", measure, show, add_options)
