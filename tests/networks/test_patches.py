"""Features of patches: principal components without views, and what views of an image share."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.nn import functional

from isthmus import Autoencoder
from isthmus.networks import PatchEncoder, PatchFeatures, build, digest
from isthmus.objectives import Invariant, Task


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def gratings(n=400, side=20):
    """Images of stripes: each has a direction, a width, and a place that means nothing."""
    angles, widths = torch.rand(n, 1, 1) * torch.pi, 3 + 3 * torch.rand(n, 1, 1)
    place = torch.arange(side, dtype=torch.float32)
    across = torch.cos(angles) * place[:, None] + torch.sin(angles) * place
    phase = 2 * torch.pi * torch.rand(n, 1, 1)
    return (0.5 + 0.5 * torch.sin(2 * torch.pi * across / widths + phase))[:, None]


def rolled(x):
    """Return two views of images, displaced by up to two pixels."""
    return torch.stack(
        [
            torch.roll(image, tuple(torch.randint(-2, 3, (2,)).tolist()), (1, 2))
            for image in torch.cat([x, x])
        ]
    )


def fitted(images, n_features=8, views=rolled):
    features = PatchFeatures(tuple(images.shape[1:]), n_features)
    features.fit(images, views)
    return features


def test_without_views_the_directions_are_principal_components():
    images = gratings()
    features = fitted(images, views=lambda _: None)
    inputs = torch.nn.Sequential(*list(features)[:-1])(images).numpy()
    theirs = PCA(8).fit(inputs).transform(inputs)
    np.testing.assert_allclose(
        np.abs(features(images).numpy()), np.abs(0.5 * theirs / theirs.std(axis=0)), atol=2e-3
    )


def test_features_are_nearly_the_same_for_two_views_of_an_image():
    images = gratings()

    def share_within(views):
        first, second = fitted(images, views=views)(rolled(images)).chunk(2)
        return float((first - second).square().mean() / 2)

    assert share_within(rolled) < 0.6 * share_within(lambda _: None)


def test_a_cell_is_the_mean_of_what_exceeds_the_threshold_of_a_filter():
    images = gratings(50)
    features = fitted(images)
    conv = features[0]
    cells = torch.nn.Sequential(*list(features)[:3])(images)
    assert cells.shape == (50, 64, 4, 4)
    # 16 positions along each side: cells of 4 x 4, whose patches begin there.
    patch = functional.unfold(images[7:8], 5).reshape(25, 16, 16)[:, 4:8, 8:12].flatten(1)
    responses = conv.weight[3].flatten() @ patch + conv.bias[3]
    torch.testing.assert_close(cells[7, 3, 1, 2], responses.clamp_min(0).mean())
    # A filter responds to a fifth of the patches.
    active = (torch.nn.functional.conv2d(images, conv.weight, conv.bias) > 0).double().mean()
    assert 0.1 < active < 0.3


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 17, 40), (2, 4, 70), (1, 5, 5), (1, 2, 3)])
def test_images_of_any_shape_have_features_and_all_positions_count(shape):
    images = torch.rand(70, *shape)
    features = fitted(images, 3, views=lambda x: torch.cat([x, x + 0.1 * torch.rand_like(x)]))
    assert features(images).shape == (70, 3)
    assert torch.isfinite(features(images)).all()
    counted = images[:1].clone().requires_grad_()
    torch.nn.Sequential(*list(features)[:1], *list(features)[2:3])(counted).sum().backward()
    assert (counted.grad != 0).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_or_equal_images_have_features_that_are_finite(n):
    for images in (torch.rand(n, 1, 16, 16), torch.full((n, 1, 16, 16), 0.5)):
        codes = fitted(images, 6, views=lambda x: torch.cat([x, x]))(torch.rand(9, 1, 16, 16))
        assert torch.isfinite(codes).all()
        assert codes.abs().max() < 100


def test_features_are_computed_once_and_never_trained():
    images = gratings(300, 16)[:, 0].numpy()
    fit = Autoencoder(n_components=12, max_epochs=2, random_state=0).fit(images)
    encoder = fit.encoder_
    assert isinstance(encoder, PatchEncoder)
    assert fit.spec_["architecture"] == "patches"
    assert fit.training_["max_images_of_features"] == 4096
    assert (encoder.n_trained, encoder.features[-1].out_features) == (9, 3)
    before = digest(encoder.features), digest(encoder.trained)
    fit.partial_fit(images)
    assert digest(fit.encoder_.features) == before[0]
    assert digest(fit.encoder_.trained) != before[1]
    fit.set_params(warm_start=True).fit(images)
    assert digest(fit.encoder_.features) == before[0]
    again = Autoencoder(n_components=12, max_epochs=2, random_state=0).fit(images)
    assert (digest(again.encoder_.features), digest(again.encoder_.trained)) == before


def test_only_one_view_is_reconstructed_and_only_trained_numbers_are_compared():
    images = gratings(64, 16)
    networks = build("patches", (1, 16, 16), 12)
    networks.encoder.features.fit(images, rolled)
    seen = []
    networks.decoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))

    class Network(torch.nn.Module):
        encoder, decoder = networks.encoder, networks.decoder

    objective = Invariant(augmentations=None).prepare(Task("images", (1, 16, 16), 12, "bce", 64, 9))
    assert objective.expand[0].in_features == 9
    values = objective(Network(), (images,))
    (codes,) = seen
    torch.testing.assert_close(codes, networks.encoder(images))
    values["loss"].backward()
    assert all(one.grad is None for one in networks.encoder.features.parameters())


def test_a_code_of_fewer_than_four_numbers_is_trained_wholly():
    assert not isinstance(build("patches", (1, 28, 28), 3).encoder, PatchEncoder)
