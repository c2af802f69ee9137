"""The training loop against plain torch, its side effects, and its checkpoints."""

import contextlib
import json
import math
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from isthmus import Autoencoder
from isthmus.classification import MLPHead
from isthmus.errors import CheckpointError, TrainingError
from isthmus.networks import digest
from isthmus.objectives import Task
from isthmus.objectives.objective import Reconstruction
from isthmus.training import (
    Batches,
    Callback,
    Checkpoints,
    Settings,
    choose_device,
    choose_precision,
    cross_entropy,
    derived_seed,
    draw_seed,
    isolated_random_state,
    train,
)
from isthmus.training import checkpoint as checkpoint_module
from isthmus.training import loop as loop_module
from isthmus.training.loop import learning_rate_factor

CPU = torch.device("cpu")


def as_is(values):
    return values


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Dropout(0.1), nn.Linear(3, 5))


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)


def settings(**changes):
    return Settings(
        **{"max_epochs": 3, "batch_size": 16, "lr": 0.01, "seed": 7, "device": CPU} | changes
    )


def run(values, network=None, validation=None, callbacks=(), checkpoints=None, **changes):
    """Train a small network on all rows; return it and the progress."""
    network = network or small_network()
    progress = train(
        network,
        Reconstruction().prepare(Task("table", (5,), 3, "mse")),
        Batches(values, np.arange(len(values)), as_is),
        validation,
        settings(**changes),
        callbacks,
        checkpoints,
    )
    return network, progress


class Scripted:
    """An objective whose validation losses are known beforehand."""

    def __init__(self, losses):
        self.losses = iter(losses)

    def __call__(self, network, batch):
        output = network(batch[0])
        if torch.is_grad_enabled():
            return {"loss": output.square().mean()}
        return {"loss": torch.tensor(next(self.losses))}


class Recorder(Callback):
    """Records a digest of the weights after each epoch."""

    def __init__(self):
        self.digests, self.instances, self.open = [], 0, False

    def __enter__(self):
        self.open = True
        return self

    def __exit__(self, *_):
        self.open = False

    def on_step_end(self, n_instances):
        assert self.open
        self.instances += n_instances

    def on_epoch_end(self, record, network, improved):
        assert self.open
        self.digests.append(digest(network))


def scripted_run(values, losses, **changes):
    recorder, network = Recorder(), small_network()
    progress = train(
        network,
        Scripted(losses),
        Batches(values, np.arange(40), as_is),
        Batches(values, np.arange(40, 50), as_is),
        settings(max_epochs=len(losses), **changes),
        [recorder],
    )
    return network, progress, recorder


# --- the learning rate -------------------------------------------------------------------


def test_a_constant_schedule_is_constant():
    assert {learning_rate_factor(step, 50, "constant") for step in range(50)} == {1.0}


