"""The terms of VICReg against NumPy, and codes trained with them."""

import numpy as np
import pytest
import torch
from torch import nn

from isthmus import Autoencoder
from isthmus.errors import TrainingError
from isthmus.objectives import Invariant, Task, errors_per_instance
from isthmus.objectives.invariant import MAX_CODES, MemoryBank
from isthmus.training import Checkpoints

WEIGHTS = {"reconstruction": 0.7, "invariance": 2.0, "variance": 3.0, "covariance": 5.0}


def moved(x):
    """Views that differ: the second half of the batch is stretched."""
    first, second = x.chunk(2)
    return torch.cat([first + 0.1, second * 1.3])


def vicreg(first, second):
    """Equations 1 to 5 of Bardes et al. (2022), s as a mean over columns too."""

    def v(p):
        return np.maximum(0, 1 - np.sqrt(p.var(axis=0, ddof=1) + 1e-4)).mean()

    def c(p):
        covariances = np.cov(p, rowvar=False)
        return (covariances**2)[~np.eye(p.shape[1], dtype=bool)].sum() / p.shape[1]

    return {
        "invariance": ((first - second) ** 2).mean(),
        "variance": v(first) + v(second),
        "covariance": c(first) + c(second),
    }


@pytest.mark.parametrize("expander", [(), (7,), (8, 5)])
def test_the_terms_are_those_of_the_paper(expander, network, task, rows):
    objective = Invariant(**WEIGHTS, expander=expander, augmentations=moved).prepare(task).eval()

    values = {name: v.item() for name, v in objective(network, (rows,)).items()}

    views = moved(torch.cat([rows, rows]))
    expanded = objective.expand(network.encoder(views)).detach().double().numpy()
    expected = vicreg(*np.split(expanded, 2))
    expected["reconstruction"] = errors_per_instance(network(views), views, "mse").mean().item()
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    total = sum(WEIGHTS[name] * value for name, value in expected.items())
    assert values["loss"] == pytest.approx(total, rel=1e-4)


def test_without_augmentations_two_views_are_the_same(network, task, rows):
    objective = Invariant(augmentations=None).prepare(task)

    for mode in (True, False):
        assert objective.train(mode)(network, (rows,))["invariance"].item() == 0


def test_every_view_is_drawn_on_its_own(network, task, rows):
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    Invariant().prepare(task)(network, (rows,))

    first, second = seen[0].chunk(2)
    assert not torch.equal(first, second)
    assert (first != rows).any()
    assert (second != rows).any()


def test_a_last_batch_of_one_instance_has_finite_values(network, task, rows):
    objective = Invariant().prepare(task).eval()

    values = objective(network, (rows[:1],))

    assert values["variance"] == values["covariance"] == 0
    assert values["loss"].isfinite()


def test_the_expander_learns(network, task, rows):
    objective = Invariant().prepare(task)

    objective(network, (rows,))["loss"].backward()

    assert [tuple(p.shape) for p in objective.parameters() if p.ndim == 2] == [(12, 3), (12, 12)]
    assert all(parameter.grad is not None for parameter in objective.parameters())
    assert objective.expand[0].weight.grad.any()


def test_views_do_not_depend_on_the_precision_of_the_network(pair):
    x = torch.rand(2, 1, 40, 40)
    network = pair(
        nn.Sequential(nn.Flatten(), nn.Linear(1600, 3)),
        nn.Sequential(nn.Linear(3, 1600), nn.Unflatten(1, (1, 40, 40))),
    )
    objective = (
        Invariant(augmentations=("affine",)).prepare(Task("images", (1, 40, 40), 3, "mse")).eval()
    )
    views = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: views.append(inputs[0]))

    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            objective(network, (x,))

    assert torch.equal(*views)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"invariance": -1}, "got invariance=-1, expected a number of 0 or more"),
        ({"reconstruction": None}, "got reconstruction=None"),
        ({"expander": (8, 0)}, r"got expander=\(8, 0\), expected whole numbers above 0"),
        ({"expander": 64}, "got expander=64, expected whole numbers above 0"),
        ({"augmentations": ("affine",)}, "expected some of corruption for table"),
    ],
)
def test_what_it_cannot_use_is_refused(options, message, task):
    with pytest.raises(TrainingError, match=message):
        Invariant(**options).prepare(task)


def test_views_of_another_shape_are_refused(network, task, rows):
    objective = Invariant(augmentations=lambda x: x[:, :3]).prepare(task)

    with pytest.raises(TrainingError, match=r"shape \(80, 3\) for a batch of shape \(80, 6\)"):
        objective(network, (rows,))


def blobs(n, seed):
    """Images (n, 16, 16) of four blobs each, and the same ones a pixel or two away."""
    rng = np.random.default_rng(seed)
    places, sizes = rng.uniform(4, 12, (n, 4, 2)), rng.uniform(1, 2, (n, 4))
    away = rng.choice([-2, -1, 1, 2], (n, 1, 2))
    grid = np.stack(np.meshgrid(np.arange(16), np.arange(16), indexing="ij"), axis=-1)

    def paint(at):
        distance = ((grid - at[:, :, None, None]) ** 2).sum(axis=-1) / sizes[:, :, None, None] ** 2
        return np.exp(-distance / 2).max(axis=1).astype(np.float32)

    return paint(places), paint(places + away)


