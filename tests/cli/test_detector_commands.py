"""Detectors on the command line: fit one, ask it, teach it, and go back."""

import json
import shlex

import numpy as np
import pandas as pd
import pytest

from _commands import isthmus
from isthmus import CodeClassifier, load_bundle, save_bundle
from isthmus.bundle import read_manifest


def rows(n, seed, n_odd=0):
    """Measurements that hang together, but for the first few."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    table = pd.DataFrame(
        {
            "width": common + 0.1 * rng.normal(size=n),
            "height": 40 + 3 * common + 0.1 * rng.normal(size=n),
            "depth": 5 - common + 0.1 * rng.normal(size=n),
            "hue": rng.choice(["red", "green"], n),
        }
    )
    table.loc[: n_odd - 1, "height"] += 25
    return table


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Tables, and a bundle with an encoder. Written once; work on a copy of the bundle."""
    where = tmp_path_factory.mktemp("source")
    rows(120, 0).to_csv(where / "first.csv", index=False)
    rows(120, 1).to_csv(where / "normal.csv", index=False)
    rows(40, 2, n_odd=8).to_csv(where / "new.csv", index=False)
    words = np.repeat(["broken", "ok", None], [8, 22, 10])
    rows(40, 2, n_odd=8).assign(state=words).to_csv(where / "words.csv", index=False)
    numbers = np.repeat([-1, 1, np.nan], [4, 6, 20])
    rows(30, 3, n_odd=4).assign(found=numbers).to_csv(where / "found.csv", index=False)
    rows(80, 4).assign(kind=rows(80, 4)["hue"]).to_csv(where / "kinds.csv", index=False)
    isthmus("fit", "first.csv", "-o", "press", "--max-epochs", "3", cwd=where)
    words = ("--label", "kind", "--baselines", "none")
    isthmus("classify", "press", "kinds.csv", *words, cwd=where)
    words = ("--false-alarm-rate", "0.05", "--json", "facts.json")
    done = isthmus("detect", "press", "normal.csv", *words, cwd=where)
    (where / "said.txt").write_text(done.stdout)
    return where


@pytest.fixture
def folder(source, tmp_path):
    """The same, to be changed."""
    from shutil import copytree

    return copytree(source, tmp_path / "work")


def test_detect_adds_a_head_and_says_what_it_found(source):
    detector = load_bundle(source / "press").heads["normal"]
    assert (source / "said.txt").read_text().splitlines() == [
        "rows         120: 0 labelled normal, 0 abnormal, 120 unlabelled",
        "calibration  cross, 120 rows, each scored by a model that did not see it",
        "false alarms 5 % of normal instances accepted",
        "method       combined",
        f"threshold    {-detector.offset_:.4g}, an anomaly score above it is abnormal",
        "head 'normal', version 1, is in press",
        "next   isthmus predict press NEW --head normal --explain",
    ]
    facts = json.loads((source / "facts.json").read_text())
    assert facts["threshold"] == -detector.offset_
    assert (facts["calibration"], facts["n_calibration"]) == ("cross", 120)
    assert (facts["name"], facts["version"], facts["false_alarm_rate"]) == ("normal", 1, 0.05)
    assert facts["labels"] == {"normal": 0, "abnormal": 0, "unknown": 120}
    assert facts["frozen"]["unchanged"] is True


def test_rows_the_encoder_saw_are_refused_with_the_command_that_takes_them(source):
    done = isthmus("detect", "press", "first.csv", cwd=source, check=False)
    assert done.returncode == 1
    output = done.stderr.strip()
    assert output.startswith("error: 120 of 120 rows were among those the encoder was trained on")
    assert output.endswith("(on the command line: isthmus fit DATA -o BUNDLE --detector)")
    assert len(read_manifest(source / "press")["history"]["normal"]) == 1


def test_predictions_are_the_detectors(source):
    done = isthmus("predict", "press", "new.csv", "-o", "out.csv", cwd=source)
    out = pd.read_csv(source / "out.csv")
    assert list(out.columns) == [
        *("prediction", "anomaly_score", "p_value", "reconstruction_error"),
    ]
    detector, X = load_bundle(source / "press").heads["normal"], rows(40, 2, n_odd=8)
    np.testing.assert_array_equal(out["prediction"], detector.predict(X))
    np.testing.assert_allclose(out["anomaly_score"], -detector.score_samples(X))
    np.testing.assert_allclose(out["p_value"], detector.p_values(X))
    n_abnormal = int((out["prediction"] == -1).sum())
    assert done.stdout.splitlines()[0] == (
        f"40 instances: normal: {40 - n_abnormal}, abnormal: {n_abnormal}"
    )
    assert n_abnormal >= 8


