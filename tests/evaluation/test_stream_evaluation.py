"""Heads tested on all rows of a stream: the figures of the same rows in memory."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, evaluate, load
from isthmus._core import display as _progress
from isthmus.bundle import add_head, save_bundle
from isthmus.cli import main
from isthmus.data.streaming import parquet
from isthmus.detection import reference_set
from isthmus.encoding import instance_codes
from isthmus.errors import CalibrationError, DataError
from isthmus.evaluation import class_metrics, detection, detection_metrics, evaluate_detector

N, M = 1200, 6


@pytest.fixture(scope="module")
def frame():
    """Rows of three classes, sorted by them, a few of which have no label."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(N, 2))
    X = Z @ rng.normal(size=(2, M)) + 0.3 * rng.normal(size=(N, M))
    frame = pd.DataFrame(X.astype(np.float32), columns=[f"v{at}" for at in range(M)])
    frame["class"] = np.select([Z[:, 0] > 1, Z[:, 0] < -1], ["worn", "broken"], "ok")
    frame = frame.sort_values("class", ignore_index=True)
    frame.loc[::50, "class"] = None
    frame.loc[25, "class"] = ""
    return frame.assign(id=np.arange(N))


@pytest.fixture(scope="module")
def folder(frame, tmp_path_factory):
    """Four files of 300 rows."""
    folder = tmp_path_factory.mktemp("rows")
    for at in range(4):
        frame.iloc[at * 300 : (at + 1) * 300].to_parquet(folder / f"{at}.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def X(frame):
    return frame.drop(columns=["class", "id"])


@pytest.fixture(scope="module")
def train():
    """Other rows of the same kind, and their labels."""
    rng = np.random.default_rng(1)
    Z = rng.normal(size=(400, 2))
    mixing = np.random.default_rng(0)
    mixing.normal(size=(N, 2))
    X = Z @ mixing.normal(size=(2, M)) + 0.3 * rng.normal(size=(400, M))
    frame = pd.DataFrame(X.astype(np.float32), columns=[f"v{at}" for at in range(M)])
    return frame, np.select([Z[:, 0] > 1, Z[:, 0] < -1], ["worn", "broken"], "ok")


@pytest.fixture(scope="module")
def encoder(train):
    return Autoencoder(2, max_epochs=10, random_state=0, device="cpu").fit(train[0][:200])


@pytest.fixture(scope="module")
def classifier(encoder, train):
    return CodeClassifier(encoder, random_state=0).fit(*train)


@pytest.fixture(scope="module")
def detector(encoder, train):
    fitted = AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0)
    return fitted.fit(train[0][200:][train[1][200:] == "ok"])


