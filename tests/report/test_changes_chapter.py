"""What changed since an encoder was trained, and since an earlier bundle."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, Dataset, load_bundle, save_bundle
from isthmus.data.windows import Windows
from isthmus.evaluation import decide, measure_drift
from isthmus.report import code_chapter, report_facts, write_report
from isthmus.report.changes_chapter import change_facts
from isthmus.report.detection_chapter import column_changes


@pytest.fixture(scope="module")
def parts(digits):
    """Digits in random order: 800 to train on, 400 for heads, 597 to look at."""
    images, y = digits
    order = np.random.default_rng(0).permutation(len(images))
    whole = Dataset(images[order], y[order])
    return [whole.take(np.arange(a, b)) for a, b in ((0, 800), (800, 1200), (1200, 1797))]


def make(path, train, rest, n_components, epochs, labels):
    encoder = Autoencoder(
        n_components, architecture="dense", max_epochs=epochs, random_state=0
    ).fit(train.X)
    normal = AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0)
    heads = {
        "kind": CodeClassifier(encoder, random_state=0).fit(rest.X[:labels], rest.y[:labels]),
        "normal": normal.fit(rest.X[rest.y < 5]),
        f"only {n_components}".replace(" ", "-"): CodeClassifier(encoder).fit(rest.X, rest.y),
    }
    save_bundle(path, encoder, heads)
    return load_bundle(path)


@pytest.fixture(scope="module")
def now(parts, tmp_path_factory):
    return make(tmp_path_factory.mktemp("now") / "press", parts[0], parts[1], 16, 15, 400)


@pytest.fixture(scope="module")
def then(parts, tmp_path_factory):
    return make(tmp_path_factory.mktemp("then") / "before", parts[0], parts[1], 4, 3, 40)


def changes(bundle, part, **more):
    codes, errors = bundle.encoder.transform(part.X), bundle.encoder.reconstruction_error(part.X)
    found = change_facts(bundle, codes, errors, part, **more)
    json.dumps(found)  # plain values
    return found


def test_the_same_source_shows_no_drift_and_another_does(now, parts):
    chapter = changes(now, parts[2], level=0.01)["drift"]
    assert not chapter["found"]["drifted"]
    assert chapter["n_left_out"] == 0
    assert "No change was found" in chapter["verdict"]
    assert "is 1 % at most" in chapter["verdict"]

    chapter = changes(now, Dataset(255 - parts[2].X), level=0.01)["drift"]
    assert chapter["found"]["drifted"]
    assert chapter["verdict"].startswith("A change was found: the codes (p")
    ratio = chapter["found"]["median_error"]["ratio"]
    assert f"The median error is {ratio:.2f} times that of the reference" in chapter["verdict"]


def test_the_test_is_that_of_the_rows_kept_against_the_new_ones(now, parts):
    kept, part = now.encoder.held_out_, parts[2]
    found = changes(now, part, seed=4)["drift"]["found"]
    assert found == measure_drift(
        kept.codes,
        kept.errors,
        now.encoder.transform(part.X),
        now.encoder.reconstruction_error(part.X),
        seed=4,
    )


def test_instances_that_were_trained_on_are_left_out_and_counted(now, parts):
    both = Dataset(np.concatenate([parts[0].X[:300], parts[2].X]))
    chapter = changes(now, both)["drift"]
    assert chapter["n_left_out"] == 300
    assert chapter["found"] == changes(now, parts[2])["drift"]["found"]


def test_too_few_new_ones_are_no_test(now, parts):
    chapter = changes(now, parts[0])["drift"]
    assert chapter["found"] is None
    assert chapter["n_left_out"] == 800
    assert "0 of these instances are new" in chapter["verdict"]
    assert chapter["untested"] == "0 of these instances are new, and the test needs 20"


def test_rows_that_are_equal_by_chance_are_no_drift(tmp_path):
    # Of a few whole numbers most rows meet an equal: to leave those out on one side would leave
    # the rare ones there alone.
    rng = np.random.default_rng(0)
    rows = rng.poisson(3.0, size=(1400, 4)).astype(float)
    Autoencoder(2, max_epochs=3, random_state=0).fit(rows[:800]).save(tmp_path / "press")
    bundle = load_bundle(tmp_path / "press")

    chapter = changes(bundle, Dataset(rows[800:]), level=0.01)["drift"]
    assert chapter["n_left_out"] == 0
    assert not chapter["found"]["drifted"]

    chapter = changes(bundle, Dataset(np.concatenate([rows[:500], rows[800:]])), level=0.01)[
        "drift"
    ]
    assert chapter["n_left_out"] > 500
    assert chapter["n_kept"] < 60
    assert not chapter["found"]["drifted"]


def test_a_bundle_that_kept_nothing_has_nothing_to_say(parts, tmp_path):
    fast = {"validation_fraction": 0, "max_epochs": 1, "random_state": 0}
    encoder = Autoencoder(4, architecture="dense", **fast).fit(parts[0].X)
    encoder.save(tmp_path / "press")
    bundle = load_bundle(tmp_path / "press")
    assert changes(bundle, parts[2])["drift"]["verdict"].startswith("There is no drift to tell")
    chapter = changes(bundle, parts[2], earlier=bundle)
    assert chapter["drift"]["found"] is None
    assert chapter["drift"]["verdict"].startswith("There is no drift to tell")


def test_windows_that_overlap_are_said_to(now, parts):
    n = len(parts[2])
    for stride, dependent in ((8, False), (5, True)):
        first = np.arange(n) * stride
        part = Dataset(parts[2].X, windows=Windows(first, first + 7))
        chapter = changes(now, part)["drift"]
        assert chapter["dependent"] is dependent
        assert ("overlapping windows" in chapter["verdict"]) is dependent
    # Rows of two groups by turns: spans meet, rows do not.
    first = np.arange(n) // 2 * 16 + np.arange(n) % 2
    part = Dataset(parts[2].X, windows=Windows(first, first + 14, np.arange(n) % 2))
    assert not changes(now, part)["drift"]["dependent"]


def test_a_better_encoder_and_head_are_found_better(now, then, parts):
    part = parts[2]
    found = changes(now, part, earlier=then)["earlier"]

    assert found["name"] == "before"
    assert found["n_components"] == {"then": 4, "now": 16}
    assert found["digest"]["now"] == now.encoder.digest_ != found["digest"]["then"]
    assert (found["only_then"], found["only_now"]) == (["only-4"], ["only-16"])
    assert not found["same_encoder"]
    assert found["errors"]["better"] > 0.9
    assert found["errors"]["adjusted"] < 0.001
    assert "not significant" not in found["verdict"]

    kind, normal = found["heads"]
    head = now.heads["kind"].standardised_head_
    predicted = decide(head, now.encoder.transform(part.X))[0]
    assert kind["accuracy"]["now"] == np.mean(predicted == part.y)
    assert kind["accuracy"]["then"] < kind["accuracy"]["now"]
    assert kind["test"]["adjusted"] < 0.001
    first = kind["decisions"][0]
    at = part.row_numbers().tolist().index(first["row"])
    assert first["now"] == str(predicted[at])
    assert first["label"] == str(part.y[at])
    assert f"{100 * kind['accuracy']['now']:.1f} % now (p < 0.001)" in kind["verdict"]
    assert normal["kind"] == "detector"
    assert normal["flagged"]["now"] == np.sum(now.heads["normal"].predict(part.X) == -1)
    assert normal["found"] is None
    assert found["drift"]["found"]["n_reference"] == 80


def test_labels_judge_detectors_and_all_tests_are_adjusted_together(now, then, parts):
    part = parts[2]
    labels = np.where(part.y < 5, 1, -1)
    found = changes(now, part, labels=labels, earlier=then)["earlier"]

    kind, normal = found["heads"]
    flagged = now.heads["normal"].predict(part.X) == -1
    assert normal["false_alarms"]["now"] == np.mean(flagged[labels == 1])
    assert normal["found"]["now"] == np.mean(flagged[labels == -1])
    tests = [found["errors"], kind["test"], normal["false_alarms"]["test"], normal["found"]["test"]]
    lowest = min(tests, key=lambda test: test["p_value"])
    assert lowest["adjusted"] == pytest.approx(4 * lowest["p_value"])
    assert all(test["adjusted"] >= test["p_value"] for test in tests)


def test_a_bundle_against_itself_has_not_changed(now, parts):
    found = changes(now, parts[2], earlier=now)["earlier"]
    assert found["same_encoder"]
    assert found["errors"] is None
    assert [head["changed"]["count"] for head in found["heads"]] == [0, 0, 0]
    assert found["heads"][0]["verdict"].startswith(
        "'kind' changed its decision on 0 of 597 instances"
    )
    assert "not significant" in found["heads"][0]["verdict"]


def test_without_labels_nobody_can_say_which_is_right(now, then, parts):
    kind = changes(now, Dataset(parts[2].X), earlier=then)["earlier"]["heads"][0]
    assert kind["test"] is None
    assert kind["verdict"].endswith("without labels it is unknown which decisions are right.")


def test_instances_that_a_head_learned_from_are_left_out(now, then, parts):
    both = Dataset(
        np.concatenate([parts[1].X, parts[2].X]), np.concatenate([parts[1].y, parts[2].y])
    )
    kind = changes(now, both, earlier=then)["earlier"]["heads"][0]
    assert (kind["n_known"], kind["n"]) == (400, 597)
    assert min(one["row"] for one in kind["decisions"]) >= 400


def test_errors_in_other_units_are_not_compared(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 5))
    Autoencoder(2, max_epochs=1, random_state=0).fit(rows[:200]).save(tmp_path / "a")
    Autoencoder(2, max_epochs=1, random_state=0).fit(9 * rows[:200]).save(tmp_path / "b")
    found = changes(
        load_bundle(tmp_path / "a"), Dataset(rows[200:]), earlier=load_bundle(tmp_path / "b")
    )["earlier"]
    assert found["errors"] is None
    assert not found["same_encoder"]
    assert "cannot be compared" in found["verdict"]


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_of_a_table_the_columns_that_moved_are_named(calibration, tmp_path, monkeypatch):
    monkeypatch.setattr(code_chapter, "MAX_ON_MAP", 25)
    rng = np.random.default_rng(0)

    def rows(n, amount=0.0, online=0.3, missing=0.0):
        table = pd.DataFrame(
            {
                "amount": rng.lognormal(3 + amount, 0.8, n),
                "hour": np.where(rng.random(n) < missing, np.nan, rng.normal(14, 3, n)),
                "merchant": np.where(rng.random(n) < online, "online", "shop"),
                "fees": rng.normal(size=n),
            }
        )
        return table

    detector = AnomalyDetector(
        Autoencoder(2, max_epochs=1, random_state=0),
        calibration=calibration,
        false_alarm_rate=0.1,
        random_state=0,
    ).fit(rows(600))
    save_bundle(tmp_path / "bank", detector.encoder_, {"normal": detector})
    bank = load_bundle(tmp_path / "bank")

    same = rows(500)
    found = column_changes(bank, same, bank.encoder.row_hashes(same), 0.05)
    assert found["moved"] == []
    assert "No column moved: each of 4" in found["words"]
    few = rows(10)
    assert column_changes(bank, few, bank.encoder.row_hashes(few), 0.05) is None

    later = Dataset(rows(500, amount=1.0, online=0.6, missing=0.2))
    facts = write_report(bank, tmp_path / "bank.html", later)
    found = facts["changes"]["moved_columns"]
    by_name = {one["name"]: one for one in found["moved"]}
    assert list(by_name) == ["amount", "merchant", "hour"]  # the largest change first
    stored = detector.reference_set_.columns.values
    assert by_name["amount"]["then"] == pytest.approx(np.median(stored[:, 0]))
    assert by_name["amount"]["now"] == pytest.approx(later.X["amount"].median())
    kind = by_name["merchant"]
    share = (later.X["merchant"] == kind["category"]).mean()
    assert kind["category"] in ("online", "shop")
    assert kind["now"] == pytest.approx(share)
    assert by_name["hour"]["missing"]["now"] == pytest.approx(later.X["hour"].isna().mean())
    (card,) = [one for one in facts["answer"]["cards"] if one["title"] == "Drift"]
    assert card["value"] == "found"
    assert "columns that moved: amount, merchant, hour" in card["words"]
    assert "Columns that moved" in (tmp_path / "bank.html").read_text("utf-8")


def test_no_warning_is_of_the_flagged_rows_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(code_chapter, "MAX_ON_MAP", 25)
    rng = np.random.default_rng(0)

    def rows(n):
        table = pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc"))
        return table.assign(kind=np.where(rng.random(n) < 0.5, "nut", "bolt"))

    detector = AnomalyDetector(Autoencoder(2, max_epochs=1, random_state=0), random_state=0)
    save_bundle(tmp_path / "press", detector.fit(rows(600)).encoder_, {"normal": detector})
    later = rows(200)
    later.loc[:20, "a"], later.loc[:20, "kind"] = 30.0, "rivet"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "most values of the column")
        facts = report_facts(load_bundle(tmp_path / "press"), Dataset(later))
    assert facts["flagged"][0]["n_flagged"] >= 21