def test_explained_predictions_give_three_reasons_and_the_nearest_normal(source):
    words = ("--explain", "-o", "why.csv", "--json", "why.json", "--rows", "2:40")
    done = isthmus("predict", "press", "new.csv", *words, cwd=source)
    out = pd.read_csv(source / "why.csv")
    assert out["row"].tolist() == list(range(2, 40))
    assert list(out.columns[4:]) == [
        *("reason_1", "share_1", "reason_2", "share_2", "reason_3", "share_3"),
        *("nearest_normal", "reconstruction_error"),
    ]
    assert out["reason_1"][:6].eq("height").all()
    shares = out[["share_1", "share_2", "share_3"]]
    assert (shares.sum(axis=1) <= 1 + 1e-6).all()
    assert out["nearest_normal"].between(0, 119).all()
    worst = out["row"][int(out["anomaly_score"].argmax())]
    assert f"row {worst}: abnormal, anomaly score" in done.stdout
    facts = json.loads((source / "why.json").read_text())
    assert facts["reading"]["rows"] == {"first": 2, "last": 39, "n": 38}
    assert facts["counts"]["abnormal"] == int((out["prediction"] == -1).sum())
    assert facts["false_alarm_rate"] == 0.05


def test_a_classifier_is_not_explained(source):
    words = ("predict", "press", "new.csv", "--head", "linear", "--explain")
    done = isthmus(*words, cwd=source, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the head is a classifier, and explain=True")


def test_suggestions_are_the_detectors_rows_with_a_reason(source):
    words = ("suggest", "press", "new.csv", "-n", "6", "-o", "look.csv", "--json", "look.json")
    done = isthmus(*words, "--rows", "3:", cwd=source)
    table = pd.read_csv(source / "look.csv")
    detector, X = load_bundle(source / "press").heads["normal"], rows(40, 2, n_odd=8)
    np.testing.assert_array_equal(table["row"], 3 + detector.suggest(X[3:], 6))
    np.testing.assert_allclose(table["anomaly_score"], -detector.score_samples(X)[table["row"]])
    assert table["reason"].str.fullmatch(r"(width|height|depth|hue) \(\d+%\)").all()
    assert done.stdout.splitlines()[0] == "6 of 37 rows to look at, counting from 0"
    facts = json.loads((source / "look.json").read_text())
    assert [row["row"] for row in facts["rows"]] == list(table["row"])
    isthmus("suggest", "press", "new.csv", "-n", "6", "-o", "look.csv", "--with-input", cwd=source)
    table = pd.read_csv(source / "look.csv")  # the rows themselves, as a person labels them
    columns = pd.read_csv(source / "new.csv")
    pd.testing.assert_frame_equal(
        table[list(columns)], columns.iloc[table["row"]].reset_index(drop=True)
    )


def test_the_file_of_suggestions_is_labelled_and_taken_as_it_is(folder):
    rng = np.random.default_rng(5)
    table = pd.read_csv(folder / "new.csv").assign(found=np.where(rng.random(40) < 0.5, 1, np.nan))
    table.to_csv(folder / "some.csv", index=False)
    words = ("suggest", "press", "some.csv", "--label", "found", "-n", "5", "-o", "look.xlsx")
    done = isthmus(*words, "--with-input", cwd=folder)
    n = int(table["found"].isna().sum())
    assert done.stdout.startswith(f"5 of {n} rows to look at, counting from 0; {40 - n} with a")
    look = pd.read_excel(folder / "look.xlsx")
    assert table["found"][look["row"]].isna().all()
    look.assign(found=[-1, 1, -1, 1, 1]).to_excel(folder / "look.xlsx", index=False)
    words = ("label", "press", "look.xlsx", "--label", "found", "--json", "-")
    facts = json.loads(isthmus(*words, cwd=folder).stdout)
    assert (facts["n_given"], facts["n_new"]) == (5, 5)
    hashes = load_bundle(folder / "press").heads["normal"].reference_set_.hashes
    rows = table.drop(columns="found").iloc[look["row"]]
    assert np.isin(load_bundle(folder / "press").encoder.row_hashes(rows), hashes).all()


def test_predictions_name_rows_and_what_they_are(source):
    done = isthmus("predict", "press", "new.csv", "--rows", "3:", cwd=source)
    detector, X = load_bundle(source / "press").heads["normal"], rows(40, 2, n_odd=8)
    scores = -detector.score_samples(X)
    odd = [row for row in np.argsort(-scores) if detector.predict(X)[row] == -1 and row > 2]
    names = ", ".join(f"row {row}" for row in odd[:10])
    assert f"abnormal, the most unusual first: {names}" in done.stdout
    done = isthmus("predict", "press", "new.csv", "--rows", "30:", "--head", "linear", cwd=source)
    label = load_bundle(source / "press").heads["linear"].predict(X)[30]
    assert f"first: row 30 is {label}, row 31 is " in done.stdout
    normal = np.flatnonzero(detector.predict(X) == 1)
    done = isthmus("predict", "press", "new.csv", "--rows", f"{normal[0]}:{normal[0] + 1}",
                   cwd=source)  # fmt: skip
    assert f"the most unusual is row {normal[0]}, with a p-value of " in done.stdout


def test_a_key_called_row_stays_beside_the_numbers_of_suggested_rows(source):
    rows(40, 2, n_odd=8).assign(row=range(100, 140)).to_csv(source / "keyed.csv", index=False)
    isthmus(*("suggest", "press", "keyed.csv", "-n", "6", "-o", "keyed-look.csv"), cwd=source)
    table = pd.read_csv(source / "keyed-look.csv")
    assert (table["row"] == 100 + table["row_number"]).all()


def test_a_classifier_suggests_where_two_classes_are_close(source):
    words = ("--head", "linear", "--label", "kind", "-n", "3", "-o", "close.csv")
    isthmus("suggest", "press", "kinds.csv", *words, cwd=source)
    table = pd.read_csv(source / "close.csv")
    classifier = load_bundle(source / "press").heads["linear"]
    shares = classifier.predict_proba(rows(80, 4))
    np.testing.assert_array_equal(table["row"], classifier.suggest(rows(80, 4), 3))
    doubt = 1 - np.abs(shares[:, 0] - shares[:, 1])
    assert table["row"][0] in np.argsort(-doubt)[:20]  # ten times as many as are doubtful here
    np.testing.assert_allclose(table["doubt"], doubt[table["row"]], rtol=1e-6)
    assert table["reason"].str.contains(" or ").all()


def test_what_to_label_first_needs_no_head(source, tmp_path):
    bundle = load_bundle(source / "press")
    save_bundle(tmp_path / "bare", bundle.encoder)
    asked = CodeClassifier(bundle.encoder).suggestions(rows(80, 4), 6)
    for words in ((str(tmp_path / "bare"),), ("press", "--typical")):
        words = ("suggest", *words, "kinds.csv", "--label", "kind", "-n", "6", "--json", "-")
        found = json.loads(isthmus(*words, cwd=source).stdout)
        assert found["rows"] == asked.to_dict("records")
        assert found["n_grouped"] == 80


def test_of_many_rows_it_says_how_many_are_grouped(source, monkeypatch):
    monkeypatch.setattr("isthmus.encoding.MAX_GROUPED", 50)
    words = ("suggest", "press", "kinds.csv", "--label", "kind", "--typical", "-n", "6")
    said = isthmus(*words, cwd=source).stdout
    assert "typical ones are of groups of 50 of them, drawn at random" in said


def test_labels_that_were_found_make_a_new_version(folder):
    words = ("label", "press", "found.csv", "--label", "found", "--json", "-")
    facts = json.loads(isthmus(*words, cwd=folder).stdout)
    assert (facts["name"], facts["version"]) == ("normal", 2)
    assert (facts["n_given"], facts["n_new"]) == (10, 10)  # empty cells say nothing
    assert facts["labels"] == {"normal": 6, "abnormal": 4, "unknown": 120}
    assert [point["labels"] for point in facts["label_curve"]] == [1, 2, 3]
    bundle = load_bundle(folder / "press")
    assert bundle.heads["normal"].method_ == "blend"
    assert [entry["n_rows"] for entry in bundle.history("normal")] == [120, 130]
    y = pd.read_csv(folder / "found.csv")["found"].dropna().to_numpy()
    before = load_bundle(folder / "press").heads["normal"].reference_set_.y
    np.testing.assert_array_equal(before[-10:], y)


def test_the_rate_alone_can_be_moved_and_moved_back(folder):
    done = isthmus("detect", "press", "--false-alarm-rate", "0.2", cwd=folder)
    assert "false alarms 20 % of normal instances" in done.stdout
    assert "head 'normal', version 2, is in press" in done.stdout
    assert load_bundle(folder / "press").heads["normal"].false_alarm_rate_ == 0.2
    done = isthmus("history", "press", "--roll-back", "normal", cwd=folder)
    output = done.stdout.splitlines()
    assert output[0] == "head 'normal' is version 1 again"
    assert output[1:3] == ["linear", f"*   1  {output[2][7:]}"]
    assert output[3] == "normal"
    assert output[4].startswith("*   1  ")
    assert "120 rows" in output[4]
    assert output[4].endswith(
        "detector, combined, false-alarm rate 0.05 (cross, 120 calibration rows)"
    )
    assert output[5].startswith("    2  ")
    assert load_bundle(folder / "press").heads["normal"].false_alarm_rate_ == 0.05
    isthmus("history", "press", "--roll-back", "normal", "--to", "2", cwd=folder)
    done = isthmus("history", "press", "--head", "normal", "--json", "-", cwd=folder)
    versions = json.loads(done.stdout)["normal"]
    assert [(v["version"], v["current"]) for v in versions] == [(1, False), (2, True)]
    assert [v["false_alarm_rate"] for v in versions] == [0.05, 0.2]
    output = isthmus("info", "press", cwd=folder).stdout.splitlines()[-1]
    assert output == (
        "head         normal: detector, combined, false-alarm rate 0.2 "
        "(cross, 120 calibration rows); version 2 of 2"
    )


def test_words_for_labels_and_a_name_of_its_own(folder):
    words = ("--label", "state", "--normal", "ok", "--false-alarm-rate", "0.1")
    words += ("--method", "head", "--calibration", "split", "--name", "taught")
    done = isthmus("detect", "press", "words.csv", *words, "--json", "facts.json", cwd=folder)
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["labels"] == {"normal": 22, "abnormal": 8, "unknown": 10}
    assert (facts["method"], facts["calibration"], facts["name"]) == ("head", "split", "taught")
    assert "rows         40: 22 labelled normal, 8 abnormal, 10 unlabelled" in (done.stdout)
    assert "AUROC label-free" in done.stdout
    assert list(load_bundle(folder / "press").heads) == ["linear", "normal", "taught"]
    done = isthmus("detect", "press", "words.csv", "--label", "state", "--normal", "OK", cwd=folder,
                   check=False)  # fmt: skip
    assert done.stderr.startswith("error: got normal='OK', and no label in words.csv is that")
    pd.read_csv(folder / "words.csv").assign(state=None).to_csv(folder / "empty.csv", index=False)
    words = ("label", "press", "empty.csv", "--label", "state", "--head", "taught")
    done = isthmus(*words, cwd=folder, check=False)
    assert "are empty; fill in ok where a row is normal, and another label where it" in done.stderr


def test_evaluate_counts_false_alarms_and_what_was_found_beside_raw_features(source):
    words = ("--label", "state", "--normal", "ok", "--json", "facts.json")
    baselines = ("--train", "normal.csv", "--baselines", "fast")
    done = isthmus("evaluate", "press", "words.csv", *words, *baselines, cwd=source)
    facts = json.loads((source / "facts.json").read_text())
    code = facts["code"]
    detector, X = load_bundle(source / "press").heads["normal"], rows(40, 2, n_odd=8)[:30]
    flagged = detector.predict(X) == -1
    assert code["confusion"] == [
        [int((~flagged[8:]).sum()), int(flagged[8:].sum())],
        [int((~flagged[:8]).sum()), int(flagged[:8].sum())],
    ]
    scores = -detector.score_samples(X)
    # AUROC is the share of pairs in which the abnormal row scores higher.
    assert code["auroc"] == pytest.approx((scores[:8, None] > scores[None, 8:]).mean())
    assert code["false_alarms"]["n"] == 22
    assert set(facts["baselines"]["raw"]) == {"auroc", "auprc", "n", "n_train"}
    false_alarms = code["false_alarms"]["count"]
    first, second, precise, third, fourth = done.stdout.splitlines()[:5]
    assert first.startswith(f"found        {code['power']['count']} of 8 abnormal, ")
    assert second.startswith(f"false alarms {false_alarms} of 22 normal, ")
    n_flagged = false_alarms + code["power"]["count"]
    assert precise.startswith(
        f"precision    {code['power']['count']} of {n_flagged} called abnormal"
    )
    assert third == "30 test instances: 22 normal, 8 abnormal"
    assert fourth == "label ok is normal, any other abnormal (broken: 8, ok: 22)"
    assert list(code)[:2] == ["power", "false_alarms"]
    assert facts["normal"] == "ok"
    assert facts["labels"] == {"broken": 8, "ok": 22}
    assert "asked for 5 %" in done.stdout
    assert "raw features (5 nearest neighbours)" in done.stdout


def test_fit_with_a_detector_needs_one_file_of_normal_rows(source):
    words = ("--detector", "--false-alarm-rate", "0.05", "--max-epochs", "1")
    done = isthmus("fit", "normal.csv", "-o", "one", *words, "--json", "one.json", cwd=source)
    facts = json.loads((source / "one.json").read_text())
    assert facts["n_train"] == 120
    assert facts["detector"]["n_calibration"] == 120
    assert done.stdout.splitlines()[-1] == "next   isthmus predict one NEW --explain"
    bundle = load_bundle(source / "one")
    assert bundle.heads["normal"].calibration_ == "cross"
    assert len({fold.encoder.digest_ for fold in bundle.heads["normal"].reference_set_.folds}) == 5
    assert not (source / "one-checkpoints").exists()


def test_a_detector_of_many_rows_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    rows(2000, 1).to_csv(tmp_path / "many.csv", index=False)
    words = ("fit", "many.csv", "--detector", "--max-epochs", "2", "-o")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("isthmus.bundle.save_bundle", stopped)
        assert isthmus(*words, "press", cwd=tmp_path, check=False).returncode == 130
    assert not (tmp_path / "press").exists()
    isthmus(*words, "press", "--resume", "--json", "facts.json", cwd=tmp_path)
    isthmus(*words, "whole", cwd=tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["detector"]["calibration"] == "split"
    assert facts["n_train"] == 1600
    resumed, whole = (load_bundle(tmp_path / name) for name in ("press", "whole"))
    assert resumed.encoder.digest_ == whole.encoder.digest_
    assert resumed.heads["normal"].offset_ == whole.heads["normal"].offset_
    assert not (tmp_path / "press-checkpoints").exists()


def test_windows_are_told_apart_by_channel_and_step(tmp_path):
    angle = np.arange(600) / 4
    table = pd.DataFrame({"load": np.sin(angle), "heat": 40 + np.cos(angle)})
    table += np.random.default_rng(0).normal(0, 0.05, (600, 2))
    table.insert(0, "t", pd.date_range("2024-05-01", periods=600, freq="min"))
    table.to_csv(tmp_path / "readings.csv", index=False)
    words = ("--kind", "series", "--time", "t", "--window", "20", "--max-epochs", "1")
    words += ("--detector", "--false-alarm-rate", "0.1", "-o", "press")
    isthmus("fit", "readings.csv", *words, cwd=tmp_path)
    table.loc[105, "heat"] += 50
    table.to_csv(tmp_path / "later.csv", index=False)
    words = ("--time", "t", "--explain", "-o", "out.csv")
    done = isthmus("predict", "press", "later.csv", *words, cwd=tmp_path)
    out = pd.read_csv(tmp_path / "out.csv")
    assert list(out.columns[:4]) == ["first_time", "last_time", "prediction", "anomaly_score"]
    assert out["anomaly_score"].argmax() == 5
    assert out["reason_1"][5] == "heat at step 5"
    np.testing.assert_allclose(out["share_load"] + out["share_heat"], 1)
    assert out["share_heat"][5] > out["share_1"][5]
    assert "; heat (" in done.stdout.splitlines()[-6]
    assert "most at heat at step 5" in done.stdout
    words = ("--time", "t", "-n", "2", "--json", "-")
    found = json.loads(isthmus("suggest", "press", "later.csv", *words, cwd=tmp_path).stdout)
    assert set(found["rows"][0]) >= {"first_time", "last_time", "row", "reason"}
    # Windows of which one marks an anomaly.
    table["anomaly"] = np.where(np.arange(600) // 20 == 5, 1, 0)
    table.to_csv(tmp_path / "marked.csv", index=False)
    words = ("press", "marked.csv", "--time", "t", "--label", "anomaly", "--by", "window")
    done = isthmus("evaluate", *words, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "only 0 and 1 (0: 29, 1: 1)" in done.stderr
    done = isthmus("evaluate", *words, "--normal", "0", "--json", "found.json", cwd=tmp_path)
    assert done.stdout.startswith("found        1 of 1 abnormal, ")
    assert json.loads((tmp_path / "found.json").read_text())["labels"] == {"0": 29, "1": 1}


@pytest.mark.parametrize(
    ("zero", "one", "shown"),
    [(0, 1, "0: 22, 1: 8"), (False, True, "False: 22, True: 8"), ("no 0", "1", "")],
)
def test_labels_of_zero_and_one_in_a_file(folder, zero, one, shown):
    truth = np.repeat([one, zero, None], [8, 22, 10]).astype(object)
    rows(40, 2, n_odd=8).assign(anomaly=truth).to_csv(folder / "marked.csv", index=False)
    words = ("press", "marked.csv", "--label", "anomaly")
    for command in ("evaluate", "detect", "label"):
        done = isthmus(command, *words, cwd=folder, check=False)
        assert done.returncode == 1
        assert (shown or "normal=") in done.stderr
    normal = ("--normal", str(zero))
    done = isthmus("evaluate", *words, *normal, "--head", "normal", cwd=folder)
    assert "8 of 8 abnormal" in done.stdout.splitlines()[0]
    assert "of 22 normal" in done.stdout.splitlines()[1]
    rate = ("--false-alarm-rate", "0.2", "--json", "fitted.json")
    isthmus("detect", *words, *normal, *rate, "--name", "marked", cwd=folder)
    assert json.loads((folder / "fitted.json").read_text())["labels"] == {
        "normal": 22,
        "abnormal": 8,
        "unknown": 10,
    }
    # The bundle stores what is normal: later labels need no --normal.
    assert load_bundle(folder / "press").heads["marked"].normal_ == str(zero)
    done = isthmus("evaluate", *words, "--head", "marked", cwd=folder)
    assert "8 of 8 abnormal" in done.stdout.splitlines()[0]
    isthmus("label", *words, "--name", "marked", cwd=folder)
    assert (load_bundle(folder / "press").heads["marked"].reference_set_.y == -1).sum() == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["detect", "press"], "got neither DATA to fit a detector on nor"),
        (["detect", "press", "--method", "head"], "got --method and no DATA"),
        (["detect", "press", "--false-alarm-rate", "0.001"], "needs 999 calibration rows"),
        (["detect", "press", "--false-alarm-rate", "0.1", "--name", "odd"], "detectors: normal"),
        (["detect", "press", "normal.csv", "--false-alarm-rate", "often"], "a number or auto"),
        (["detect", "press", "normal.csv", "--normal", "ok"], "--label COLUMN"),
        (["detect", "press", "words.csv", "--label", "state"], "'broken', 'ok'"),
        (["detect", "press", "words.csv", "--label", "state"], "--normal VALUE"),
        (
            ["detect", "press", "words.csv", "--label", "state", "--normal", "okay"],
            "ok: 22, broken: 8",
        ),
        (["label", "press", "normal.csv"], "--label COLUMN"),
        (
            ["label", "press", "found.csv", "--label", "found", "--name", "linear"],
            "isthmus classify press LABELLED --label COLUMN",
        ),
        (["suggest", "press", "new.csv", "-o", "look.txt"], ".csv, .parquet, .xlsx"),
        (["predict", "press", "new.csv", "-o", "press/../new.csv"], "would write over"),
        (["suggest", "press", "new.csv", "--typical", "--head", "linear"], "it takes no head"),
        (["evaluate", "press", "words.csv", "--label", "state"], "--normal VALUE"),
        (["evaluate", "press", "words.csv", "--label", "state", "--baselines", "fast"], "--train"),
        (["history", "press", "--to", "1"], "--roll-back NAME"),
        (["history", "press", "--roll-back", "normal"], "version 1 is the first"),
        (["history", "press", "--roll-back", "normal", "--to", "5"], "expected one of 1"),
        (["history", "press", "--head", "nope"], "heads: linear, normal"),
        (["fit", "normal.csv", "-o", "x", "--false-alarm-rate", "0.1"], "add --detector"),
        (["fit", "normal.csv", "-o", "x", "--detector", "--resume"], "leave --resume out"),
    ],
)
def test_an_error_about_a_detector_is_one_plain_sentence(source, words, message):
    before = sorted(source.rglob("*"))
    done = isthmus(*words, cwd=source, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert sorted(source.rglob("*")) == before


def test_wrong_words_are_status_2(source):
    assert (
        isthmus("suggest", "press", "new.csv", "-n", "0", cwd=source, check=False).returncode == 2
    )


def test_info_and_history_load_no_torch(source):
    import subprocess
    import sys

    for command in ("info", "history"):
        script = (
            f"import sys; sys.argv = ['isthmus', '{command}', 'press']\n"
            "from isthmus.cli import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "print('torch' in sys.modules, file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=source, capture_output=True, text=True, check=True
        )
        assert done.stderr.strip() == "False"
        assert "detector, combined, false-alarm rate 0.05" in done.stdout


def test_a_dead_sensor_is_unusual_unless_the_command_says_otherwise(folder):
    new = rows(40, 5)
    new["height"] = np.nan
    new.to_csv(folder / "dead.csv", index=False)
    isthmus("predict", "press", "dead.csv", "-o", "dead-out.csv", "--explain", cwd=folder)
    found = pd.read_csv(folder / "dead-out.csv")
    assert (found["prediction"] == -1).all()
    assert (found["reason_1"] == "height (missing)").all()

    words = ("--false-alarm-rate", "0.05", "--name", "lenient", "--json", "facts.json")
    isthmus("detect", "press", "normal.csv", "--missing", "ignore", *words, cwd=folder)
    assert json.loads((folder / "facts.json").read_text())["missing"] == "ignore"
    isthmus("predict", "press", "dead.csv", "-o", "out.csv", "--head", "lenient", cwd=folder)
    assert (pd.read_csv(folder / "out.csv")["prediction"] == 1).any()
    words = ("--missing", "error", "--name", "strict", "--false-alarm-rate", "0.05")
    isthmus("detect", "press", "normal.csv", *words, cwd=folder)
    done = isthmus("predict", "press", "dead.csv", "--head", "strict", cwd=folder, check=False)
    assert "40 values missing in columns that were complete at fit" in done.stderr
    assert "in column 'height', row 0" in done.stderr


def test_a_bound_of_abnormal_rows_is_taken_printed_and_in_the_json(folder):
    words = ("--contamination", "0.1", "--name", "bounded", "--false-alarm-rate", "0.05")
    done = isthmus("detect", "press", "normal.csv", *words, "--json", "facts.json", cwd=folder)
    facts = json.loads((folder / "facts.json").read_text())["contamination"]
    assert (facts["bound"], facts["auto"]) == (0.1, False)
    assert len(facts["trimmed"]) == facts["n_trimmed"] <= 12
    assert "at most 10 % (as stated); " in done.stdout
    assert read_manifest(folder / "press")["heads"]["bounded"]["contamination"]["bound"] == 0.1
    done = isthmus("detect", "press", "normal.csv", "--contamination", "2", cwd=folder, check=False)
    assert "expected None, 'auto', or the largest share" in done.stderr


def test_fit_prints_what_may_mislead_the_model(folder):
    table = rows(120, 0).assign(customer=np.random.default_rng(0).permutation(120) + 70_000)
    table["row"] = np.arange(120)
    table.loc[17, "width"] = -9999
    (folder / "doubtful.csv").write_text("# logger 7\n" + table.to_csv(index=False))
    words = ("-o", "doubtful", "--max-epochs", "1", "--rows", "5:")
    lines = isthmus("fit", "doubtful.csv", *words, cwd=folder).stderr.splitlines()
    found = [line for line in lines if line.startswith("warning: column ")]
    assert [line.split("'")[1] for line in found] == ["width", "row", "customer"]
    place = "row 17, counting from 0 (line 20 of the file)"
    assert found[0].startswith(f"warning: column 'width' holds -9999 in {place}, ")
    assert found[1].endswith("on the command line --drop 'row'")


def test_predictions_are_written_as_excel_with_the_columns_of_the_input(folder):
    table = rows(40, 2, n_odd=8)
    table["part"] = [f"{n:03}" for n in range(40)]
    table.loc[0, "part"] = "=1+1"
    table.to_csv(folder / "parts.csv", index=False)
    words = ("parts.csv", "--key", "part", "--with-input", "-o")
    for name in ("decided.xlsx", "decided.csv", "decided.parquet"):
        isthmus("predict", "press", *words, name, "--head", "normal", cwd=folder)
    text = {"dtype": {"part": str}}
    found = pd.read_csv(folder / "decided.csv", **text)
    assert list(found)[:6] == ["part", "width", "height", "depth", "hue", "prediction"]
    assert found["part"].tolist() == table["part"].tolist()
    np.testing.assert_allclose(found["width"], table["width"])
    in_sheet = pd.read_excel(folder / "decided.xlsx", **text)
    pd.testing.assert_frame_equal(in_sheet, found, check_exact=False)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "decided.parquet"), found)
    for words, message in (
        (("--with-input",), "no output to write them to"),
        (("--with-input", "--resume", "-o", "p.parquet"), "cannot be read chunk by chunk"),
        (("-o", "p.txt"), "expected a name that ends in .csv, .parquet, .xlsx"),
    ):
        refused = isthmus("predict", "press", "parts.csv", *words, cwd=folder, check=False)
        assert refused.returncode == 1
        assert message in refused.stderr


def test_evaluation_says_precision_and_alerts_a_day(folder):
    table = rows(40, 2, n_odd=8).assign(state=np.repeat(["broken", "ok"], [8, 32]))
    table.to_csv(folder / "labelled.csv", index=False)
    words = ("labelled.csv", "--label", "state", "--normal", "ok", "--head", "normal")
    load = ("--per-day", "5000", "--prevalence", "0.01", "--json", "facts.json")
    done = isthmus("evaluate", "press", *words, *load, cwd=folder)
    facts = json.loads((folder / "facts.json").read_text())
    code, load = facts["code"], facts["alert_load"]
    (_, false), (_, right) = code["confusion"]
    assert (facts["precision"]["count"], facts["precision"]["n"]) == (right, right + false)
    alerts = 5000 * (0.01 * right / 8 + 0.99 * false / 32)
    assert load["alerts"] == pytest.approx(alerts)
    assert load["precision"] == pytest.approx(50 * right / 8 / alerts)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["found", "false", "precision", "a"]
    refused = isthmus("evaluate", "press", *words, "--prevalence", "0.1", cwd=folder, check=False)
    assert "got --prevalence without --per-day" in refused.stderr


def next_command(done, **given):
    """Return the words of the command that a command prints last, with files for placeholders."""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("next ")]
    words = shlex.split(line.removeprefix("next"))
    assert words[0] == "isthmus"
    return [given.get(word, word) for word in words[1:]]


