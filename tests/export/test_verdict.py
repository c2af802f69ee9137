"""Verdicts follow from p-values alone, so that whoever has these may move the threshold."""

import json
import math

import numpy as np
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, export_bundle
from isthmus.bundle import Bundle
from isthmus.export import Exported

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")


def abnormal(p_values, rate, n):
    """Return what docs/serve.md says of p-values, rate and number of calibration rows."""
    most = math.floor(rate * (n + 1) + 1e-9)
    return np.array([round(p * (n + 1)) <= most for p in p_values])


class Judged(dict):
    """What is known by name, and where the export lies."""


@pytest.fixture(scope="module")
def table_encoder():
    """Of a small table. Do not refit."""
    X = np.random.default_rng(3).normal(size=(150, 4))
    return Autoencoder(2, max_epochs=3, random_state=0).fit(X)


@pytest.fixture(scope="module")
def judged(tmp_path_factory, digit_encoder, digits):
    """By how it is calibrated: facts as exported, the detector, its graph's outputs on 600 rows."""
    X, y = digits[0][500:900], digits[1][500:900]
    heads = {
        name: AnomalyDetector(digit_encoder, "neighbours", 0.07, name, random_state=0).fit(X)
        for name in ("split", "cross")
    }
    heads["classes"] = CodeClassifier(digit_encoder, rejection_rate=0.1, random_state=0).fit(X, y)
    folder, rows = tmp_path_factory.mktemp("verdict"), digits[0][400:1000]
    facts = export_bundle(Bundle(folder, {"heads": {}}, digit_encoder, heads), folder / "out", rows)
    got = Exported(folder / "out", 1).run(rows)
    found = Judged()
    found.folder = folder / "out"
    for name, head in heads.items():
        told = facts["heads"][name]
        own = {what: got[f"{name}.{what}"] for what in ("anomaly_score", "p_value", "verdict")}
        found[name] = told.get("rejecter", told), getattr(head, "rejecter_", head), own
    return found


@pytest.mark.parametrize("calibration", ["split", "cross"])
@pytest.mark.parametrize("seed", range(10))
def test_a_graph_decides_alike_on_the_rows_that_set_the_threshold(
    table_encoder, seed, calibration, tmp_path
):
    # Each detector has one row whose own score is the threshold, but for the tolerance.
    rng = np.random.default_rng([seed, 7])
    X = rng.normal(size=(120, 4))
    X[:40] = np.round(X[:40])
    y = np.where(np.arange(120) < 3, -1, 0)
    method = ("combined", "neighbours", "mahalanobis", "reconstruction", "head")[seed % 5]
    detector = AnomalyDetector(table_encoder, method, 0.1, calibration, random_state=seed)
    detector.fit(X, y if method == "head" else None)
    bundle = Bundle(tmp_path, {"heads": {}}, table_encoder, {"normal": detector})
    export_bundle(bundle, tmp_path / "out", X)

    got = Exported(tmp_path / "out", 1).run(X)

    np.testing.assert_array_equal(got["verdict"], detector.predict(X))
    np.testing.assert_array_equal(got["p_value"], detector.p_values(X))
    if calibration == "split":  # the graph of "cross" scores them by the model of all rows
        margin = -detector.offset_ - got["anomaly_score"]
        assert 5e-5 < margin[margin > 0].min() < 5e-4


@pytest.mark.parametrize("name", ["split", "cross", "classes"])
def test_the_verdict_follows_from_p_value_and_rate(judged, name):
    facts, _, got = judged[name]
    n, rate = facts["n_calibration"], facts["false_alarm_rate"]
    verdict = got["verdict"] == -1
    assert 0 < verdict.sum() < len(verdict)
    np.testing.assert_array_equal(verdict, abnormal(got["p_value"], rate, n))
    np.testing.assert_array_equal(verdict, got["p_value"] <= rate)
    np.testing.assert_array_equal(verdict, got["anomaly_score"] > facts["threshold"])


def test_an_export_in_the_words_of_before_says_the_same(judged, tmp_path):
    facts = {"heads": {name: dict(told) for name, (told, _, _) in judged.items()}}
    for told in facts["heads"].values():
        told["score"] = told.pop("method")
    facts["heads"]["classes"] = {"kind": "classifier", "novelty": facts["heads"]["classes"]}
    model = onnx.load(judged.folder / "model.onnx")
    entry = model.metadata_props[0]
    entry.value = json.dumps(json.loads(entry.value) | facts)
    onnx.save(model, tmp_path / "model.onnx")

    heads = Exported(tmp_path).facts["heads"]

    assert heads["split"]["method"] == heads["cross"]["method"] == "neighbours"
    assert heads["classes"]["rejecter"]["method"] == "combined"


@pytest.mark.parametrize("name", ["split", "cross", "classes"])
def test_another_rate_gives_the_verdicts_that_the_library_would(judged, name):
    facts, detector, got = judged[name]
    n = facts["n_calibration"]
    steps = [k / (n + 1) for k in (1, 2, 3, n // 3, n // 2, n)]
    hairs = [np.nextafter(step, 0) for step in steps] + [np.nextafter(step, 1) for step in steps]
    for rate in [0.05, 0.1, 1 - 0.9, 0.1 + 0.2, 0.999999, *steps, *hairs]:
        threshold = detector.calibrated_.threshold(rate)
        expected = got["anomaly_score"] > threshold
        np.testing.assert_array_equal(abnormal(got["p_value"], rate, n), expected)
    # On these steps, which a slider may take, the two may be compared as they are.
    for rate in steps:
        expected = got["anomaly_score"] > detector.calibrated_.threshold(rate)
        np.testing.assert_array_equal(got["p_value"] <= rate, expected)
