"""Outputs of the graph against the library: torch and scikit-learn are the oracle.

The reference implementation of ONNX runs each graph too: what ONNX Runtime fuses changes nothing.
"""

import copy
import json
import math

import numpy as np
import pytest
from packaging.version import Version
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, export_bundle, save_bundle
from isthmus._core import find_nearest
from isthmus.bundle import Bundle
from isthmus.classification import MLPHead
from isthmus.errors import CalibrationWarning, ExportError
from isthmus.export import (
    Exported,
    build_decision_graph,
    export_networks,
    inputs_of,
    keep_outputs,
    open_session,
    run,
)
from isthmus.export.graph import BATCH, GraphBuilder, nearest
from isthmus.export.inputs import feed
from isthmus.export.parity import library_outputs, measure

#: Rows that the reference implementation runs, which takes its time.
N_BY_REFERENCE = 16
SCORES = ("combined", "neighbours", "mahalanobis", "reconstruction", "head", "blend")

pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")
onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")
#: onnx's own evaluation of a graph, which has TopK of unsorted values from this release on.
HAS_EVALUATION = Version(onnx.__version__) >= Version("1.23")


def compare(encoder, heads, X, tolerance=1e-5, networks=None):
    """Return outputs of the graph after comparing each with the library's."""
    inputs = inputs_of(encoder.schema_)
    model, outputs = build_decision_graph(
        encoder, networks or export_networks(encoder), heads, inputs, with_residual=True
    )
    session, rows = open_session(model), feed(encoder.schema_, inputs, X)
    names = [one.name for one in outputs]
    got = run(session, rows, names)
    expected = library_outputs(encoder, heads, outputs, X)
    for one in outputs:
        assert got[one.name].shape == expected[one.name].shape == (len(X), *one.shape)
        assert got[one.name].dtype == (object if one.dtype == "str" else one.dtype)
    measure(heads, outputs, expected, got, tolerance, "given").check()
    if not HAS_EVALUATION:
        return got
    some = {name: values[:N_BY_REFERENCE] for name, values in rows.items()}
    found = dict(zip(names, reference.ReferenceEvaluator(model).run(names, some), strict=True))
    first = {name: values[:N_BY_REFERENCE] for name, values in expected.items()}
    measure(heads, outputs, first, found, tolerance, "given").check()
    return got


@pytest.fixture(scope="module")
def detectors(digit_encoder, digits):
    """A detector of each score, of rows that the encoder was not trained on. Do not refit."""
    X, y = digits[0][500:900], np.where(digits[1][500:900] == 3, -1, 1)
    found = {}
    for score in SCORES:
        detector = AnomalyDetector(digit_encoder, score, 0.05, "split", random_state=0)
        found[score] = detector.fit(X, y if score in ("head", "blend") else None)
    return found


def test_every_score_of_a_detector(digit_encoder, detectors, digits):
    got = compare(digit_encoder, detectors, digits[0][400:1000])
    assert (got["blend.verdict"] == -1).any()


def test_p_values_are_the_librarys_for_the_same_score_ties_and_all(
    digit_encoder, detectors, digits
):
    detector = detectors["combined"]
    got = compare(digit_encoder, {"normal": detector}, digits[0][500:900])
    score, calibration = got["anomaly_score"], detector.score_calibration_
    own = np.abs(score[:, None] - calibration.scores).min(axis=1)
    assert (own < 5e-4).sum() >= 60  # calibration rows, each beside its own score
    np.testing.assert_array_equal(got["p_value"], calibration.p_values(score))
    np.testing.assert_array_equal(got["verdict"] == 1, score <= -detector.offset_)


@pytest.mark.parametrize("head", ["linear", "mlp", "neighbours", "svm", "spreading"])
@pytest.mark.parametrize("labels", ["ten", "two"])
def test_every_head_by_name(digit_encoder, digits, head, labels):
    X, y = digits[0][:150], digits[1][:150]
    own = MLPHead(max_epochs=5) if head == "mlp" else head
    classifier = CodeClassifier(digit_encoder, own, random_state=0)
    classifier.fit(X, y if labels == "ten" else y > 4)
    got = compare(digit_encoder, {"digit": classifier}, digits[0][:400])
    assert 1 < len(set(got["class"])) <= len(classifier.classes_)


