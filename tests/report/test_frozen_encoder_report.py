"""A report on heads of an encoder that was trained elsewhere: what needs a decoder is left out."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from torch import nn

from isthmus import (
    AnomalyDetector,
    CodeClassifier,
    FrozenEncoder,
    load_bundle,
    save_bundle,
    write_report,
)
from isthmus.data import Dataset

RNG = np.random.default_rng(0)


def dataset(name, X):
    X = X.copy()
    y = np.arange(len(X)) % 2
    X[y == 1, 2:4] += np.array(3).astype(X.dtype) if X.ndim == 2 else np.array(90, X.dtype)
    return Dataset(X, np.array(["a", "b"])[y], name=name)


@pytest.mark.parametrize("kind", ["table", "images"])
def test_a_report_tells_what_there_is(kind, tmp_path):
    if kind == "table":
        X = RNG.normal(size=(160, 6))
        model = PCA(3, random_state=0).fit(X)
    else:
        X = RNG.integers(0, 120, (160, 6, 6), dtype=np.uint8)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    data = dataset(kind, X)
    encoder = FrozenEncoder(model).fit(data.X)
    heads = {
        "normal": AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(data.X[:80]),
        "class": CodeClassifier(encoder).fit(data.X[:80], data.y[:80]),
    }
    save_bundle(tmp_path / "press", encoder, heads)
    bundle = load_bundle(tmp_path / "press", encoder=FrozenEncoder(model))

    facts = write_report(bundle, tmp_path / "report.html", data, test_fraction=0.5, seed=0)

    page = (tmp_path / "report.html").read_text("utf-8")
    assert facts["summary"].startswith(
        f"The encoder was trained elsewhere ({encoder.spec_['architecture']})"
    )
    assert "has no decoder: there are no reconstructions and no loss" in page
    assert facts["changes"] is None
    assert not any("decoder" in text for text in facts["data"]["warnings"])
    assert "what changed since, which is told by reconstruction errors, is not tested" in page
    assert facts["code"]["map"]["n"] == 80
    assert facts["classes"][0]["accuracy"] > 0.8
    assert "untrained encoder" in facts["baseline_comparison"]["curves"] or kind == "table"
    assert "Reconstructions</h3>" not in page
