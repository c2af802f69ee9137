"""The fast forward pass of the reference network against its layers run one by one."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from isthmus.networks import build, digest
from isthmus.networks.reference import CHUNK, double_convolve
from isthmus.training import move_to_device

SHAPES = [(1, 28, 28), (3, 33, 20), (1, 20, 26)]


def listed(network, x):
    return nn.Sequential.forward(network, x)


def instances(shape, n=20):
    torch.manual_seed(1)
    # Much of an image is black: there many values that a pool compares are equal.
    return torch.rand(n, *shape) * (torch.rand(n, *shape) > 0.6)


def trained_looking(shape, *, placed=True):
    torch.manual_seed(0)
    networks = build("reference", shape)
    for half in (networks.encoder, networks.decoder):
        for layer in half:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.bias, std=0.1)
        if placed:
            move_to_device(half, torch.device("cpu"))
    return networks


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("relu", [False, True])
def test_a_folded_convolution_is_the_one_on_the_doubled_image(padding, relu):
    torch.manual_seed(0)
    x, weight, bias = torch.rand(2, 3, 5, 4), torch.randn(6, 3, 3, 3), torch.randn(6)
    doubled = x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    expected = functional.conv2d(doubled, weight, bias, padding=padding)

    found = double_convolve(x, weight, bias, padding, relu=relu)

    torch.testing.assert_close(found, expected.relu() if relu else expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("placed", [False, True], ids=["as built", "channels last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_codes_outputs_and_gradients_are_those_of_the_listing(shape, placed):
    networks = trained_looking(shape, placed=placed)
    parameters = [*networks.encoder.parameters(), *networks.decoder.parameters()]
    x = instances(shape).requires_grad_()

    def run(apply):
        code = apply(networks.encoder, x)
        output = apply(networks.decoder, code)
        loss = functional.binary_cross_entropy_with_logits(output, x.detach())
        return code, output, torch.autograd.grad(loss, [*parameters, x])

    code, output, gradients = run(nn.Module.__call__)
    expected_code, expected_output, expected_gradients = run(listed)

    torch.testing.assert_close(code, expected_code, rtol=0, atol=1e-5)
    torch.testing.assert_close(output, expected_output, rtol=0, atol=1e-5)
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        assert (gradient - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("n", [0, 1, CHUNK, CHUNK + 3])
def test_any_number_of_images_is_encoded(n):
    encoder = trained_looking((1, 28, 28)).encoder
    x = instances((1, 28, 28), n)

    with torch.inference_mode():
        torch.testing.assert_close(encoder(x), listed(encoder, x), rtol=0, atol=1e-5)


def test_running_changes_no_weight():
    networks = trained_looking((1, 28, 28))
    halves = networks.encoder, networks.decoder
    before = [digest(half) for half in halves]

    networks.decoder(networks.encoder(instances((1, 28, 28)))).sum().backward()

    assert [digest(half) for half in halves] == before


def test_hooks_see_every_layer():
    networks = trained_looking((1, 28, 28))
    x = instances((1, 28, 28))
    seen = []
    for half in (networks.encoder, networks.decoder):
        for layer in half:
            layer.register_forward_hook(lambda module, *_: seen.append(module))

    networks.decoder(networks.encoder(x))

    assert seen == [*networks.encoder, *networks.decoder]


def test_other_number_formats_are_run_as_listed():
    networks = copy.deepcopy(trained_looking((1, 28, 28)))
    x = instances((1, 28, 28))
    expected = networks.encoder(x)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(networks.encoder(x).float(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(networks.encoder.double()(x.double()).float(), expected)


def test_an_exported_encoder_gives_the_same_codes():
    encoder = trained_looking((1, 28, 28)).encoder.requires_grad_(False)
    x = instances((1, 28, 28))
    batch = torch.export.Dim("batch")

    exported = torch.export.export(encoder, (x[:2],), dynamic_shapes=({0: batch},))

    torch.testing.assert_close(exported.module()(x), encoder(x), rtol=0, atol=1e-5)
