"""Scoring on a cluster of two nodes, both on this machine, one of which is lost."""

import os
import shutil
import signal
import sys
import threading
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from isthmus import load
from isthmus.errors import DataError, ScoringError, ShardError
from isthmus.scoring import ray as on_ray
from isthmus.scoring import score
from isthmus.scoring.output_folder import PartFiles

pytest.importorskip("onnxruntime")
ray = pytest.importorskip("ray")

# Ray's own, such as of sockets that it leaves to the collector.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

KEYS = ["id", "site"]
#: Little memory, so that a small machine can hold two nodes.
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def cluster():
    """A cluster with a head node, which imports the isthmus of this process."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        running = Cluster(initialize_head=True, head_node_args=NODE)
        yield running
        # Threads of Ray's own may have connected once more.
        ray.shutdown()
        running.shutdown()


@dataclass(frozen=True)
class Doomed(PartFiles):
    """Part files that one node never writes."""

    node: str = ""
    reached: str = ""
    gate: str = ""

    def write(self, chunk, *facts):
        if ray.get_runtime_context().get_node_id() == self.node:
            with open(self.reached, "w") as pipe:  # noqa: PTH123
                pipe.write("here")
            FileLock(self.gate).acquire()  # the test has it
        return super().write(chunk, *facts)


def test_a_killed_node_loses_no_chunk(bundle, shards, local, cluster, tmp_path, monkeypatch):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    lost = cluster.add_node(**NODE)
    reached, out = tmp_path / "reached", tmp_path / "out.parquet"
    os.mkfifo(reached)
    there = []

    def kill():
        reached.read_text()  # waits until the node is about to write
        there.extend(out.glob("part-*"))
        cluster.remove_node(lost, allow_graceful=False)

    def doomed(job, chunks, workers, address):
        files = Doomed(
            **vars(job.files), node=lost.node_id, reached=str(reached), gate=f"{reached}.lock"
        )
        yield from score_on_ray(replace(job, files=files), chunks, workers, address)

    score_on_ray = on_ray.score_on_ray
    monkeypatch.setattr(on_ray, "score_on_ray", doomed)
    killer = threading.Thread(target=kill)
    killer.start()
    with FileLock(f"{reached}.lock"):
        stream = load(shards, keys=KEYS)
        facts = score(bundle, stream, out, engine="ray", address=cluster.address)
    killer.join()
    assert len(there) < 5
    assert facts["n"] == 1000
    assert len(list(out.glob("part-*"))) == 5
    table = pd.read_parquet(out)
    pd.testing.assert_series_equal(table["prediction"], local["prediction"])
    pd.testing.assert_frame_equal(table, local, rtol=1e-6)


@dataclass(frozen=True)
class Deadly(PartFiles):
    """Part files; writing one of them kills the worker."""

    last: str = "kill"

    def write(self, chunk, *facts):
        if chunk.index == 3:
            if self.last == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            np.empty(2**58)
        return super().write(chunk, *facts)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (
            "kill",
            r"^a worker of Ray died on the same rows 1 times, .*want of memory; finished",
        ),
        ("ask", r"^a worker of Ray ran out of memory; finished parts are kept: use fewer"),
    ],
    ids=["killed", "refused"],
)
def test_chunks_that_kill_workers_end_the_run_and_the_rest_is_kept(
    bundle, shards, local, cluster, tmp_path, monkeypatch, last, message
):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    out, words = tmp_path / "out.parquet", {"engine": "ray", "address": cluster.address}

    def deadly(job, chunks, workers, address):
        files = Deadly(**vars(job.files), last=last)
        yield from score_on_ray(replace(job, files=files), chunks, workers, address)

    score_on_ray = on_ray.score_on_ray
    with monkeypatch.context() as patched:
        patched.setattr(on_ray, "score_on_ray", deadly)
        patched.setattr(on_ray, "MAX_RETRIES", 0)
        with pytest.raises(ScoringError, match=message) as raised:
            score(bundle, load(shards, keys=KEYS), out, **words)
    assert "--workers" in str(raised.value)
    assert "--resume" in str(raised.value)
    facts = score(bundle, load(shards, keys=KEYS), out, resume=True)
    assert facts["n"] == 1000
    assert facts["n_resumed"] < 5
    pd.testing.assert_frame_equal(pd.read_parquet(out), local, rtol=1e-6)


def test_a_missing_file_is_reported_and_the_run_resumed(
    bundle, shards, local, cluster, tmp_path, monkeypatch
):
    data, out = tmp_path / "data", tmp_path / "out.parquet"
    shutil.copytree(shards, data)
    words = {"engine": "ray", "address": cluster.address}
    stream = load(data, keys=KEYS, on_bad_shard="skip")

    def gone(*given):
        (data / "4.parquet").rename(tmp_path / "aside")
        yield from score_on_ray(*given)

    score_on_ray = on_ray.score_on_ray
    with monkeypatch.context() as patched:
        patched.setattr(on_ray, "score_on_ray", gone)
        with pytest.raises(DataError, match=r"4.parquet cannot be reached .*--resume") as raised:
            score(bundle, stream, out, **words)
    assert not isinstance(raised.value, ShardError)
    (tmp_path / "aside").rename(data / "4.parquet")
    facts = score(bundle, load(data, keys=KEYS), out, resume=True, **words)
    assert (facts["n"], facts["skipped"]) == (1000, [])
    pd.testing.assert_frame_equal(pd.read_parquet(out), local, rtol=1e-6)


def test_errors_on_a_node_are_the_same_as_in_this_process(bundle, shards, cluster, tmp_path):
    rows = pd.read_parquet(shards / "0.parquet")
    (tmp_path / "data").mkdir()
    for at in range(2):
        rows.to_parquet(tmp_path / "data" / f"{at}.parquet")
        rows.loc[3, "width"] = float("inf")
    words = {"engine": "ray", "address": cluster.address}
    with pytest.raises(ShardError, match=r"rows 200 to 399, of .*1.parquet.*'width'"):
        score(bundle, load(tmp_path / "data", keys=KEYS), tmp_path / "out", **words)
    skipping = load(tmp_path / "data", keys=KEYS, on_bad_shard="skip")
    facts = score(bundle, skipping, tmp_path / "out", resume=True, **words)
    assert facts["n"] == 200
    assert [one["n_rows"] for one in facts["skipped"]] == [200]
