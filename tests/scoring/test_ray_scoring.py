"""Scoring on a Ray that starts here: the same rows."""

import sys

import pandas as pd
import pytest

from isthmus import load
from isthmus.errors import MissingExtraError, ScoringError
from isthmus.scoring import score
from isthmus.scoring.ray import describe_failure

pytest.importorskip("onnxruntime")

# Ray's own, such as of sockets that it leaves to the collector.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.slow
def test_ray_starts_here_and_writes_the_same_rows(bundle, shards, local, ray, tmp_path):
    out = tmp_path / "out.parquet"
    stream = load(shards, keys=["id", "site"])
    facts = score(bundle, stream, out, engine="ray", workers=2)
    assert not ray.is_initialized()
    assert (facts["n"], facts["n_parts"], facts["engine"]) == (1000, 5, "ray")
    table = pd.read_parquet(out)
    pd.testing.assert_series_equal(table["prediction"], local["prediction"])
    pd.testing.assert_frame_equal(table, local, rtol=1e-6)


@pytest.mark.slow
def test_an_unreachable_cluster_is_named(bundle, shards, ray, tmp_path):
    stream = load(shards, keys=["id", "site"])
    with pytest.raises(ScoringError, match=r"cannot reach a Ray cluster at nowhere"):
        score(bundle, stream, tmp_path / "o", engine="ray", address="nowhere")


def test_without_ray_the_extra_is_named(bundle, shards, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"isthmus\[scale\]"):
        score(bundle, load(shards), tmp_path / "o", engine="ray")


@pytest.mark.slow
def test_out_of_memory_on_a_worker_is_reported_plainly(ray):
    error = ray.exceptions.OutOfMemoryError("1 worker(s) were killed\nSee https://... for more")
    output = describe_failure(ray, error)
    assert output.startswith("a worker of Ray ran out of memory; finished parts are kept")
    assert "--workers" in output
    assert output.endswith("--resume)")
    other = describe_failure(ray, ray.exceptions.RaySystemError("the raylet left"))
    assert other.startswith("Ray gave up: System error: the raylet left")
