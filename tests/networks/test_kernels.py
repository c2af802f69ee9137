"""Random kernels: shares and components by hand, and codes that any windows have."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from isthmus.networks import KernelEncoder, RandomKernels, build, check_weights, fit_kernels
from isthmus.networks.kernels import RAMP, VALUES_SHARE


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def walks(n=60, channels=2, steps=40):
    return torch.randn(n, channels, steps).cumsum(2) / 4


def shares_by_hand(layer, window):
    """Return the shares of one window (c, t) by loops over time and weights."""
    kernels, slopes, offsets = (
        getattr(layer, name).numpy() for name in ("kernels", "slopes", "offsets")
    )
    steps, half, found = window.shape[1], kernels.shape[-1] // 2, []
    for index, dilation in enumerate(layer.dilations):
        for ramps in zip(slopes[index], offsets[index], strict=True):
            for kernel, slope, offset in zip(kernels[index], *ramps, strict=True):
                total = 0.0
                for time in range(steps):
                    output = 0.0
                    for at in range(-half, half + 1):
                        if 0 <= time + at * dilation < steps:
                            output += kernel[:, half + at] @ window[:, time + at * dilation]
                    total += min(max(slope * output + offset, 0.0), 1.0)
                found.append(total / steps)
    return np.array(found) - layer.means.numpy()


@pytest.mark.parametrize(("channels", "steps"), [(1, 20), (3, 12), (2, 4), (1, 1)])
def test_shares_are_those_of_a_loop_by_hand(channels, steps):
    windows = walks(7, channels, steps)
    layer = RandomKernels((channels, steps))
    layer.fit(windows)
    features = layer(windows).numpy()
    np.testing.assert_allclose(
        features[2, : layer.n_shares], shares_by_hand(layer, windows[2].numpy()), atol=1e-4
    )
    np.testing.assert_array_equal(features[:, layer.n_shares :], windows.flatten(1))
    np.testing.assert_allclose(features[:, : layer.n_shares].mean(0), 0, atol=1e-6)


def test_kernels_see_levels_of_no_window_and_their_dilations_fit():
    for steps in range(1, 70):
        layer = RandomKernels((1, steps))
        length = layer.kernels.shape[-1]
        assert length % 2 == 1
        assert length <= steps
        assert (length - 1) * layer.dilations[-1] < steps
        if steps > 2:
            np.testing.assert_allclose(layer.kernels.sum(-1), 0, atol=1e-4)


def test_thresholds_are_quantiles_of_outputs_and_ramps_hold_a_share_of_them():
    windows = walks(300)
    windows[:10] *= 100  # a few windows say nothing of how wide the ramps are
    layer = RandomKernels((2, 40))
    layer.fit(windows)
    for index in range(len(layer.dilations)):
        outputs = layer.convolve(windows, index)[None]
        ramps = outputs * layer.slopes[index][:, None, :, None]
        ramps += layer.offsets[index][:, None, :, None]
        below = (ramps < 0.5).float().mean((1, 3))
        assert 0.03 < below.min() < 0.1
        assert 0.9 < below.max() < 0.97
        within = ((ramps > 0) & (ramps < 1)).float().mean((1, 3))
        np.testing.assert_allclose(within, RAMP, atol=0.008)


def test_the_values_part_is_that_of_principal_components():
    windows, new = walks(300, 2, 20), walks(50, 2, 20)
    networks = build("random_kernels", (2, 20), 16)
    fit_kernels(networks.encoder, networks.decoder, windows)
    with torch.no_grad():
        back = networks.decoder(networks.encoder(new)).flatten(1)
    scaler = StandardScaler().fit(windows.flatten(1).double())
    assert scaler.scale_.min() > 0.2 * scaler.scale_.max()
    pca = PCA(8, svd_solver="full").fit(scaler.transform(windows.flatten(1).double()))
    scores = pca.transform(scaler.transform(new.flatten(1).double()))
    expected = scaler.inverse_transform(pca.inverse_transform(scores))
    np.testing.assert_allclose(back, expected, atol=1e-4)


def test_distances_between_codes_are_those_of_the_components():
    windows = walks(300, 2, 20)
    encoder = KernelEncoder((2, 20), 16)
    encoder.fit(windows)
    with torch.no_grad():
        codes, features = encoder(windows), encoder[0](windows).double().numpy()
    shares, values = np.split(features, [encoder[0].n_shares], axis=1)
    parts = []
    for part, variance in ((shares, 1 - VALUES_SHARE), (values, VALUES_SHARE)):
        scores = PCA(8, svd_solver="full").fit_transform(StandardScaler().fit_transform(part))
        parts.append(scores * math.sqrt(16 * variance / scores.var(0).sum()))
    expected = torch.cdist(*[torch.from_numpy(np.hstack(parts))] * 2)
    np.testing.assert_allclose(torch.cdist(codes.double(), codes.double()), expected, atol=2e-3)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("shape", [*((1, steps) for steps in range(1, 9)), (3, 50)], ids=str)
def test_few_windows_of_any_length_give_codes_that_vary(n, shape):
    networks = build("random_kernels", shape)
    fit_kernels(networks.encoder, networks.decoder, walks(n, *shape))
    with torch.no_grad():
        codes = networks.encoder(torch.randn(40, *shape))
        back = networks.decoder(codes)
    assert codes.isfinite().all()
    assert back.isfinite().all()
    assert (codes.std(0) > 1e-3).all()


def test_constant_channels_and_windows_give_finite_codes():
    windows = walks()
    windows[:, 1] = 0
    for fitted_on in (windows, torch.zeros(5, 2, 40)):
        encoder = KernelEncoder((2, 40), 16)
        encoder.fit(fitted_on)
        with torch.no_grad():
            codes = encoder(walks())
        assert codes.isfinite().all()
        assert (codes.std(0) > 1e-3).all()


def test_stretches_that_are_constant_have_shares_without_the_noise_of_rounding():
    windows = walks(50, 1, 80)
    windows[:, :, 20:] = windows[:, :, 20:21]  # so that most outputs are 0, but for rounding
    encoder = KernelEncoder((1, 80), 16)
    encoder.fit(windows)
    with torch.no_grad():
        exact = copy.deepcopy(encoder[0]).double()(windows.double())
        np.testing.assert_allclose(encoder[0](windows), exact, atol=1e-4)


def test_what_one_window_has_no_components_for_follows_slow_waves():
    networks = build("random_kernels", (1, 50), 20)
    fit_kernels(networks.encoder, networks.decoder, torch.ones(1, 1, 50))
    wave = torch.cos(math.pi * 3 * (torch.arange(50) + 0.5) / 50).expand(1, 1, 50)
    with torch.no_grad():
        back = networks.decoder(networks.encoder(wave))
    torch.testing.assert_close(back, wave, atol=1e-3, rtol=0)


def test_an_encoder_in_closed_form_has_no_gradients_whatever_is_asked():
    encoder = KernelEncoder((1, 20), 5)
    encoder.train().requires_grad_(True)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_file_too_small_for_kernels_is_refused(tmp_path):
    from isthmus.errors import BundleError

    (tmp_path / "weights").write_bytes(b"x" * 1000)
    with pytest.raises(BundleError, match="weights take"):
        check_weights(lambda: build("random_kernels", (1, 50)), [tmp_path / "weights"])
