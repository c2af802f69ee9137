"""Several processes train the weights that one trains, and recover from a lost one."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import distributed

from isthmus import Autoencoder, load, load_bundle
from isthmus.augmentations import build_augmentation
from isthmus.cli import main
from isthmus.data.streaming import Stream
from isthmus.distributed import (
    ProcessGroup,
    Shard,
    all_gather,
    collectives,
    draw_normal_like,
    local_shard,
    run_on_all_ranks,
    shard_bounds,
    sharded,
)
from isthmus.errors import DataError, IsthmusError, TrainingError
from isthmus.objectives import Task
from isthmus.objectives.denoising import Denoising, Masked
from isthmus.training import Batches, checkpoint

pytestmark = pytest.mark.first

EPOCHS = 6
LINE = ["--max-epochs", str(EPOCHS), "--batch-size", "32", "--seed", "3", "--resume"]


def own(network, batch):
    """An objective that draws, compares instances and punishes a weight."""
    (x,) = batch
    code = network.encoder(x + 0.1 * torch.randn_like(x))
    apart = torch.pdist(code.float()).mean()
    size = sum(p.square().sum() for p in network.parameters())
    return (network.decoder(code) - x).square().mean() + (1 - apart).square() + 1e-4 * size


def shifted(x):
    """A view that takes from other rows."""
    return x + 0.1 * x.roll(1, dims=0) * torch.rand(len(x), 1)


def normalised(m):
    """Modules of a person's own, with batch normalisation over columns."""
    torch.manual_seed(7)
    layers = [
        torch.nn.Linear(m, 16, bias=False),
        torch.nn.BatchNorm1d(16, momentum=None),
        torch.nn.ReLU(),
    ]
    return torch.nn.Sequential(*layers, torch.nn.Linear(16, 3)), torch.nn.Linear(3, m)


# Of every case: the data, and what is not as usual. Batches do not divide evenly between two.
CASES = {
    "table": ("table", {}),
    "images": ("images", {"lr": 2e-3}),
    "neighbours": ("images", {"recipe": "thorough", "batch_size": 65, "lr": 1e-3}),
    "masked": ("images", {"objective": "masked", "architecture": "dense", "batch_size": 33}),
    "denoising": ("table", {"objective": Denoising(), "batch_size": 31}),
    "composed": ("table", {"objective": {"variational": 1.0, "invariant": 0.5}}),
    "series": ("series", {"objective": "invariant", "kind": "series", "batch_size": 45}),
    "kernels": ("series", {"kind": "series", "batch_size": 45}),
    "own objective": ("table", {"objective": own, "batch_size": 31}),
    "own views": ("table", {"objective": "invariant", "augmentations": shifted}),
    "own modules": ("table", {"architecture": normalised, "batch_size": 31}),
    "stream": ("files", {"batch_size": 45}),
    "stream of images": ("image files", {"batch_size": 33, "lr": 1e-3}),
}
#: Rows of the files of a stream; two batches of 45 are less than one file.
FILES = (130, 90, 1, 70, 110)


def fit(name, data):
    of, given = CASES[name]
    given = dict(given)
    if name == "own modules":
        given["architecture"] = given["architecture"](data[of].shape[1])
    settings = {"max_epochs": 2, "random_state": 3, "device": "cpu", "precision": "float32"}
    X = load(str(data[of]), **data_options(of)) if of.endswith("files") else data[of]
    return Autoencoder(**settings | given).fit(X)


def data_options(of):
    return {"keys": ["id"]} if of == "files" else {}


def losses(encoder):
    return [(r["train_loss"], r["validation_loss"]) for r in encoder.history_]


def learned(encoder):
    """Return what the passes before training learned, as plain values."""
    known = encoder.schema_.to_dict(), encoder.preprocessor_.to_dict(), encoder.data_fingerprint_
    return json.loads(json.dumps([*known, encoder.training_row_hashes_.hashes.tolist()]))


def error_on_infinite_values(data):
    infinite = load(str(data["infinite"]))
    return refused(lambda: Autoencoder(max_epochs=1, random_state=0).fit(infinite))


def refused(call):
    """Return the message of the error that `call` raises."""
    try:
        call()
    except IsthmusError as error:
        return str(error)
    return None


def launch(folder):
    """Start two processes as torchrun does, but forked, so that none imports everything again."""
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="test",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=1,
        start_method="fork",
    )
    logging.getLogger("torch").setLevel(logging.CRITICAL)  # to log an error it loads its compiler
    elastic_launch(config, child)(folder)


