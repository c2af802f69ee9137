"""The reconstruction error, against its formulas."""

import math

import numpy as np
import pytest
import torch
from torch import distributions, nn

from isthmus.errors import TrainingError
from isthmus.objectives import Task, errors_per_instance
from isthmus.objectives.denoising import Variational, kl_from_standard_normal
from isthmus.objectives.objective import Reconstruction


def test_cross_entropy_is_the_formula_on_probabilities():
    rng = np.random.default_rng(0)
    logits, x = rng.normal(size=(5, 1, 3, 4)), rng.uniform(size=(5, 1, 3, 4))
    p = 1 / (1 + np.exp(-logits))
    expected = (-x * np.log(p) - (1 - x) * np.log1p(-p)).reshape(5, -1).mean(axis=1)

    found = errors_per_instance(torch.tensor(logits), torch.tensor(x), "bce")

    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_squared_error_is_the_mean_square_of_an_instance():
    output, x = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 4.0]])

    assert errors_per_instance(output, x, "mse").tolist() == [2.5, 8.0]


@pytest.mark.parametrize("pixel", [0.0, 0.25, 1.0])
def test_a_perfect_reconstruction_costs_the_entropy_of_the_pixel(pixel):
    logit = torch.logit(torch.full((1, 2, 2), pixel), eps=1e-7)
    entropy = -sum(q * math.log(q) for q in (pixel, 1 - pixel) if q)

    found = errors_per_instance(logit, torch.full((1, 2, 2), pixel), "bce")

    assert found.item() == pytest.approx(entropy, abs=1e-6)


def test_extreme_logits_cost_a_finite_amount():
    found = errors_per_instance(torch.full((1, 3), 500.0), torch.zeros(1, 3), "bce")

    assert found.item() == pytest.approx(500)


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


def test_the_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(7, 4), torch.randn(7, 4)

    found = kl_from_standard_normal(mean, log_variance)

    normal = distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = distributions.Normal(torch.zeros(7, 4), torch.ones(7, 4))
    torch.testing.assert_close(found, distributions.kl_divergence(normal, standard).sum(dim=1))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_loss_is_error_and_weighted_divergence_a_value(beta, network, task, rows):
    objective = Variational(beta).prepare(task).eval()

    values = objective(network, (rows,))

    reconstruction = Reconstruction().prepare(task)(network, (rows,))["loss"]
    mean = network.encoder(rows)
    kl = kl_from_standard_normal(mean, objective.log_variance(mean)).mean()
    torch.testing.assert_close(values["reconstruction"], reconstruction)
    torch.testing.assert_close(values["kl"], kl)
    torch.testing.assert_close(values["loss"], reconstruction + beta / 6 * kl)


def test_the_code_gets_noise_in_training_only(network, task, rows):
    objective = Variational().prepare(task)

    assert not torch.equal(*(objective(network, (rows,))["loss"] for _ in range(2)))
    objective.eval()
    assert torch.equal(*(objective(network, (rows,))["loss"] for _ in range(2)))


def linear_model(pair):
    """A linear decoder with orthogonal columns: posterior and evidence are known exactly.

    With z ~ N(0, 1) and x | z ~ N(W z + b, 1/2), z | x is N(S 2 Wᵀ (x - b), S),
    S = (1 + 2 WᵀW)^-1, and x is N(b, W Wᵀ + 1/2).
    """
    W = torch.linalg.qr(torch.randn(5, 2)).Q * torch.tensor([1.5, 0.7])
    b = torch.randn(5)
    S = 1 / (1 + 2 * W.square().sum(dim=0))
    encoder, decoder = nn.Linear(5, 2), nn.Linear(2, 5)
    with torch.no_grad():
        decoder.weight.copy_(W), decoder.bias.copy_(b)
        encoder.weight.copy_(S[:, None] * 2 * W.T)
        encoder.bias.copy_(-encoder.weight @ b)
    evidence = distributions.MultivariateNormal(b, W @ W.T + 0.5 * torch.eye(5))
    return pair(encoder, decoder), S, evidence


def bound(objective, network, x):
    """The evidence lower bound of x in nats an instance, over many draws of the code."""
    loss = objective(network, (x.repeat(4000, 1),))["loss"].item()
    return -5 * loss - 5 / 2 * math.log(math.pi)  # the constant of normals of variance 1/2


def test_the_bound_meets_the_evidence_at_the_true_posterior_and_is_below_it_elsewhere(pair):
    network, S, evidence = linear_model(pair)
    x = evidence.sample((8,))
    objective = Variational().prepare(Task("table", (5,), 2, "mse"))
    expected = evidence.log_prob(x).mean().item()

    with torch.no_grad():
        objective.log_variance.bias.copy_(S.log())
        assert bound(objective, network, x) == pytest.approx(expected, abs=0.03)
        objective.log_variance.bias.add_(1.0)
        assert bound(objective, network, x) < expected - 0.1
        objective.log_variance.bias.copy_(S.log())
        network.encoder.bias.add_(0.5)
        assert bound(objective, network, x) < expected - 0.1


def test_what_is_learned_beside_gets_gradients(network, task, rows):
    objective = Variational().prepare(task)

    objective(network, (rows,))["loss"].backward()

    assert all(parameter.grad.any() for parameter in objective.parameters())
    assert network.encoder.weight.grad.any()


def test_a_negative_weight_is_refused(task):
    with pytest.raises(TrainingError, match="got beta=-1, expected a number of 0 or more"):
        Variational(-1).prepare(task)