@pytest.mark.parametrize("total", [1, 2, 9, 10, 500])
def test_the_cosine_rises_for_a_tenth_then_falls_to_nearly_nothing(total):
    factors = [learning_rate_factor(step, total, "cosine") for step in range(total)]
    rise = max(1, total // 10)

    assert factors[:rise] == pytest.approx([(step + 1) / rise for step in range(rise)])
    assert factors[rise - 1] == max(factors) == 1
    assert all(a > b > 0 for a, b in zip(factors[rise - 1 :], factors[rise:], strict=False))
    falling = total - rise + 1
    expected = [(1 + math.cos(math.pi * k / falling)) / 2 for k in range(falling)]
    assert factors[rise - 1 :] == pytest.approx(expected)


def test_the_history_tells_the_learning_rate_of_the_last_step(values):
    _, progress = run(values, max_epochs=5, lr=0.25)
    steps = 4 * 5

    expected = [0.25 * learning_rate_factor(4 * e - 1, steps, "cosine") for e in range(1, 6)]
    assert [record["lr"] for record in progress.history] == pytest.approx(expected)


# --- the loop ----------------------------------------------------------------------------


def test_the_loop_is_the_plain_torch_loop_bit_for_bit(values):
    network, progress = run(values, batch_size=16, max_epochs=2, weight_decay=0.01)

    plain = small_network()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.01, fused=True)
    losses, step = [], 0
    for epoch in (1, 2):
        plain.train()
        seed = int(np.random.SeedSequence([7, epoch]).generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(seed)
        order = torch.randperm(50)
        total = 0.0
        for batch in order.split(16):
            # Eight steps: their tenth is less than one, so the first is the highest.
            optimizer.param_groups[0]["lr"] = 0.01 * 0.5 * (1 + math.cos(math.pi * step / 8))
            x = torch.from_numpy(values)[batch]
            loss = nn.functional.mse_loss(plain(x), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
            step += 1
        losses.append(total / 50)

    assert digest(network) == digest(plain)
    assert [record["train_loss"] for record in progress.history] == pytest.approx(losses, rel=1e-9)


def test_adadelta_is_kerass(values):
    network, _ = run(
        values, optimizer="adadelta", schedule="constant", lr=1.0, batch_size=50, max_epochs=1
    )

    plain = small_network()
    torch.manual_seed(derived_seed(7, 1))
    x = torch.from_numpy(values)[torch.randperm(50)]
    nn.functional.mse_loss(plain(x), x).backward()
    for parameter in plain.parameters():  # Zeiler's rule, from zero averages
        mean_square = 0.05 * parameter.grad**2
        step = math.sqrt(1e-7) / torch.sqrt(mean_square + 1e-7) * parameter.grad
        parameter.data -= step
    for found, expected in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_an_unknown_optimizer_is_refused(values):
    with pytest.raises(TrainingError, match="got optimizer='sgd', expected 'adamw' or 'adadelta'"):
        run(values, optimizer="sgd")


def test_the_history_has_a_record_for_each_epoch(values):
    recorder = Recorder()
    validation = Batches(values, np.arange(10), as_is)
    _, progress = run(values, validation=validation, callbacks=[recorder])

    assert [record["epoch"] for record in progress.history] == [1, 2, 3]
    for record in progress.history:
        assert list(record) == [
            *("epoch", "train_loss", "validation_loss", "lr", "seconds", "instances_per_second")
        ]
        assert record["instances_per_second"] == pytest.approx(50 / record["seconds"])
    assert json.loads(json.dumps(progress.history)) == progress.history
    assert recorder.instances == 3 * 50
    assert not recorder.open


def test_validation_loss_is_the_mean_over_instances_in_evaluation_mode(values):
    # 33 rows in batches of 16: the last batch of one must not weigh as much as the others.
    rows = np.arange(17, 50)
    network, progress = run(values, validation=Batches(values, rows, as_is), max_epochs=1)

    x = torch.from_numpy(values[rows])
    expected = nn.functional.mse_loss(network(x), x).item()
    assert progress.history[0]["validation_loss"] == pytest.approx(expected, rel=1e-6)


def test_batch_normalisation_is_never_given_a_single_instance(values):
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 5))

    _, progress = run(values[:33], network, batch_size=16, max_epochs=1)

    assert network[1].num_batches_tracked == 2
    assert math.isfinite(progress.history[0]["train_loss"])


def test_the_weights_of_the_best_epoch_are_kept(values):
    network, progress, recorder = scripted_run(values, [3.0, 1.0, 2.0, 1.0])

    assert len(set(recorder.digests)) == 4
    assert progress.best_epoch == 2  # the first of two that are equally good
    assert digest(network) == recorder.digests[1]
    assert not network.training


def test_the_highest_accuracy_is_the_best(values):
    class Accuracies(Scripted):
        def __call__(self, network, batch):
            found = super().__call__(network, batch)
            return {"loss": found["loss"], "accuracy": found["loss"]}

    network = small_network()
    rows = Batches(values, np.arange(40), as_is)
    held_out = Batches(values, np.arange(40, 50), as_is)
    how = settings(max_epochs=3, best_by="validation_accuracy")

    progress = train(network, Accuracies([0.2, 0.9, 0.5]), rows, held_out, how)

    assert progress.best_epoch == 2


def test_without_validation_rows_the_last_epoch_is_kept(values):
    recorder = Recorder()
    network, progress = run(values, callbacks=[recorder])

    assert progress.best_epoch is None
    assert digest(network) == recorder.digests[-1]
    assert "validation_loss" not in progress.history[0]


def test_training_stops_when_nothing_gets_better(values):
    _, progress, _ = scripted_run(values, [3.0, 2.0, 2.5, 2.5, 1.0, 1.0], patience=2)

    assert len(progress.history) == 4
    assert progress.best_epoch == 2
    assert progress.finished


