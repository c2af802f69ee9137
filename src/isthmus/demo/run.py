"""The demo: train an encoder, freeze it, fit heads and a detector, compare with baselines."""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from sklearn.metrics import average_precision_score, roc_auc_score

from isthmus._core import return_freed_memory, user_path, write_json
from isthmus.autoencoder import Autoencoder
from isthmus.bundle import check_target, refuse_to_delete_heads, save_bundle
from isthmus.classification import CodeClassifier
from isthmus.data import ABNORMAL, Dataset, Splits, verdicts
from isthmus.demo.output import (
    draw_pictures,
    print_data,
    print_detector,
    print_end,
    print_freeze,
    print_heads,
    print_training,
    timed,
    write_page,
)
from isthmus.demo.series import run_series_demo
from isthmus.detection import (
    LABEL_FREE,
    AnomalyDetector,
    anomaly_scores,
    extract_features_in_chunks,
)
from isthmus.encoding import encode_cached
from isthmus.errors import CalibrationWarning, DataError
from isthmus.evaluation import Baselines, baseline_names, plain_label, raw_distances, score_head
from isthmus.training import lock_checkpoints

#: Key of the detector's own scores, beside those by name.
DECIDES = "decides"

#: Instances that the normal class needs in each part, for a threshold to be set.
MIN_INSTANCES = 10


def detect_anomalies(
    encoder: Autoencoder, train: Dataset, test: Dataset, normal: str | None, seed: int
) -> tuple[dict[str, Any], AnomalyDetector] | None:
    """Fit a detector with one class as normal, and test it on all classes.

    It is fitted on the training instances of the class, on which the encoder was trained too,
    without labels. It is calibrated on half of the test instances of the class, and tested on
    the other half and on all test instances of the other classes.

    Parameters
    ----------
    encoder : fitted Autoencoder
    train, test : Dataset
        With labels.
    normal : str or None
        Label of the normal class, as text; None takes the first class.
    seed : int

    Returns
    -------
    facts and detector, or None when `normal` is None and the first class is too small

    Raises
    ------
    DataError
        When there is no such class, or it has too few instances.
    """
    assert train.y is not None
    assert test.y is not None
    names = np.asarray(test.y).astype(str)
    class_names = train.class_names or ()
    wanted = normal if normal is not None else class_names[0]
    if wanted not in class_names:
        raise DataError(f"got normal class {wanted!r}, expected one of {', '.join(class_names)}")
    of_class = np.random.default_rng([seed, 4]).permutation(np.flatnonzero(names == wanted))
    fitted_rows = np.flatnonzero(np.asarray(train.y).astype(str) == wanted)
    others = np.flatnonzero(names != wanted)
    if len(of_class) < MIN_INSTANCES or len(fitted_rows) < MIN_INSTANCES or not len(others):
        if normal is None:
            return None
        raise DataError(
            f"the class {wanted!r} has {len(fitted_rows)} training and {len(of_class)} test "
            f"instances, expected at least {MIN_INSTANCES} of each, and some of other classes"
        )
    calibrate, rest = np.array_split(of_class, 2)
    reference = train.take(fitted_rows).X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # the realised rate is printed
        detector = AnomalyDetector(encoder, random_state=seed).fit(
            reference, X_calibration=test.take(calibrate).X
        )
    rows = np.concatenate([rest, others])
    abnormal = np.arange(len(rows)) >= len(rest)
    tested = test.take(rows).X
    return_freed_memory()
    reference_features = detector.reference_set_.features.take(np.arange(len(fitted_rows)))
    fitted = {
        n: detector.fitted_score_
        if n == detector.method_
        else score().fit(reference_features, np.random.default_rng(seed))
        for n, score in LABEL_FREE.items()
    }
    return_freed_memory()
    found: dict[str, list[np.ndarray]] = {name: [] for name in (DECIDES, *fitted)}
    for features in extract_features_in_chunks(encoder, tested):
        found[DECIDES].append(
            anomaly_scores(detector.fitted_score_, features, detector.missing_penalty_)
        )
        for name, one in fitted.items():
            found[name].append(one.score(features))
    score_arrays = {name: np.concatenate(parts) for name, parts in found.items()}
    scores = score_arrays.pop(DECIDES)
    flagged = verdicts(scores, -detector.offset_) == ABNORMAL
    by_name = {name: float(roc_auc_score(abnormal, of)) for name, of in score_arrays.items()}
    del reference_features, fitted
    return_freed_memory()
    facts = {
        "normal_class": plain_label(train.y[fitted_rows[0]]),
        "n_train": len(fitted_rows),
        "n_calibration": detector.n_calibration_,
        "n_abnormal": len(others),
        "method": detector.method_,
        "auroc": float(roc_auc_score(abnormal, scores)),
        "auprc": float(average_precision_score(abnormal, scores)),
        "false_alarm_rate": {
            "asked": detector.false_alarm_rate_,
            "realised": float(flagged[~abnormal].mean()),
            "n": len(rest),
        },
        "found": float(flagged[abnormal].mean()),
        "scores": by_name,
        "baselines": {
            "raw": float(roc_auc_score(abnormal, raw_distances(encoder, reference, None, tested)))
        },
    }
    return facts, detector