@pytest.mark.parametrize(
    "head",
    [
        RandomForestClassifier(5, random_state=0),
        RidgeClassifier(),
        QuadraticDiscriminantAnalysis(reg_param=0.1),
    ],
    ids=lambda head: type(head).__name__,
)
@pytest.mark.parametrize("labels", ["text", "truth"])
def test_other_heads_of_scikit_learn(digit_encoder, digits, head, labels):
    X, y = digits[0][:300], digits[1][:300]
    y = np.array([f"d{label // 4}" for label in y]) if labels == "text" else y > 4
    classifier = CodeClassifier(digit_encoder, head).fit(X, y)
    compare(digit_encoder, {"digit": classifier}, digits[0][:400])


@pytest.mark.parametrize("labels", ["numbers", "text", "truth"])
def test_instances_of_no_class_are_rejected(digit_encoder, digits, labels):
    X, y = digits[0][500:800], digits[1][500:800]
    y = {"numbers": y, "text": np.array([f"d{label}" for label in y]), "truth": y > 4}[labels]
    classifier = CodeClassifier(digit_encoder, rejection_rate=0.1, random_state=0).fit(X, y)
    got = compare(digit_encoder, {"digit": classifier}, 255 - digits[0][500:800])
    assert (got["class"] == classifier.unknown_label_).any()
    np.testing.assert_array_equal(got["verdict"] == -1, got["class"] == classifier.unknown_label_)


def test_an_output_of_several_heads_has_the_heads_name(digit_encoder, digits, detectors):
    head = CodeClassifier(digit_encoder).fit(digits[0][:100], digits[1][:100])
    got = compare(digit_encoder, {"digit": head, "normal": detectors["combined"]}, digits[0][:5])
    assert list(got) == [
        "code", "class", "probabilities", "anomaly_score", "p_value", "verdict",
        "reconstruction_error", "residual", "reconstruction",
    ]  # fmt: skip
    two = {"a": detectors["combined"], "b": detectors["head"]}
    got = compare(digit_encoder, two, digits[0][:5])
    assert [name for name in got if "." in name] == [
        f"{head}.{what}" for head in "ab" for what in ("anomaly_score", "p_value", "verdict")
    ]


def test_one_instance_is_as_in_a_batch_of_many(digit_encoder, detectors, digits):
    heads = {"normal": detectors["blend"]}
    many = compare(digit_encoder, heads, digits[0][:700])
    one = compare(digit_encoder, heads, digits[0][3:4])
    for name, values in one.items():
        np.testing.assert_allclose(values[0], many[name][3], rtol=1e-5, atol=1e-5)


def test_a_mixed_table_with_unseen_values(mixed_encoder, mixed, strange):
    heads = {
        "normal": AnomalyDetector(mixed_encoder, false_alarm_rate=0.05, random_state=0).fit(
            mixed[200:].reset_index(drop=True)
        ),
        "ok": CodeClassifier(mixed_encoder).fit(mixed[:100], mixed["ok"][:100]),
    }
    compare(mixed_encoder, heads, strange)
    inputs = inputs_of(mixed_encoder.schema_)
    assert [one.name for one in inputs][:3] == ["width", "column:class", "ok"]
    # An array of what the schema makes of the rows is taken too.
    as_numbers = mixed_encoder.schema_.check(strange)
    for (name, own), again in zip(
        feed(mixed_encoder.schema_, inputs, strange).items(),
        feed(mixed_encoder.schema_, inputs, as_numbers).values(),
        strict=True,
    ):
        if name != "column:class":  # where "cog" is now another word that was never seen
            np.testing.assert_array_equal(own, again)


@pytest.mark.parametrize("form", ["array", "frame", "whole numbers", "missing"])
def test_tables_of_numbers(table, frame, form):
    X = frame if form == "frame" else table.copy()
    if form == "whole numbers":
        X = np.rint(table).astype(np.int64)
    if form == "missing":
        X[::7, 2] = np.nan
    encoder = Autoencoder(max_epochs=2, random_state=0).fit(X)
    assert [one.name for one in inputs_of(encoder.schema_)] == (
        list(frame) if form == "frame" else ["X"]
    )
    detector = AnomalyDetector(Autoencoder(max_epochs=2), random_state=0, false_alarm_rate=0.1)
    compare(encoder, {}, X)
    compare(detector.fit(X).encoder_, {"normal": detector}, X)