def test_no_patience_trains_to_the_end(values):
    _, progress, _ = scripted_run(values, [1.0, 2.0, 3.0, 4.0, 5.0], patience=None)

    assert len(progress.history) == 5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_training_and_says_where(values, bad):
    calls = []

    def objective(network, batch):
        calls.append(1)
        factor = bad if len(calls) == 7 else 1.0
        return {"loss": network(batch[0]).square().mean() * factor}

    rows = Batches(values, np.arange(50), as_is)  # four batches of 16
    with pytest.raises(TrainingError, match=r"(nan|inf) at step 3 of epoch 2; try a smaller lr"):
        train(small_network(), objective, rows, None, settings())
    assert len(calls) == 7


def test_callbacks_are_closed_when_training_fails(values):
    recorder = Recorder()

    def objective(network, batch):
        raise RuntimeError("no more memory")

    rows = Batches(values, np.arange(50), as_is)
    with pytest.raises(RuntimeError, match="no more memory"):
        train(small_network(), objective, rows, None, settings(), [recorder])
    assert not recorder.open


# --- randomness --------------------------------------------------------------------------


def states():
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("kind", ["autoencoder", "mlp"])
def test_fit_leaves_every_global_generator_as_it_was(kind, seed, table):
    before = states()

    if kind == "autoencoder":
        Autoencoder(2, max_epochs=2, random_state=seed).fit(table).transform(table)
    else:
        MLPHead((4,), max_epochs=2, random_state=seed).fit(table, table[:, 0] > 13).predict(table)

    assert states() == before


def test_the_global_generators_do_not_matter(table):
    def fitted(world):
        torch.manual_seed(world), random.seed(world), np.random.seed(world)  # noqa: NPY002
        return Autoencoder(2, max_epochs=2, random_state=0).fit(table).digest_

    assert fitted(1) == fitted(2)


def test_a_block_draws_what_the_seed_gives_and_leaves_the_global_generator():
    torch.manual_seed(3)
    layer, drawn = nn.Linear(4, 3), [draw() for draw in DRAWN_BY_TORCH]
    before = torch.get_rng_state()

    with pytest.raises(KeyError), isolated_random_state(3):
        found = nn.Linear(4, 3)
        for draw, value in zip(DRAWN_BY_TORCH, drawn, strict=True):
            torch.testing.assert_close(draw(), value, rtol=0, atol=0)
        raise KeyError

    assert digest(found) == digest(layer)
    assert torch.equal(torch.get_rng_state(), before)


DRAWN_BY_TORCH = [
    lambda: torch.rand(5),
    lambda: torch.randn(20),
    lambda: torch.rand_like(torch.ones(3, 4)),
    lambda: torch.randn_like(torch.ones(3, 4)),
    lambda: torch.randint(9, (4,)),
    lambda: torch.randint(-3, 9, (4,)),
    lambda: torch.randint_like(torch.ones(4), 9),
    lambda: torch.randperm(7),
    lambda: torch.normal(torch.zeros(4), 2.0),
    lambda: torch.bernoulli(torch.full((6,), 0.5)),
    lambda: torch.multinomial(torch.ones(5), 3),
    lambda: torch.empty(4).exponential_(),
    lambda: nn.functional.dropout(torch.ones(20), 0.5),
    lambda: nn.functional.rrelu(-torch.ones(9), training=True),
    lambda: torch.distributions.Gamma(2.0, 1.0).sample((3,)),
]


def own_network():
    return (
        nn.Sequential(nn.Linear(13, 8), nn.Dropout(0.3), nn.Linear(8, 2)),
        nn.Sequential(nn.Dropout(0.1), nn.Linear(2, 13)),
    )


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"objective": "masked"},
        {"objective": "variational"},
        {"objective": {"invariant": 1.0, "denoising": 1.0}},
        {"objective": {"invariant": 1.0, "denoising": 1.0}, "precision": "bfloat16"},
        {"objective": "invariant", "augmentations": lambda x: x + torch.randn_like(x)},
        {"objective": lambda network, batch: (network(batch[0]) * torch.rand(13)).square().mean()},
        {"architecture": own_network()},
    ],
    ids=[
        *("denoising", "masked", "variational", "two", "bfloat16"),
        *("own views", "own objective", "own network"),
    ],
)
def test_fits_in_threads_are_the_serial_fit_and_leave_the_callers_draws(table, choices):
    def fitted(_=None):
        return Autoencoder(2, max_epochs=2, random_state=0, **choices).fit(table).digest_

    def drawn():
        return torch.rand(1).item(), random.random(), np.random.random()  # noqa: NPY002

    serial = fitted()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)  # noqa: NPY002
    expected = drawn()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)  # noqa: NPY002
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(fitted, range(8)))

    assert found == [serial] * 8
    assert drawn() == expected