HEADS = ("linear", "neighbours", "mlp")


def run_demo(
    data: Dataset | Splits,
    output: str | Path,
    *,
    recipe: str = "default",
    max_epochs: int | Literal["auto"] = "auto",
    baselines: str = "fast",
    normal_class: str | None = None,
    seed: int = 0,
    resume: bool = False,
    console: Console | None = None,
    seconds_to_load: float = 0.0,
    words: str | None = None,
) -> dict[str, Any]:
    """Train an encoder without labels, freeze it, fit heads on it, and print the results.

    Of a series with time points, such as `load("pump")`, a detector is fitted on the training part
    and tells the alarms of the test part, see `isthmus.demo.series.run_series_demo`.

    Parameters
    ----------
    data : Splits or Dataset
        A fifth of a Dataset is held out for testing.
    output : path
        Folder for the bundle, the figures, the report and `demo.json`.
    recipe : {"default", "fast", "thorough", "reference"}
    max_epochs : int or "auto", default="auto"
        Of the encoder; `"auto"` is that of the recipe.
    baselines : {"fast", "all"}
        `"all"` trains the supervised network too.
    normal_class : str, optional
        Label of the normal class of the detector; the first class by default.
    seed : int
        Seed of all random choices.
    resume : bool
        Continue from the checkpoint of an interrupted run.
    console : rich.console.Console, optional
        Where to print; standard output by default.
    seconds_to_load : float
        Time that loading took, for the printed times.
    words : str, optional
        The data on the command line, for the commands to run next.

    Returns
    -------
    dict
        Plain values, as in `demo.json`.

    Examples
    --------
    It takes half a minute.

    >>> from isthmus import load
    >>> facts = run_demo(load("digits"), "demo")  # doctest: +SKIP
    """
    if isinstance(data, Splits) and data.train.points is not None:
        return run_series_demo(
            data, output, recipe=recipe, max_epochs=max_epochs, seed=seed, resume=resume,
            console=console, seconds_to_load=seconds_to_load,
        )  # fmt: skip
    console = console or Console(markup=False, emoji=False)
    output = user_path(output)
    checkpoints, bundle = output / "checkpoints", check_target(output / "bundle")
    with lock_checkpoints(checkpoints):  # until the last file is written
        # Those of an earlier demo are written anew; others are somebody's work.
        refuse_to_delete_heads(bundle, replaced=(*HEADS, "normal"))
        started = time.perf_counter()
        seconds = {"load": seconds_to_load}
        names = baseline_names(baselines)
        train, test = _train_and_test(data, seed)

        facts = _data_facts(train, test)
        print_data(console, facts)

        encoder = Autoencoder(
            kind=train.kind,
            recipe=recipe,
            max_epochs=max_epochs,
            random_state=seed,
            verbose=True,
            checkpoint_dir=checkpoints,
            resume=resume,
        )
        with timed(seconds, "fit"):
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
        print_training(console, encoder, facts)
        return_freed_memory()

        tests: Baselines | None = None
        classifiers: dict[str, CodeClassifier] = {}
        facts |= {
            "heads": {},
            "baselines": {},
            "first_predictions": [],
            "frozen": _digest_facts(encoder, {}),
        }
        seconds |= {"encode": 0.0, "heads": 0.0}
        with tempfile.TemporaryDirectory() as cache:
            with timed(seconds, "encode"):
                encode_cached(encoder, train.X, cache)
                codes = encode_cached(encoder, test.X, cache)
            if train.y is not None and test.y is not None:
                with timed(seconds, "heads"):
                    tests = Baselines(
                        encoder, train.X, train.y, test.X, test.y, random_state=seed, verbose=True
                    )
                    classifiers, found = _fit_heads(
                        console, encoder, train, codes, test.y, cache, seed
                    )
                    for name, of_head in found.items():
                        tests.add_result("code", name, of_head)
                    facts["heads"] = {name: _test_facts(of_head) for name, of_head in found.items()}
                    facts["confusion"] = {
                        "head": HEADS[-1],
                        "classes": found[HEADS[-1]]["classes"],
                        "matrix": found[HEADS[-1]]["confusion"],
                    }
                    facts["frozen"] = _digest_facts(encoder, classifiers)
                    print_freeze(console, facts)
                    facts["baselines"] = _test_baselines(console, tests, names)
                predicted = classifiers[HEADS[-1]].standardised_head_.predict(codes[:10])
                facts["first_predictions"] = [plain_label(label) for label in predicted]
        print_heads(console, facts)

        heads: dict[str, CodeClassifier | AnomalyDetector] = dict(classifiers)
        detection = None
        if train.y is not None and test.y is not None:
            with timed(seconds, "detector"):
                detection = detect_anomalies(encoder, train, test, normal_class, seed)
            if detection is not None:
                facts["detector"] = detection[0]
                heads = {"normal": detection[1], **heads}  # predict uses the last head
                print_detector(console, facts)

        facts["bundle"] = str(bundle)
        save_bundle(
            bundle,
            encoder,
            heads,
            metrics={
                "reconstruction": facts["reconstruction"],
                **facts["heads"],
                "normal": facts.get("detector", {}),
            },
            overwrite=True,
        )
        return_freed_memory()
        facts["pictures"] = draw_pictures(
            console, output / "plots", encoder, train, test, facts, classifiers
        )
        # Freed first: the report reads encoder and heads from the bundle.
        del encoder, classifiers, detection, heads
        return_freed_memory()
        with timed(seconds, "report"):
            normal = facts["detector"]["normal_class"] if "detector" in facts else None
            facts["report"] = write_page(
                console,
                output / "report.html",
                facts["bundle"],
                Splits(train, test),
                normal=None if normal is None else str(normal),
                seed=seed,
                measured=tests,
            )
        seconds["total"] = time.perf_counter() - started + seconds_to_load
        facts["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
        write_json(output / "demo.json", facts)
        shutil.rmtree(checkpoints, ignore_errors=True)
        print_end(console, facts, output, words or train.name)
        return facts


def _train_and_test(data: Dataset | Splits, seed: int) -> tuple[Dataset, Dataset]:
    if data.test is None:
        assert isinstance(data, Dataset)
        data = data.split(0.2, random_state=seed)
    if len(data.train) < 10:
        raise DataError(
            f"got {len(data.train)} training instances, expected at least 10; pass more data"
        )
    return data.train, data.test


def _data_facts(train: Dataset, test: Dataset) -> dict[str, Any]:
    return {
        "dataset": train.name,
        "kind": train.kind,
        "n_train": len(train),
        "n_test": len(test),
        "input_shape": list(train.schema.shape),
        "class_names": list(train.class_names or ()),
        "label_share": {"train": _label_shares(train.y), "test": _label_shares(test.y)},
        "first_labels": {"train": _first_labels(train.y), "test": _first_labels(test.y)},
    }


def _label_shares(y: np.ndarray | None) -> dict[str, float]:
    if y is None:
        return {}
    labels, counts = np.unique(y, return_counts=True)
    return {str(label): float(count / len(y)) for label, count in zip(labels, counts, strict=True)}


def _first_labels(y: np.ndarray | None) -> list[Any]:
    return [] if y is None else [plain_label(label) for label in y[:10]]


def _digest_facts(encoder: Autoencoder, classifiers: dict[str, CodeClassifier]) -> dict[str, Any]:
    after = [classifier.encoder_digest_ for classifier in classifiers.values()]
    last = after[-1] if after else encoder.digest_
    return {
        "digest_before": encoder.digest_,
        "digest_after": last,
        "unchanged": all(digest == encoder.digest_ for digest in [*after, last]),
    }


def _test_facts(found: dict[str, Any]) -> dict[str, Any]:
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
    """Fit every head on the training part, and test it on the test codes."""
    classifiers, found = {}, {}
    for name in HEADS:
        with console.status(f"fitting head: {name}"):
            classifier = CodeClassifier(encoder, name, cache_dir=cache, random_state=seed)
            classifiers[name] = classifier.fit(train.X, train.y)
            found[name] = score_head(classifier.standardised_head_, codes, y)
        return_freed_memory()
    return classifiers, found


def _test_baselines(
    console: Console, tests: Baselines, names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Test every baseline with every head; the linear head's figures stand for the baseline.

    The mlp head takes longer than all others together, so with the fast baselines it is fitted
    only on PCA, the baseline of the same width.
    """
    results: dict[str, dict[str, Any]] = {}
    for name in names:
        if name == "supervised":
            results[name] = _test_facts(tests.test_supervised())
            continue
        by_head = {}
        for head in HEADS:
            if head == "mlp" and name != "pca" and "supervised" not in names:
                continue
            with console.status(f"baseline: {head} head on {name} features"):
                by_head[head] = _test_facts(tests.test(name, head))
            return_freed_memory()
        tests.clear_cache()
        results[name] = by_head["linear"] | {"heads": by_head}
    return results