@pytest.mark.parametrize(
    ("shape", "architecture"),
    [
        ((9, 13, 3), "strided"),
        ((17, 22, 3), "patches"),
        ((30, 41, 3), "dense"),
        ((34, 70), "conv"),
        ((70, 33, 1), "conv"),
        ((28, 28), "reference"),
        ((30, 21, 3), "reference"),
        ((7, 1), "conv1d"),
        ((100, 3), "conv1d"),
        ((1100, 2), "conv1d"),
        ((7, 1), "random_kernels"),
        ((70, 3), "random_kernels"),
    ],
)
def test_images_and_series_of_every_network(shape, architecture):
    X = np.random.default_rng(0).random((60, *shape))
    if architecture == "conv1d":
        X[3, 4, 0] = 1e6  # so that extreme values of the channel are compressed
        X[25, 2, 0] = -500
    encoder = Autoencoder(architecture=architecture, max_epochs=1, random_state=0)
    encoder.fit(X[:20].astype(np.float32))
    labels = np.where(np.arange(40) % 10 == 0, -1, 0)
    detector = AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(X[20:], labels)
    heads = {"normal": detector}
    if detector.encoder_.schema_.kind == "series":
        plain = AnomalyDetector(encoder, "series", 0.1, random_state=0)
        heads["without labels"] = plain.fit(X[20:])
    compare(encoder, heads, X)


@pytest.mark.slow
def test_custom_modules_are_exported_by_torch(table):
    pytest.importorskip("onnxscript")
    from torch import nn

    class Squash(nn.Module):
        def forward(self, x):
            return x.tanh()

    pair = (nn.Sequential(nn.Linear(13, 3), Squash()), nn.Linear(3, 13))
    encoder = Autoencoder(architecture=pair, max_epochs=1, random_state=0).fit(table)
    model = export_networks(encoder)
    compare(encoder, {}, table, networks=copy.deepcopy(model))
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_uint8_images_are_inputs_of_the_graph(digit_encoder, digits):
    (one,) = inputs_of(digit_encoder.schema_)
    assert (one.name, one.dtype, one.shape) == ("X", "uint8", (8, 8))
    for dtype in (np.float64, np.float32):
        scaled = (digits[0][:5] / 255).astype(dtype)
        fed = feed(digit_encoder.schema_, [one], scaled)["X"]
        assert fed.dtype == np.uint8
        assert np.array_equal(fed, digits[0][:5])
    with pytest.warns(UserWarning, match="rounded to the 256 levels"):
        fed = feed(digit_encoder.schema_, [one], (digits[0][:5] // 2 + 0.25) / 255)["X"]
    assert np.array_equal(fed, digits[0][:5] // 2)


def test_a_graph_computes_only_the_outputs_kept(digit_encoder, digits):
    inputs = inputs_of(digit_encoder.schema_)
    model, _ = build_decision_graph(digit_encoder, export_networks(digit_encoder), {}, inputs)
    small = keep_outputs(model, ["code"])
    assert "Sigmoid" not in {node.op_type for node in small.graph.node}
    got = run(open_session(small), {"X": digits[0][:50]}, ["code"])
    np.testing.assert_allclose(got["code"], digit_encoder.transform(digits[0][:50]), atol=1e-5)


def abnormal(p_values, rate, n):
    """Return verdicts from p-values, rate and number of calibration rows, as in docs/serve.md."""
    most = math.floor(rate * (n + 1) + 1e-9)
    return np.array([round(p * (n + 1)) <= most for p in p_values])


class Judged(dict):
    """Facts by name, and the folder of the export."""


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
        head_facts = facts["heads"][name]
        own = {what: got[f"{name}.{what}"] for what in ("anomaly_score", "p_value", "verdict")}
        found[name] = head_facts.get("rejecter", head_facts), getattr(head, "rejecter_", head), own
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


def test_an_export_with_the_old_names_gives_the_same(judged, tmp_path):
    facts = {"heads": {name: dict(head_facts) for name, (head_facts, _, _) in judged.items()}}
    for head_facts in facts["heads"].values():
        head_facts["score"] = head_facts.pop("method")
    facts["heads"]["classes"] = {"kind": "classifier", "novelty": facts["heads"]["classes"]}
    model = onnx.load(judged.folder / "model.onnx")
    entry = model.metadata_props[0]
    stored = json.loads(entry.value) | facts
    del stored["file_digests"], model.metadata_props[1:]  # which they did not have
    entry.value = json.dumps(stored)
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
        threshold = detector.score_calibration_.threshold_for_rate(rate)
        expected = got["anomaly_score"] > threshold
        np.testing.assert_array_equal(abnormal(got["p_value"], rate, n), expected)
    # On these steps, which a slider may take, the two may be compared as they are.
    for rate in steps:
        expected = got["anomaly_score"] > detector.score_calibration_.threshold_for_rate(rate)
        np.testing.assert_array_equal(got["p_value"] <= rate, expected)


@pytest.mark.parametrize("spread", [1.0, 1e-4], ids=["certain", "compared again in float64"])
def test_the_graphs_neighbours_are_the_librarys(spread):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 7))
    references = centres[rng.integers(0, 4, 900)] + spread * rng.normal(size=(900, 7))
    references = np.concatenate([references, references[:300], references[:50]]).astype(np.float32)
    points = centres[rng.integers(0, 4, 70)] + spread * rng.normal(size=(70, 7))
    points = np.concatenate([points, references[:5]]).astype(np.float32)
    graph = GraphBuilder("neighbours")
    distances, rows = nearest(graph, graph.input("x", np.float32, (BATCH, 7)), references, 5)
    graph.output("distances", distances, np.float64, (BATCH, 5))
    graph.output("rows", rows, np.int64, (BATCH, 5))

    found = open_session(graph.model()).run(None, {"x": points})

    expected = find_nearest(points, references, 5)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found[1], expected[1])


