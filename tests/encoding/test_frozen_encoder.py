"""Encoders that were trained elsewhere, where an autoencoder stands."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from isthmus import AnomalyDetector, CodeClassifier, FrozenEncoder, evaluate, load
from isthmus.detection import compute_stored_codes
from isthmus.errors import DataError, DataWarning, FrozenError


class Block(nn.Module):
    """A residual block, as backbones are made of."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))


def backbone(channels=1):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), Block(8), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2)
    )


WEIGHTS = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)


def write_onnx(path, batch="n", weights=WEIGHTS):
    """Write a graph from images (n, 1, 8, 8) to codes (n, 6)."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["code"]),
        ],
        "encoder",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 1, 8, 8])],
        [helper.make_tensor_value_info("code", TensorProto.FLOAT, [batch, 6])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def digits():
    """Digits in bytes, as image files hold them."""
    parts = load("digits")
    train, test = (
        replace(part, X=np.rint(255 * part.X).astype(np.uint8))
        for part in (parts.train, parts.test)
    )
    return SimpleNamespace(train=train, test=test)


def test_a_module_gives_the_codes_that_it_gives_itself(digits):
    module, X = backbone(), digits.test.X[:50]
    encoder = FrozenEncoder(module).fit(digits.train.X[:100])
    with torch.inference_mode():
        own = module.eval()(torch.from_numpy(X[:, None].astype(np.float32) / 255))

    codes = encoder.transform(X)

    assert codes.shape == (50, 32) == (50, encoder.n_components_)
    np.testing.assert_allclose(codes, own.flatten(1), atol=1e-6)
    assert not encoder.has_decoder
    assert encoder.decoder_digest_ is None


def test_heads_decide_by_its_codes_and_it_stays_frozen(digits):
    module = backbone()
    train, test = digits.train, digits.test
    classifier = CodeClassifier(FrozenEncoder(module)).fit(train.X, train.y)
    codes = classifier.encoder_.transform(train.X)
    oracle = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(codes, train.y)
    alike = oracle.predict(classifier.encoder_.transform(test.X)) == classifier.predict(test.X)

    assert alike.mean() > 0.99
    assert classifier.encoder_digest_ == classifier.encoder_.encoder_digest()
    assert module.training  # the module handed over is as it was: a copy is used
    assert all(parameter.requires_grad for parameter in module.parameters())
    before = classifier.predict(test.X)
    nn.init.zeros_(module[0].weight)
    np.testing.assert_array_equal(classifier.predict(test.X), before)


def test_a_detector_holds_its_rate_on_codes_alone(digits):
    zeros = digits.train.X[digits.train.y == 0]
    detector = AnomalyDetector(FrozenEncoder(backbone()), false_alarm_rate=0.1, random_state=0)

    detector.fit(zeros)
    found = detector.predict(digits.test.X) == -1

    assert detector.n_encoders(zeros) == 0
    assert found[digits.test.y != 0].mean() > 0.95
    assert found[digits.test.y == 0].mean() < 0.3
    assert detector.reference_set_.features.residuals.shape == (len(zeros), 0)
    with pytest.warns(DataWarning, match="has no decoder, so which features"):
        frame = detector.explain(digits.test.X[:3]).frame()
    assert list(frame) == ["anomaly_score", "nearest_normal"]


def test_a_detector_learns_from_labels_on_its_codes(digits):
    few = np.flatnonzero(np.isin(digits.train.y, (0, 8)))[:200]
    y = np.where(digits.train.y[few] == 0, 1, -1)
    detector = AnomalyDetector(FrozenEncoder(backbone()), false_alarm_rate=0.1, random_state=0)

    detector.fit(digits.train.X[few], y)

    assert detector.method_ == "blend"
    assert (detector.predict(digits.test.X[digits.test.y == 8]) == -1).mean() > 0.8


@pytest.mark.parametrize("method", ["reconstruction", "series"])
def test_methods_that_need_a_decoder_are_refused(digits, method):
    detector = AnomalyDetector(FrozenEncoder(backbone()), method)

    with pytest.raises(DataError, match="has no decoder; take 'combined'"):
        detector.fit(digits.train.X[:100])


def test_reconstructions_are_refused(digits):
    encoder = FrozenEncoder(backbone()).fit(digits.train.X[:20])

    for call in (encoder.reconstruction_error, encoder.inverse_transform, encoder.reconstruct):
        with pytest.raises(DataError, match="FrozenEncoder, which has no decoder"):
            call(digits.train.X[:3])


def test_baselines_stand_beside_it_where_there_are_any(digits):
    some, test = digits.train.take(np.arange(200)), digits.test
    beside = {"X_train": some.X, "y_train": some.y, "random_state": 0, "baselines": "fast"}
    module = CodeClassifier(FrozenEncoder(backbone())).fit(some.X, some.y)
    pca = PCA(8, random_state=0).fit(some.X.reshape(-1, 64))
    transformer = CodeClassifier(FrozenEncoder(pca)).fit(some.X, some.y)

    found = evaluate(module, test.X, test.y, **beside)
    with pytest.warns(DataWarning, match="untrained encoder is left out: scikit-learn PCA"):
        without = evaluate(transformer, test.X, test.y, **beside)

    assert list(found["baselines"]) == ["raw", "pca", "untrained"]
    fresh = module.encoder_.untrained(1)
    assert fresh.digest_ != module.encoder_.digest_
    assert list(without["baselines"]) == ["raw", "pca"]
    assert without["baselines"]["raw"] == found["baselines"]["raw"]


def test_an_onnx_file_gives_its_first_output(digits, tmp_path):
    X = digits.test.X[:30]
    expected = X.reshape(-1, 64) / 255 @ WEIGHTS

    for batch in ("n", 7):  # of any size, and of a fixed one
        encoder = FrozenEncoder(write_onnx(tmp_path / "e.onnx", batch)).fit(digits.train.X[:9])
        np.testing.assert_allclose(encoder.transform(X), expected, rtol=1e-5, atol=1e-5)
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.transform(X), encoder.transform(X))
    digest = encoder.digest_
    (tmp_path / "e.onnx").unlink()  # its content was read at fit
    encoder.check_frozen()
    write_onnx(tmp_path / "e.onnx", weights=2 * WEIGHTS)
    assert clone(encoder).fit(digits.train.X[:9]).digest_ != digest


def test_a_transformer_gets_the_data_frame_that_it_was_fitted_on():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"width": rng.normal(size=60), "kind": rng.choice(["nut", "bolt"], 60)})
    made = make_column_transformer((StandardScaler(), ["width"]), (OneHotEncoder(), ["kind"]))
    made.fit(table)
    encoder = FrozenEncoder(made).fit(table)

    np.testing.assert_allclose(encoder.transform(table), made.transform(table), rtol=1e-6)
    np.testing.assert_array_equal(
        encoder.transform(table[["kind", "width"]]), encoder.transform(table)
    )
    with pytest.raises(DataError, match="some columns are no numbers; pass preprocess="):
        FrozenEncoder(nn.Linear(2, 1)).fit(table)


def test_preprocess_gets_instances_in_their_own_units(digits):
    seen = []

    def whiten(X):
        seen.append((X.dtype, X.shape[1:], int(X.max())))
        return torch.from_numpy(X).float()[:, None] / 127.5 - 1

    encoder = FrozenEncoder(backbone(), whiten).fit(digits.train.X[:40])
    codes = encoder.transform(digits.test.X[:20])

    assert {one[:2] for one in seen} == {(np.dtype(np.uint8), (8, 8))}
    assert max(one[2] for one in seen) > 200
    # Floats in [0, 1] are the same images: they are brought to the units at fit.
    np.testing.assert_array_equal(encoder.transform(digits.test.X[:20] / np.float32(255)), codes)


def test_stored_embeddings_are_codes_as_they_are():
    rng = np.random.default_rng(0)
    stored, y = rng.normal(size=(200, 5)), rng.integers(2, size=200)
    stored[y == 1, 2] += 4
    classifier = CodeClassifier(FrozenEncoder("precomputed")).fit(stored[:100], y[:100])

    np.testing.assert_array_equal(classifier.encoder_.transform(stored), stored.astype(np.float32))
    assert classifier.score(stored[100:], y[100:]) > 0.9
    with pytest.raises(DataError, match="expected a table of which all columns are numbers"):
        FrozenEncoder("precomputed").fit(np.zeros((5, 4, 4)))


def test_windows_of_series_have_the_channels_first():
    windows = np.random.default_rng(0).normal(size=(60, 16, 2))
    module = nn.Sequential(nn.Conv1d(2, 4, 3), nn.AdaptiveAvgPool1d(1))
    encoder = FrozenEncoder(module, kind="series").fit(windows)
    with torch.inference_mode():
        own = module(torch.from_numpy(windows.transpose(0, 2, 1)).float()).flatten(1)

    np.testing.assert_allclose(encoder.transform(windows), own, atol=1e-6)
    detector = AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(windows)
    assert detector.method_ == "combined"
    assert detector.predict(windows + 9).tolist() == [-1] * 60


def test_a_stream_is_encoded_chunk_by_chunk(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pd.DataFrame(rng.normal(size=(150, 3)), columns=list("xyz")).to_parquet(
            tmp_path / f"{name}.parquet"
        )
    stream = load(str(tmp_path / "*.parquet"))
    whole = pd.concat([pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("a", "b")])
    encoder = FrozenEncoder(nn.Linear(3, 2)).fit(stream)
    detector = AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(stream)

    np.testing.assert_allclose(encoder.transform(stream), encoder.transform(whole), atol=1e-6)
    np.testing.assert_array_equal(detector.predict(stream), detector.predict(whole))


def test_a_changed_model_is_found(digits):
    factor = [1.0]
    X, y = digits.train.X[:60], digits.train.y[:60]
    by_function = CodeClassifier(FrozenEncoder(lambda X: X.reshape(-1, 64) * factor[0])).fit(X, y)
    by_module = CodeClassifier(FrozenEncoder(backbone())).fit(X, y)
    factor[0] = 2.0
    with torch.no_grad():
        by_module.encoder_.backend_.module[0].weight.mul_(2)

    for classifier in (by_function, by_module):
        with pytest.raises(FrozenError, match="changed after it was fitted"):
            classifier.encoder_.check_frozen()
    with pytest.raises(FrozenError, match="changed after it was fitted"):
        by_module.predict(X)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (PCA(2), DataError, "PCA, which is not fitted"),
        ("weights.bin", DataError, "expected the path of an ONNX file"),
        (7, DataError, "expected a torch.nn.Module, a fitted scikit-learn transformer"),
        (nn.Linear(5, 2), DataError, "cannot encode images of shape.*pass preprocess="),
        (nn.LSTM(8, 2), DataError, "cannot encode|returned tuple, expected one tensor"),
        (lambda X: X[:2].reshape(2, -1), DataError, "for 8 instances, expected one row each"),
        (lambda X: np.full((len(X), 2), np.nan), DataError, "not finite for row 0"),
        (lambda X: X.reshape(-1, 64) - X.mean(), FrozenError, "beside other instances"),
        (lambda X: np.random.default_rng().random((len(X), 2)), FrozenError, "encoded again"),
    ],
)
def test_what_is_no_encoder_is_refused(digits, model, error, message):
    with pytest.raises(error, match=message):
        FrozenEncoder(model).fit(digits.train.X[:20])


def test_a_head_names_what_it_takes(digits):
    with pytest.raises(TypeError, match="isthmus.FrozenEncoder around a model"):
        CodeClassifier(backbone()).fit(digits.train.X[:20], digits.train.y[:20])


def test_equal_transformers_have_one_digest(digits):
    flat = digits.train.X[:90].reshape(-1, 64)
    one, same, other = (PCA(n, random_state=0).fit(flat) for n in (4, 4, 5))
    digests = [
        FrozenEncoder(model).fit(digits.train.X[:20]).digest_ for model in (one, same, other)
    ]

    assert digests[0] == digests[1] != digests[2]
    assert FrozenEncoder(pickle.loads(pickle.dumps(one))).fit(flat).digest_ == digests[0]


def test_alarms_on_codes_alone_name_no_channel(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(0.1 * rng.normal(size=(900, 2)), columns=["p", "q"])
    table["p"] += np.sin(np.arange(900) / 5)
    table.to_csv(tmp_path / "normal.csv", index=False)
    table.loc[400:500, "p"] += 4
    table.to_csv(tmp_path / "new.csv", index=False)
    normal, new = (load(tmp_path / f"{n}.csv", kind="series", window=32) for n in ("normal", "new"))
    module = nn.Sequential(nn.Conv1d(2, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(2))
    detector = AnomalyDetector(FrozenEncoder(module), false_alarm_rate=0.12, random_state=0)

    alarms = detector.fit(normal).alarms(new)

    highest = alarms.nlargest(1, "anomaly_score").iloc[0]
    assert alarms["channel"].tolist() == [None] * len(alarms)
    assert 368 <= highest["first"] <= 400
    assert 500 <= highest["last"] <= 532


def test_codes_for_heads_need_residuals():
    encoder = FrozenEncoder("precomputed").fit(np.eye(5))

    assert len(compute_stored_codes(encoder, np.eye(5))) == 5
    with pytest.raises(DataError, match="for_heads=True, which stores residuals"):
        compute_stored_codes(encoder, np.eye(5), for_heads=True)
