"""The optimiser, with torch's own as the oracle."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from isthmus.errors import TrainingError
from isthmus.training import Optimizer
from isthmus.training.optimizer import orthogonalise


def small_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    return network.to(memory_format=torch.channels_last)


def backward(network, step):
    x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(step))
    network(x).square().mean().backward()


@pytest.mark.parametrize(
    ("name", "oracle", "options", "decay"),
    [
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.1, "fused": True}, 0.1),
        ("adadelta", torch.optim.Adadelta, {"rho": 0.95, "eps": 1e-7}, 0.0),
    ],
)
def test_it_steps_bit_for_bit_as_torch_does(name, oracle, options, decay):
    ours, theirs = small_network(), small_network()
    optimizer = Optimizer(ours.parameters(), name, decay)
    other = oracle(theirs.parameters(), **options)

    for step, lr in enumerate([0.01, 0.5, 0.02]):
        backward(ours, step), backward(theirs, step)
        other.param_groups[0]["lr"] = lr
        optimizer.step(lr), other.step()
        optimizer.zero_grad(), other.zero_grad()

    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(found, expected)
    assert optimizer.lr == 0.02


def test_muon_steps_as_torchs_does():
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Linear(4, 9, bias=False))
    theirs = copy.deepcopy(ours)
    optimizer = Optimizer(ours.parameters(), "muon", 0.1)
    other = torch.optim.Muon(theirs.parameters(), weight_decay=0.1, momentum=0.95)

    for step, lr in enumerate([0.01, 0.05, 0.02]):
        for network in (ours, theirs):
            x = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
            network(x).square().mean().backward()
        other.param_groups[0]["lr"] = 6 * lr
        optimizer.step(lr), other.step()
        optimizer.zero_grad(), other.zero_grad()

    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        # torch's orthogonalises in bfloat16, which has 8 bits.
        torch.testing.assert_close(found, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (128, 128)])
def test_orthogonalising_is_the_iteration_of_newton_and_schulz(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = matrix.double()
    expected /= expected.norm()
    for _ in range(5):
        once = expected @ expected.T @ expected
        expected = 3.4445 * expected - 4.7750 * once + 2.0315 * expected @ expected.T @ once
    torch.testing.assert_close(orthogonalise(matrix).double(), expected, rtol=0, atol=1e-3)


def test_muon_leaves_vectors_large_matrices_and_output_weights_to_adamw():
    sizes = [(129, 130), (7,), (4, 4)]
    parameters = [nn.Parameter(torch.ones(size)) for size in sizes]
    others = [nn.Parameter(torch.ones(size)) for size in sizes]
    for parameter in [*parameters, *others]:
        parameter.grad = torch.full_like(parameter, 0.5)
    Optimizer(parameters, "muon", 0.1, output_weights=parameters[2:]).step(0.1)
    Optimizer(others, "adamw", 0.1).step(0.1)
    assert all(torch.equal(a, b) for a, b in zip(parameters, others, strict=True))


@pytest.mark.parametrize("name", ["adamw", "adadelta", "muon"])
def test_a_state_that_was_taken_over_goes_on_as_if_nothing_had_happened(name):
    whole, parted = small_network(), small_network()
    first, second = Optimizer(whole.parameters(), name), Optimizer(parted.parameters(), name)
    for optimizer, network in ((first, whole), (second, parted)):
        backward(network, 0)
        optimizer.step(0.1)
        optimizer.zero_grad()

    third = Optimizer(parted.parameters(), name)
    third.load({i: {n: v.contiguous() for n, v in s.items()} for i, s in second.state.items()})
    for optimizer, network in ((first, whole), (third, parted)):
        backward(network, 1)
        optimizer.step(0.1)

    for found, expected in zip(parted.parameters(), whole.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_parameters_without_a_gradient_stay_where_they_are():
    network = small_network()
    before = network[3].weight.detach().clone()
    network[0].weight.grad = torch.ones_like(network[0].weight)
    optimizer = Optimizer(network.parameters(), "adamw", 0.1)

    optimizer.step(0.1)

    assert torch.equal(network[3].weight, before)
    assert optimizer.state[0]["step"] == 1
    assert optimizer.state[2]["step"] == 0


def test_another_optimiser_is_refused_with_those_there_are():
    with pytest.raises(TrainingError, match=r"'adamw' or 'adadelta' or 'muon'"):
        Optimizer([], "sgd")


def test_a_fit_does_not_load_the_compiler():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, numpy as np\n"
            "from isthmus import Autoencoder\n"
            "X = np.random.default_rng(0).random((64, 8, 8)).astype('float32')\n"
            "Autoencoder(max_epochs=1).fit(X)\n"
            "print('torch._dynamo' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
