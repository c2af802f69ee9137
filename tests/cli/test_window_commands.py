"""A folder of long tables on the command line: what its files give by themselves."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, load, load_bundle
from isthmus.bundle import read_window_label

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CUT = ("--time", "t", "--group", "machine")
N_FILES, WINDOW, STRIDE = 3, 8, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files of two machines in turn, in small row groups."""
    folder = tmp_path_factory.mktemp("readings")
    for at in range(N_FILES):
        rng = np.random.default_rng(at)
        rows = np.arange(600)
        frame = pd.DataFrame(
            {
                "t": pd.Timestamp("2024-03-01") + pd.to_timedelta(rows // 2, unit="s"),
                "machine": np.array(["left", "right"])[rows % 2],
                "load": np.sin(rows / 9) + rng.normal(size=600) / 9,
                "heat": np.cos(rows / 7) + rng.normal(size=600) / 9,
                "shift": rows // 50,
                "state": np.where(rows % 100 < 50, "on", "off"),
            }
        )
        frame.loc[rng.random(600) < 0.05, "heat"] = np.nan
        frame = frame[list(frame.columns[::-1])] if at == 1 else frame
        frame.to_parquet(folder / f"{at}.parquet", index=False, row_group_size=70)
    return folder


def test_a_folder_of_tables_from_fit_to_predict(isthmus, folder, monkeypatch):
    monkeypatch.setattr("isthmus.data.streaming.window_reader.MAX_CHUNK_ROWS", 40)
    words = ("--kind", "series", *CUT, "--window", WINDOW, "--stride", STRIDE, "--label", "state")
    epochs = ("--max-epochs", 2, "--n-components", 3)
    status, _, err = isthmus("fit", folder, *words, "--key", "shift", "-o", "press", *epochs)
    assert (status, err.count("error")) == (0, 0)
    encoder = load_bundle("press").encoder
    assert encoder.schema_.columns == ("load", "heat")
    assert encoder.schema_.shape == (WINDOW, 2)

    asked = (*CUT, "--stride", STRIDE, "--label", "state")
    status, _, err = isthmus("classify", "press", folder, *asked)
    assert (status, err) == (0, "")
    status, _, err = isthmus("evaluate", "press", folder, *asked, "--json", "tested.json")
    assert (status, err) == (0, "")

    words = ("predict", "press", folder, *asked, "-o", "out.parquet", "--key", "shift")
    status, _, err = isthmus(*words)
    assert (status, err) == (0, "")
    found = pd.read_parquet("out.parquet")
    opened = load_bundle("press")
    options = {"kind": "series", "time": "t", "group": "machine", "window": WINDOW}
    options |= {"stride": STRIDE, "channels": encoder.schema_.columns, "label": "state"}
    expected, labels = [], []
    for path in sorted(folder.iterdir()):
        with pytest.warns(UserWarning, match="values are missing"):
            data = load(path, **options)
        table = data.windows.to_frame()
        table["shift"] = pd.read_parquet(path)["shift"].to_numpy()[data.windows.last_row]
        table["prediction"] = opened.head().predict(data.X)
        table["reconstruction_error"] = encoder.reconstruction_error(data.X)
        expected.append(table)
        labels.append(data.y)
    expected = pd.concat(expected, ignore_index=True)
    assert list(found.columns[:4]) == ["group", "first_time", "last_time", "shift"]
    names = [name for name in expected.columns if name != "reconstruction_error"]
    pd.testing.assert_frame_equal(found[names], expected[names], check_dtype=False)
    np.testing.assert_allclose(
        found["reconstruction_error"], expected["reconstruction_error"], rtol=1e-4, atol=1e-6
    )
    tested = json.loads(Path("tested.json").read_text())
    right = (found["prediction"].to_numpy() == np.concatenate(labels)).mean()
    assert tested["code"]["n"] == len(found)
    assert tested["code"]["accuracy"] == pytest.approx(right)

    Path("out.parquet/part-00002.parquet").unlink()
    assert isthmus(*words, "--resume")[0] == 0
    pd.testing.assert_frame_equal(pd.read_parquet("out.parquet"), found)
    status, _, err = isthmus(*words, "--stride", STRIDE + 1, "--resume")
    assert status == 1
    assert "differs in cutting (there 'window=8, stride=4, time='t'" in err.replace('"', "'")


def test_a_detector_on_windows_of_a_stream_has_their_channels(folder):
    cut = {"kind": "series", "time": "t", "group": "machine", "window": WINDOW}
    stream = load(folder, channels=["load", "heat"], **cut)
    detector = AnomalyDetector(
        Autoencoder(2, max_epochs=1), "neighbours", 0.1, "split", random_state=0
    ).fit(stream)
    schema = detector.encoder_.schema_
    assert (schema.kind, schema.columns) == ("series", ("load", "heat"))
    assert load(folder, time="t", group="machine", schema=schema).channel_names == schema.columns


def test_bad_files_and_other_windows(isthmus, folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    frame = pd.read_parquet(data / "1.parquet")
    frame[::-1].to_parquet(data / "1.parquet", index=False)
    words = ("--kind", "series", *CUT, "--label", "state", "--max-epochs", 1, "--key", "shift")
    fit = ("fit", data, *words, "--window", WINDOW, "-o", "press")
    status, _, err = isthmus(*fit)
    assert status == 1
    assert "1.parquet" in err
    assert "expected times that increase" in err
    status, out, err = isthmus(*fit, "--on-bad-shard", "skip")
    assert status == 0
    assert "skipped" in out
    status, _, err = isthmus("encode", "press", folder, *CUT, "--window", 9, "-o", "c.parquet")
    assert status == 1
    assert "was fitted on windows of 8 rows; leave window out" in err
    status, _, err = isthmus("encode", "press", folder, *CUT, "--label", "state", "-o", "c.parquet")
    assert (status, err) == (0, "")
    codes = pd.read_parquet("c.parquet")
    assert list(codes.columns[:4]) == ["group", "first_time", "last_time", "state"]
    # The label is the window's, as of one file in memory.
    one = ("encode", "press", folder / "2.parquet", *CUT, "--label", "state", "-o", "one.parquet")
    assert isthmus(*one)[0] == 0
    known = pd.read_parquet("one.parquet")
    assert len(codes) == N_FILES * len(known) == N_FILES * 2 * (300 // WINDOW)
    assert codes["state"].tolist()[-len(known) :] == known["state"].tolist()


def test_labels_of_windows_follow_the_rule_that_the_bundle_stores(isthmus, tmp_path):
    for at in range(2):
        rng = np.random.default_rng(at)
        frame = pd.DataFrame({"t": np.arange(800), "load": rng.normal(size=800)})
        frame["state"] = np.where(np.arange(800) % 64 == 5, "leak", "ok")  # no window's last row
        frame.to_csv(tmp_path / f"{at}.csv", index=False)
    words = ("--time", "t", "--label", "state")
    cut = ("--kind", "series", *words, "--window", WINDOW, "--max-epochs", 1, "-o", "press")
    words = (*words, "--rows", "0:90")
    assert isthmus("fit", "0.csv", *cut)[0] == 0

    def rule(command, *more):
        status, out, err = isthmus(command, "press", "1.csv", *words, *more, "--json", "f.json")
        assert status == 0, err
        facts = json.loads(Path("f.json").read_text())
        assert facts["reading"]["rows"] == {"first": 0, "last": 89, "n": 90}
        return facts, "rule stored in press: any" in out, "heads of press were fitted on" in err

    def stored(head):
        return read_window_label("press", head)

    tested = ("--head", "normal", "--by", "window")
    facts, *_ = rule("detect", "--normal", "ok", "--false-alarm-rate", 0.1)
    assert (facts["window_label"], facts["labels"]["abnormal"]) == ("any", 12)
    assert stored("normal") == stored("linear") == ("any", "ok")
    facts, from_bundle, _ = rule("classify", "--baselines", "none")  # its own would be majority
    assert (facts["window_label"], from_bundle) == ("any", True)
    assert stored("linear")[0] == "any"
    facts, from_bundle, differs = rule("evaluate", *tested, "--window-label", "last")
    assert (facts["window_label"], from_bundle, differs) == ("last", False, True)
    facts, from_bundle, differs = rule("label", "--window-label", "last")
    assert (facts["window_label"], differs, stored("normal")) == ("last", True, ("last", "ok"))
    assert isthmus("detect", "press", "--false-alarm-rate", 0.2)[0] == 0
    assert stored("normal") == ("last", "ok")  # a version without other labels keeps the rule
    facts, *_ = rule("evaluate", *tested)
    assert facts["window_label"] == "last"
    # A bundle of an earlier version has no rule.
    manifest = json.loads(Path("press/manifest.json").read_text())
    for entry in manifest["heads"].values():
        del entry["window_label"]
    Path("press/manifest.json").write_text(json.dumps(manifest))
    assert stored("normal") == (None, None)
    facts, from_bundle, _ = rule("evaluate", *tested)
    assert (facts["window_label"], from_bundle) == ("any", False)


def test_windows_are_chosen_from_the_file(isthmus):
    at = np.arange(1000)
    times = pd.Timestamp("2024-05-01") + pd.to_timedelta(at, unit="s")
    frame = pd.DataFrame({"t": times, "load": np.sin(2 * np.pi * at / 20), "anomaly": 0})
    frame.to_csv("pump.csv", index=False)
    words = ("--time", "t", "--label", "anomaly")
    fit = ("fit", "pump.csv", "--kind", "series", *words, "--max-epochs", 1, "--json", "f.json")
    status, _, err = isthmus(*fit, "-o", "press")
    assert status == 0
    assert "window 80: the readings repeat every 20 time points" in err
    assert "stride 1: a window begins at every time point" in err
    facts = json.loads(Path("f.json").read_text())
    assert facts["n_train"] == 921
    assert facts["reading"]["window"]["value"] == 80
    status, _, err = isthmus(*fit, "-o", "press", "--window", "all")
    assert (status, "got --window all, expected a whole number or auto" in err) == (1, True)
    assert isthmus(*fit, "-o", "strided", "--window", "auto", "--stride", 10)[0] == 0
    assert json.loads(Path("f.json").read_text())["n_train"] == 93
    # The bundle knows the length and the step in time.
    frame.iloc[::2].to_csv("slow.csv", index=False)
    status, _, err = isthmus("encode", "press", "slow.csv", "--time", "t", "-o", "c.csv")
    assert status == 1
    assert "--resample 1s)" in err
    resampled = ("slow.csv", "--time", "t", "--resample", "1s", "--time-zone", "UTC")
    status, _, err = isthmus("encode", "press", *resampled, "-o", "c.csv")
    assert (status, err) == (
        0, "resample 1s: 500 rows are 999 time points, of which 499 have no row and are filled on "
        "a line\n",
    )  # fmt: skip
    assert pd.read_csv("c.csv")["first_time"][1] == "2024-05-01 00:01:20+00:00"