@pytest.fixture
def stream(folder, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_CHUNK_ROWS", 90)
    return load(folder, label="class", keys=["id"])


def same(found, expected):
    """Compare figures; the last bits of a product depend on how many rows are in it."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name == "log_loss":
            assert found[name] == pytest.approx(value, rel=1e-5)
        else:
            assert found[name] == value


def test_a_long_test_says_how_far_it_is(classifier, detector, stream, capsys, monkeypatch):
    monkeypatch.setattr(_progress, "LINE_INTERVAL", 0.0)
    tests = [
        lambda **message: evaluate(classifier, stream, baselines=None, **message),
        lambda **message: evaluate_detector(detector, stream, normal="ok", **message),
    ]
    for test in tests:
        test()
        assert capsys.readouterr().err == ""
        test(verbose=True)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == len(stream.chunk_ranges) > 10
        assert lines[0].startswith(f"testing: {stream.chunk_ranges[0].n_rows} of 1,200 rows")
        assert lines[-1].startswith("testing: 1,200 of 1,200 rows")
        assert lines[-1].endswith(" 0 s left")


def test_a_classifier_is_tested_on_every_labelled_row(classifier, stream, frame, X):
    known = (frame["class"].notna() & (frame["class"] != "")).to_numpy()
    found = evaluate(classifier, stream, baselines=None)
    same(found["code"], evaluate(classifier, X, frame["class"], baselines=None)["code"])
    assert found["n_unlabelled"] == N - known.sum()
    assert found["skipped"] == []

    # Of the very same decisions the figures are equal to the last digits.
    classes = classifier.classes_
    probabilities = classifier.predict_proba(stream)[known]
    predicted = classifier.predict(stream)[known]
    y = frame["class"][known].to_numpy(dtype=str)
    expected = class_metrics(y, predicted, probabilities, classes)
    assert found["code"].pop("log_loss") == pytest.approx(expected.pop("log_loss"), rel=1e-12)
    assert found["code"] == expected


@pytest.mark.parametrize("seen", ["some", "all"])
def test_baselines_are_tested_on_the_same_rows(classifier, stream, frame, X, train, folder, seen):
    options = {"random_state": 0, "baselines": "fast"}
    if seen == "all":
        options |= {"X_train": train[0], "y_train": train[1]}
        expected = evaluate(classifier, X, frame["class"], **options)
        found = evaluate(classifier, stream, **options)
        for name in ("raw", "pca", "untrained"):
            same(found["baselines"][name], expected["baselines"][name])
        return
    labelled = load(str(folder / "[123].parquet"), label="class", keys=["id"])
    rows = np.flatnonzero(frame["class"][300:].isna())
    with pytest.raises(DataError, match="labels are missing"):
        evaluate(classifier, stream, X_train=labelled, **options)
    found = evaluate(classifier, stream, X_train=labelled.without(rows), **options)
    assert found["baselines"]["raw"]["n_train"] == 900 - len(rows)
    assert found["baselines"]["raw"]["n"] == found["code"]["n"]


def test_training_rows_of_a_long_stream_are_drawn(classifier, frame, folder, monkeypatch, train):
    monkeypatch.setattr(instance_codes, "MAX_SAMPLED", 150)
    stream = load(folder, label="class", keys=["id"])
    stream = stream.without(np.flatnonzero(frame["class"].isna() | (frame["class"] == "")))
    found = evaluate(classifier, *train, X_train=stream, random_state=0)
    assert {baseline["n_train"] for baseline in found["baselines"].values()} == {150}
    assert {baseline["n"] for baseline in found["baselines"].values()} == {400}


def test_labels_that_are_no_labels_and_labels_of_another_kind(encoder, classifier, train, X):
    y = (train[1] == "ok").astype(int)
    numbers = CodeClassifier(encoder, random_state=0).fit(train[0], y)
    some = np.where(np.arange(400) % 4, y, -1)
    found = evaluate(numbers, train[0], some, baselines=None)
    assert (found["n_unlabelled"], found["code"]["classes"]) == (100, [0, 1])
    floats = np.where(np.arange(400) % 4, y, np.nan)
    assert evaluate(numbers, train[0], floats, baselines=None) == found
    signs = CodeClassifier(encoder, random_state=0).fit(train[0], 2 * y - 1)
    assert evaluate(signs, train[0], 2 * y - 1, baselines=None)["code"]["n"] == 400

    for fitted, given in ((numbers, train[1]), (classifier, y)):
        with pytest.raises(DataError, match="pass labels of the same kind"):
            evaluate(fitted, train[0], given, baselines=None)
    with pytest.raises(DataError, match="no labelled instances"):
        evaluate(numbers, train[0], np.full(400, -1), baselines=None)


def test_a_detector_is_tested_on_every_labelled_row(detector, stream, frame, X):
    found = evaluate_detector(detector, stream, normal="ok")
    assert found["code"] == evaluate_detector(detector, X, frame["class"], normal="ok")["code"]

    known = (frame["class"].notna() & (frame["class"] != "")).to_numpy()
    y = np.where(frame["class"] == "ok", 1, -1)
    scores, decided = -detector.score_samples(stream), detector.predict(stream)
    assert found["code"] == detection_metrics(y[known], scores[known], decided[known])
    assert found["n_unlabelled"] == N - known.sum()


def test_rows_that_a_detector_learned_from_are_counted(detector, train, stream):
    X, y = train[0], np.ones(len(train[0]))
    assert evaluate_detector(detector, X, y, normal=1)["n_known"] == (train[1][200:] == "ok").sum()
    assert evaluate_detector(detector, stream, normal="ok")["n_known"] == 0


def test_labels_of_zero_and_one_in_the_files(detector, frame, X, tmp_path):
    marked = (frame["class"] != "ok").astype(int)
    X.assign(y=marked).to_parquet(tmp_path / "a.parquet", index=False)
    stream = load(tmp_path, label="y")
    with pytest.raises(
        DataError, match=rf"only 0 and 1 \(0: {N - marked.sum():,}, 1: {marked.sum()}"
    ):
        evaluate_detector(detector, stream)
    found = evaluate_detector(detector, stream, normal="0")
    assert found["code"] == evaluate_detector(detector, X, 1 - 2 * marked)["code"]
    assert found["labels"] == {"0": N - marked.sum(), "1": marked.sum()}


def test_labels_of_a_detector_in_the_files(detector, frame, X, tmp_path):
    y = np.select([frame["id"] % 3 == 0, frame["class"] == "ok"], [0, 1], -1)
    X.assign(y=y).to_parquet(tmp_path / "a.parquet", index=False)
    stream = load(tmp_path, label="y")
    found = evaluate_detector(detector, stream)
    assert found["code"] == evaluate_detector(detector, X, y)["code"]
    assert found["n_unlabelled"] == N // 3
    X.assign(y=y + 5).to_parquet(tmp_path / "b.parquet", index=False)
    with pytest.raises(DataError, match=r"rows 1,200 and on: got the label 5 in row .*--normal"):
        evaluate_detector(detector, load(tmp_path, label="y"))


def test_the_baseline_of_a_detector_is_tested_on_rows_drawn(
    detector, stream, frame, X, train, monkeypatch
):
    whole = evaluate_detector(detector, X, frame["class"], normal="ok", X_train=train[0])
    found = evaluate_detector(detector, stream, normal="ok", X_train=train[0])
    same(found["baselines"]["raw"], whole["baselines"]["raw"])
    assert found["baselines"]["raw"]["n_train"] == 400

    monkeypatch.setattr(detection, "MAX_BASELINE_TEST_ROWS", 300)
    found = evaluate_detector(detector, stream, normal="ok", X_train=train[0], random_state=0)
    raw = found["baselines"]["raw"]
    assert 280 < raw["n"] <= 300
    assert found["code"]["n"] == whole["code"]["n"]
    assert raw["auroc"] == pytest.approx(whole["baselines"]["raw"]["auroc"], abs=0.1)

    monkeypatch.setattr(detection, "MAX_SAMPLED", 500)
    unlabelled = load(stream.name, keys=["id", "class"])
    fitted_on = evaluate_detector(detector, X[:5], [1, 1, 1, -1, -1], X_train=unlabelled)
    assert fitted_on["baselines"]["raw"]["n_train"] == 500


def test_streams_that_cannot_be_tested_on(classifier, detector, stream, folder):
    for test in (evaluate, evaluate_detector):
        fitted = classifier if test is evaluate else detector
        options = {"baselines": None} if test is evaluate else {}
        with pytest.raises(DataError, match="has no labels; name their column"):
            test(fitted, load(folder, keys=["id", "class"]), **options)
        with pytest.raises(DataError, match="beside a stream"):
            test(fitted, stream, np.zeros(N), **options)
    with pytest.raises(DataError, match="beside a stream"):
        evaluate_detector(detector, stream, normal="ok", X_train=stream, y_train=np.zeros(N))
    with pytest.raises(DataError, match="labels that are numbers, such as 0, .*text"):
        evaluate(classifier, load(folder, label="id", columns=["v0", "v1", "v2", "v3", "v4", "v5"]))
    with pytest.raises(DataError, match=r"they are ok: \d+, broken: \d+, worn: \d+"):
        evaluate_detector(detector, stream, normal="fine")


def test_memory_does_not_grow_with_the_rows(classifier, detector, frame, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_CHUNK_ROWS", 300)
    peaks: dict[str, list[int]] = {"classes": [], "verdicts": []}
    for n_files in (4, 40):
        folder = tmp_path / str(n_files)
        folder.mkdir()
        for at in range(n_files):
            part = frame.iloc[:300].assign(**{"class": "ok"})
            part.loc[::9, "class"] = "worn"
            part.to_parquet(folder / f"{at}.parquet", index=False)
        stream = load(folder, label="class", keys=["id"])
        for name in peaks:
            tracemalloc.start()
            if name == "classes":
                evaluate(classifier, stream, baselines=None)
            else:
                evaluate_detector(detector, stream, normal="ok")
            peaks[name].append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    # 10,800 rows more; their six float32 features alone are 24 bytes each.
    assert peaks["classes"][1] - peaks["classes"][0] < 10_800 * 10
    assert peaks["verdicts"][1] - peaks["verdicts"][0] < 10_800 * 100


def test_held_out_calibration_on_a_stream(encoder, stream, X, train, monkeypatch):
    options = {"false_alarm_rate": 0.05, "random_state": 0}
    found = AnomalyDetector(encoder, **options).fit(train[0], X_calibration=stream)
    in_memory = AnomalyDetector(encoder, **options).fit(train[0], X_calibration=X)
    assert found.n_calibration_ == N
    assert found.offset_ == pytest.approx(in_memory.offset_, rel=1e-5)

    monkeypatch.setattr(reference_set, "MAX_SAMPLED", 400)
    drawn = AnomalyDetector(encoder, **options).fit(train[0], X_calibration=stream)
    assert drawn.n_calibration_ == 400
    hashes = drawn.reference_set_.hashes[-400:]
    assert np.isin(hashes, encoder.row_hashes(X)).all()
    assert len(np.unique(hashes)) == 400
    with pytest.raises(CalibrationError, match="are in X as well"):
        AnomalyDetector(encoder, **options).fit(X, X_calibration=stream)
    rest = stream.without(np.arange(600))
    both = AnomalyDetector(encoder, **options).fit(
        load(stream.name, columns=list(X.columns)).without(np.arange(600, N)), X_calibration=rest
    )
    assert both.n_calibration_ == 400


def test_no_file_is_read_more_often_than_needed(encoder, folder, monkeypatch):
    stream = load(folder, label="class", keys=["id"])
    read = []
    chunk = stream.reader.read
    monkeypatch.setattr(
        stream.reader, "read", lambda part, *options: (read.append(part), chunk(part, *options))[1]
    )
    detector = AnomalyDetector(encoder, random_state=0).fit(stream)
    assert len(read) == len(stream.chunk_ranges)
    evaluate_detector(detector, stream, normal="ok")
    assert len(read) == 2 * len(stream.chunk_ranges)


def test_the_command_tests_on_all_rows_and_lists_what_it_skipped(
    classifier, detector, frame, folder, tmp_path, monkeypatch, capsys
):
    press, data, facts = tmp_path / "press", tmp_path / "data", tmp_path / "facts.json"
    save_bundle(press, classifier.encoder_)
    add_head(press, "linear", classifier)
    add_head(press, "normal", detector)
    data.mkdir()
    for at in range(4):
        (data / f"{at}.parquet").write_bytes((folder / f"{at}.parquet").read_bytes())
    (data / "2.parquet").write_bytes((folder / "2.parquet").read_bytes()[:2000])

    def run(*words):
        words = [*words, "--label", "class", "--key", "id", "--json", str(facts)]
        monkeypatch.setattr("sys.argv", ["isthmus", "evaluate", str(press), str(data), *words])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out + captured.err

    done, captured = run("--head", "linear")
    assert done == 1
    assert "2.parquet" in captured
    rest = frame.drop(index=range(600, 900))
    for words, call in (
        (["--head", "linear"], lambda X, y: evaluate(classifier, X, y, baselines=None)),
        (
            ["--head", "normal", "--normal", "ok"],
            lambda X, y: evaluate_detector(detector, X, y, normal="ok"),
        ),
    ):
        done, captured = run(*words, "--on-bad-shard", "skip")
        assert done == 0, captured
        found = json.loads(facts.read_text())
        expected = call(rest.drop(columns=["class", "id"]), rest["class"])
        assert found["code"]["n"] == expected["code"]["n"]
        assert found["code"]["confusion"] == expected["code"]["confusion"]
        assert found["skipped"][0]["source"].endswith("2.parquet")
        assert f"{expected['code']['n']:,} test instances" in captured
        assert "skipped " in captured
        assert f"{expected['n_unlabelled']:,} instances without a label" in captured
