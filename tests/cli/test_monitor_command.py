"""`isthmus monitor`: what it says, its exit status, and a state from call to call."""

import json

import numpy as np
import pandas as pd
import pytest

from _commands import isthmus


def rows(n, seed, day, shift=0.0):
    rng = np.random.default_rng(seed)
    heat = rng.gamma(3.0, size=n) + shift
    kind = rng.choice(["nut", "bolt"], n)
    when = pd.date_range(day, periods=n, freq="min")
    return pd.DataFrame({"when": when, "width": rng.normal(size=n), "heat": heat, "kind": kind})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle with a detector, quiet rows, and rows with a shift that are not in order."""
    where = tmp_path_factory.mktemp("monitor")
    normal = rows(2000, 0, "2024-05-01").drop(columns="when")
    normal.to_csv(where / "normal.csv", index=False)
    rows(600, 1, "2024-06-01").to_csv(where / "quiet.csv", index=False)
    moved = rows(600, 2, "2024-07-01", shift=1.5)
    moved.sample(frac=1, random_state=0).to_csv(where / "moved.csv", index=False)
    (where / "files").mkdir()
    moved[:300].to_parquet(where / "files" / "1.parquet")
    moved[300:].to_parquet(where / "files" / "2.parquet")
    isthmus("fit", "normal.csv", "-o", "press", "--detector", "--max-epochs", "2", cwd=where)
    return where


def test_status_is_3_once_the_promise_no_longer_holds(folder, tmp_path):
    words = ("--time", "when", "--state", str(tmp_path / "state.json"))
    quiet = isthmus("monitor", "press", "quiet.csv", *words, cwd=folder)
    assert "promise holds" in quiet.stdout
    assert "of all rows, any true anomalies included; the promise is at most 1 %" in quiet.stdout
    moved = isthmus("monitor", "press", "moved.csv", *words, "--json", "-", cwd=folder, check=False)
    assert moved.returncode == 3
    facts = json.loads(moved.stdout)
    assert (facts["n"], facts["valid"], facts["moved"][0]) == (1200, False, "heat")
    assert 590 <= facts["since"]["row"] <= 640
    assert facts["since"]["time"] >= "2024-06-01 09:50"
    assert "promise no longer holds since about row" in moved.stderr
    words = (*words, "--level", "0.5")
    refused = isthmus("monitor", "press", "quiet.csv", *words, cwd=folder, check=False)
    assert refused.returncode == 1
    assert "leave --level out" in refused.stderr


def test_files_are_read_in_chunks_with_the_same_answer(folder):
    found = []
    for data in ("moved.csv", "files"):
        words = ("monitor", "press", data, "--time", "when", "--json", "-")
        found.append(json.loads(isthmus(*words, cwd=folder, check=False).stdout))
    assert found[0]["since"]["row"] == found[1]["since"]["row"]
    assert found[0]["evidence"] == pytest.approx(found[1]["evidence"])
    assert found[0]["warned_at"] == found[1]["warned_at"]


def test_files_that_are_not_in_order_are_refused(folder, tmp_path):
    for name, part in (("1", "2024-07-02"), ("2", "2024-07-01")):
        rows(200, 3, part).to_parquet(tmp_path / f"{name}.parquet")
    words = ("monitor", "press", str(tmp_path), "--time", "when")
    done = isthmus(*words, cwd=folder, check=False)
    assert done.returncode == 1
    assert "not in the order of when" in done.stderr


def test_recalibrate_makes_a_new_version_that_holds(folder):
    from shutil import copytree

    copytree(folder / "press", folder / "again")
    day = rows(1200, 5, "2024-07-02", shift=1.5).drop(columns="when")
    day[:800].to_csv(folder / "today.csv", index=False)
    day[800:].to_csv(folder / "tonight.csv", index=False)
    words = ("detect", "again", "today.csv", "--recalibrate", "--json", "-")
    done = isthmus(*words, cwd=folder)
    facts = json.loads(done.stdout)
    assert (facts["version"], facts["n_calibration"]) == (2, 800)
    assert "promise holds" in isthmus("monitor", "again", "tonight.csv", cwd=folder).stdout
    refused = isthmus(*words, "--method", "combined", cwd=folder, check=False)
    assert "got --method and --recalibrate" in refused.stderr
