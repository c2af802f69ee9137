"""Scoring of a stream, chunk by chunk: the output, its manifest, errors and resuming."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import fisher_exact

from isthmus import CodeClassifier, load, load_bundle
from isthmus.bundle import add_head
from isthmus.errors import DataError, DataWarning, SchemaError, ScoringError, ShardError
from isthmus.scoring import output_folder as output_module
from isthmus.scoring import score

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

N, N_FILES = 1000, 5


@pytest.fixture(scope="module")
def whole(bundle, shards, tmp_path_factory):
    """The output of a run without interruption."""
    out = tmp_path_factory.mktemp("whole") / "out.parquet"
    score(bundle, opened(shards), out)
    return pd.read_parquet(out)


def opened(shards, **options):
    return load(shards, keys=["id", "site"], **options)


def features(shards):
    return pd.read_parquet(shards).drop(columns=["id", "site"])


def test_a_detectors_decisions_are_those_of_the_library(bundle, shards, whole):
    detector = load_bundle(bundle).heads["normal"]
    X = features(shards)
    assert list(whole.columns) == [
        *("id", "site", "prediction", "anomaly_score", "p_value", "reconstruction_error")
    ]
    np.testing.assert_array_equal(whole["id"], np.arange(N) * 7)
    np.testing.assert_array_equal(whole["prediction"], detector.predict(X))
    np.testing.assert_allclose(whole["anomaly_score"], -detector.score_samples(X), rtol=1e-4)
    errors = detector.encoder_.reconstruction_error(X)
    np.testing.assert_allclose(whole["reconstruction_error"], errors, rtol=1e-4)


def test_a_classifiers_columns_are_those_of_predict_in_memory(bundle, shards, tmp_path):
    facts = score(bundle, load(shards, columns=list(features(shards))), tmp_path / "o", head="kind")
    table = pd.read_parquet(tmp_path / "o")
    classifier = load_bundle(bundle).heads["kind"]
    X = features(shards)
    classes = [f"probability_{name}" for name in classifier.classes_]
    assert list(table.columns) == [
        *("row", "prediction", "probability"),
        *classes,
        "reconstruction_error",
    ]
    np.testing.assert_array_equal(table["row"], np.arange(N))
    np.testing.assert_array_equal(table["prediction"], classifier.predict(X))
    np.testing.assert_allclose(table[classes], classifier.predict_proba(X), atol=1e-5)
    assert facts["counts"] == table["prediction"].value_counts().sort_index().to_dict()


@pytest.mark.filterwarnings("ignore::isthmus.errors.CalibrationWarning")
def test_sets_of_a_stream_are_those_in_memory(bundle, shards, tmp_path):
    X = features(shards)
    shutil.copytree(bundle, tmp_path / "b")
    encoder = load_bundle(bundle).encoder
    y = np.where(np.arange(N) % 3 > 0, "often", "seldom")
    classifier = CodeClassifier(encoder, calibration="cross", random_state=0)
    add_head(tmp_path / "b", "sure", classifier.fit(X, y))
    opened_bundle = load_bundle(tmp_path / "b")
    for by_class in (False, True):
        out = tmp_path / f"{by_class}.parquet"
        options = {"head": "sure", "alpha": 0.3, "by_class": by_class}
        score(opened_bundle, opened(shards), out, **options)
        written = pd.read_parquet(out)
        expected = opened_bundle.predictions(X, **options)
        assert list(written.columns[2:]) == list(expected.columns)
        assert (written["set"] == expected["set"]).mean() > 0.99
        assert (written["set_size"] == expected["set_size"]).mean() > 0.99
    with pytest.raises(DataError, match="the head is a detector"):
        score(opened_bundle, opened(shards), tmp_path / "no.parquet", head="normal", alpha=0.1)


def test_a_column_that_lacks_more_values_than_at_fit_is_named(bundle, shards, tmp_path, isthmus):
    rows = features(shards)[:200]
    rows.loc[100:, "height"], rows.loc[150:, "colour"] = np.nan, None
    rows.to_parquet("new.parquet")
    with pytest.warns(DataWarning, match="'height' lacks the value in 100 of 200 rows"):
        facts = score(bundle, load("new.parquet", lazy=True), "out")
    detector = load_bundle(bundle).heads["normal"]
    n_fit = len(np.unique(detector.encoder_.training_row_hashes_.hashes))
    found = {one["column"]: one for one in facts["missing_values"]}
    assert (facts["n_missing"], list(found)) == ([0, 100, 0, 50], ["height", "colour"])
    assert (found["height"]["share"], found["height"]["share_at_fit"]) == (0.5, 0.0)
    # Fisher's exact test: all of the missing values are in the new rows.
    expected = fisher_exact([[100, 100], [0, n_fit]], "greater").pvalue
    assert found["height"]["p_value"] == pytest.approx(expected)
    assert isthmus("predict", bundle, "new.parquet", "--json", "found.json")[0] == 0
    assert json.loads(Path("found.json").read_text())["missing_values"] == facts["missing_values"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # three missing values in a column are chance
        detector.predict(rows[:103])


def test_codes_are_those_of_transform(bundle, shards, tmp_path):
    score(bundle, opened(shards), tmp_path / "o", what="encode")
    table = pd.read_parquet(tmp_path / "o")
    assert list(table.columns) == ["id", "site", "autoencoder0", "autoencoder1"]
    codes = load_bundle(bundle).encoder.transform(features(shards))
    np.testing.assert_allclose(table.iloc[:, 2:], codes, atol=1e-5)


def test_arrays_are_scored_as_well(table_fit, table, tmp_path):
    table_fit.save(tmp_path / "wine")
    for at, some in enumerate(np.array_split(table, 3)):
        np.save(tmp_path / f"{at}.npy", some)
    score(tmp_path / "wine", load(f"{tmp_path}/*.npy"), tmp_path / "o", what="encode")
    codes = pd.read_parquet(tmp_path / "o")
    np.testing.assert_array_equal(codes["row"], np.arange(len(table)))
    np.testing.assert_allclose(codes.iloc[:, 1:], table_fit.transform(table), atol=1e-4)


def test_the_manifest_describes_the_output(bundle, shards, tmp_path):
    facts = score(bundle, opened(shards), tmp_path / "o")
    manifest = json.loads((tmp_path / "o" / "_manifest.json").read_text())
    assert manifest["finished"] is True
    assert (manifest["n"], manifest["n_parts"], manifest["skipped"]) == (N, N_FILES, [])
    assert manifest["run"]["encoder"] == load_bundle(bundle).encoder.digest_ == facts["digest"]
    assert [part["n_rows"] for part in manifest["run"]["parts"]] == [N // N_FILES] * N_FILES
    assert set(manifest["run"]["sources"]) == {str(path) for path in shards.glob("*.parquet")}
    assert facts["n_resumed"] == 0
    assert facts["parity"]["decisions"]["verdict"]["differ"] == 0


# The k-th part is on disk under its temporary name, and the process dies before it is renamed.
KILLED = """
import os, signal, sys
from pathlib import Path
from isthmus import load
from isthmus.scoring import score
rename, parts = Path.replace, []
def dies(self, target):
    parts.extend([target] * str(target).endswith(".parquet"))
    if len(parts) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.replace = dies