def child(folder):
    """Run one of two processes; rank 1 is killed in training, and both are restarted."""
    torch.set_num_threads(1)
    np.random.seed()  # noqa: NPY002  # a forked process has its parent's generators
    torch.seed()
    sys.argv = ["isthmus", "fit", f"{folder}/table.npy", "-o", f"{folder}/press", *LINE]
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        write_results(folder)
        checkpoint.CHECKPOINT_SECONDS = 0.0  # one after every step
        if os.environ["RANK"] == "1":
            die_in_the_fourth_epoch()
    main()


def write_results(folder):
    data, rank = dict(np.load(folder / "data.npz")), os.environ["RANK"]
    table = data["table"]
    results = {"losses": {}, "digests": {}, "read": {}, "learned": {}}
    for name in CASES:
        with watched_reading() as results["read"][name]:
            encoder = fit(name, data)
        results["losses"][name], results["digests"][name] = losses(encoder), encoder.digest_
        results["learned"][name] = learned(encoder)
        if rank == "0":
            state = {k: v.numpy() for k, v in encoder.encoder_.state_dict().items()}
            np.savez(folder / f"{name}.npz", **state)
    assert ProcessGroup.find() == ProcessGroup(int(rank), 2)
    results["digests"]["unseeded"] = Autoencoder(3, max_epochs=1).fit(table).digest_
    as_commanded = Autoencoder(max_epochs=EPOCHS, batch_size=32, random_state=3)
    results["digests"]["uninterrupted"] = as_commanded.fit(table).digest_
    results["batch too small"] = refused(lambda: Autoencoder(batch_size=1, max_epochs=1).fit(table))
    fewer = table[: 170 + int(rank)]
    results["other data"] = refused(lambda: Autoencoder(max_epochs=1, random_state=0).fit(fewer))
    other = Autoencoder(max_epochs=1 + int(rank), random_state=0)
    results["other parameters"] = refused(lambda: other.fit(table))
    some = load(f"{data['files']}/[0-{1 + int(rank)}].parquet", keys=["id"])
    results["other files"] = refused(lambda: Autoencoder(max_epochs=1, random_state=0).fit(some))
    results["infinite"] = error_on_infinite_values(data)
    results["together"] = run_with_a_slow_rank(int(rank))
    results["given up"] = refused(lambda: run_with_a_failing_rank(int(rank)))
    (folder / f"{rank}.json").write_text(json.dumps(results))


@contextmanager
def watched_reading():
    """Yield the list of the chunks of streams that are read within the block."""
    read, parts = Stream.read, []

    def watched(stream, part, **options):
        parts.append(part.index)
        return read(stream, part, **options)

    Stream.read = watched
    yield parts
    Stream.read = read


@contextmanager
def counted_heartbeats():
    """Make heartbeats frequent; yield a semaphore that counts them."""
    beats = threading.Semaphore(0)
    reduce, seconds = distributed.all_reduce, collectives.HEARTBEAT_SECONDS

    def counted(*given, **options):
        reduce(*given, **options)
        beats.release()

    collectives.HEARTBEAT_SECONDS, distributed.all_reduce = 1e-3, counted
    yield beats
    collectives.HEARTBEAT_SECONDS, distributed.all_reduce = seconds, reduce


def run_with_a_slow_rank(rank):
    """Let rank 1 end after rank 0 has waited for several heartbeats."""

    def work(ranks, is_cancelled):
        ranks.append(rank)
        for _ in range(3 * rank):
            beats.acquire()

    with counted_heartbeats() as beats:
        return run_on_all_ranks(ProcessGroup.find(), [], work, list)


def run_with_a_failing_rank(rank):
    """Let rank 1 work until rank 0 has failed."""

    def work(result, is_cancelled):
        if rank == 0:
            raise DataError("rank 0 failed")
        while not is_cancelled():
            beats.acquire()

    with counted_heartbeats() as beats:
        run_on_all_ranks(ProcessGroup.find(), [], work, list)


def die_in_the_fourth_epoch():
    batch, seen = Batches.batch, []

    def watched(rows, positions, device):
        if not np.array_equal(positions, np.sort(positions)):  # validation takes them in order
            seen.append(len(positions))
            if sum(seen) > 3.5 * len(rows) / 2:
                os.kill(os.getpid(), signal.SIGKILL)
        return batch(rows, positions, device)

    Batches.batch = watched


@pytest.fixture(scope="module")
def data(images, table, tmp_path_factory):
    series = np.random.default_rng(0).normal(size=(100, 24, 3)).cumsum(axis=1)
    folder = tmp_path_factory.mktemp("files")
    return {"images": images, "table": table, "series": series} | write_files(folder, images)


