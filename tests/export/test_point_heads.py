"""Time points of series by an export: the tables of the library, and their parity."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, export_bundle, load, load_bundle, save_bundle
from isthmus.errors import DataError, ExportError
from isthmus.export import Exported
from isthmus.export import writer as write

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gap"),
    pytest.mark.filterwarnings("ignore:.*values were filled|.*filled"),
    pytest.mark.filterwarnings("ignore::isthmus.errors.CalibrationWarning"),
]


def machines(n=700, seed=0):
    """Readings of two machines beside each other, with a gap in the time of one of them."""
    rng = np.random.default_rng(seed)
    tables = []
    for at, name in enumerate(("drill", "saw")):
        t = np.arange(n)
        load_ = np.sin(t / 4 + at)
        tables.append(
            pd.DataFrame(
                {
                    "at": pd.Timestamp("2026-03-02") + pd.to_timedelta(t, unit="min"),
                    "machine": name,
                    "order": t,
                    "pressure": load_ + rng.normal(0, 0.1, n),
                    "flow, l/s": load_**2 + rng.normal(0, 0.1, n),
                }
            )
        )
    tables[1] = tables[1].drop(index=range(300, 320))
    return pd.concat(tables).sort_values(["at", "machine"], ignore_index=True)


@pytest.fixture(scope="module", params=[False, True], ids=["centred", "causal"])
def series(request, tmp_path_factory):
    """A detector, the folder of its export, and new readings with anomalies."""
    data = load(
        machines(), kind="series", time="at", group="machine", keys=["order"], window=16, stride=2
    )
    detector = AnomalyDetector(
        Autoencoder(4, max_epochs=3, random_state=0),
        false_alarm_rate=0.05,
        calibration="split",
        causal=request.param,
        random_state=0,
    ).fit(data)
    folder = tmp_path_factory.mktemp("series")
    save_bundle(folder / "press", detector.encoder_, {"normal": detector})
    facts = export_bundle(folder / "press", folder / "out", data)
    new = machines(seed=1)
    new.loc[500:530, "pressure"] += 3
    new.loc[900:903, "flow, l/s"] = np.nan
    new.loc[1100:1150, "flow, l/s"] = np.nan  # long enough to be a gap
    new.loc[950:960, "flow, l/s"] -= 2
    return load_bundle(folder / "press").heads["normal"], folder / "out", facts, new


def assert_same(found, expected):
    """Tables are equal but for the last digits of scores, and what they move."""
    assert list(found) == list(expected)
    for name in expected:
        if name == "p_value" or pd.api.types.is_float_dtype(expected[name]):
            tolerance = 0.01 if name == "p_value" else 1e-4
            np.testing.assert_allclose(found[name], expected[name], atol=tolerance)
        else:
            pd.testing.assert_series_equal(found[name], expected[name])


def test_the_tables_are_those_of_the_detector(series):
    detector, folder, _, new = series
    exported = Exported(folder)
    columns = {"keys": ["order"]}
    expected = detector.score_points(new, **columns)
    assert_same(exported.score_points(new, **columns), expected)
    assert list(expected)[:3] == ["machine", "at", "order"]
    assert (expected["order"] == new["order"]).all()
    alarms = detector.alarms(new)
    assert {"drill", "saw"} == set(alarms["machine"])
    assert_same(exported.alarms(new), alarms)


def test_parity_on_time_points_is_measured_and_stated(series):
    _, folder, facts, _ = series
    found = facts["parity"]["points"]["normal"]
    assert found["n_points"] > 1000
    assert found["relative"] < 1e-4
    assert found["differ"] == found["in_band"]
    assert "time points by `normal`: scores off by" in (folder / "README.md").read_text("utf-8")


def test_the_metadata_hold_what_time_points_need(series):
    detector, folder, facts, _ = series
    points = facts["points"]["normal"]
    assert points["threshold"] == detector.point_threshold_
    assert points["scores"] == detector.point_calibration_.blocks.calibration.scores.tolist()
    assert (points["time_column"], points["group_columns"]) == ("at", ["machine"])
    assert points["channels"] == ["pressure", "flow, l/s"]
    assert points["facts"] == json.loads(json.dumps(detector.point_facts_))
    assert [one["shape"] for one in facts["outputs"] if one["what"] == "channel_parts"] == [[2]]
    assert Exported(folder).point_heads["normal"].to_dict() == points


def test_without_a_series_parity_is_measured_on_windows_in_a_row(series, tmp_path):
    detector = series[0]
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    facts = export_bundle(tmp_path / "press", tmp_path / "out")
    assert facts["parity"]["points"]["normal"]["n_points"] > 1000


def test_scores_of_time_points_that_deviate_are_refused(series, tmp_path, monkeypatch):
    detector, new = series[0], series[3]
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    data = load(new, kind="series", time="at", group="machine", keys=["order"], window=16, stride=2)
    right = write.run

    def wrong(session, rows, names):
        got = dict(right(session, rows, names))
        if len(names) == 2:  # of time points
            got["anomaly_score"] = got["anomaly_score"] + 0.01
        return got

    monkeypatch.setattr(write, "run", wrong)
    with pytest.raises(ExportError, match=r"scores of time points by normal are off by 0\.01"):
        export_bundle(tmp_path / "press", tmp_path / "out", data)
    assert not (tmp_path / "out").exists()


def test_other_channels_and_other_exports_are_refused(series, wine_bundle, table, tmp_path):
    exported = Exported(series[1])
    with pytest.raises(DataError, match="flow, l/s"):
        exported.score_points(series[3].drop(columns="flow, l/s"))
    with pytest.raises(ExportError, match=r"got head='other', expected one of 'normal'"):
        exported.score_points(series[3], head="other")
    facts = export_bundle(wine_bundle, tmp_path / "out", table)
    assert "points" not in facts
    assert "points" not in facts["parity"]
    with pytest.raises(ExportError, match="decides on windows and not on time points"):
        Exported(tmp_path / "out").alarms(series[3])


def test_time_points_are_scored_without_torch_and_scikit_learn(series, tmp_path):
    series[3].to_parquet(tmp_path / "new.parquet")
    script = (
        "import sys, pandas\nfrom isthmus.export import Exported\n"
        f"found = Exported({str(series[1])!r}).alarms(pandas.read_parquet('new.parquet'))\n"
        "print(len(found), [m for m in ('torch', 'sklearn', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.filterwarnings("ignore:.*a dead sensor")
def test_predict_writes_both_tables_with_numpy_and_onnxruntime_alone(series, bare_python, tmp_path):
    detector, folder, _, new = series
    new = new.copy()
    new.loc[new.index[new["machine"] == "saw"][-60:], "pressure"] = np.nan  # ends before the others
    new.to_csv(tmp_path / "new.csv", index=False)
    words = ["new.csv", "points.csv", "--key", "order", "--alarms", "alarms.csv"]
    done = subprocess.run(
        [bare_python, folder / "predict.py", *words],
        cwd=tmp_path, check=True, env={}, capture_output=True, text=True,
    )  # fmt: skip
    again = pd.read_csv(tmp_path / "new.csv")
    expected = detector.score_points(again, keys=["order"])
    found = pd.read_csv(tmp_path / "points.csv", keep_default_na=False, na_values={"p_value": ""})
    found = found.replace({name: {"": np.nan} for name in found if name not in ("verdict",)})
    for name in [name for name in expected if name.startswith(("share", "anomaly"))]:
        found[name] = found[name].astype(float)
    assert_same(found, expected)
    alarms = detector.alarms(again)
    assert_same(pd.read_csv(tmp_path / "alarms.csv"), alarms)
    assert "column 'pressure' has no reading in its last 60 rows: a dead sensor?" in done.stderr
    n_filled = expected["n_filled"]
    assert (n_filled > 0).sum() >= 60
    assert f"{n_filled.sum()} of {2 * len(new)} values are missing and filled" in done.stderr
    counts = ", ".join(f"{word or 'without score'}: {(expected['verdict'] == word).sum()}"
                       for word in ("normal", "abnormal", ""))  # fmt: skip
    assert done.stdout == f"{len(new)} rows: {counts}; alarms: {len(alarms)}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group", "engine"], "without ['engine']"),
        (["--time", "pressure"], "times do not increase from row to row"),
        (["--time", "order"], "they were 60 apart: at another rate windows look unlike"),
        (["--time", "machine"], "got 'drill' in row 0, counting from 0, of column 'machine'"),
    ],
)
def test_predict_refuses_what_it_cannot_place_in_time(series, words, message, tmp_path):
    series[3].to_csv(tmp_path / "new.csv", index=False)
    done = subprocess.run(
        [sys.executable, series[1] / "predict.py", "new.csv", "points.csv", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "points.csv").exists()


def test_predict_reads_parquet_and_still_takes_windows(series, tmp_path):
    detector, folder, _, new = series
    new.to_parquet(tmp_path / "new.parquet")
    np.save(tmp_path / "windows.npy", np.zeros((3, 16, 2)))
    for words in (["new.parquet", "points.csv"], ["windows.npy", "found.npz"]):
        script = [sys.executable, folder / "predict.py", *words]
        subprocess.run(script, cwd=tmp_path, check=True)
    found = pd.read_csv(tmp_path / "points.csv")
    expected = detector.score_points(new)
    np.testing.assert_allclose(found["anomaly_score"], expected["anomaly_score"], atol=1e-4)
    with np.load(tmp_path / "found.npz") as windows:
        assert windows["verdict"].shape == (3,)
