"""A network of encoder and decoder for the objectives, and a seeded generator."""

import pytest
import torch
from torch import nn

from isthmus.objectives import Task


class Pair(nn.Module):
    """An encoder and a decoder, as objectives see them."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x):
        return self.decoder(self.encoder(x))


@pytest.fixture(autouse=True)
def generator():
    """Draw the same in each test, and leave torch's generator as it was found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def pair():
    return Pair


@pytest.fixture
def network():
    """From six values to a code of three and back."""
    return Pair(nn.Linear(6, 3), nn.Linear(3, 6))


@pytest.fixture
def task():
    """Rows of six values, rebuilt from three."""
    return Task("table", (6,), 3, "mse")


@pytest.fixture
def rows():
    return torch.randn(40, 6)
