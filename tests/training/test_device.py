"""How many threads training uses, and training steps on a device that is not the CPU."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from isthmus import AnomalyDetector, Autoencoder
from isthmus.classification import MLPHead
from isthmus.networks import build, digest, multiply_adds
from isthmus.objectives import Task, build_objective
from isthmus.training import Optimizer, one_thread_if_small
from isthmus.training.device import MIN_MULTIPLY_ADDS_FOR_THREADS as ENOUGH

SEEN = set()


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    SEEN.clear()
    yield
    torch.set_num_threads(before)


class CountThreads(nn.Identity):
    def forward(self, x):
        if self.training:
            SEEN.add(torch.get_num_threads())
        return x


def test_multiply_adds_are_counted_at_every_position():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False),  # 600 weights at 4 x 4 positions
        nn.Flatten(),
        nn.Linear(128, 10, bias=False),
    )
    assert multiply_adds(network, (3, 8, 8)) == 600 * 16 + 1280


@pytest.mark.parametrize(("size", "threads"), [(ENOUGH - 1, 1), (ENOUGH, 3)])
def test_few_multiply_adds_take_one_thread(three_threads, size, threads):
    with pytest.raises(RuntimeError, match="inside"), one_thread_if_small(size):
        assert torch.get_num_threads() == threads
        raise RuntimeError("inside")
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("width", "threads"), [(8, 1), (3000, 3)])
def test_a_fit_uses_several_threads_where_its_network_is_large(three_threads, width, threads):
    encoder = nn.Sequential(nn.Linear(100, width), nn.ReLU(), nn.Linear(width, 2), CountThreads())
    decoder = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 100))
    X = np.random.default_rng(0).normal(size=(256, 100)).astype(np.float32)
    Autoencoder(
        2,
        architecture=(encoder, decoder),
        objective="reconstruction",
        batch_size=256,
        max_epochs=1,
        random_state=0,
        verbose=False,
    ).fit(X)
    assert {threads} == SEEN
    assert torch.get_num_threads() == 3


def test_small_networks_are_the_same_on_any_number_of_threads(three_threads):
    X = np.random.default_rng(0).normal(size=(300, 12))
    y = (X[:, 0] > 0).astype(int)

    def fit():
        detector = AnomalyDetector(Autoencoder(max_epochs=3, verbose=False), random_state=0).fit(X)
        head = MLPHead(max_epochs=3, random_state=0).fit(X, y)
        return detector.encoder_digest_, digest(head.network_)

    on_three = fit()
    torch.set_num_threads(1)
    assert fit() == on_three


@pytest.mark.parametrize(
    ("kind", "architecture", "shape", "objective"),
    [
        ("images", "strided", (1, 28, 28), "invariant"),
        ("images", "strided", (3, 16, 20), "invariant"),
        ("images", "patches", (1, 28, 28), "invariant"),
        ("images", "conv", (1, 28, 28), "reconstruction"),
        ("images", "reference", (1, 28, 28), "reconstruction"),
        ("images", "dense", (1, 28, 28), "denoising"),
        ("series", "conv1d", (64, 4), "invariant"),
        ("table", "dense", (30,), "invariant"),
        ("table", "dense", (30,), "denoising"),
    ],
)
def test_a_step_makes_every_tensor_on_the_device_of_the_batch(
    monkeypatch, kind, architecture, shape, objective
):
    # Tensors of the device "meta" have no values, and do not mix with those of a CPU: what would
    # fail on a GPU fails here. It has no autocast.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    networks = build(architecture, shape, 128 if architecture == "reference" else 8)
    n_trained = getattr(networks.encoder, "n_trained", None)
    error = "bce" if kind == "images" else "mse"
    task = Task(kind, shape, networks.n_components, error, 1000, n_trained)
    loss = build_objective(objective).prepare(task).to("meta")

    class Both(nn.Module):
        encoder, decoder = networks.encoder.to("meta"), networks.decoder.to("meta")

        def forward(self, x):
            return self.decoder(self.encoder(x))

    network = Both().train()
    parameters = [*network.encoder.parameters(), *network.decoder.parameters(), *loss.parameters()]
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = Optimizer(parameters, "muon" if kind == "images" else "adamw")
    values = loss(network, (torch.empty(32, *shape, device="meta"),))
    values["loss"].backward()
    assert {value.device.type for value in values.values()} == {"meta"}
    assert {parameter.grad.device.type for parameter in parameters} == {"meta"}
    optimizer.step(0.1)