def test_a_head_in_threads_is_the_serial_one(table):
    def fitted(_=None):
        return digest(MLPHead((4,), max_epochs=2, random_state=0).fit(table, labels).network_)

    labels = table[:, 0] > np.median(table[:, 0])
    serial = fitted()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(fitted, range(8))) == [serial] * 8


def test_seeds_follow_random_state():
    generator = np.random.RandomState(0)

    assert draw_seed(5) == draw_seed(5)
    assert draw_seed(generator) != draw_seed(generator)
    assert draw_seed(None) != draw_seed(None)
    assert len({derived_seed(5, epoch) for epoch in range(100)}) == 100


# --- device and precision ----------------------------------------------------------------


@pytest.mark.parametrize("device", ["warp-drive", "cuda:77", 3.5])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(TrainingError, match="use 'auto' or 'cpu'"):
        choose_device(device)


def test_precisions_are_known_by_name():
    assert choose_precision("float32", CPU) is torch.float32
    assert choose_precision("bfloat16", CPU) is torch.bfloat16
    assert choose_precision("auto", CPU) is torch.float32  # on every CPU: the same weights
    with pytest.raises(TrainingError, match="'auto', 'float32' or 'bfloat16'"):
        choose_precision("half", CPU)


def test_bfloat16_trains_float32_weights(values):
    network, progress = run(values, precision=torch.bfloat16, max_epochs=20)

    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert progress.history[-1]["train_loss"] < progress.history[0]["train_loss"]


# --- cross-entropy ------------------------------------------------------------------------


def test_cross_entropy_comes_with_accuracy():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])

    found = cross_entropy(nn.Identity(), (logits, torch.tensor([0, 0, 1, 1])))

    right, wrong = -math.log(1 / (1 + math.exp(-2))), -math.log(1 / (1 + math.exp(2)))
    assert found["accuracy"] == 0.75
    assert found["loss"].item() == pytest.approx((3 * right + wrong) / 4)


# --- checkpoints -------------------------------------------------------------------------


def checkpointed(values, folder, *, resume=False, facts=None, **changes):
    about = facts or {"lr": 0.01}
    validation = Batches(values[::-1].copy(), np.arange(20), as_is)
    points = Checkpoints(folder, about, resume=resume)
    return run(values, validation=validation, checkpoints=points, **changes)


def losses_of(progress):
    return [(record["train_loss"], record["validation_loss"]) for record in progress.history]


@pytest.mark.parametrize("optimizer", ["adamw", "adadelta", "muon"])
def test_a_run_that_died_between_two_files_goes_on_as_if_it_had_not(
    values, tmp_path, monkeypatch, optimizer
):
    changes = {"max_epochs": 6, "optimizer": optimizer, "lr": 0.05}
    whole, expected = checkpointed(values, tmp_path / "whole", **changes)
    write = checkpoint_module.write_bytes
    lasts = []

    def dies(path, content):
        if path.name == "last.safetensors":
            lasts.append(path)
            if len(lasts) == 4:
                raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint_module, "write_bytes", dies)
        checkpointed(values, tmp_path / "cut", **changes)
    resumed, progress = checkpointed(values, tmp_path / "cut", resume=True, **changes)

    assert digest(resumed) == digest(whole)
    assert losses_of(progress) == losses_of(expected)
    assert progress.best_epoch == expected.best_epoch


def test_a_finished_run_resumes_to_the_same_weights_without_training(values, tmp_path):
    first, progress = checkpointed(values, tmp_path)

    def fails(*_):
        raise AssertionError("trained again")

    again = small_network()
    points = Checkpoints(tmp_path, {"lr": 0.01}, resume=True)
    restored = train(
        again, fails, Batches(values, np.arange(50), fails), None, settings(), [], points
    )

    assert digest(again) == digest(first)
    assert restored.history == progress.history
    assert restored.best_epoch == progress.best_epoch