# --- prediction sets ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        "linear",
        "neighbours",
        "svm",
        "spreading",
        MLPHead((8,), max_epochs=2),
        RandomForestClassifier(5, random_state=0),
    ],
    ids=str,
)
def test_p_values_of_classes_and_calibrated_probabilities(head, digit_encoder, digits):
    y = np.where(digits[1] < 4, digits[1], 4)
    classifier = CodeClassifier(digit_encoder, head, calibration="cross", random_state=0)
    classifier.fit(digits[0][500:700], y[500:700])

    got = compare(digit_encoder, {"calibrated": classifier}, digits[0][650:800])

    p_values = classifier.class_p_values(digits[0][650:800])
    same = (got["class_p_values"] > 0.1) == (p_values > 0.1)
    assert same.mean() > 0.99
    assert (got["class_p_values_by_class"] != got["class_p_values"]).any()


@pytest.mark.filterwarnings("ignore::isthmus.errors.CalibrationWarning")
def test_sets_of_a_fold_without_a_class_and_of_labels_of_no_class(digit_encoder, digits, tmp_path):
    X, y = digits[0][500:900], digits[1][500:900]
    y = np.where(y < 3, y, 3).astype(str)
    y[7] = "rare"
    folds = CodeClassifier(digit_encoder, calibration="cross", random_state=0).fit(X, y)
    assert min(len(head.classes_) for head in folds.fold_heads_) == 4
    compare(digit_encoder, {"folds": folds}, digits[0][850:950])

    held = CodeClassifier(digit_encoder, random_state=0).fit(X[:200], y[:200])
    y[300:] = "other"
    with pytest.warns(CalibrationWarning, match="no class of the head"):
        held.calibrate(X[200:], y[200:])
    compare(digit_encoder, {"held": held}, digits[0][850:950])

    save_bundle(tmp_path / "b", digit_encoder, {"folds": folds, "held": held})
    export_bundle(tmp_path / "b", tmp_path / "e", digits[0][850:950])
    exported = Exported(tmp_path / "e")
    for by_class in (False, True):
        np.testing.assert_array_equal(
            exported.predict_set(digits[0][900:], 0.1, by_class=by_class, head="folds"),
            folds.predict_set(digits[0][900:], 0.1, by_class=by_class),
        )
    facts = exported.facts["heads"]["held"]["class_calibration"]
    assert (facts["source"], facts["n"]) == ("held out", 200)
    assert facts["n_by_class"] == held.class_calibration_.n_by_class.tolist()
    with pytest.raises(ExportError, match="2 calibrated heads .folds, held.; name one"):
        exported.predict_set(digits[0][900:])
    assert "those above alpha are the set at alpha" in (tmp_path / "e" / "README.md").read_text()
