"""The ring of codes against a plain list, and the neighbour term against NumPy."""

import numpy as np
import pytest
import torch

from isthmus import Autoencoder
from isthmus.objectives import Invariant, Task
from isthmus.objectives.seen import MOST, SeenCodes
from isthmus.training.checkpoint import Checkpoints


def moved(x):
    """Views that differ: the second half of the batch is stretched."""
    first, second = x.chunk(2)
    return torch.cat([first + 0.1, second * 1.3])


@pytest.mark.parametrize("sizes", [(3, 3, 3), (7, 2, 30), (1,) * 12, (10,), (5, 5)])
def test_the_nearest_of_the_latest_codes_is_found(sizes):
    torch.manual_seed(0)
    seen, codes, expanded = SeenCodes(40, 4, 2), torch.empty(0, 4), torch.empty(0, 2)
    for size in sizes:
        batch = torch.randn(size, 4), torch.randn(size, 2)
        seen.add(*batch)
        codes, expanded = torch.cat([codes, batch[0]])[-10:], torch.cat([expanded, batch[1]])[-10:]
    queries = codes + 0.01

    nearest = torch.cdist(queries, codes).argmin(dim=1)
    assert torch.equal(seen.nearest(queries), expanded[nearest])


@pytest.mark.parametrize(("n_rows", "size"), [(1, 1), (7, 1), (400, 100), (10**6, MOST)])
def test_a_quarter_of_the_instances_is_kept(n_rows, size):
    assert len(SeenCodes(n_rows, 3, 5).codes) == size


def test_the_term_is_the_distance_to_what_the_nearest_code_was_expanded_to(network, task, rows):
    task = Task(task.kind, task.input_shape, task.n_components, task.loss, n_rows=2 * len(rows))
    objective = Invariant(neighbour=2.0, expander=(5,), augmentations=moved).prepare(task)
    plain = Invariant(expander=(5,), augmentations=moved).prepare(task)
    plain.expand.load_state_dict(objective.expand.state_dict())
    earlier = torch.randn_like(rows), rows + 0.1 * torch.randn_like(rows)

    assert [objective(network, (x,))["neighbour"].item() for x in earlier] == [0, 0]
    found = {name: value.item() for name, value in objective(network, (rows,)).items()}

    with torch.no_grad():
        codes = network.encoder(torch.cat([x + 0.1 for x in earlier]))[-len(objective.seen.codes) :]
        mine = network.encoder(rows + 0.1), network.encoder(rows * 1.3)
        nearest = torch.cdist(mine[0], codes).argmin(dim=1)
        there, here = (objective.expand(z).numpy() for z in (codes[nearest], mine[1]))
    assert found["neighbour"] == pytest.approx(np.mean((there - here) ** 2), rel=1e-4)
    without = plain(network, (rows,))["loss"].item()
    assert found["loss"] == pytest.approx(without + 2 * found["neighbour"], rel=1e-5)


def test_evaluation_neither_counts_nor_keeps_neighbours(network, task, rows):
    objective = Invariant(neighbour=1.0, augmentations=None).prepare(task).eval()

    assert "neighbour" not in objective(network, (rows,))
    assert objective.seen.count == 0


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