def test_codes_of_shifted_instances_lie_nearer_together_than_with_reconstruction():
    train, _ = blobs(400, 0)
    still, shifted = blobs(100, 1)

    def apart(objective):
        encoder = Autoencoder(
            8,
            architecture="dense",
            hidden_layer_sizes=(128,),
            objective=objective,
            max_epochs=25,
            batch_size=64,
            random_state=0,
        ).fit(train)
        a, b = encoder.transform(still), encoder.transform(shifted)
        between = np.linalg.norm(a[:, None] - a[None], axis=2)[~np.eye(100, dtype=bool)].mean()
        return np.linalg.norm(a - b, axis=1).mean() / between

    plain = apart("reconstruction")
    invariant = apart(
        Invariant(1.0, 0.25, 0.25, 0.01, expander=(64, 64), augmentations={"affine": 1.5})
    )

    assert invariant < 0.85 * plain


@pytest.mark.parametrize("sizes", [(3, 3, 3), (7, 2, 30), (1,) * 12, (10,), (5, 5)])
def test_the_nearest_of_the_latest_codes_is_found(sizes):
    torch.manual_seed(0)
    bank, codes, expanded = MemoryBank(40, 4, 2), torch.empty(0, 4), torch.empty(0, 2)
    for size in sizes:
        batch = torch.randn(size, 4), torch.randn(size, 2)
        bank.add(*batch)
        codes, expanded = torch.cat([codes, batch[0]])[-10:], torch.cat([expanded, batch[1]])[-10:]
    queries = codes + 0.01

    nearest = torch.cdist(queries, codes).argmin(dim=1)
    assert torch.equal(bank.nearest(queries), expanded[nearest])


@pytest.mark.parametrize(("n_rows", "size"), [(1, 1), (7, 1), (400, 100), (10**6, MAX_CODES)])
def test_the_memory_bank_holds_a_quarter_of_the_instances(n_rows, size):
    assert len(MemoryBank(n_rows, 3, 5).codes) == size


def test_the_term_is_the_distance_to_what_the_nearest_code_was_expanded_to(network, task, rows):
    task = Task(task.kind, task.input_shape, task.n_components, task.loss, n_rows=2 * len(rows))
    objective = Invariant(neighbour=2.0, expander=(5,), augmentations=moved).prepare(task)
    plain = Invariant(expander=(5,), augmentations=moved).prepare(task)
    plain.expand.load_state_dict(objective.expand.state_dict())
    earlier = torch.randn_like(rows), rows + 0.1 * torch.randn_like(rows)

    assert [objective(network, (x,))["neighbour"].item() for x in earlier] == [0, 0]
    found = {name: value.item() for name, value in objective(network, (rows,)).items()}

    with torch.no_grad():
        codes = network.encoder(torch.cat([x + 0.1 for x in earlier]))[
            -len(objective.memory_bank.codes) :
        ]
        mine = network.encoder(rows + 0.1), network.encoder(rows * 1.3)
        nearest = torch.cdist(mine[0], codes).argmin(dim=1)
        there, here = (objective.expand(z).numpy() for z in (codes[nearest], mine[1]))
    assert found["neighbour"] == pytest.approx(np.mean((there - here) ** 2), rel=1e-4)
    without = plain(network, (rows,))["loss"].item()
    assert found["loss"] == pytest.approx(without + 2 * found["neighbour"], rel=1e-5)


def test_a_state_of_before_the_memory_bank_was_renamed_loads(task):
    first, second = (Invariant(neighbour=1.0).prepare(task) for _ in range(2))
    first.memory_bank.codes.fill_(3.0)
    state = {n.replace("memory_bank.", "seen."): v for n, v in first.state_dict().items()}
    second.load_state_dict(state)
    assert torch.equal(second.memory_bank.codes, first.memory_bank.codes)


def test_evaluation_stores_no_neighbours(network, task, rows):
    objective = Invariant(neighbour=1.0, augmentations=None).prepare(task).eval()

    assert "neighbour" not in objective(network, (rows,))
    assert objective.memory_bank.count == 0


def test_a_resumed_run_finds_the_neighbours_of_an_uninterrupted_one(tmp_path, monkeypatch):
    X = np.random.default_rng(0).normal(size=(300, 6))
    choices = {"objective": Invariant(neighbour=1.0), "max_epochs": 4, "random_state": 0}
    whole = Autoencoder(3, **choices).fit(X)
    write = Checkpoints.write

    def dies(self, network, optimizer, progress, improved):
        write(self, network, optimizer, progress, improved)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "write", dies)
        Autoencoder(3, checkpoint_dir=tmp_path, **choices).fit(X)
    resumed = Autoencoder(3, checkpoint_dir=tmp_path, resume=True, **choices).fit(X)

    assert whole.history_[0]["train_neighbour"] == 0 < whole.history_[-1]["train_neighbour"]
    assert resumed.digest_ == whole.digest_
