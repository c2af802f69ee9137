"""The evidence bound against torch's own divergence and against an evidence known exactly."""

import math

import pytest
import torch
from torch import distributions, nn

from isthmus.errors import TrainingError
from isthmus.objectives import Reconstruction, Task, Variational
from isthmus.objectives.variational import kl_from_standard_normal


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
