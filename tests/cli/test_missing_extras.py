"""What is not installed is said before data is read; and `--quiet`."""

import sys

import numpy as np
import pandas as pd
import pytest


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("jinja2", ["report", "press", "absent.csv"], "report"),
        ("matplotlib", ["report", "press", "absent.csv"], "report"),
        ("onnx", ["export", "press", "absent.csv", "-o", "exported"], "onnx"),
        ("tensorboard", ["fit", "absent.csv", "-o", "press", "--log-dir", "logs"], "tensorboard"),
        ("onnxruntime", ["fit", "absent.csv", "-o", "press", "--encoder", "e.onnx"], "onnx"),
        ("matplotlib", ["advise", "absent.csv", "-o", "widths.png"], "report"),
    ],
)
def test_a_missing_extra_is_said_before_anything_is_read(
    isthmus, monkeypatch, module, words, extra
):
    monkeypatch.setitem(sys.modules, module, None)

    status, _, err = isthmus(*words)

    assert status == 1
    assert f"needs {module}, which is not installed" in err
    assert f"pip install 'isthmus[{extra}]'" in err


def test_quiet_prints_errors_alone(isthmus, tmp_path):
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 4)), columns=list("abcd"))
    table.to_csv(tmp_path / "t.csv", index=False)

    assert isthmus("fit", "t.csv", "-o", "press", "--max-epochs", 2, "--quiet") == (0, "", "")
    assert (tmp_path / "press" / "manifest.json").is_file()
    status, out, err = isthmus("--quiet", "fit", "absent.csv", "-o", "other")
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    status, out, err = isthmus("info", "press")
    assert out.startswith("bundle")
