"""A report on a detector by group: verdicts and rates are those of each group."""

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, load, load_bundle, save_bundle
from isthmus.evaluation import evaluate_detector
from isthmus.report import report_facts, write_report


def parts(seed, n=240):
    rng = np.random.default_rng(seed)
    machine = np.array(["a", "b"])[np.arange(n) % 2]
    values = rng.normal(size=(n, 3)) * np.where(machine == "a", 1, 5)[:, None]
    frame = pd.DataFrame(values, columns=list("xyz")).assign(machine=machine, ok=1)
    frame.loc[:9, list("xyz")] += 60
    frame.loc[:9, "ok"] = -1
    return frame


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "press"
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, "mahalanobis", false_alarm_rate=0.05, random_state=0)
    detector.fit(load(parts(0)[10:].drop(columns="ok"), group="machine"))
    save_bundle(folder, detector.encoder_, {"normal": detector})
    return load_bundle(folder)


def test_the_chapter_has_the_verdicts_and_the_rates_of_each_group(bundle, tmp_path):
    data = load(parts(1), label="ok", group="machine")
    (found,) = report_facts(bundle, data)["verdicts"]
    detector = bundle.detector()
    flags = detector.predict(data) == -1

    assert (found["flagged"], found["threshold"]) == (int(flags.sum()), 0.0)
    for one in found["by_group"]["groups"]:
        own = (data.groups == one["name"]) & (data.y == 1)
        assert one["realised"] == flags[own].mean()
    at_zero = next(step for step in found["steps"] if step["threshold"] == 0)
    assert at_zero["all"] == found["flagged"]
    p_values = detector.p_values(data)
    assert [one["p_value"] for one in found["findings"]] == [
        p_values[one["row"]] for one in found["findings"]
    ]
    # Ranked as it decides, by the scores less the threshold of their group.
    at_most = found["found"]["false_alarms"]["share"]
    power = max(share for rate, share in found["found"]["roc"] if rate <= at_most)
    assert power == found["found"]["power"]["share"]
    assert evaluate_detector(detector, data)["code"]["auroc"] == found["found"]["auroc"]
    write_report(bundle, tmp_path / "report.html", data)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Rates by group" in page
    assert "anomaly score less the threshold of its group" in page
    thresholds = detector.thresholds_of(detector.instances_and_groups(data)[1])
    (flagged,) = report_facts(bundle, data)["flagged"]
    for one in flagged["cases"]:
        assert one["threshold"] == thresholds[one["row"]]
        assert (one["score"] > one["threshold"]) == one["flagged"]


def test_data_without_groups_does_not_test_it_and_the_report_says_why(bundle):
    facts = report_facts(bundle, load(parts(1), label="ok", drop=["machine"]))
    assert facts["verdicts"] == []
    assert any(
        "decides by group" in one for one in facts["data"]["warnings"] + facts.get("warnings", [])
    )
