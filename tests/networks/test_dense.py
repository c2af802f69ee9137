"""Dense networks that are computed as one, each alone as the oracle."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from isthmus.networks import DenseStack, build

SHAPE, N = (2, 5), 7


def networks(hidden, n=4):
    """Encoders and decoders of different weights."""
    torch.manual_seed(0)
    built = [build("dense", SHAPE, 3, hidden) for _ in range(n)]
    return [(one.encoder, one.decoder) for one in built]


def batches(n=4):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 10, N, generator=generator)
    return x + torch.randn(10, N, generator=generator), x


def as_rows(columns):
    return columns.T.reshape(N, *SHAPE)


@pytest.mark.parametrize("hidden", [(), (16,), (16, 4), (4, 16)])
def test_errors_and_a_step_are_those_of_each_network_alone(hidden):
    pairs, (corrupted, x) = networks(hidden), batches()
    stacked = copy.deepcopy(pairs)
    stack = DenseStack(stacked)

    loss, errors = stack(corrupted, x)
    loss.backward()
    with torch.no_grad():
        stack.vector -= 0.1 * stack.vector.grad
    stack.unstack()

    assert loss == errors[0]
    for number, pair in enumerate(pairs):
        alone = nn.Sequential(*pair)
        error = functional.mse_loss(alone(as_rows(corrupted[number])), as_rows(x[number]))
        assert errors[number] == pytest.approx(error.item(), rel=1e-5)
        error.backward()
        found = nn.Sequential(*stacked[number]).parameters()
        for parameter, after in zip(alone.parameters(), found, strict=True):
            torch.testing.assert_close(after, parameter - 0.1 * parameter.grad)


def test_unstacking_gives_back_the_weights():
    pairs = networks((16,))
    before = copy.deepcopy([nn.Sequential(*pair).state_dict() for pair in pairs])

    DenseStack(pairs).unstack()

    for pair, state in zip(pairs, before, strict=True):
        for name, value in nn.Sequential(*pair).state_dict().items():
            assert torch.equal(value, state[name])


def test_the_loss_is_not_finite_where_the_error_of_any_network_is_not():
    corrupted, x = batches()
    x[2, 3, 4] = torch.inf

    loss, errors = DenseStack(networks((16,)))(corrupted, x)

    assert torch.isfinite(errors).tolist() == [True, True, False, True]
    assert not torch.isfinite(loss)