def write_files(folder, images):
    """Write a table and images in files of unequal length, and return where."""
    rng, first = np.random.default_rng(1), 0
    for name in ("table", "images"):
        (folder / name).mkdir()
    for at, n_rows in enumerate(FILES):
        rows = slice(first, first + n_rows)
        frame = pd.DataFrame(rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, 6)))
        frame = frame.rename(columns="x{}".format).assign(id=np.arange(first, first + n_rows))
        frame.to_parquet(folder / "table" / f"{at}.parquet")
        np.save(folder / "images" / f"{at}.npy", images[rows])
        first += n_rows
    (folder / "infinite").mkdir()
    for at in range(4):
        frame = pd.DataFrame({"a": [1.0, np.inf if at == 2 else 2.0], "b": [1.0, 2.0]})
        frame.to_parquet(folder / "infinite" / f"{at}.parquet")
    return {
        "files": str(folder / "table"),
        "image files": str(folder / "images"),
        "infinite": str(folder / "infinite"),
    }


@pytest.fixture(scope="module")
def two(tmp_path_factory, data):
    """The results of two processes: a folder, the results of each, and their output."""
    folder = tmp_path_factory.mktemp("two")
    np.savez(folder / "data.npz", **data)
    np.save(folder / "table.npy", data["table"])
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    return SimpleNamespace(folder=folder, results=results, stdout=done.stdout, stderr=done.stderr)


@pytest.mark.parametrize("name", CASES)
def test_two_workers_train_what_one_process_trains(two, data, name):
    one = fit(name, data)
    np.testing.assert_allclose(two.results[0]["losses"][name], losses(one), rtol=1e-4)
    state, largest = np.load(two.folder / f"{name}.npz"), 0.0
    for key, value in one.encoder_.state_dict().items():
        scale = max(1.0, float(value.abs().max()))
        np.testing.assert_allclose(state[key], value, atol=1e-3 * scale, err_msg=key)
        largest = max(largest, float(value.abs().max()))
    assert largest > 0.01


def test_all_workers_end_with_the_same_weights_and_history(two):
    first, second = two.results
    assert first["digests"] == second["digests"]
    assert first["losses"] == second["losses"]


@pytest.mark.parametrize(("name", "n_first"), [("stream", 2), ("stream of images", 1)])
def test_workers_read_some_of_the_files_each(two, data, name, n_first):
    with watched_reading() as alone:
        fit(name, data)
    first, second = (worker["read"][name] for worker in two.results)
    # Two passes learn what the instances look like, each worker from the parts of its share.
    shares = [*range(n_first)] * 2, [*range(n_first, len(FILES))] * 2
    assert first[: len(shares[0])] == shares[0]
    assert second[: len(shares[1])] == shares[1]
    assert sorted(first + second) == sorted(alone)
    assert alone[: 2 * len(FILES)] == [*range(len(FILES))] * 2


@pytest.mark.parametrize("name", ["stream", "stream of images"])
def test_what_workers_learn_of_shares_is_what_one_process_learns(two, data, name):
    expected = learned(fit(name, data))
    assert [worker["learned"][name] for worker in two.results] == [expected] * 2


def test_workers_wait_for_the_slowest_and_have_what_all_made(two):
    assert [worker["together"] for worker in two.results] == [[0, 1]] * 2


def test_a_lost_worker_ends_those_who_gather(monkeypatch):
    def lost(*given, **options):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")

    def work(result, is_cancelled):
        while not is_cancelled():
            pass

    monkeypatch.setattr(collectives, "HEARTBEAT_SECONDS", 1e-3)
    monkeypatch.setattr(collectives, "cpu_group", lambda: None)
    monkeypatch.setattr(distributed, "all_reduce", lost)
    with pytest.raises(TrainingError, match="another of the 2 workers ended .*; start all again"):
        run_on_all_ranks(ProcessGroup(0, 2), [], work, list)


def test_what_workers_cannot_do_is_refused_by_all(two):
    for worker in two.results:
        assert "got batch_size=1 and 2 workers" in worker["batch too small"]
        assert "got instances 170 on worker 0 and 171 on worker 1" in worker["other data"]
        assert "got parameters" in worker["other parameters"]
        assert "got instances 220 on worker 0 and 221 on worker 1" in worker["other files"]
        assert worker["given up"] == "rank 0 failed"


def test_an_error_in_one_share_is_raised_by_all(two, data):
    alone = error_on_infinite_values(data)
    assert "the value is inf in column 'a'" in alone
    assert "row 5, counting from 0" in alone
    assert [worker["infinite"] for worker in two.results] == [alone] * 2


