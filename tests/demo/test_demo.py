"""The demo's facts: the keys that scripts rely on, and figures that a person is promised."""

import io
import json
from functools import partial

import numpy as np
import pytest
from rich.console import Console

from isthmus import load, load_bundle
from isthmus.data import Splits
from isthmus.demo import run_demo
from isthmus.demo.run import detect_anomalies
from isthmus.errors import DataError
from isthmus.evaluation import SupervisedNetwork

# The whole pipeline with pictures, baselines and a report takes half a minute; a short run of the
# command is among the golden samples.
pytestmark = [pytest.mark.first, pytest.mark.slow]

KEYS = {
    *("dataset", "kind", "n_train", "n_test", "input_shape", "n_components", "label_share"),
    *("first_labels", "parameters", "epochs", "reconstruction", "frozen", "heads", "baselines"),
    *("first_predictions", "seconds", "bundle"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The demo on digits, once: its folder, its facts, and its output.

    Encoder and neural heads are trained for ten epochs, the supervised network for twenty: what
    is promised is reached by then.
    """
    folder = tmp_path_factory.mktemp("demo") / "digits"
    output = io.StringIO()
    console = Console(file=output, width=120, highlight=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isthmus.classification.heads.choose_max_epochs", lambda *_, **__: 10)
        patch.setattr(
            "isthmus.evaluation.baselines.SupervisedNetwork",
            partial(SupervisedNetwork, max_epochs=20),
        )
        facts = run_demo(
            load("digits"), folder, max_epochs=10, baselines="all", seed=0, console=console
        )
    return folder, facts, output.getvalue()


def test_facts_have_the_promised_keys(finished):
    _, facts, _ = finished
    assert set(facts) >= KEYS
    assert set(facts["label_share"]) == set(facts["first_labels"]) == {"train", "test"}
    assert set(facts["reconstruction"]) == {"metric", "train", "test"}
    assert set(facts["frozen"]) == {"digest_before", "digest_after", "unchanged"}
    assert set(facts["seconds"]) == {
        *("load", "fit", "encode", "heads", "detector", "report", "total")
    }
    for found in (*facts["heads"].values(), *facts["baselines"].values()):
        assert {"test_accuracy", "test_loss"} <= set(found)
    assert set(facts["baselines"]) == {"raw", "pca", "untrained", "supervised"}


def test_facts_are_those_of_the_data(finished):
    _, facts, _ = finished
    digits = load("digits")
    assert (facts["n_train"], facts["n_test"]) == (1437, 360)
    assert facts["input_shape"] == [8, 8]
    assert facts["first_labels"]["test"] == digits.test.y[:10].tolist()
    assert sum(facts["label_share"]["train"].values()) == pytest.approx(1)
    assert facts["label_share"]["test"]["3"] == pytest.approx(np.mean(digits.test.y == 3))


def test_the_report_says_what_the_demo_says(finished):
    folder, facts, output = finished
    found = json.loads((folder / "report.json").read_text("utf-8"))

    assert f"report    {folder / 'report.html'}" in output
    assert facts["report"] == str(folder / "report.html")
    accuracies = {head["name"]: head["accuracy"] for head in found["classes"]}
    assert accuracies == {name: head["test_accuracy"] for name, head in facts["heads"].items()}
    (verdict,) = found["verdicts"]
    realised = facts["detector"]["false_alarm_rate"]
    assert verdict["found"]["n_normal"] == realised["n"]  # those that did not calibrate
    assert verdict["found"]["false_alarms"]["share"] == pytest.approx(realised["realised"])
    assert verdict["found"]["auroc"] == pytest.approx(facts["detector"]["auroc"])


def test_one_class_is_told_from_the_nine_others(finished):
    folder, facts, output = finished
    found = facts["detector"]
    assert set(found) >= {"normal_class", "auroc", "auprc", "false_alarm_rate", "scores"}
    assert found["normal_class"] == 0
    assert set(found["scores"]) == {"combined", "mahalanobis", "neighbours", "reconstruction"}
    assert found["scores"][found["method"]] == pytest.approx(found["auroc"])
    assert found["auroc"] > 0.98
    rate = found["false_alarm_rate"]
    assert rate["asked"] == pytest.approx(1 / (found["n_calibration"] + 1))  # too few for 0.01
    assert rate["n"] + found["n_calibration"] == (load("digits").test.y == 0).sum()
    assert "Normal or not" in output
    detector = load_bundle(folder / "bundle").heads["normal"]
    assert detector.false_alarm_rate_ == rate["asked"]


@pytest.mark.parametrize(("normal", "message"), [("ten", "expected one of 0, 1, 2"), ("", "''")])
def test_a_normal_class_that_is_none_is_refused_with_those_there_are(normal, message, image_fit):
    digits = load("digits")
    with pytest.raises(DataError, match=message):
        detect_anomalies(image_fit, digits.train, digits.test, normal, 0)


def test_any_class_may_be_the_normal_one(image_fit):
    digits = load("digits")
    facts, _ = detect_anomalies(image_fit, digits.train, digits.test, "7", 0)
    assert facts["normal_class"] == 7
    assert facts["n_train"] == (digits.train.y == 7).sum()


def test_the_code_is_as_good_as_promised(finished):
    _, facts, _ = finished
    assert facts["frozen"]["unchanged"] is True
    assert facts["heads"]["linear"]["test_accuracy"] >= 0.94
    assert (
        facts["heads"]["linear"]["test_accuracy"]
        > (facts["baselines"]["untrained"]["test_accuracy"])
    )
    assert facts["baselines"]["supervised"]["test_accuracy"] >= 0.95


def test_the_story_holds_the_same_figures(finished):
    folder, facts, output = finished
    for name in ("digest_before", "digest_after"):
        assert facts["frozen"][name] in output
    assert f"{100 * facts['heads']['linear']['test_accuracy']:.2f} %" in output
    assert f"{100 * facts['baselines']['pca']['test_accuracy']:.2f} %" in output
    assert f"test {facts['reconstruction']['test']:.4f}" in output
    assert " ".join(str(label) for label in facts["first_predictions"]) in output
    assert json.loads((folder / "demo.json").read_text()) == facts


def test_the_bundle_decides_as_the_demo_did(finished):
    folder, facts, _ = finished
    bundle = load_bundle(folder / "bundle")
    digits = load("digits")
    assert bundle.head("mlp").predict(digits.test.X[:10]).tolist() == facts["first_predictions"]
    accuracy = bundle.head("linear").score(digits.test.X, digits.test.y)
    assert accuracy == facts["heads"]["linear"]["test_accuracy"]
    assert not (folder / "checkpoints").exists()


def test_pictures_are_there_as_png_and_svg(finished):
    folder, facts, _ = finished
    names = {path.stem.split("-", 1)[1] for path in (folder / "plots").iterdir()}
    assert names >= {
        *("label-shares", "samples", "reconstructions", "training", "confusion", "predictions"),
    }
    assert len(facts["pictures"]) == 2 * len(names)


def test_a_table_without_labels_gets_a_code_and_no_heads(tmp_path, table):
    output = io.StringIO()
    console = Console(file=output, width=120)
    facts = run_demo(load(table), tmp_path / "t", max_epochs=5, console=console)
    assert facts["epochs"] == 5
    assert facts["kind"] == "table"
    assert facts["heads"] == facts["baselines"] == {}
    assert facts["reconstruction"]["metric"] == "mse"
    assert "no labels" in output.getvalue()
    assert "isthmus evaluate" not in output.getvalue()  # which needs a head


def test_the_reference_recipe_is_the_reference_network(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.classification.heads.choose_max_epochs", lambda *_, **__: 1)
    monkeypatch.setattr("isthmus.demo.run.draw_pictures", lambda *_, **__: [])
    monkeypatch.setattr("isthmus.demo.run.write_page", lambda *_, **__: None)
    digits = load("digits")
    few = Splits(digits.train.take(range(200)), digits.test.take(range(100)))
    console = Console(file=io.StringIO())
    facts = run_demo(few, tmp_path / "r", recipe="reference", max_epochs=1, console=console)
    assert facts["parameters"] == 4969
    assert facts["n_components"] == 8