def test_the_next_command_runs_as_printed(tmp_path):
    angle = np.arange(1200) / 4
    table = pd.DataFrame({"load": np.sin(angle), "heat": 40 + np.cos(angle)})
    table += np.random.default_rng(0).normal(0, 0.05, (1200, 2))
    moments = pd.date_range("2024-05-01", periods=600, freq="min").strftime("%d.%m.%Y %H:%M")
    table.insert(0, "the time", np.tile(moments, 2))
    table.insert(1, "machine", np.repeat(["drill", "saw"], 600))
    (tmp_path / "plant one").mkdir()
    table.to_csv(tmp_path / "plant one" / "new.csv", index=False, sep=";", decimal=",")
    words = ("--kind", "series", "--time", "the time", "--group", "machine", "--max-epochs", "1")
    words += ("--decimal", ",", "--date-format", "%d.%m.%Y %H:%M", "-o", "plant one/press")
    done = isthmus("fit", "plant one/new.csv", "--detector", *words, cwd=tmp_path)
    isthmus(*next_command(done, NEW="plant one/new.csv"), cwd=tmp_path)
    points = pd.read_csv(tmp_path / "points.csv")
    assert points["machine"].tolist() == table["machine"].tolist()
    table = rows(60, 1).assign(kind=np.tile(["a", "b"], 30))
    table.to_csv(tmp_path / "kinds.csv", index=False, sep=";", decimal=",")
    words = ("--decimal", ",", "--max-epochs", "1", "--drop", "kind", "-o", "plant one/table")
    done = isthmus("fit", "kinds.csv", *words, cwd=tmp_path)
    isthmus(*next_command(done, LABELLED="kinds.csv", COLUMN="kind"), cwd=tmp_path)
