"""`isthmus predict` and `isthmus encode` on folders of files, on the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, load_bundle
from isthmus.scoring import scorer

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_predict_writes_a_folder_with_keys_and_goes_on(isthmus, bundle, shards):
    words = ("predict", bundle, shards, "-o", "out.parquet", "--key", "id", "--key", "site")
    status, out, _ = isthmus(*words, "--json", "facts.json")
    assert status == 0
    table = pd.read_parquet("out.parquet")
    facts = json.loads(Path("facts.json").read_text())
    assert facts["n"] == len(table) == 1000
    assert facts["counts"]["abnormal"] == (table["prediction"] == -1).sum()
    assert list(table.columns[:3]) == ["id", "site", "prediction"]
    assert "5 parts in out.parquet; " in out

    Path("out.parquet/part-00002.parquet").unlink()
    status, _, err = isthmus(*words)
    assert status == 1
    assert "--resume" in err
    status, out, _ = isthmus(*words, "--resume")
    assert "5 parts in out.parquet, 4 of them there before" in out
    pd.testing.assert_frame_equal(pd.read_parquet("out.parquet"), table)


def test_columns_that_are_not_the_bundles_are_carried_along(isthmus, bundle, shards):
    words = ("encode", bundle, f"{shards}/*.parquet", "--rows", "150:420", "--drop", "site")
    status, out, _ = isthmus(*words, "-o", "codes.parquet")
    assert status == 0
    assert "270 instances\n" in out
    codes = pd.read_parquet("codes.parquet")
    assert list(codes.columns) == ["row", "id", "autoencoder0", "autoencoder1"]
    assert codes["row"].tolist() == list(range(150, 420))
    assert codes["id"].tolist() == list(range(150 * 7, 420 * 7, 7))
    status, _, err = isthmus(*words, "--rows", "160:430", "-o", "codes.parquet", "--resume")
    assert status == 1
    assert "the chunks that files are read in (of other rows, or in another order)" in err


def test_one_file_is_decided_in_memory_unless_it_is_to_be_lazy(isthmus, bundle, shards):
    rows = pd.read_parquet(shards / "0.parquet")
    rows.drop(columns=["id"]).to_parquet("new.parquet")
    status, _, _ = isthmus("predict", bundle, "new.parquet", "-o", "a.parquet", "--engine", "local")
    assert status == 0
    assert Path("a.parquet").is_file()
    words = ("predict", bundle, shards / "0.parquet", "--key", "id")
    status, _, _ = isthmus(*words, "-o", "b.parquet", "--lazy")
    assert status == 0
    assert Path("b.parquet").is_dir()
    status, _, _ = isthmus(*words, "-o", "c.parquet", "--drop", "site")
    assert status == 0
    assert pd.read_parquet("c.parquet")["id"].equals(rows["id"])
    one, other = pd.read_parquet("a.parquet"), pd.read_parquet("b.parquet")
    assert list(one.columns) == list(other.columns[1:])
    assert one["site"].equals(other["site"])
    np.testing.assert_array_equal(one["prediction"], other["prediction"])
    np.testing.assert_allclose(one["anomaly_score"], other["anomaly_score"], rtol=1e-4)


def test_explanations_are_those_in_memory(isthmus, bundle, shards, monkeypatch):
    monkeypatch.setattr(scorer, "N_EXPLAINED_ROWS", 60)
    words = ("predict", bundle, shards, "--rows", "150:", "--key", "id", "--drop", "site")
    status, out, _ = isthmus(*words, "--explain", "-o", "out.parquet")
    assert status == 0
    found = pd.read_parquet("out.parquet")
    rows = pd.read_parquet(shards)[150:].reset_index(drop=True)
    expected = load_bundle(bundle).predictions(rows, explain=True)
    assert list(found.columns) == ["id", *expected.columns]
    assert found["id"].equals(rows["id"])
    for name in expected:
        if name.startswith("reason") or name in ("prediction", "nearest_normal"):
            assert found[name].tolist() == expected[name].tolist()
        else:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)

    lines = [line for line in out.splitlines() if line.startswith("row ")]
    first = found["anomaly_score"].idxmax()
    assert len(lines) == 5
    of_file = f"(row {(150 + first) % 200} of {(150 + first) // 200}.parquet)"
    name = f"row {150 + first} {of_file} (id {found['id'][first]}): "
    assert lines[0].startswith(f"{name}abnormal, anomaly score ")
    assert lines[0].endswith(f"nearest normal row {found['nearest_normal'][first]}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "out.csv"), "a folder of Parquet files: -o NAME.parquet, not out.csv"),
        ((), "a folder of Parquet files: -o NAME.parquet\n"),
        (
            ("-o", "out.parquet", "--explain", "--engine", "ray"),
            "explain=True with engine='ray', and explanations are of predictions in this process",
        ),
        (("-o", "out.parquet", "--explain", "--head", "kind"), "the head is a classifier"),
        (("-o", "out.parquet", "--engine", "spark"), "expected local or ray"),
        (("-o", "out.parquet", "--workers", "3"), "which is for Ray"),
        (("-o", "out.parquet", "--key", "weigth"), "did you mean 'weight'"),
    ],
)
def test_errors_are_one_line(isthmus, bundle, shards, words, message):
    status, _, err = isthmus("predict", bundle, shards, *words)
    assert status == 1
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_bad_shards_are_skipped_when_asked(isthmus, bundle, shards, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.parquet").write_bytes((shards / "0.parquet").read_bytes())
    (tmp_path / "data" / "1.parquet").write_bytes(b"PAR1 and then nothing")
    words = ("predict", bundle, "data", "-o", "out.parquet")
    status, _, err = isthmus(*words)
    assert status == 1
    assert "1.parquet" in err
    status, out, _ = isthmus(*words, "--on-bad-shard", "skip")
    assert status == 0
    assert "200 instances" in out
    assert "skipped" in out


@pytest.fixture
def labelled(shards, tmp_path):
    """The rows in one file with their classes, and classes of 200 of them that came later."""
    rows = pd.read_parquet(shards).drop(columns="site")
    rows["state"] = np.array(["low", "middle", "high"])[np.digitize(rows["width"], [-0.5, 0.5])]
    rows.to_parquet(tmp_path / "rows.parquet")
    rows[["id", "state"]].sample(200, random_state=0).to_csv(tmp_path / "later.csv", index=False)
    return rows


@pytest.mark.slow
def test_heads_are_fitted_on_stored_codes(isthmus, bundle, shards, labelled):
    shutil.copytree(bundle, "press")
    words = ("encode", "press", shards, "-o", "codes.parquet", "--key", "id", "--for-heads")
    assert isthmus(*words)[0] == 0
    later = ("codes.parquet", "--label", "state", "--labels-from", "later.csv")
    status, out, _ = isthmus("classify", "press", *later, "--name", "state", "--json", "facts.json")
    assert status == 0
    assert "holds stored codes: 200 of them are taken, the encoder is not run" in out
    facts = json.loads(Path("facts.json").read_text())
    assert (facts["n_labels"], facts["baselines"]) == (200, {})
    status, out, _ = isthmus("evaluate", "press", *later, "--head", "state")
    assert status == 0
    assert "200" in out
    status, out, _ = isthmus("detect", "press", "codes.parquet", "--name", "new")
    assert status == 0
    assert "1,000: 0 labelled normal, 0 abnormal" in out
    status, out, _ = isthmus("label", "press", *later, "--normal", "low", "--name", "new")
    assert status == 0
    assert "200 labels, 0 of them of rows that are new to it" in out
    heads = load_bundle("press").heads
    X = labelled.drop(columns=["id", "state"])
    looked_at = labelled["id"].isin(pd.read_csv("later.csv")["id"])
    signs = np.where(labelled["state"] == "low", 1, -1)[looked_at]
    own = AnomalyDetector(heads["new"].encoder_, random_state=0).fit(X)
    own.add_labels(X[looked_at], signs)
    assert heads["new"].offset_ == pytest.approx(own.offset_, rel=1e-3)


def test_one_file_holds_labels_and_the_encoders_digest(isthmus, bundle, labelled):
    shutil.copytree(bundle, "press")
    labelled.drop(columns="id").to_parquet("rows.parquet")
    words = ("encode", "press", "rows.parquet", "--label", "state", "-o", "codes.parquet")
    assert isthmus(*words, "--for-heads")[0] == 0
    table = pd.read_parquet("codes.parquet")
    assert list(table.columns[:2]) == ["state", "autoencoder0"]
    for data in ("codes.parquet", "rows.parquet"):
        words = ("classify", "press", data, "--label", "state", "--name", data[0])
        assert isthmus(*words, "--baselines", "none")[0] == 0
    heads = load_bundle("press").heads
    X = labelled.drop(columns=["id", "state"])
    np.testing.assert_array_equal(heads["c"].predict_proba(X), heads["r"].predict_proba(X))
    assert heads["c"].data_fingerprint_ == heads["r"].data_fingerprint_
    words = ("encode", "press", "rows.parquet", "--label", "state", "-o", "more.parquet")
    assert isthmus(*words, "--lazy")[0] == 0
    assert list(pd.read_parquet("more.parquet").columns[:1]) == ["state"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("report", "press", "codes.parquet"), "this needs the instances themselves"),
        (("fit", "codes.parquet", "-o", "other"), "this needs the instances themselves"),
        (("detect", "press", "codes.parquet"), "again with --for-heads"),
        (("classify", "press", "codes.parquet"), "has no labels; name the column"),
        (("classify", "press", "codes.parquet", "--label", "stat"), "has no column 'stat'"),
        (
            ("label", "press", "rows.parquet", "--label", "state", "--labels-from", "later.csv"),
            "which is for codes that isthmus encode wrote",
        ),
        (("encode", "press", "rows.parquet", "-o", "o.csv", "--for-heads"), "ends in .parquet"),
    ],
)
def test_codes_where_instances_are_needed_are_refused_in_one_line(
    isthmus, bundle, labelled, words, message
):
    shutil.copytree(bundle, "press")
    codes = ("encode", "press", "rows.parquet", "--key", "id", "-o", "codes.parquet")
    assert isthmus(*codes)[0] == 0
    status, _, err = isthmus(*words)
    assert status == 1
    assert message in err
    assert err.count("\n") == 1


def test_a_lost_store_loses_no_chunk(isthmus, bundle, shards, far_store):
    source = far_store.fill(shards)
    for command in ("predict", "encode"):
        words = (command, bundle, source, "-o", f"{command}.parquet", "--key", "id")
        far_store.lose(ConnectionResetError("reset by peer"), answers=9)
        status, _, err = isthmus(*words, "--on-bad-shard", "skip")
        assert status == 1
        assert "parquet cannot be reached (reset by peer)" in err
        assert "--resume" in err.splitlines()[-1]
        far_store.mend()
        there = len(list(Path(f"{command}.parquet").glob("part-*")))
        assert 0 < there < 5
        status, out, err = isthmus(*words, "--resume")
        assert status == 0, err
        assert f"5 parts in {command}.parquet, {there} of them there before" in out
        rows = pd.read_parquet(f"{command}.parquet")
        np.testing.assert_array_equal(rows["id"], np.arange(1000) * 7)


@pytest.mark.parametrize("command", ["predict", "encode"])
def test_output_to_a_remote_store_is_refused(isthmus, bundle, shards, command):
    status, _, err = isthmus(command, bundle, shards, "-o", "s3://bucket/out.parquet")
    assert status == 1
    assert "got the output s3:/bucket/out.parquet, expected a path of this machine" in err
    assert "copy it to the store" in err
    assert not Path("s3:").exists()