def test_without_resume_a_run_starts_anew(values, tmp_path):
    checkpointed(values, tmp_path)

    recorder = Recorder()
    points = Checkpoints(tmp_path, {"lr": 0.01})
    run(values, callbacks=[recorder], checkpoints=points)

    assert len(recorder.digests) == 3


def test_resume_without_a_checkpoint_starts_anew(values, tmp_path):
    _, progress = checkpointed(values, tmp_path / "none yet", resume=True)

    assert len(progress.history) == 3


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(values, tmp_path):
    checkpointed(values, tmp_path, facts={"lr": 0.01, "seed": 0, "shape": (1, 2)})

    with pytest.raises(CheckpointError) as caught:
        checkpointed(values, tmp_path, facts={"lr": 0.5, "shape": (1, 2)}, resume=True)

    output = str(caught.value)
    assert "lr (there 0.01, now 0.5)" in output
    assert "seed (there 0, now None)" in output
    assert "shape" not in output
    assert str(tmp_path) in output


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other file"])
def test_a_damaged_checkpoint_is_named(values, tmp_path, name, damage):
    from safetensors.torch import save

    checkpointed(values, tmp_path)
    content = (tmp_path / name).read_bytes()
    contents = {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "text": b"not a checkpoint at all",
        "other file": save({"x": torch.zeros(1)}),
    }
    (tmp_path / name).write_bytes(contents[damage])

    with pytest.raises(CheckpointError, match=f"cannot read .*{name} .*delete it"):
        checkpointed(values, tmp_path, resume=True)


def test_a_missing_best_checkpoint_is_named(values, tmp_path):
    checkpointed(values, tmp_path)
    (tmp_path / "best.safetensors").unlink()

    with pytest.raises(CheckpointError, match="best.safetensors"):
        checkpointed(values, tmp_path, resume=True)


def test_a_best_checkpoint_of_another_time_is_refused(values, tmp_path):
    checkpointed(values, tmp_path / "long", max_epochs=8)
    checkpointed(values, tmp_path / "short", max_epochs=2)
    (tmp_path / "short" / "best.safetensors").write_bytes(
        (tmp_path / "long" / "best.safetensors").read_bytes()
    )

    with pytest.raises(CheckpointError, match="names epoch"):
        checkpointed(values, tmp_path / "short", max_epochs=2, resume=True)


def test_an_estimator_refuses_a_checkpoint_of_other_data(table, tmp_path):
    encoder = Autoencoder(2, max_epochs=2, random_state=0, checkpoint_dir=tmp_path)
    encoder.fit(table)

    with pytest.raises(CheckpointError, match="data") as caught:
        encoder.set_params(resume=True).fit(table + 1)
    assert "lr" not in str(caught.value)


def test_an_estimator_refuses_a_checkpoint_of_other_parameters(table, tmp_path):
    Autoencoder(2, max_epochs=3, random_state=0, checkpoint_dir=tmp_path).fit(table)
    other = Autoencoder(
        3, max_epochs=2, random_state=1, checkpoint_dir=tmp_path, resume=True, batch_size=16
    )

    with pytest.raises(CheckpointError) as caught:
        other.fit(table)
    for name in ("architecture", "max_epochs (there 3, now 2)", "seed", "batch_size"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "choices"),
    [
        ((28, 28), {}),
        ((28, 28), {"architecture": "strided"}),
        ((28, 28), {"recipe": "reference"}),
        ((80, 80), {}),
        ((7,), {}),
        ((50, 2), {"architecture": "conv1d"}),
    ],
    ids=str,
)
def test_steps_of_own_networks_are_not_watched_for_draws(monkeypatch, shape, choices):
    def watch():
        raise AssertionError("each operation of torch calls a Python function")

    X = np.random.default_rng(0).random((40, *shape)).astype(np.float32)
    monkeypatch.setattr(loop_module, "redirected_draws", watch)
    Autoencoder(max_epochs=1, random_state=0, **choices).fit(X)


def test_steps_of_layers_that_may_draw_are_watched(monkeypatch):
    watched = []

    def watch():
        watched.append(True)
        return contextlib.nullcontext()

    monkeypatch.setattr(loop_module, "redirected_draws", watch)
    network = nn.Sequential(nn.Linear(7, 2), nn.Dropout()), nn.Linear(2, 7)
    X = np.random.default_rng(0).random((40, 7))
    Autoencoder(2, architecture=network, max_epochs=1, random_state=0).fit(X)
    assert watched
