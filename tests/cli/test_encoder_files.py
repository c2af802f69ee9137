"""An encoder that was trained elsewhere, on the command line."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def folder(tmp_path):
    """Tables and an ONNX file, whose codes are the first two columns."""
    rng = np.random.default_rng(0)
    for name, shift in (("normal", 0), ("new", 6)):
        table = pd.DataFrame(rng.normal(size=(150, 4)), columns=list("abcd"))
        table["a"] += shift
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    weights = numpy_helper.from_array(np.eye(4, 2, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["code"])],
        "encoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("code", TensorProto.FLOAT, ["n", 2])],
        [weights],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "e.onnx")
    return tmp_path


def test_an_onnx_file_is_the_encoder_of_a_bundle(isthmus, folder):
    words = [
        "fit",
        "normal.csv",
        "--encoder",
        "e.onnx",
        "-o",
        "press",
        "--detector",
        "--false-alarm-rate",
        "0.05",
    ]
    status, out, err = isthmus(*words, "--json", "fit.json")

    assert (status, err) == (0, "")
    assert "150 instances, 4 values -> 2; by e.onnx, which was not trained here" in out
    facts = json.loads((folder / "fit.json").read_text())
    assert facts["encoder"] == "e.onnx"
    assert "loss" not in facts
    (folder / "e.onnx").unlink()
    status, out, err = isthmus("predict", "press", "new.csv", "-o", "out.csv", "--explain")
    assert status == 0
    assert "which features make an instance unusual is not known" in err
    assert "; nearest normal row" in out
    found = pd.read_csv(folder / "out.csv")
    assert list(found) == ["prediction", "anomaly_score", "p_value", "nearest_normal"]
    assert (found["prediction"] == -1).mean() > 0.95


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encoder", "e.onnx", "--max-epochs", "3"], "got --max-epochs beside --encoder"),
        (["--encoder", "e.onnx", "--resume"], "got --resume beside --encoder"),
        (["--encoder", "none.onnx"], "got --encoder none.onnx, expected an ONNX file"),
    ],
)
def test_what_does_not_go_with_it_is_refused_before_data_is_read(isthmus, folder, words, message):
    status, _, err = isthmus("fit", "absent.csv", "-o", "press", *words)

    assert status == 1
    assert message in err
