"""Scoring on a Ray that starts here: the same rows."""

import sys

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, load, save_bundle
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
def test_ray_decides_by_group_as_one_process_does(ray, tmp_path):
    rng = np.random.default_rng(0)
    machine = np.repeat(["a", "b"], 200)
    values = rng.normal(size=(400, 3)) * np.where(machine == "a", 1, 4)[:, None]
    rows = pd.DataFrame(values, columns=list("xyz")).assign(machine=machine)
    detector = AnomalyDetector(Autoencoder(2, max_epochs=1), "neighbours", 0.05, random_state=0)
    detector.fit(rows, groups="machine")
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    (tmp_path / "new").mkdir()
    for at, part in enumerate(np.array_split(rng.permutation(400), 4)):
        rows.iloc[part].to_parquet(tmp_path / "new" / f"{at}.parquet", index=False)
    found = {}
    for engine in ("local", "ray"):
        stream = load(tmp_path / "new", group="machine")
        facts = score(tmp_path / "press", stream, tmp_path / engine, engine=engine)
        found[engine] = pd.read_parquet(tmp_path / engine), facts["groups"]
    pd.testing.assert_frame_equal(found["ray"][0], found["local"][0], rtol=1e-6)
    assert found["ray"][1] == found["local"][1]
    assert sum(sum(one.values()) for one in found["ray"][1].values()) == 400


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
