"""Training by the workers of a Ray that runs here: what one process trains."""

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from isthmus import Autoencoder, load_bundle
from isthmus.cli import main
from isthmus.cli import ray_training as ray_fit
from isthmus.training import Batches

# Ray's own, such as of sockets that it leaves to the collector.
pytestmark = pytest.mark.filterwarnings("ignore")

LINE = ["fit", "table.npy", "-o", "press", "--engine", "ray", "--workers", "2", "--device", "cpu"]


@pytest.fixture
def folder(table, tmp_path, monkeypatch):
    np.save(tmp_path / "table.npy", table)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def ray():
    """A Ray of two CPUs, whose workers find isthmus where this process does."""
    module = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        small = {"num_cpus": 2, "object_store_memory": 100 * 2**20}
        module.init(include_dashboard=False, log_to_driver=False, **small)
        module.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield module
        module.shutdown()


def isthmus(monkeypatch, *words):
    """Run the command, and return its status."""
    monkeypatch.setattr(sys, "argv", ["isthmus", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


@dataclass(frozen=True)
class Doomed:
    """The command, whose second worker is killed once, after the first checkpoint."""

    fit: object
    folder: Path

    def __call__(self, **options):
        killed, checkpoint = self.folder / "killed", "press-checkpoints/last.safetensors"
        batch = Batches.batch

        def watched(rows, positions, device):
            if (self.folder / checkpoint).exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return batch(rows, positions, device)

        if os.environ["RANK"] == "1" and not killed.exists():
            Batches.batch = watched
        self.fit(**options)


@pytest.mark.slow
def test_what_goes_wrong_on_workers_is_said_here_and_not_tried_again(
    ray, folder, monkeypatch, capfd
):
    assert isthmus(monkeypatch, *LINE, "--workers", "1", "--n-components", "130") == 1
    output = capfd.readouterr().err
    assert "narrower" in output
    assert "lost" not in output


@pytest.mark.slow
def test_two_workers_train_what_one_process_trains_though_one_is_lost(
    ray, folder, table, monkeypatch, capfd
):
    on_ray = ray_fit.fit_on_ray
    monkeypatch.setattr(
        ray_fit, "fit_on_ray", lambda fit, *rest: on_ray(Doomed(fit, folder), *rest)
    )
    words = ["--max-epochs", "4", "--batch-size", "31", "--seed", "3"]
    assert isthmus(monkeypatch, *LINE, *words) == 0
    captured = capfd.readouterr()
    assert (folder / "killed").exists()
    assert "a worker was lost" in captured.err
    assert captured.err.count("epoch 1/4") == 1  # what was done is not done again
    assert captured.out.count("digest") == 1  # one of them talks
    assert not (folder / "press-checkpoints").exists()
    settings = {"max_epochs": 4, "batch_size": 31, "random_state": 3, "device": "cpu"}
    one = Autoencoder(**settings).fit(table)
    assert load_bundle(folder / "press").encoder.digest_ in captured.out
    lines = (folder / "press" / "history.jsonl").read_text().splitlines()
    for loss in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(
            [json.loads(line)[loss] for line in lines],
            [epoch[loss] for epoch in one.history_],
            rtol=1e-4,
        )


@pytest.mark.slow
def test_workers_lost_again_and_again_end_the_run(ray, folder, monkeypatch, capsys):
    monkeypatch.setattr(ray_fit, "_train", lambda *_: "the worker died")
    assert isthmus(monkeypatch, *LINE) == 1
    captured = capsys.readouterr().err
    assert captured.count("a worker was lost; starting 2 again") == 3
    assert "lost 4 times (the worker died), as they are for want of memory" in captured
    assert "smaller --batch-size" in captured
    assert "--resume" in captured.splitlines()[-1]


@pytest.mark.slow
def test_another_runs_checkpoints_are_left_alone(
    ray, folder, monkeypatch, capsys, another_run_writes
):
    (folder / "press-checkpoints").mkdir()
    with another_run_writes("press-checkpoints"):
        (folder / "press-checkpoints" / "last.safetensors").write_bytes(b"its own")
        assert isthmus(monkeypatch, *LINE) == 1
        assert (folder / "press-checkpoints" / "last.safetensors").read_bytes() == b"its own"
    assert "press-checkpoints is being written by another run" in capsys.readouterr().err


@pytest.mark.slow
def test_more_workers_than_cpus_are_refused(ray, folder, monkeypatch, capsys):
    assert isthmus(monkeypatch, *LINE, "--workers", "3") == 1
    assert "got --workers 3, and Ray has 2 CPU(s)" in capsys.readouterr().err


def test_without_ray_the_extra_is_named(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert isthmus(monkeypatch, *LINE) == 1
    assert "isthmus[scale]" in capsys.readouterr().err


def test_workers_without_ray_are_refused(folder, monkeypatch, capsys):
    assert isthmus(monkeypatch, "fit", "table.npy", "-o", "press", "--workers", "2") == 1
    assert "add --engine ray" in capsys.readouterr().err
