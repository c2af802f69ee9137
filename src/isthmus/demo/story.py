"""The demo, step by step: look, learn a code, freeze it, decide, stand beside the controls."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from isthmus._memory import give_back_memory
from isthmus.autoencoder import Autoencoder
from isthmus.bundle import save_bundle
from isthmus.data import Dataset, Splits
from isthmus.demo import telling
from isthmus.demo.normal_or_not import decide_normal
from isthmus.demo.page import write_page
from isthmus.demo.pictures import draw_pictures
from isthmus.errors import DataError
from isthmus.evaluation.controls import Controls, control_names, score_head
from isthmus.evaluation.metrics import plain_label
from isthmus.heads import AnomalyDetector, CodeClassifier
from isthmus.heads.cache import encode
from isthmus.manifest import check_target
from isthmus.storage import write_json

HEADS = ("linear", "neighbours", "mlp")


def run_demo(
    data: Dataset | Splits,
    output: str | Path,
    *,
    recipe: str = "default",
    controls: str = "fast",
    normal_class: str | None = None,
    seed: int = 0,
    resume: bool = False,
    console: Console | None = None,
    seconds_to_load: float = 0.0,
    words: str | None = None,
) -> dict[str, Any]:
    """Learn a code without labels, freeze it, classify on it, and tell the story.

    Parameters
    ----------
    data : Splits or Dataset
        Of a Dataset a fifth is set aside for testing first.
    output : path
        Folder for the bundle, the pictures and `demo.json`.
    recipe : {"default", "fast", "thorough", "reference"}
    controls : {"fast", "all"}
        `"all"` trains the supervised network too.
    normal_class : str, optional
        The class that is normal in the chapter "normal or not"; the first by default.
    seed : int
        Of all randomness.
    resume : bool
        Go on from the checkpoint of a run that was interrupted.
    console : rich.console.Console, optional
        Where to tell it; standard output by default.
    seconds_to_load : float
        What loading took, for the table of times.
    words : str, optional
        How the data is named on the command line, for what to run next.

    Returns
    -------
    dict
        Plain values, as in `demo.json`.
    """
    console = console or Console()
    output = Path(output)
    bundle = check_target(output / "bundle")
    started = time.perf_counter()
    seconds = {"load": seconds_to_load}
    names = control_names(controls)
    train, test = _both_parts(data, seed)

    facts = _facts_of(train, test)
    telling.tell_data(console, facts)

    checkpoints = output / "checkpoints"
    encoder = Autoencoder(
        kind=train.kind,
        recipe=recipe,
        random_state=seed,
        verbose=True,
        checkpoint_dir=checkpoints,
        resume=resume,
    )
    with _timed(seconds, "fit"):
        encoder.fit(train.X)
    facts |= {
        "n_components": encoder.n_components_,
        "parameters": encoder.n_parameters_,
        "epochs": len(encoder.history_),
        "best_epoch": encoder.best_epoch_,
        "recipe": recipe,
        "seed": seed,
        "reconstruction": {
            "metric": encoder.loss_,
            "train": float(encoder.reconstruction_error(train.X).mean()),
            "test": float(encoder.reconstruction_error(test.X).mean()),
        },
    }
    telling.tell_training(console, encoder, facts)
    give_back_memory()

    tests: Controls | None = None
    classifiers: dict[str, CodeClassifier] = {}
    facts |= {"heads": {}, "controls": {}, "first_predictions": [], "frozen": _frozen(encoder, {})}
    seconds |= {"encode": 0.0, "heads": 0.0}
    with tempfile.TemporaryDirectory() as cache:
        with _timed(seconds, "encode"):
            encode(encoder, train.X, cache)
            codes = encode(encoder, test.X, cache)
        if train.y is not None and test.y is not None:
            with _timed(seconds, "heads"):
                tests = Controls(
                    encoder, train.X, train.y, test.X, test.y, random_state=seed, verbose=True
                )
                classifiers, found = _fit_heads(console, encoder, train, codes, test.y, cache, seed)
                for name, of_head in found.items():
                    tests.remember("code", name, of_head)
                facts["heads"] = {name: _plain(of_head) for name, of_head in found.items()}
                facts["confusion"] = {
                    "head": HEADS[-1],
                    "classes": found[HEADS[-1]]["classes"],
                    "matrix": found[HEADS[-1]]["confusion"],
                }
                facts["frozen"] = _frozen(encoder, classifiers)
                telling.tell_freeze(console, facts)
                facts["controls"] = _test_controls(console, tests, names)
                tests.let_go()
            decided = classifiers[HEADS[-1]].standardised_head_.predict(codes[:10])
            facts["first_predictions"] = [plain_label(label) for label in decided]
    telling.tell_heads(console, facts)

    heads: dict[str, CodeClassifier | AnomalyDetector] = dict(classifiers)
    decided_normal = None
    if train.y is not None and test.y is not None:
        with _timed(seconds, "detector"):
            decided_normal = decide_normal(encoder, train, test, normal_class, seed)
        if decided_normal is not None:
            facts["detector"] = decided_normal[0]
            heads = {"normal": decided_normal[1], **heads}  # the last stays the one that predicts
            telling.tell_detector(console, facts)

    facts["bundle"] = str(bundle)
    facts["pictures"] = draw_pictures(
        console, output / "plots", encoder, train, test, facts, classifiers
    )
    give_back_memory()
    save_bundle(
        bundle,
        encoder,
        heads,
        metrics={
            "reconstruction": facts["reconstruction"],
            **facts["heads"],
            "normal": facts.get("detector", {}),
        },
    )
    # The report reads them from the bundle.
    del encoder, classifiers, decided_normal, heads
    give_back_memory()
    with _timed(seconds, "report"):
        facts["report"] = write_page(console, output, Splits(train, test), facts, seed, tests)
    seconds["total"] = time.perf_counter() - started + seconds_to_load
    facts["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
    write_json(output / "demo.json", facts)
    shutil.rmtree(checkpoints, ignore_errors=True)
    telling.tell_end(console, facts, output, words or train.name)
    return facts


def _both_parts(data: Dataset | Splits, seed: int) -> tuple[Dataset, Dataset]:
    if data.test is None:
        assert isinstance(data, Dataset)
        data = data.split(0.2, random_state=seed)
    if len(data.train) < 10:
        raise DataError(
            f"got {len(data.train)} training instances, expected at least 10 to tell a story"
        )
    return data.train, data.test


def _facts_of(train: Dataset, test: Dataset) -> dict[str, Any]:
    return {
        "dataset": train.name,
        "kind": train.kind,
        "n_train": len(train),
        "n_test": len(test),
        "input_shape": list(train.schema.shape),
        "class_names": list(train.class_names or ()),
        "label_share": {"train": _shares(train.y), "test": _shares(test.y)},
        "first_labels": {"train": _first(train.y), "test": _first(test.y)},
    }


def _shares(y: np.ndarray | None) -> dict[str, float]:
    if y is None:
        return {}
    labels, counts = np.unique(y, return_counts=True)
    return {str(label): float(count / len(y)) for label, count in zip(labels, counts, strict=True)}


def _first(y: np.ndarray | None) -> list[Any]:
    return [] if y is None else [plain_label(label) for label in y[:10]]


def _frozen(encoder: Autoencoder, classifiers: dict[str, CodeClassifier]) -> dict[str, Any]:
    after = [classifier.encoder_digest_ for classifier in classifiers.values()]
    last = after[-1] if after else encoder.digest_
    return {
        "digest_before": encoder.digest_,
        "digest_after": last,
        "unchanged": all(digest == encoder.digest_ for digest in [*after, last]),
    }


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "test_accuracy": found["accuracy"],
        "test_loss": found["log_loss"],
        "interval": found["interval"],
    }


def _fit_heads(
    console: Console,
    encoder: Autoencoder,
    train: Dataset,
    codes: np.ndarray,
    y: np.ndarray,
    cache: str,
    seed: int,
) -> tuple[dict[str, CodeClassifier], dict[str, dict[str, Any]]]:
    """Fit every head on the training part, and test it on codes with labels."""
    classifiers, found = {}, {}
    for name in HEADS:
        with console.status(f"fitting head: {name}"):
            classifier = CodeClassifier(encoder, name, cache_dir=cache, random_state=seed)
            classifiers[name] = classifier.fit(train.X, train.y)
            found[name] = score_head(classifier.standardised_head_, codes, y)
        give_back_memory()
    return classifiers, found


def _test_controls(
    console: Console, tests: Controls, names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Test every control with every head; the linear head's figures stand for the control.

    The neural head takes longer than all else together, so without the supervised network
    (the fast controls) only PCA, the control of the same width, gets it.
    """
    results: dict[str, dict[str, Any]] = {}
    for name in names:
        if name == "supervised":
            results[name] = _plain(tests.test_supervised())
            continue
        by_head = {}
        for head in HEADS:
            if head == "mlp" and name != "pca" and "supervised" not in names:
                continue
            with console.status(f"control: {head} head on {name} features"):
                by_head[head] = _plain(tests.test(name, head))
            give_back_memory()
        results[name] = by_head["linear"] | {"heads": by_head}
    return results


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note how long a chapter takes; what it freed goes back to the system."""
    started = time.perf_counter()
    yield
    give_back_memory()
    seconds[name] = time.perf_counter() - started
