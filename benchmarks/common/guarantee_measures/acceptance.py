"""Accepted predictions of classifiers: how many, and how often too many of them are wrong."""

from __future__ import annotations

import argparse
import math

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import binom
from sklearn.datasets import load_digits

from common.guarantee_measures.guarantee import Facts, Measure, at_most, yes_or_no
from common.markdown import markdown
from common.records import errors
from isthmus import Autoencoder, CodeClassifier
from isthmus.classification import accept_most_certain, negative_log_odds

CONFIDENCE = 0.95
MAX_ERRORS = (0.01, 0.05, 0.1)
N_LABELS = (120, 400, 1000)
#: Instances of a simulated population.
N_POPULATION = 200_000
#: Nonconformity of each instance of a population, and whether its prediction is right.
Population = tuple[np.ndarray, np.ndarray]


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--accept-runs", type=int, default=1000, help="draws of labels (default 1000)")


def measure(options: argparse.Namespace) -> list[Facts]:
    """Return the facts of each population, error allowed and number of calibration labels."""
    found = []
    for name, population in populations(options.seed).items():
        for max_error in MAX_ERRORS:
            for n in N_LABELS:
                title = f"{name}, {max_error:g}, {n} labels"
                runs = track(range(options.accept_runs), title, console=errors)
                draws = [draw(population, n, [options.seed, 1, run]) for run in runs]
                facts: Facts = {"population": name, "max_error": max_error, "labels": n}
                facts["best"] = best_share(population, max_error)
                for rule, accept in RULES.items():
                    thresholds = [accept(*one, max_error) for one in draws]
                    facts[rule] = of_thresholds(population, thresholds, max_error)
                del facts["one by one"]["holds"]  # what was before, for comparison
                found.append(facts)
    return found


def populations(seed: int) -> dict[str, Population]:
    """Return populations whose errors are known: four simulated, three of digits."""
    rng = np.random.default_rng([seed, 0])
    place, chance = rng.uniform(size=(2, N_POPULATION))
    sure = 1 / (1 + np.exp(-np.abs(rng.normal(2.2, 2, size=N_POPULATION))))
    noisy = rng.uniform(size=N_POPULATION) < 0.02
    top = np.select([place < 0.02, place < 0.8], [0.4, 0.004], 0.3)
    found: dict[str, Population] = {
        "probabilities are right": (-sure, chance < sure),
        "2 % of labels are wrong": (-sure, (chance < sure) & ~noisy),
        "40 % wrong among the most certain 2 %": (place, chance > top),
        "5.1 % wrong everywhere": (place, chance > 0.051),
    }
    data = load_digits()
    X, y = np.rint(data.images * (255 / 16)).astype(np.uint8), data.target
    order = np.random.default_rng([seed, 2]).permutation(len(X))
    trained, labelled, rest = np.split(order, [600, 1000])
    for epochs in (1, 5, 20):
        encoder = Autoencoder(max_epochs=epochs, random_state=seed).fit(X[trained])
        head = CodeClassifier(encoder, random_state=seed).fit(X[labelled], y[labelled])
        given = head.standardised_head_.head_proba(np.asarray(encoder.transform(X[rest])))
        predicted = given.argmax(axis=1)
        nonconformity = negative_log_odds(given)[np.arange(len(rest)), predicted]
        found[f"digits, encoder of {epochs} epochs"] = (
            nonconformity,
            head.classes_[predicted] == y[rest],
        )
    return found


def draw(population: Population, n: int, seed: list[int]) -> Population:
    """Draw n calibration labels, independent of each other."""
    at = np.random.default_rng(seed).integers(len(population[0]), size=n)
    return population[0][at], population[1][at]


def for_all_thresholds(nonconformity: np.ndarray, right: np.ndarray, max_error: float) -> float:
    return accept_most_certain(nonconformity, right, max_error, CONFIDENCE).threshold


def one_by_one(nonconformity: np.ndarray, right: np.ndarray, max_error: float) -> float:
    """Test twentieths from the most certain instances on, until a test fails."""
    order = np.argsort(nonconformity, kind="stable")
    ordered, wrong = nonconformity[order], np.cumsum(~right[order])
    n, threshold = len(order), -np.inf
    for share in range(1, 21):
        k = math.ceil(share * n / 20)
        if (1 - max_error) ** k > 1 - CONFIDENCE:
            continue
        if binom.cdf(wrong[k - 1], k, max_error) > 1 - CONFIDENCE:
            break
        threshold = np.inf if k == n else float(ordered[k])
    return threshold


RULES = {"for all thresholds": for_all_thresholds, "one by one": one_by_one}


def errors_of(population: Population) -> tuple[np.ndarray, np.ndarray]:
    """Return the nonconformity in order, and the share wrong among instances up to each."""
    order = np.argsort(population[0], kind="stable")
    wrong = np.cumsum(~population[1][order])
    return population[0][order], wrong / np.arange(1, len(order) + 1)


def best_share(population: Population, max_error: float) -> float:
    """Return the largest share that can be accepted where the errors are known."""
    ordered, share_wrong = errors_of(population)
    ends = np.append(ordered[1:] > ordered[:-1], True)
    found = np.flatnonzero(ends & (share_wrong <= max_error))
    return float((found[-1] + 1) / len(ordered)) if len(found) else 0.0


def of_thresholds(population: Population, thresholds: list[float], max_error: float) -> Facts:
    """Return the share accepted, and that of the draws with more wrong than allowed."""
    ordered, share_wrong = errors_of(population)
    accepted = np.searchsorted(ordered, thresholds, "left")
    wrong = np.where(accepted > 0, share_wrong[accepted - 1], 0.0)
    facts = at_most([float(one) for one in wrong > max_error], 1 - CONFIDENCE)
    return facts | {
        "share": float(accepted.mean() / len(ordered)),
        "nothing": float((accepted == 0).mean()),
    }


def show(console: Console, found: list[Facts]) -> None:
    rows = []
    for one in found:
        row = [one["population"], f"{one['max_error']:g}", f"{one['labels']:,}"]
        row.append(f"{one['best']:.2f}")
        for rule in RULES:
            part = one[rule]
            row += [f"{part['share']:.2f}", f"{part['nothing']:.2f}", f"{part['mean']:.3f}"]
            row += [yes_or_no(part["holds"])] if "holds" in part else []
        rows.append(row)
    columns = ["accepted predictions", "error allowed", "labels", "best share"]
    columns += ["for all thresholds: share", "nothing accepted", "too many wrong", "holds"]
    columns += ["one by one: share", "nothing accepted", "too many wrong"]
    markdown(console, columns, rows)


MEASURE = Measure("acceptance", measure, show, add_options)
