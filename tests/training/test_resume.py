"""A killed training process is resumed by another one to the same weights."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

from isthmus import Autoencoder
from isthmus.networks import digest
from isthmus.training import Batches, checkpoint

EPOCHS = 8
STEP_TO_DIE_IN = 3  # of epoch 5


def make(data, folder=None, *, resume=False, verbose=False):
    return Autoencoder(
        4,
        max_epochs=EPOCHS,
        batch_size=32,
        lr=0.02,
        validation_fraction=0.2,
        patience=None,
        device="cpu",
        random_state=3,
        verbose=verbose,
        checkpoint_dir=folder,
        resume=resume,
    ).fit(data)


def facts(encoder):
    return {
        "encoder": digest(encoder.encoder_),
        "decoder": digest(encoder.decoder_),
        "best_epoch": encoder.best_epoch_,
        "losses": [(r["train_loss"], r["validation_loss"]) for r in encoder.history_],
    }


def child(mode, data, folder):
    """What the other process does."""
    import torch

    torch.set_num_threads(1)
    X = np.load(data)
    _stand_still_in_epoch_five(checkpoints_within=mode == "die within")
    make(X, folder, verbose=True)


def _stand_still_in_epoch_five(*, checkpoints_within):
    import threading

    batch, seen = Batches.batch, []

    def watched(rows, positions, device):
        # The loop itself asks for shuffled rows; validation takes them in order.
        if not np.array_equal(positions, np.sort(positions)):
            seen.append(len(positions))
            if checkpoints_within and sum(seen) > len(rows) * 4:
                checkpoint.CHECKPOINT_SECONDS = 0.0  # after every step
            if sum(seen) > len(rows) * 4 + 32 * (STEP_TO_DIE_IN - 1):
                print("in the middle", flush=True)
                threading.Event().wait()
        return batch(rows, positions, device)

    Batches.batch = watched


def start(mode, data, folder):
    return subprocess.Popen(
        [sys.executable, __file__, mode, str(data), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("kind", "mode"), [("images", "die within"), ("table", "die")])
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(
    kind, mode, images, table, tmp_path, capsys
):
    X = images if kind == "images" else table
    data, folder = tmp_path / "data.npy", tmp_path / "checkpoints"
    np.save(data, X)

    with start(mode, data, folder) as dying:
        line = dying.stdout.readline()
        dying.kill()
        progress = dying.stderr.read()
    assert line == "in the middle\n", progress
    assert dying.returncode == -signal.SIGKILL
    assert "epoch 4/8" in progress
    assert "epoch 5/8" not in progress

    with safe_open(folder / checkpoint.LAST, framework="pt") as file:
        middle = json.loads(file.metadata()["state"])["middle"]
    assert (middle or {}).get("step") == (STEP_TO_DIE_IN - 1 if mode == "die within" else None)

    capsys.readouterr()
    resumed = facts(make(X, folder, resume=True, verbose=True))  # by this process, another one
    progress = capsys.readouterr().err
    assert "epoch 4/8" not in progress  # what was done is not done again
    assert "epoch 5/8" in progress

    uninterrupted = facts(make(X))
    assert resumed == uninterrupted
    assert len(uninterrupted["losses"]) == EPOCHS


if __name__ == "__main__":
    child(*sys.argv[1:])