score(sys.argv[1], load(sys.argv[2], keys=["id", "site"]), sys.argv[3])
"""


@pytest.mark.slow
def test_after_a_kill_every_row_is_written_once(bundle, shards, whole, tmp_path):
    out = tmp_path / "out.parquet"
    words = [sys.executable, "-c", KILLED, str(bundle), str(shards), str(out)]
    died = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(list(out.glob("part-*.parquet"))) == 2
    assert len(list(out.glob(".part-*"))) == 1
    assert json.loads((out / "_manifest.json").read_text())["finished"] is False

    facts = score(bundle, opened(shards), out, resume=True)

    assert (facts["n"], facts["n_resumed"]) == (N, 2)
    assert not list(out.glob(".part-*"))
    pd.testing.assert_frame_equal(pd.read_parquet(out), whole)
    again = score(bundle, opened(shards), out, resume=True)
    assert (again["n"], again["n_resumed"]) == (N, N_FILES)


def test_existing_output_is_not_overwritten(bundle, shards, tmp_path):
    out = tmp_path / "out.parquet"
    score(bundle, opened(shards), out)
    with pytest.raises(ScoringError, match=r"holds 6 files; go on with resume"):
        score(bundle, opened(shards), out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(ScoringError, match=r"no _manifest.json"):
        score(bundle, opened(shards), tmp_path / "mine", resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoringError, match="is a file, expected a folder"):
        score(bundle, opened(shards), tmp_path / "file")


def test_output_of_another_run_is_refused_with_the_differences(bundle, shards, tmp_path, table_fit):
    out = tmp_path / "out.parquet"
    score(bundle, opened(shards), out)
    with pytest.raises(ScoringError, match=r"differs in head \(there 'normal', now 'kind'\)"):
        score(bundle, opened(shards), out, head="kind", resume=True)
    with pytest.raises(ScoringError, match=r"what \(there 'predict', now 'encode'\)"):
        score(bundle, opened(shards), out, what="encode", resume=True)
    with pytest.raises(ScoringError, match=r"columns \(there id int64, site"):
        score(bundle, load(shards, keys=["site"], columns=list(features(shards))), out, resume=True)
    some = load(f"{shards}/[0-3].parquet", keys=["id", "site"])
    with pytest.raises(ScoringError, match=r"4.parquet \(no longer there\)"):
        score(bundle, some, out, resume=True)


def test_files_and_bundles_that_changed_are_noticed(bundle, shards, tmp_path):
    shutil.copytree(shards, tmp_path / "data")
    shutil.copytree(bundle, tmp_path / "press")
    out, data = tmp_path / "out.parquet", tmp_path / "data"
    score(tmp_path / "press", opened(data), out)
    opened_bundle = load_bundle(tmp_path / "press")
    stricter = opened_bundle.heads["normal"].set_false_alarm_rate(0.05)
    add_head(tmp_path / "press", "normal", stricter)
    with pytest.raises(ScoringError, match=r"head_version \(there 1, now 2\)"):
        score(tmp_path / "press", opened(data), out, resume=True)
    os.utime(data / "3.parquet", (0, 0))
    with pytest.raises(ScoringError, match=r"3.parquet \(changed since\)"):
        score(bundle, opened(data), out, resume=True)


def test_two_cannot_write_one_folder(bundle, shards, tmp_path):
    out = tmp_path / "out.parquet"
    message = f"being written by process {os.getpid()} on"
    with (
        output_module.open_output(out, {"parts": [], "sources": {}}, None, False),
        pytest.raises(ScoringError, match=message),
    ):
        score(bundle, opened(shards), out, resume=True)


def test_no_space_left_keeps_finished_parts(bundle, shards, whole, tmp_path, monkeypatch):
    written = []

    def full(path, content):
        written.append(path)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    write = output_module.write_bytes
    with monkeypatch.context() as patched:
        patched.setattr(output_module, "write_bytes", full)
        with pytest.raises(ScoringError, match=r"no space left for .*out.parquet.*--resume"):
            score(bundle, opened(shards), tmp_path / "out.parquet")
    facts = score(bundle, opened(shards), tmp_path / "out.parquet", resume=True)
    assert facts["n_resumed"] == 3
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), whole)


def test_a_bad_shard_fails_or_is_listed(bundle, shards, whole, tmp_path):
    shutil.copytree(shards, tmp_path / "data")
    # Infinite values are found when the rows are decided on, a cut file when it is opened.
    bad = pd.read_parquet(shards / "1.parquet")
    bad.loc[3, "width"] = np.inf
    bad.to_parquet(tmp_path / "data" / "1.parquet", index=False)
    cut = (shards / "3.parquet").read_bytes()
    (tmp_path / "data" / "3.parquet").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(ShardError, match=r"3.parquet"):
        opened(tmp_path / "data")
    (tmp_path / "data" / "3.parquet").unlink()
    with pytest.raises(ShardError, match=r"rows 200 to 399, of .*1.parquet, .*'width'"):
        score(bundle, opened(tmp_path / "data"), tmp_path / "o")
    (tmp_path / "data" / "3.parquet").write_bytes(cut[: len(cut) // 2])

    facts = score(bundle, opened(tmp_path / "data", on_bad_shard="skip"), tmp_path / "out")

    assert [(one["source"][-9:], one["n_rows"]) for one in facts["skipped"]] == [
        ("3.parquet", None),
        ("1.parquet", N // N_FILES),
    ]
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["skipped"] == facts["skipped"]
    kept = whole[
        ~whole["id"].floordiv(7).between(200, 399) & ~whole["id"].floordiv(7).between(600, 799)
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out"), kept.reset_index(drop=True))


def test_keys_keep_the_type_of_the_first_file(bundle, shards, whole, tmp_path):
    shutil.copytree(shards, tmp_path / "data")
    narrow = pd.read_parquet(shards / "2.parquet").astype({"id": "int16"})
    narrow.to_parquet(tmp_path / "data" / "2.parquet", index=False)
    missing = pd.read_parquet(shards / "4.parquet").assign(site=None)
    missing.to_parquet(tmp_path / "data" / "4.parquet", index=False)
    score(bundle, opened(tmp_path / "data"), tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out")
    np.testing.assert_array_equal(table["id"], whole["id"])
    assert table["site"].isna().sum() == N // N_FILES
    with pytest.raises(DataError, match="got the column 'prediction' as a key, group or time"):
        pd.read_parquet(shards / "0.parquet").rename(columns={"id": "prediction"}).to_parquet(
            tmp_path / "one.parquet"
        )
        one = load(tmp_path / "one.parquet", lazy=True, keys=["prediction", "site"])
        score(bundle, one, tmp_path / "two")


def test_long_numbers_of_a_database_are_written_as_they_are(bundle, shards, tmp_path):
    (tmp_path / "data").mkdir()
    expected = []
    for at, type_ in enumerate([pa.decimal128(25, 0), pa.decimal128(38, 0), pa.int64()]):
        table = pq.read_table(shards / f"{at}.parquet")
        first = 10**20 if at < 2 else 2**53
        ids = [None if row == 3 else first + row + 1 for row in range(len(table))]
        expected += ids
        column = table.schema.get_field_index("id")
        table = table.set_column(column, "id", pa.array(ids, type_))
        pq.write_table(table, tmp_path / "data" / f"{at}.parquet")
    score(bundle, opened(tmp_path / "data"), tmp_path / "out")
    written = pa.concat_tables(
        [pq.read_table(path, columns=["id"]) for path in sorted((tmp_path / "out").glob("part-*"))]
    )
    assert [None if one is None else int(one) for one in written["id"].to_pylist()] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "dask"}, "expected one of local, ray"),
        ({"workers": 2}, "workers=2, which is for Ray"),
        ({"address": "auto"}, "address='auto', which is for Ray"),
        ({"what": "guess"}, "expected 'predict' or 'encode'"),
        ({"what": "encode", "head": "kind"}, "codes need no head"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    bundle, shards, tmp_path, options, message
):
    with pytest.raises(DataError, match=message):
        score(bundle, opened(shards), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_other_inputs_than_fitting_streams_are_refused(bundle, shards, tmp_path):
    with pytest.raises(DataError, match="got a Dataset, expected a Stream"):
        score(bundle, load(features(shards)), tmp_path / "out")
    with pytest.raises(SchemaError):
        score(bundle, load(shards, columns=["width", "height"]), tmp_path / "out")
    with pytest.raises(DataError, match=r"output s3://bucket/out, .*copy it to the store"):
        score(bundle, opened(shards), "s3://bucket/out")
    assert not (tmp_path / "out").exists()


def test_a_stream_can_be_sent_to_another_process(shards):
    stream = opened(shards)
    first = stream.read(stream.chunk_ranges[0], keys=True)
    sent = pickle.loads(pickle.dumps(stream))
    again = sent.read(sent.chunk_ranges[0], keys=True)
    pd.testing.assert_frame_equal(again.X, first.X)
    pd.testing.assert_frame_equal(again.keys, first.keys)


def test_rows_without_any_value_are_counted(bundle, shards, tmp_path):
    rows = pd.read_parquet(sorted(shards.iterdir())[0])[:20]
    rows.loc[[3, 11, 12], features(shards).columns] = None
    rows.to_parquet(tmp_path / "new.parquet", index=False)
    with pytest.warns(DataWarning, match="3 of 20 rows have no value in any column"):
        facts = score(bundle, opened(tmp_path / "new.parquet", lazy=True), tmp_path / "out")
    assert facts["n_empty_rows"] == 3
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["n_empty_rows"] == 3
