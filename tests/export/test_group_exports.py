"""Exports of detectors by group: the group is an input, and decides as in the library."""

import json
import runpy
import sys

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, export_bundle, load, save_bundle
from isthmus.errors import CalibrationWarning, DataError
from isthmus.export import Exported
from isthmus.scoring import score

SCALES = {"a": 1.0, "b": 3.0, "c": 9.0, "few": 3.0}
SIZES = {"a": 250, "b": 100, "c": 60, "few": 5}


def parts(seed, sizes=SIZES):
    rng = np.random.default_rng(seed)
    machine = np.repeat(list(sizes), list(sizes.values()))
    values = (
        rng.normal(size=(len(machine), 4)) * np.array([SCALES[one] for one in machine])[:, None]
    )
    return pd.DataFrame(values, columns=list("wxyz")).assign(machine=machine)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """A detector by machine, and the folder of its bundle and export. Do not refit."""
    folder = tmp_path_factory.mktemp("grouped")
    detector = AnomalyDetector(
        Autoencoder(2, architecture="dense", max_epochs=1, random_state=0),
        "mahalanobis",
        false_alarm_rate=0.05,
        random_state=0,
    )
    with pytest.warns(CalibrationWarning, match="1 of 4 groups"):
        detector.fit(load(parts(0), group="machine"))
    save_bundle(folder / "press", detector.encoder_, {"normal": detector})
    facts = export_bundle(folder / "press", folder / "onnx", parts(1))
    return detector, folder, facts


def test_parity_is_measured_in_each_group(grouped):
    _, _, facts = grouped
    assert facts["parity"]["groups"]["verdict"] == {"n": SIZES, "differ": {}}
    assert facts["parity"]["worst"]["p_value"]["wrong_for_score"] == 0
    assert (facts["format_version"], facts["group_columns"]) == (2, ["machine"])
    assert facts["inputs"][-1]["type"] == "group"
    assert facts["heads"]["normal"]["groups"]["n_own"] == 3


def test_an_export_decides_by_group_as_the_library_does(grouped):
    detector, folder, _ = grouped
    exported, new = Exported(folder / "onnx"), parts(2)
    new.loc[:3, "machine"] = ["new", None, "b", "few"]
    with pytest.warns(CalibrationWarning, match="2 of 415 instances are of groups"):
        found = exported.run(new)
    with pytest.warns(CalibrationWarning, match="1 of groups.* and 1 without a group"):
        expected = detector.p_values(new)
    np.testing.assert_allclose(found["p_value"], expected, atol=1e-12)
    np.testing.assert_array_equal(found["verdict"] == -1, expected <= 0.05)
    bare = new.drop(columns="machine")
    with pytest.raises(DataError, match=r"at fit 'machine'\), and got no groups"):
        exported.run(bare)
    rest = exported.run(bare[4:], groups=new["machine"][4:])
    np.testing.assert_array_equal(rest["p_value"], found["p_value"][4:])


def test_rows_without_groups_are_compared_in_all_groups_in_turn(grouped, tmp_path):
    _, folder, _ = grouped
    facts = export_bundle(folder / "press", tmp_path / "onnx", parts(1).drop(columns="machine"))
    assert facts["parity"]["groups"]["verdict"]["n"] == {
        "a": 83, "b": 83, "c": 83, "few": 83, "?abcfew": 83,
    }  # fmt: skip


def test_the_script_of_an_export_reads_the_groups_of_a_table(grouped, tmp_path, monkeypatch):
    detector, folder, _ = grouped
    new = parts(3)
    new.to_csv(tmp_path / "rows.csv", index=False)
    new.drop(columns="machine").to_csv(tmp_path / "bare.csv", index=False)
    (tmp_path / "groups.txt").write_text("\n".join(new["machine"]))
    for words in (["rows.csv"], ["bare.csv", "--groups", "groups.txt"]):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["predict.py", words[0], "out.npz", *words[1:]])
        runpy.run_path(str(folder / "onnx" / "predict.py"), run_name="__main__")
        found = np.load("out.npz")
        np.testing.assert_allclose(found["p_value"], detector.p_values(new), atol=1e-12)
    monkeypatch.setattr(sys, "argv", ["predict.py", "bare.csv", "out.npz"])
    with pytest.raises(SystemExit, match=r"without \['machine'\]"):
        runpy.run_path(str(folder / "onnx" / "predict.py"), run_name="__main__")


def test_the_script_takes_one_group_for_each_row_and_says_which_are_new(grouped, capsys):
    _, folder, _ = grouped
    predict = runpy.run_path(str(folder / "onnx" / "predict.py"))["predict"]
    new = parts(3).iloc[:100]
    rows, groups = new.drop(columns="machine"), new["machine"].tolist()
    for wrong in (groups + groups, groups[:1]):  # a batch of 100 would take the first 100
        with pytest.raises(ValueError, match=rf"got 100 rows and {len(wrong)} groups"):
            predict(rows, 100, groups=wrong)
    predict(rows, groups=["new", None, *groups[2:]])
    assert "2 of 100 rows are of groups that were not there at fit" in capsys.readouterr().err


def test_groups_of_a_csv_file_meet_the_integers_of_the_fit(tmp_path, monkeypatch):
    """Library, export and script, with the groups written as another program writes them."""
    numbers, sizes = {"a": 7, "b": 12, "c": 300}, {"a": 80, "b": 80, "c": 80}
    fitted, new = (
        one.assign(machine=one["machine"].map(numbers))
        for one in (parts(0, sizes), parts(1, sizes))
    )
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, "mahalanobis", 0.05, random_state=0)
    detector.fit(fitted, groups="machine")
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    expected = detector.p_values(new)
    export_bundle(tmp_path / "press", tmp_path / "onnx", new)
    monkeypatch.chdir(tmp_path)
    new.assign(machine=[f"{one:05}" for one in new["machine"]]).to_csv("rows.csv", index=False)
    loaded = load("rows.csv", group="machine")
    assert loaded.groups[0] == "00007"
    np.testing.assert_array_equal(detector.p_values(loaded), expected)
    found = Exported("onnx").run(loaded.X, loaded.groups)
    np.testing.assert_allclose(found["p_value"], expected, atol=1e-12)
    monkeypatch.setattr(sys, "argv", ["predict.py", "rows.csv", "out.npz"])
    runpy.run_path("onnx/predict.py", run_name="__main__")
    np.testing.assert_allclose(np.load("out.npz")["p_value"], expected, atol=1e-12)


def test_a_stream_is_scored_by_group(grouped, tmp_path):
    detector, folder, _ = grouped
    new = parts(4)
    new.to_parquet(tmp_path / "new.parquet", index=False)
    stream = load(tmp_path / "new.parquet", lazy=True, group="machine")
    score(folder / "press", stream, tmp_path / "out.parquet")
    found = pd.read_parquet(tmp_path / "out.parquet")

    assert found.columns.tolist()[:3] == ["row", "machine", "prediction"]
    np.testing.assert_allclose(found["p_value"], detector.p_values(new), atol=1e-12)
    manifest = json.loads((tmp_path / "out.parquet" / "_manifest.json").read_text())
    counted = pd.crosstab(new["machine"], found["prediction"])
    assert manifest["groups"] == {
        group: {"normal": row[1], "abnormal": row[-1]}
        for group, row in counted.to_dict("index").items()
    }
    without = load(tmp_path / "new.parquet", lazy=True, drop=["machine"])
    with pytest.raises(DataError, match="decides by group"):
        score(folder / "press", without, tmp_path / "other.parquet")
