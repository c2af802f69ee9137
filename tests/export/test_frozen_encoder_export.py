"""Encoders that were trained elsewhere, in exports: the whole decision as one graph."""

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from isthmus import (
    AnomalyDetector,
    CodeClassifier,
    FrozenEncoder,
    export_bundle,
    load_bundle,
    save_bundle,
)
from isthmus.errors import ExportError
from isthmus.export import Exported

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(RNG.normal(size=(120, 5)), columns=list("abcde"))
IMAGES = RNG.integers(0, 256, (120, 6, 6), dtype=np.uint8)
SERIES = RNG.normal(size=(120, 12, 2))


class Backbone(nn.Module):
    """Layers that only torch's own exporter knows, with a code of three dimensions."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return nn.functional.avg_pool2d(torch.relu(x + self.norm(self.conv(x))), 3)


def onnx_file(path, opset=17, batch="n"):
    """A graph from windows (n, 2, 12) in float64 to codes (n, 3, 1)."""
    weights = numpy_helper.from_array(RNG.normal(size=(24, 3)), "weights")
    last = numpy_helper.from_array(np.array([2]), "last")
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["product"]),
            helper.make_node("Unsqueeze", ["product", "last"], ["code"]),
        ],
        "encoder",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [batch, 2, 12])],
        [helper.make_tensor_value_info("code", TensorProto.DOUBLE, [batch, 3, 1])],
        [weights, last],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def heads_on(encoder, X):
    fitted = encoder.fit(X)
    y = np.asarray(X).reshape(len(X), -1)[:, 0] > np.median(np.asarray(X).reshape(len(X), -1)[:, 0])
    return fitted, {
        "class": CodeClassifier(fitted).fit(X, y.astype(int)),
        "normal": AnomalyDetector(fitted, false_alarm_rate=0.1, random_state=0).fit(X),
    }


def check_export(frozen, X, tmp_path, **given):
    """Check that the graph decides as the library does, on rows that the export did not see."""
    fitted, heads = heads_on(frozen, X)
    save_bundle(tmp_path / "press", fitted, heads)
    bundle = load_bundle(tmp_path / "press", **given)
    facts = export_bundle(bundle, tmp_path / "exported", X[:60])
    found = Exported(tmp_path / "exported").run(X[60:])

    np.testing.assert_allclose(found["code"], fitted.transform(X[60:]), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["class"], heads["class"].predict(X[60:]))
    np.testing.assert_array_equal(found["verdict"], heads["normal"].predict(X[60:]))
    scores = -heads["normal"].score_samples(X[60:])
    np.testing.assert_allclose(found["anomaly_score"], scores, rtol=1e-4)
    assert "reconstruction_error" not in found
    assert facts["digest"] == fitted.digest_
    return facts


def plain_layers():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


def test_plain_layers_of_a_module_are_exported(tmp_path):
    facts = check_export(
        FrozenEncoder(plain_layers()), IMAGES, tmp_path, encoder=FrozenEncoder(plain_layers())
    )

    assert [one["dtype"] for one in facts["inputs"]] == ["uint8"]


@pytest.mark.slow  # torch's exporter takes ten seconds
def test_any_module_is_exported_by_torch(tmp_path):
    check_export(FrozenEncoder(Backbone()), IMAGES, tmp_path, encoder=FrozenEncoder(Backbone()))


@pytest.mark.parametrize("opset", [13, 17])
def test_an_onnx_file_is_merged_with_the_heads(tmp_path, opset):
    check_export(
        FrozenEncoder(onnx_file(tmp_path / "e.onnx", opset), kind="series"), SERIES, tmp_path
    )


@pytest.mark.parametrize("X", [TABLE, IMAGES], ids=["table", "images"])
def test_a_transformer_is_converted(tmp_path, X):
    model = make_pipeline(StandardScaler(), PCA(3, random_state=0))
    model.fit(X if X is TABLE else X.reshape(len(X), -1))

    check_export(FrozenEncoder(model), X, tmp_path)


def test_precomputed_codes_go_through(tmp_path):
    facts = check_export(FrozenEncoder("precomputed"), TABLE, tmp_path)

    assert [one["column"] for one in facts["inputs"]] == list("abcde")


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (FrozenEncoder(lambda frame: frame.to_numpy()), "as its model, which no graph holds"),
        (FrozenEncoder("precomputed", lambda frame: frame), "as preprocess, which no graph holds"),
    ],
)
def test_functions_are_in_no_graph(tmp_path, encoder, message):
    fitted, heads = heads_on(encoder, TABLE)
    save_bundle(tmp_path / "press", fitted, heads)
    bundle = load_bundle(tmp_path / "press", encoder=encoder)

    with pytest.raises(ExportError, match=message):
        export_bundle(bundle, tmp_path / "exported", TABLE)
    assert not (tmp_path / "exported").exists()


def test_what_an_export_lacks_is_said(tmp_path):
    fixed = onnx_file(tmp_path / "e.onnx", batch=4)
    fitted, heads = heads_on(FrozenEncoder(fixed, kind="series"), SERIES)
    save_bundle(tmp_path / "press", fitted, heads)

    with pytest.raises(ExportError, match="no decoder to rebuild rows by.*pass some"):
        export_bundle(tmp_path / "press", tmp_path / "exported")
    with pytest.raises(ExportError, match="residual=True, and FrozenEncoder has no decoder"):
        export_bundle(tmp_path / "press", tmp_path / "exported", SERIES, residual=True)
    with pytest.raises(ExportError, match="takes batches of 4, expected any number"):
        export_bundle(tmp_path / "press", tmp_path / "exported", SERIES)
