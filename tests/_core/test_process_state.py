"""What the calling program set for its own numerics changes nothing here, and stays set."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from threadpoolctl import ThreadpoolController, threadpool_limits
from torch import nn

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus._core import find_nearest, isolated_from_host, run_in_threads
from isthmus.evaluation import advise, evaluate, evaluate_detector, measure_drift
from isthmus.export import Exported, export_bundle

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(260, 6))
LABELS = (TABLE[:, 0] > 0).astype(int)
PARTIAL = np.where(np.arange(260) < 50, LABELS, -1)
FRAME = pd.DataFrame(TABLE, columns=list("abcdef"))
IMAGES = RNG.integers(0, 255, size=(60, 8, 8), dtype=np.uint8)
LARGE = RNG.integers(0, 255, size=(40, 16, 16), dtype=np.uint8)
SERIES = RNG.normal(size=(60, 16, 2)).astype(np.float32)


@contextlib.contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


WORLDS = {
    "float64 by default": default_dtype,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "DataFrames": lambda: sklearn.config_context(transform_output="pandas"),
    "errors raised": lambda: np.errstate(all="raise"),
}


OWN = (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.2), nn.Linear(4, 2)), nn.Linear(2, 6))


def fitted_digests():
    """Fit a small encoder of each kind and objective; return the digests."""
    choices = {"max_epochs": 2, "random_state": 0}
    encoders = [
        Autoencoder(2, **choices).fit(TABLE),
        Autoencoder(2, architecture=OWN, **choices).fit(TABLE),
        Autoencoder(2, objective={"masked": 1, "variational": 1}, **choices).fit(TABLE),
        Autoencoder(2, objective={"invariant": 1, "denoising": 1}, **choices).fit(TABLE),
        Autoencoder(2, precision="bfloat16", **choices).fit(TABLE),
        Autoencoder(4, **choices).fit(IMAGES),
        Autoencoder(4, architecture="conv", objective="masked", **choices).fit(IMAGES),
        Autoencoder(architecture="reference", **choices).fit(LARGE),
        Autoencoder(4, kind="series", objective="invariant", **choices).fit(SERIES),
    ]
    return [one.digest_ for one in [*encoders, encoders[0].untrained(1)]]


def decided(folder):
    """Fit heads, save and load them; return everything that they say, as arrays."""
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(FRAME[:150])
    before = encoder.digest_
    linear = CodeClassifier(encoder, rejection_rate=0.1, random_state=0).fit(
        FRAME[150:], LABELS[150:]
    )
    neural = CodeClassifier(encoder, "mlp", random_state=0).fit(FRAME[150:], LABELS[150:])
    spread = CodeClassifier(encoder, "spreading").fit(FRAME, PARTIAL)
    normal = AnomalyDetector(encoder, "combined", 0.1, random_state=0).fit(FRAME[150:])
    normal.add_labels(FRAME[:3], [-1, -1, -1])
    save_bundle(
        folder, encoder, {"linear": linear, "neural": neural, "spread": spread, "normal": normal}
    )
    bundle = load_bundle(folder)
    found = {
        "codes": np.asarray(encoder.transform(FRAME)),
        "back": encoder.inverse_transform(encoder.transform(FRAME)),
        "errors": encoder.reconstruction_error(FRAME),
        "batches": np.concatenate([batch.outputs.numpy() for batch in encoder.reconstruct(FRAME)]),
        "probabilities": linear.predict_proba(FRAME),
        "neural": neural.predict_proba(FRAME),
        "spread": spread.predict_proba(FRAME),
        "p-values": normal.p_values(FRAME),
        "reasons": normal.explain(FRAME[:5]).anomaly_scores,
        "suggested": normal.suggest(FRAME, 5),
        "accuracy": evaluate(linear, FRAME[:150], LABELS[:150], baselines=None)["code"]["accuracy"],
        "auroc": evaluate_detector(normal, FRAME, 1 - 2 * LABELS)["code"]["auroc"],
        "drift": measure_drift(
            *(encoder.transform(FRAME[:150]), encoder.reconstruction_error(FRAME[:150])),
            *(encoder.transform(FRAME[150:]), encoder.reconstruction_error(FRAME[150:])),
        )["codes"]["p_value"],
    }
    for name, head in bundle.heads.items():
        found[f"loaded {name}"] = head.predict(FRAME)
    assert bundle.encoder.digest_ == before
    found["further"] = encoder.partial_fit(FRAME[150:]).digest_
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return fitted_digests(), decided(tmp_path_factory.mktemp("bundles") / "press")


@pytest.mark.parametrize("world", WORLDS)
def test_a_fit_gives_the_same_weights(world, expected):
    with WORLDS[world]():
        found = fitted_digests()
    assert found == expected[0]


@pytest.mark.parametrize("world", WORLDS)
def test_heads_bundles_and_measures_say_the_same(world, expected, tmp_path):
    with WORLDS[world]():
        found = decided(tmp_path / "press")
    for name, value in expected[1].items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("world", ["DataFrames", "float64 by default", "inference_mode"])
def test_advice_and_baselines_are_the_same(world):
    def advised():
        advice = advise(FRAME, LABELS, widths=[1, 2], max_epochs=1, random_state=0)
        head = CodeClassifier(Autoencoder(2, max_epochs=1, random_state=0)).fit(FRAME, LABELS)
        found = evaluate(
            head, FRAME, LABELS, baselines="fast", X_train=FRAME, y_train=LABELS, random_state=0
        )
        accuracies = {name: one["accuracy"] for name, one in found["baselines"].items()}
        errors = [(row["error"], row["accuracy"]) for row in advice.table]
        return advice.n_components, errors, accuracies

    expected = advised()
    with WORLDS[world]():
        assert advised() == expected


def test_an_export_is_the_same(tmp_path):
    pytest.importorskip("onnxruntime")
    encoder = Autoencoder(4, max_epochs=1, random_state=0).fit(IMAGES)
    save_bundle(tmp_path / "press", encoder)
    with default_dtype(), torch.inference_mode(), np.errstate(all="raise"):
        export_bundle(tmp_path / "press", tmp_path / "onnx", IMAGES)
        codes = Exported(tmp_path / "onnx", threads=1).run(IMAGES)["code"]
    np.testing.assert_allclose(codes, encoder.transform(IMAGES), atol=1e-5)


def test_the_codes_container_is_still_the_callers_choice():
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(FRAME)
    with sklearn.config_context(transform_output="pandas"):
        codes = encoder.transform(FRAME)
    assert codes.columns.tolist() == ["autoencoder0", "autoencoder1"]


def test_settings_and_draws_of_the_caller_stay(tmp_path):
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(TABLE)
    head = CodeClassifier(encoder, "mlp", random_state=0).fit(TABLE, LABELS)
    state = torch.get_rng_state()
    with torch.no_grad(), np.errstate(all="raise"), torch.autocast("cpu", dtype=torch.bfloat16):
        save_bundle(tmp_path / "press", encoder, {"kind": head})
        load_bundle(tmp_path / "press").heads["kind"].predict(TABLE)
        encoder.summary()
        assert not torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert set(np.geterr().values()) == {"raise"}
        for _ in encoder.reconstruct(TABLE):
            assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_the_block_is_of_one_thread():
    entered, left = threading.Event(), threading.Event()

    def host():
        with torch.no_grad(), np.errstate(all="raise"):
            entered.wait(10)
            found = torch.is_grad_enabled(), np.geterr()["under"]
            left.set()
            return found

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(host)
        with isolated_from_host():
            entered.set()
            left.wait(10)
        assert waiting.result() == (False, "raise")


def blas_threads():
    blas = ThreadpoolController().select(user_api="blas")
    return [library.num_threads for library in blas.lib_controllers]


def test_threads_share_the_items_and_each_product_has_one_meanwhile():
    with threadpool_limits(2, user_api="blas"):
        both = threading.Barrier(2, timeout=60)
        seen = []

        def run(item):
            if item < 2:
                both.wait()  # passes only when two items run at the same time
            seen.append((item, max(blas_threads())))

        run_in_threads(run, range(8))

        assert sorted(seen) == [(item, 1) for item in range(8)]
        assert set(blas_threads()) == {2}


def test_an_error_in_a_thread_is_raised_and_the_setting_is_restored():
    def run(item):
        raise ValueError(item)

    with threadpool_limits(2, user_api="blas"):
        for _ in range(2):
            with pytest.raises(ValueError, match="0"):
                run_in_threads(run, range(8))
        assert set(blas_threads()) == {2}


def test_of_calls_at_a_time_each_restores_the_setting():
    def search(seed):
        rng = np.random.default_rng(seed)
        points, references = rng.normal(size=(1500, 8)), rng.normal(size=(600, 8))
        return find_nearest(points, references, 3)

    with threadpool_limits(1, user_api="blas"):
        expected = [search(seed) for seed in range(6)]
    with threadpool_limits(2, user_api="blas"), ThreadPoolExecutor(3) as pool:
        found = list(pool.map(search, range(6)))
        assert set(blas_threads()) == {2}
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