def test_a_lost_worker_ends_all_and_the_run_resumes_to_the_same_weights(two):
    lost, resumed = two.stderr.split("--resume", 1)
    assert "epoch 3/6" in lost
    assert "epoch 4/6" not in lost
    assert "epoch 3/6" not in resumed  # what was done is not done again
    assert resumed.count("epoch 4/6") == 1  # one of them talks
    assert two.stdout.count("digest") == 1
    digest = load_bundle(two.folder / "press").encoder.digest_
    assert digest == two.results[0]["digests"]["uninterrupted"]
    assert digest in two.stdout
    assert not (two.folder / "press-checkpoints").exists()


@pytest.mark.slow
def test_torchrun_trains_what_forked_workers_train(two, tmp_path):
    words = "--standalone --nproc-per-node 2 -m isthmus fit table.npy -o press"
    np.save(tmp_path / "table.npy", np.load(two.folder / "table.npy"))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words.split(), *LINE],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("digest") == 1
    digest = load_bundle(tmp_path / "press").encoder.digest_
    assert digest == two.results[0]["digests"]["uninterrupted"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the workers are found in /proc")
@pytest.mark.parametrize(("killed", "epoch"), [("all", 1), ("rank 0", 2), ("rank 1", 3)])
def test_torchrun_killed_in_an_epoch_resumes_to_the_same_weights(two, tmp_path, killed, epoch):
    words = "--standalone --nproc-per-node 2 -m isthmus fit table.npy -o press"
    np.save(tmp_path / "table.npy", np.load(two.folder / "table.npy"))
    line = [sys.executable, "-m", "torch.distributed.run", *words.split(), *LINE]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(line, env=env, cwd=tmp_path, **pipes) as run:
        while f"epoch {epoch}/" not in (said := run.stdout.readline()):
            assert said, "it ended before"
        workers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        chosen = {"all": [run.pid, *workers], "rank 0": workers[:1], "rank 1": workers[1:2]}
        for one in chosen[killed]:
            os.kill(int(one), signal.SIGKILL)
        run.stdout.read()
    done = subprocess.run(line, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    digest = load_bundle(tmp_path / "press").encoder.digest_
    assert digest == two.results[0]["digests"]["uninterrupted"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["press", "table.npy"]


def test_only_fit_runs_on_several_workers(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["isthmus", "info", "press"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, message in (("0", "error: got isthmus info on 2 workers"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 1
        assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 256])
def test_parts_are_a_batch_without_overlap_or_loss(n):
    parts = [range(*shard_bounds(n, rank, 3)) for rank in range(3)]
    if n < 3:  # too few to divide: each worker takes all
        assert parts == [range(n)] * 3
    else:
        assert [row for part in parts for row in part] == list(range(n))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


DRAWS = {
    "noise": ((5,), Denoising(["gaussian"]).prepare(Task("table", (5,), 2, "mse")).corrupt),
    "spoilt": ((3, 6, 6), Denoising().prepare(Task("images", (3, 6, 6), 2, "mse")).corrupt),
    "masks": ((5,), Masked().prepare(Task("table", (5,), 2, "mse")).draw),
    "patches": ((1, 8, 8), Masked().prepare(Task("images", (1, 8, 8), 2, "bce")).draw),
    "image views": ((3, 6, 6), build_augmentation("auto", "images")),
    "series views": ((2, 20), build_augmentation("auto", "series")),
    "codes": ((4,), draw_normal_like),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("copies", [1, 2])
def test_workers_draw_together_what_one_process_draws(name, copies):
    shape, draw = DRAWS[name]
    x = torch.rand(7, *shape)
    if len(shape) == 3:
        x = x.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(0)
    at_once = draw(torch.cat([x] * copies))
    parts = []
    for rank in range(3):
        first, stop = shard_bounds(7, rank, 3)
        torch.manual_seed(0)
        with sharded(Shard(first, stop, 7)):
            parts.append(draw(torch.cat([x[first:stop]] * copies)).unflatten(0, (copies, -1)))
    torch.testing.assert_close(torch.cat(parts, dim=1).flatten(0, 1), at_once)


def test_alone_nothing_is_shared():
    x = torch.rand(4, 2)
    assert all_gather(x) is x
    assert local_shard(x) is x
    assert ProcessGroup.find() == ProcessGroup(0, 1)
    assert ProcessGroup().shard(4) is None


if __name__ == "__main__":
    launch(Path(sys.argv[1]))
