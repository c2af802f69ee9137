"""Encoders that were trained elsewhere, in bundles."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx import save as save_onnx
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from isthmus import (
    AnomalyDetector,
    Autoencoder,
    CodeClassifier,
    FrozenEncoder,
    load_bundle,
    save_bundle,
)
from isthmus.errors import BundleError

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(120, 5)), columns=list("abcde"))
Y = (X["a"] > 0).to_numpy()


def module(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))


def doubled(frame):
    return 2 * frame.to_numpy(np.float32)


def saved(encoder, folder):
    """A bundle with a classifier and a detector on an encoder."""
    fitted = encoder.fit(X)
    heads = {
        "sign": CodeClassifier(fitted).fit(X, Y),
        "normal": AnomalyDetector(fitted, false_alarm_rate=0.1, random_state=0).fit(X),
    }
    save_bundle(folder, fitted, heads)
    return heads


@pytest.fixture
def onnx_file(tmp_path):
    weights = numpy_helper.from_array(RNG.normal(size=(5, 3)).astype(np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["code"])],
        "encoder",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 5])],
        [helper.make_tensor_value_info("code", TensorProto.FLOAT, ["n", 3])],
        [weights],
    )
    opset = [helper.make_opsetid("", 17)]
    save_onnx(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "e.onnx")
    return tmp_path / "e.onnx"


def check_same(folder, heads, **given):
    """Check that what is loaded decides as before."""
    bundle = load_bundle(folder, **given)
    for name, head in heads.items():
        np.testing.assert_array_equal(bundle.heads[name].predict(X), head.predict(X))
    frame = bundle.predictions(X, "normal")
    assert list(frame) == ["prediction", "anomaly_score", "p_value"]
    assert not any(b"pickle" in file.name.encode() for file in folder.rglob("*"))
    return bundle


@pytest.mark.parametrize("kind", ["onnx", "scikit-learn", "precomputed"])
def test_what_is_data_loads_by_itself(kind, tmp_path, onnx_file):
    model = {
        "onnx": onnx_file,
        "scikit-learn": make_pipeline(StandardScaler(), PCA(3, random_state=0)).fit(X),
        "precomputed": "precomputed",
    }[kind]
    heads = saved(FrozenEncoder(model), tmp_path / "press")
    onnx_file.unlink()  # the bundle has a copy

    bundle = check_same(tmp_path / "press", heads)

    assert bundle.encoder.digest_ == heads["sign"].encoder_digest_
    assert kind != "precomputed" or "precomputed encoder of 5 numbers" in repr(bundle)
    assert "precomputed precomputed" not in repr(bundle)
    bundle.heads["sign"].add_labels(X[:5], Y[:5])  # goes on as a head that was never saved
    save_bundle(tmp_path / "again", bundle.encoder, bundle.heads)
    check_same(tmp_path / "again", {"normal": heads["normal"]})


def test_a_module_is_given_again_and_gets_the_weights_of_the_bundle(tmp_path):
    heads = saved(FrozenEncoder(module()), tmp_path / "press")

    check_same(tmp_path / "press", heads, encoder=FrozenEncoder(module(seed=1)))
    with pytest.raises(BundleError, match="the torch model Sequential, which are code and not in"):
        load_bundle(tmp_path / "press")
    with pytest.raises(BundleError, match="does not hold the weights of this architecture"):
        load_bundle(tmp_path / "press", encoder=FrozenEncoder(nn.Linear(5, 4)))
    with pytest.raises(BundleError, match="model of kind callable, expected torch"):
        load_bundle(tmp_path / "press", encoder=FrozenEncoder(doubled))
    relu = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    with pytest.raises(BundleError, match="gives other codes than when the bundle was saved"):
        load_bundle(tmp_path / "press", encoder=FrozenEncoder(relu))


def test_functions_are_given_again_and_compared_by_their_codes(tmp_path):
    heads = saved(FrozenEncoder(lambda frame: doubled(frame)[:, :3]), tmp_path / "press")
    prepared = saved(FrozenEncoder(module(), doubled), tmp_path / "prepared")

    check_same(tmp_path / "press", heads, encoder=FrozenEncoder(lambda F: doubled(F)[:, :3]))
    check_same(tmp_path / "prepared", prepared, encoder=FrozenEncoder(module(), doubled))
    with pytest.raises(BundleError, match="is another one than the bundle was saved with"):
        load_bundle(tmp_path / "press", encoder=FrozenEncoder(lambda F: doubled(F)[:, 1:4]))
    with pytest.raises(BundleError, match="encoder= without preprocess, and .* with doubled"):
        load_bundle(tmp_path / "prepared", encoder=FrozenEncoder(module()))


def test_an_encoder_is_not_given_to_a_bundle_that_has_its_own(tmp_path):
    Autoencoder(max_epochs=1, random_state=0).fit(X).save(tmp_path / "press")

    with pytest.raises(BundleError, match="holds an autoencoder, with its weights"):
        load_bundle(tmp_path / "press", encoder=FrozenEncoder(module()))


def test_a_transformer_that_cannot_be_stored_is_refused_before_anything_is_written(tmp_path):
    encoder = FrozenEncoder(FunctionTransformer(lambda frame: frame * 2)).fit(X)

    with pytest.raises(BundleError, match="put functions of your own into preprocess|as another"):
        save_bundle(tmp_path / "press", encoder)
    assert not (tmp_path / "press").exists()


def test_a_changed_file_is_found(tmp_path, onnx_file):
    saved(FrozenEncoder(onnx_file), tmp_path / "press")
    shutil.copytree(tmp_path / "press", tmp_path / "other")
    file = tmp_path / "other" / "encoder.onnx"
    file.write_bytes(file.read_bytes() + b"\0")

    with pytest.raises(BundleError, match="encoder.onnx"):
        load_bundle(tmp_path / "other")
    facts = json.loads((tmp_path / "press" / "manifest.json").read_text())["encoder"]
    assert (facts["kind"], facts["backend"], facts["decoder_digest"]) == ("frozen", "onnx", None)


def test_info_shows_what_it_is(isthmus, tmp_path, onnx_file):
    saved(FrozenEncoder(onnx_file), tmp_path / "press")

    status, out, _ = isthmus("info", tmp_path / "press")

    assert status == 0
    assert "onnx e.onnx" in out
    assert "loss" not in out
