"""`isthmus predict` that chooses rows: accepted, selected, and by an adaptive threshold."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus.detection import AdaptiveRate, OnlineSelection


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A calibrated classifier, a detector, and rows of which the first twenty are abnormal."""
    folder = tmp_path_factory.mktemp("choices")
    rng = np.random.default_rng(0)

    def rows(n):
        return pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc"))

    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(rows(200))
    labelled, held, normal, new = rows(200), rows(300), rows(600), rows(200)
    classifier = CodeClassifier(encoder).fit(labelled, (labelled["a"] > 0).astype(int))
    classifier.calibrate(held, (held["a"] > 0).astype(int))
    detector = AnomalyDetector(encoder, "combined", 0.05, calibration="split", random_state=0).fit(
        normal
    )
    new.iloc[:20] += 12
    save_bundle(folder / "press", encoder, {"kind": classifier, "normal": detector})
    new.to_csv(folder / "new.csv", index=False)
    new.iloc[:100].to_csv(folder / "first.csv", index=False)
    new.iloc[100:].to_csv(folder / "second.csv", index=False)
    return folder


def predicted(isthmus, bundle, *words, data="new.csv"):
    status, out, error = isthmus(
        "predict", bundle / "press", bundle / data, "-o", "out.csv", "--json", "facts.json", *words
    )
    assert status == 0, error
    return pd.read_csv("out.csv"), json.loads(Path("facts.json").read_text()), out


def test_accepted_predictions_are_those_of_the_library(isthmus, bundle):
    found, facts, out = predicted(isthmus, bundle, "--head", "kind", "--max-error", "0.2")
    classifier = load_bundle(bundle / "press").heads["kind"]
    expected = classifier.accept(pd.read_csv(bundle / "new.csv"), 0.2)

    np.testing.assert_array_equal(found["accepted"], expected)
    assert 0 < facts["accepted"]["n_accepted"] == expected.sum()
    assert facts["accepted"]["n_wrong"] == classifier.acceptance(0.2).n_wrong
    assert f"{expected.sum()} of 200 accepted: at most 20 % of such predictions are wrong" in out


def test_selected_rows_are_those_of_the_library(isthmus, bundle):
    found, facts, out = predicted(isthmus, bundle, "--head", "normal", "--select-fdr", "0.1")
    detector = load_bundle(bundle / "press").heads["normal"]
    expected = detector.selection(pd.read_csv(bundle / "new.csv"), 0.1)

    np.testing.assert_array_equal(found["selected"], expected.mask)
    assert facts["selection"] == expected.facts()
    assert expected.mask[:20].all()
    assert f"{len(expected)} of 200 selected" in out


@pytest.mark.parametrize("words", [("--adaptive",), ("--select-fdr", "0.2")])
def test_a_state_goes_on_where_the_rows_before_ended(isthmus, bundle, words):
    words = ("--head", "normal", *words, "--state", "state.json")
    column = "adaptive" if "--adaptive" in words else "selected"
    parts = [
        predicted(isthmus, bundle, *words, data=data)[0] for data in ("first.csv", "second.csv")
    ]
    detector = load_bundle(bundle / "press").heads["normal"]
    p_values = detector.p_values(pd.read_csv(bundle / "new.csv"))
    one = AdaptiveRate(0.05) if column == "adaptive" else OnlineSelection(0.2)
    expected = one.decide(p_values) if column == "adaptive" else one.update(p_values)

    np.testing.assert_array_equal(pd.concat(parts)[column], expected)
    assert json.loads(Path("state.json").read_text())["state"] == one.state()


def test_a_state_of_another_calibration_is_refused(isthmus, bundle):
    predicted(isthmus, bundle, "--head", "normal", "--adaptive", "--state", "state.json")
    state = json.loads(Path("state.json").read_text())
    Path("state.json").write_text(json.dumps(state | {"calibration": "0" * 64}))
    words = ("predict", bundle / "press", bundle / "new.csv", "--adaptive", "--state", "state.json")
    status, _, error = isthmus(*words, "--head", "normal")
    assert (status, "calibrated on other rows" in error) == (1, True)
    words = [*words[:3], "--select-fdr", "0.1", *words[4:]]
    status, _, error = isthmus(*words, "--head", "normal")
    assert status == 1
    assert "state.json was begun with --adaptive, expected a state of --select-fdr" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--head", "kind", "--select-fdr", "0.1"), "--select-fdr, which is for detectors"),
        (("--head", "normal", "--max-error", "0.1"), "--max-error, which is for classifiers"),
        (("--head", "normal", "--adaptive", "--select-fdr", "0.1"), "pass one of them"),
        (("--head", "normal", "--state", "a.json"), "is for --adaptive or --select-fdr"),
        (("--head", "kind", "--by-class"), "got --by-class, which holds --alpha"),
    ],
)
def test_what_does_not_go_together_is_refused(isthmus, bundle, words, message):
    status, _, error = isthmus("predict", bundle / "press", bundle / "new.csv", *words)
    assert status == 1
    assert message in " ".join(error.split())


def test_all_that_needs_memory_is_refused_at_once_of_data_read_in_chunks(isthmus, bundle):
    pd.read_csv(bundle / "new.csv").to_parquet("new.parquet")
    words = ("predict", bundle / "press", "new.parquet", "--lazy", "--select-fdr", "0.1")
    status, _, error = isthmus(*words, "-o", "o.parquet")
    assert status == 1
    assert error.startswith("error: new.parquet is read in chunks; --select-fdr needs files that")
    assert "output" not in error
    status, _, error = isthmus(*words, "--alarms", "a.csv", "--with-input", "-o", "o.csv")
    assert status == 1
    for said in ("--select-fdr, --alarms need", "--key COLUMN", "-o NAME.parquet, not o.csv"):
        assert said in error


def test_rows_whose_output_is_lost_are_not_counted_in_the_state(isthmus, bundle):
    words = ("predict", bundle / "press", bundle / "new.csv", "--adaptive", "--state", "state.json")
    Path("out.csv").mkdir()  # the output cannot be written there
    status, *_ = isthmus(*words, "--head", "normal", "-o", "out.csv")
    assert status != 0
    assert not Path("state.json").exists()


def test_classes_in_square_brackets_are_printed_as_they_are_written(isthmus, tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(60, 2)), columns=list("ab"))
    encoder = Autoencoder(1, max_epochs=1, random_state=0).fit(rows)
    kinds = np.where(rows["a"] > 0, "[/b]", ":car:")
    save_bundle(tmp_path / "press", encoder, {"kind": CodeClassifier(encoder).fit(rows, kinds)})
    rows.to_csv("rows.csv", index=False)
    status, out, error = isthmus("predict", tmp_path / "press", "rows.csv", "-o", "out.csv")

    assert status == 0, error
    assert "[/b]: " in out
    assert ":car:: " in out
    assert set(pd.read_csv("out.csv")["prediction"]) == {"[/b]", ":car:"}


def test_explained_rows_are_printed_with_their_keys(isthmus, bundle):
    rows = pd.read_csv(bundle / "new.csv").assign(part=[f"p{at}" for at in range(200)])
    rows.to_csv("keyed.csv", index=False)
    words = ("--head", "normal", "--key", "part", "--explain", "-o", "out.csv")
    status, out, error = isthmus("predict", bundle / "press", "keyed.csv", *words)
    worst = int(pd.read_csv("out.csv")["anomaly_score"].argmax())

    assert status == 0, error
    assert f"row {worst} (part p{worst}): abnormal" in out
