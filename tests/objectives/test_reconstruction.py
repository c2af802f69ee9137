"""Plain reconstruction."""

import pytest
import torch

from isthmus.objectives import Reconstruction, Task, errors_per_instance


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_training_minimises_the_mean_of_the_errors_of_the_instances(loss, network):
    x = torch.rand(4, 6)

    value = Reconstruction().prepare(Task("table", (6,), 3, loss))(network, (x,))["loss"]

    expected = errors_per_instance(network(x), x, loss).mean()
    torch.testing.assert_close(value, expected)
    assert value.requires_grad


def test_preparing_leaves_the_objective_as_it_was(task):
    objective = Reconstruction()

    assert objective.prepare(task) is not objective
    assert not hasattr(objective, "task")
