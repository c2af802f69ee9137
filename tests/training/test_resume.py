"""A killed training process is resumed by another one to the same weights; Ctrl-C; more epochs."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

from isthmus import AnomalyDetector, Autoencoder
from isthmus.autoencoder.training_rows import split_rows
from isthmus.errors import CheckpointError
from isthmus.evaluation import advise
from isthmus.networks import digest
from isthmus.training import Batches, checkpoint, loop

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


# --- more epochs, and Ctrl-C ---------------------------------------------------------------


@pytest.mark.parametrize("done", [3, 2])
def test_a_run_goes_on_for_more_epochs(table, tmp_path, done):
    choices = {"validation_fraction": 0.0, "random_state": 0, "checkpoint_dir": tmp_path / "c"}
    first = Autoencoder(4, max_epochs=3, **choices)
    if done == 3:
        first.fit(table)
    else:
        with interrupted_after(done), pytest.raises(KeyboardInterrupt):
            first.fit(table)
    longer = Autoencoder(4, max_epochs=5, resume=True, **choices).fit(table)
    assert [record["epoch"] for record in longer.history_] == [1, 2, 3, 4, 5]
    assert longer.training_["max_epochs"] == 5
    once_more = Autoencoder(4, max_epochs=5, resume=True, **choices).fit(table)
    assert once_more.digest_ == longer.digest_
    with pytest.raises(CheckpointError, match=r"max_epochs \(there 5, now 4\)"):
        Autoencoder(4, max_epochs=4, resume=True, **choices).fit(table)


def test_no_checkpoint_with_a_changed_bit_is_resumed(table, tmp_path):
    choices = {"random_state": 0, "checkpoint_dir": tmp_path / "c"}
    Autoencoder(4, max_epochs=2, **choices).fit(table)
    resume = Autoencoder(4, max_epochs=3, resume=True, **choices)
    rng = np.random.default_rng(0)
    for name in (checkpoint.LAST, checkpoint.BEST):
        file = tmp_path / "c" / name
        content = file.read_bytes()
        for at in rng.integers(0, len(content), 15):
            file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(CheckpointError, match=name):
                resume.fit(table)
        file.write_bytes(content)
    assert len(resume.fit(table).history_) == 3


def test_patience_that_ended_a_run_ends_it_with_more_epochs_too(table, tmp_path):
    choices = {"lr": 1e-9, "patience": 1, "random_state": 0, "checkpoint_dir": tmp_path / "c"}
    ended = Autoencoder(4, max_epochs=40, **choices).fit(table)
    assert len(ended.history_) < 40
    again = Autoencoder(4, max_epochs=50, resume=True, **choices).fit(table)
    assert again.digest_ == ended.digest_
    assert len(again.history_) == len(ended.history_)


@contextlib.contextmanager
def interrupted_after(n_epochs):
    """Raise KeyboardInterrupt once so many epochs are done, in the middle of the next."""
    steps = loop.Optimizer.step
    measured = loop._check_finite_record
    with pytest.MonkeyPatch.context() as patched:
        done = []

        def count(record, settings):
            done.append(record["epoch"])
            return measured(record, settings)

        def step(self, lr):
            if len(done) == n_epochs:
                raise KeyboardInterrupt
            return steps(self, lr)

        patched.setattr(loop, "_check_finite_record", count)
        patched.setattr(loop.Optimizer, "step", step)
        yield


@pytest.mark.parametrize("fraction", [0.3, 0.0])
def test_an_interrupted_fit_has_the_best_weights_so_far(table, fraction):
    choices = {"validation_fraction": fraction, "random_state": 0}
    with interrupted_after(4), pytest.warns(UserWarning, match="in epoch 5 of 40: the weights are"):
        encoder = Autoencoder(4, max_epochs=40, **choices).fit(table)
    assert len(encoder.history_) == 4
    assert encoder.training_["interrupted_in_epoch"] == 5
    losses = [record.get("validation_loss", -record["epoch"]) for record in encoder.history_]
    assert encoder.best_epoch_ == 1 + int(np.argmin(losses))
    record = encoder.history_[encoder.best_epoch_ - 1]
    if fraction:
        rows = split_rows(len(table), fraction, encoder.training_["seed"])[0]
        error = encoder.reconstruction_error(table[rows]).mean()
        assert error == pytest.approx(record["validation_loss"], rel=1e-5)
    encoder.check_frozen()
    assert encoder.transform(table).shape == (len(table), 4)


def test_an_interruption_before_the_first_epoch_or_with_checkpoints_is_raised(table, tmp_path):
    encoder = Autoencoder(4, max_epochs=40, random_state=0)
    with interrupted_after(0), pytest.raises(KeyboardInterrupt):
        encoder.fit(table)
    assert not hasattr(encoder, "digest_")
    encoder.set_params(checkpoint_dir=tmp_path / "c")
    with interrupted_after(2), pytest.raises(KeyboardInterrupt):
        encoder.fit(table)
    assert (tmp_path / "c" / "last.safetensors").exists()


def test_an_interrupted_pass_leaves_the_encoder_as_it_was(table):
    encoder = Autoencoder(4, max_epochs=1, random_state=0).fit(table[:100])
    before, codes = dict(encoder.__dict__), encoder.transform(table)
    with interrupted_after(0), pytest.raises(KeyboardInterrupt):
        encoder.partial_fit(table[100:])
    assert encoder.__dict__ == before
    np.testing.assert_array_equal(encoder.transform(table), codes)


def test_of_several_trainings_an_interruption_ends_all(table):
    detector = AnomalyDetector(Autoencoder(4, max_epochs=3), "combined", 0.1, "cross")
    with interrupted_after(2), pytest.raises(KeyboardInterrupt):
        detector.fit(table)
    with interrupted_after(2), pytest.raises(KeyboardInterrupt):
        advise(table, widths=[1, 2], max_epochs=3)
    single = AnomalyDetector(
        Autoencoder(4, max_epochs=30), "combined", 0.1, "split", random_state=0
    )
    with interrupted_after(2), pytest.warns(UserWarning, match="interrupted in epoch 3"):
        single.fit(table)
    assert set(single.predict(table)) <= {1, -1}
