"""Weighted sums of objectives, custom ones, and `build_objective`."""

import json

import pytest
import torch
from torch import nn

from isthmus.errors import TrainingError
from isthmus.objectives import Invariant, Objective, build_objective
from isthmus.objectives.composition import OBJECTIVES
from isthmus.objectives.denoising import Denoising, Masked
from isthmus.objectives.objective import Reconstruction


def squares(network, batch):
    return network(batch[0]).square().mean()


def test_a_composition_is_the_weighted_sum(network, task, rows):
    parts = {"reconstruction": 0.5, Masked(visible=1.0): 2.0, squares: 3.0}
    objective = build_objective(parts).prepare(task).eval()

    values = objective(network, (rows,))

    error = Reconstruction().prepare(task)(network, (rows,))["loss"]
    assert list(values) == ["loss", "reconstruction", "masked", "squares"]
    assert torch.equal(values["reconstruction"], error)
    assert torch.equal(values["squares"], squares(network, (rows,)))
    total = 0.5 * error + 2.0 * error + 3.0 * squares(network, (rows,))
    torch.testing.assert_close(values["loss"], total)


def test_its_parts_follow_the_mode_and_hold_their_parameters(network, task):
    objective = build_objective({"variational": 1.0, "invariant": 1.0}).prepare(task)

    assert len(list(objective.parameters())) == 2 + 5
    objective.eval()
    assert not any(module.training for module in objective.modules())


def test_a_function_may_be_named_like_a_method_of_torch(network, task, rows):
    def train(network, batch):
        return network(batch[0]).mean()

    values = build_objective({"reconstruction": 1.0, train: 1.0}).prepare(task)(network, (rows,))

    assert list(values) == ["loss", "reconstruction", "train"]


def test_options_go_to_the_objectives_that_have_them():
    chosen = {"denoising": 1.0, "masked": 2.0, "invariant": 3.0}

    built = build_objective(chosen, level=(0.1, 0.2), augmentations=None).describe()["parts"]

    assert built["denoising"]["level"] == [0.1, 0.2]
    assert built["invariant"]["augmentations"] is None
    assert [built[name]["weight"] for name in chosen] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_name_builds_its_objective(name):
    built = build_objective(name)

    assert type(built) is OBJECTIVES[name]
    described = built.describe()
    assert json.loads(json.dumps(described)) == described
    assert set(described) == {"objective", *built.options}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("reconstuction", "got objective='reconstuction', expected 'auto', one of reconstruction,"),
        (3, "got objective=3, expected"),
        ({}, "got an empty mapping of objectives"),
        ({"masked": -1}, "got masked=-1, expected a number of 0 or more"),
        ({"masked": "much"}, "got masked='much'"),
        ({"masked": 1.0, Masked(0.3): 1.0}, "got two objectives named 'masked'"),
        ({"mask": 1.0}, "got objective='mask'"),
        (Denoising, r"got the class Denoising .* expected an instance: Denoising\(...\)"),
    ],
)
def test_what_is_no_objective_is_refused(chosen, message):
    with pytest.raises(TrainingError, match=message):
        build_objective(chosen)


def test_a_part_that_is_named_like_the_sum_is_refused():
    def loss(network, batch):
        return network(batch[0]).mean()

    with pytest.raises(TrainingError, match="'loss' is the weighted sum; rename the function"):
        build_objective({"reconstruction": 1.0, loss: 0.5})


# --- own objectives ----------------------------------------------------------------------


class Scaled(nn.Module):
    """Reconstruction after a scale that is learned."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, network, batch):
        output = network(batch[0]) * self.scale
        return {"loss": (output - batch[0]).square().mean(), "scale": self.scale}


def test_a_function_gives_the_loss(network, task, rows):
    values = build_objective(squares).prepare(task)(network, (rows,))

    assert list(values) == ["loss"]
    assert torch.equal(values["loss"], squares(network, (rows,)))


def test_a_module_follows_the_mode_and_is_copied(network, task, rows):
    own = Scaled()
    objective = build_objective(own).prepare(task)

    objective(network.eval(), (rows,))["loss"].backward()

    assert [p.grad.item() != 0 for p in objective.parameters()] == [True]
    assert own.scale.grad is None
    assert not objective.function.training


def test_a_subclass_may_be_prepared_for_the_data(network, task, rows):
    class Towards(Objective):
        """Reconstruction, and codes near a target."""

        options = ("weight",)

        def __init__(self, weight=1.0):
            super().__init__()
            self.weight = weight

        def _prepare(self, task):
            self.target = nn.Parameter(torch.zeros(task.n_components))

        def forward(self, network, batch):
            code = network.encoder(batch[0])
            return {"loss": self.weight * (code - self.target).square().mean()}

    objective = build_objective({Towards(2.0): 1.0}).prepare(task)

    expected = 2 * network.encoder(rows).square().mean()
    torch.testing.assert_close(objective(network, (rows,))["loss"], expected)
    assert objective.describe()["parts"]["towards"]["weight"] == 1.0


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (1.5, "float, expected a scalar tensor"),
        (None, "NoneType"),
        (torch.ones(4), r"a tensor of shape \(4,\)"),
        ({"error": torch.tensor(1.0)}, r"a dict of 'error': a tensor of shape \(\)"),
        ({"loss": torch.ones(2)}, r"a dict of 'loss': a tensor of shape \(2,\)"),
        ({"loss": torch.tensor(1.0), "n": 3}, "a dict of .*'n': int"),
        ({}, "a dict of nothing"),
    ],
)
def test_what_is_no_loss_is_named(found, message, network, task, rows):
    def mine(network, batch):
        return found

    with pytest.raises(TrainingError, match=rf"the objective own: .*mine returned {message}"):
        build_objective(mine).prepare(task)(network, (rows,))


def test_options_of_its_own_show_in_the_repr():
    assert repr(Invariant(expander=())).startswith("Invariant(reconstruction=")
    assert repr(Denoising("gaussian")) == "Denoising(corruptions='gaussian', level=(0.0, 0.5))"
