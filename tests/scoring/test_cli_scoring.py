"""`isthmus predict` and `isthmus encode` on folders of files, as a person types them."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.cli import main

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def isthmus(monkeypatch, capsys, tmp_path):
    """Run the command in a fresh folder; return exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["isthmus", *map(str, words)])
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = leaving.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


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


def test_columns_that_the_bundle_does_not_know_are_not_read(isthmus, bundle, shards):
    status, out, _ = isthmus("encode", bundle, f"{shards}/*.parquet", "-o", "codes.parquet")
    assert status == 0
    assert "1,000 instances\n" in out
    codes = pd.read_parquet("codes.parquet")
    assert list(codes.columns) == ["row", "autoencoder0", "autoencoder1"]


def test_one_file_is_decided_in_memory_unless_it_has_keys(isthmus, bundle, shards):
    rows = pd.read_parquet(shards / "0.parquet")
    rows.drop(columns=["id", "site"]).to_parquet("new.parquet")
    status, _, _ = isthmus("predict", bundle, "new.parquet", "-o", "a.parquet", "--engine", "local")
    assert status == 0
    assert Path("a.parquet").is_file()
    status, _, _ = isthmus(
        "predict", bundle, shards / "0.parquet", "-o", "b.parquet", "--key", "id"
    )
    assert status == 0
    assert Path("b.parquet").is_dir()
    one, other = pd.read_parquet("a.parquet"), pd.read_parquet("b.parquet")
    assert list(one.columns) == list(other.columns[1:])
    np.testing.assert_array_equal(one["prediction"], other["prediction"])
    np.testing.assert_allclose(one["anomaly_score"], other["anomaly_score"], rtol=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "out.csv"), "give one with -o NAME.parquet"),
        ((), "got no output"),
        (("-o", "out.parquet", "--explain"), "--explain, which is for data in memory"),
        (("-o", "out.parquet", "--engine", "spark"), "expected local or ray"),
        (("-o", "out.parquet", "--workers", "3"), "which is for Ray"),
        (("-o", "out.parquet", "--key", "weigth"), "did you mean 'weight'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(isthmus, bundle, shards, words, said):
    status, _, err = isthmus("predict", bundle, shards, *words)
    assert status == 1
    assert said in err
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
