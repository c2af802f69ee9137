"""An encoder in closed form for windows of series: random kernels, then principal components."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import torch
from torch import nn
from torch.nn import functional

WindowShape = tuple[int, int]  # (channels, time steps)

N_KERNELS = 84  # at each dilation, as many as MiniRocket has
LENGTH = 9
N_THRESHOLDS = 2  # for each kernel
MAX_DILATIONS = 6  # 1 to 32
#: Share of a kernel's outputs within the ramp that takes the place of a step at a threshold, and
#: the least width of the ramp, in standard deviations of the outputs. With a step, the last bit of
#: an output that equals the threshold would decide.
RAMP, LEAST_RAMP = 0.01, 1e-4
_HALF = RAMP / 2
#: Share of the code's variance that its principal components of the values have.
VALUES_SHARE = 0.25
#: Windows that an encoder is fitted on, at most, and values in them.
MAX_WINDOWS, MAX_VALUES = 4096, 2**23
#: Outputs of kernels that are in memory at a time.
_NUMBERS_AT_A_TIME = 2**22
#: A smaller standard deviation counts as none: it is of rounding.
_NO_SPREAD = 1e-5
#: Least spread of the values at a time step, as a share of that of all.
_LEAST_SPREAD = 0.1
#: Standard deviation of shares that an encoder assumes until it is fitted.
_USUAL_SPREAD = 0.1


class RandomKernels(nn.Module):
    """Shares of time steps at which random convolutions exceed thresholds, and the values.

    `(batch, c, t) -> (batch, n_shares + c t)`. The kernels have nine weights, of which three drawn
    ones are 2 and six -1, times a number drawn for each channel; they are dilated by powers of two
    up to the length of a window (MiniRocket, Dempster et al., 2021). Their thresholds are
    quantiles of their outputs. A share is the mean over time of a steep ramp from 0 to 1 above the
    threshold, less the mean share of the windows fitted on. It does not depend on where in the
    window a shape lies.

    Parameters
    ----------
    input_shape : tuple of int
        `(c, t)`.

    Attributes
    ----------
    kernels : Parameter of shape (n_dilations, N_KERNELS, c, length)
    slopes, offsets : Parameters of shape (n_dilations, N_THRESHOLDS, N_KERNELS)
        A ramp is slope times output plus offset, from 0 to 1.
    means : Parameter of shape (n_shares,)
        Of the shares. A sum of a thousand weighted shares is more precise without them.
    dilations : tuple of int
    n_shares : int

    Examples
    --------
    >>> layer = RandomKernels((1, 100))
    >>> layer.dilations, layer(torch.randn(2, 1, 100)).shape
    ((1, 2, 4, 8), torch.Size([2, 772]))
    """

    def __init__(self, input_shape: WindowShape) -> None:
        super().__init__()
        channels, steps = input_shape
        length = min(LENGTH, steps - 1 + steps % 2)  # odd, so that a kernel has a middle
        dilations = [2**i for i in range(MAX_DILATIONS) if (length - 1) * 2**i < steps]
        self.dilations = tuple(dilations) if length > 1 else (1,)
        order = torch.rand(len(self.dilations), N_KERNELS, channels, length).argsort(-1)
        n_positive = length // 3
        kernels = torch.where(order < n_positive, (length - n_positive) / max(1, n_positive), -1.0)
        if channels > 1:
            kernels = kernels * torch.randn(len(self.dilations), N_KERNELS, channels, 1)
        kernels = kernels / kernels.flatten(2).norm(dim=2)[..., None, None]
        # Until it is fitted, of outputs that are normal with unit spread.
        levels = torch.tensor(_levels(len(self.dilations)))
        quantiles, low, high = (torch.special.ndtri(levels + by) for by in (0.0, -_HALF, _HALF))
        self.kernels, self.slopes, self.offsets, self.means = (
            nn.Parameter(values.float(), requires_grad=False)
            for values in (
                kernels,
                1 / (high - low),
                0.5 - quantiles / (high - low),
                1 - levels.flatten(),
            )
        )
        self.n_shares = self.means.numel()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shares less their means, and values.

        Parameters
        ----------
        x : tensor of shape (batch, c, t)

        Returns
        -------
        tensor of shape (batch, n_shares + c t)
        """
        step = max(1, _NUMBERS_AT_A_TIME // (N_KERNELS * x.shape[-1]))
        parts = [self._shares(part) for part in x.split(step)]
        return torch.cat([torch.cat(parts) - self.means, x.flatten(1)], dim=1)

    def convolve(self, x: torch.Tensor, index: int) -> torch.Tensor:
        """Return the outputs of the kernels of a dilation, (batch, N_KERNELS, t).

        Parameters
        ----------
        x : tensor of shape (batch, c, t)
        index : int
            Of the dilation.

        Returns
        -------
        tensor of shape (batch, N_KERNELS, t)
        """
        dilation = self.dilations[index]
        padding = (self.kernels.shape[-1] // 2) * dilation
        return functional.conv1d(x, self.kernels[index], padding=padding, dilation=dilation)

    def _shares(self, x: torch.Tensor) -> torch.Tensor:
        shares = []
        for index in range(len(self.dilations)):
            outputs = self.convolve(x, index)
            for slope, offset in zip(self.slopes[index], self.offsets[index], strict=True):
                ramp = torch.addcmul(offset[:, None], outputs, slope[:, None])
                shares.append(functional.hardtanh(ramp, 0.0, 1.0, inplace=True).mean(dim=2))
        return torch.cat(shares, dim=1)

    @torch.no_grad()
    def fit(self, windows: torch.Tensor) -> None:
        """Set thresholds and ramps to quantiles of outputs on windows, and the mean shares.

        Parameters
        ----------
        windows : tensor of shape (n, c, t)
        """
        levels = torch.tensor(_levels(len(self.dilations)))
        few = max(1, _NUMBERS_AT_A_TIME // (N_KERNELS * windows.shape[-1]))
        every = windows[:: -(-len(windows) // few)]
        for index in range(len(self.dilations)):
            outputs = self.convolve(every, index).transpose(0, 1).flatten(1).sort(dim=1).values
            threshold, low, high = (
                outputs.gather(
                    1, ((levels[index] + by) * (outputs.shape[1] - 1)).round().long().T
                ).T
                for by in (0.0, -_HALF, _HALF)
            )
            width = torch.maximum(high - low, LEAST_RAMP * outputs.std(dim=1, correction=0))
            width[width < _NO_SPREAD * LEAST_RAMP] = 1.0  # as of constant channels
            self.slopes[index] = 1 / width
            # It begins above the threshold, which many outputs may equal, as of constant stretches.
            self.offsets[index] = -0.5 - threshold / width
        self.means.add_(self(windows)[:, : self.n_shares].mean(dim=0))


def _levels(n_dilations: int) -> np.ndarray:
    """Return the levels of the quantiles, (n_dilations, N_THRESHOLDS, N_KERNELS), spread evenly."""
    golden_ratio = (math.sqrt(5) - 1) / 2
    numbers = np.arange(1, n_dilations * N_THRESHOLDS * N_KERNELS + 1) * golden_ratio % 1
    return (0.05 + 0.9 * numbers).reshape(n_dilations, N_THRESHOLDS, N_KERNELS)


class KernelEncoder(nn.Sequential):
    """`RandomKernels`, then a linear map to the code: `(batch, c, t) -> (batch, n_components)`.

    Its parameters are computed by `fit` and never trained. Before that, kernels, thresholds and
    map are random.

    Parameters
    ----------
    input_shape : tuple of int
        `(c, t)`.
    n_components : int
    """

    def __init__(self, input_shape: WindowShape, n_components: int) -> None:
        features, n_values = RandomKernels(input_shape), math.prod(input_shape)
        linear = nn.Linear(features.n_shares + n_values, n_components)
        of_shares = math.sqrt((1 - VALUES_SHARE) / features.n_shares) / _USUAL_SPREAD
        of_values = math.sqrt(VALUES_SHARE / n_values)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(n_components, features.n_shares + n_values))
            linear.weight[:, : features.n_shares] *= of_shares
            linear.weight[:, features.n_shares :] *= of_values
        super().__init__(features, linear)
        self.requires_grad_()

    def requires_grad_(self, requires_grad: bool = True) -> KernelEncoder:
        """Leave all parameters without gradient, whatever is asked.

        Parameters
        ----------
        requires_grad : bool
            Not used.

        Returns
        -------
        self
        """
        super().requires_grad_(False)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the codes, in float32 in training too: a share in bfloat16 has three digits.

        Parameters
        ----------
        x : tensor of shape (batch, c, t)

        Returns
        -------
        float32 tensor of shape (batch, n_components)
        """
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())

    @torch.no_grad()
    def fit(self, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute thresholds and linear map from windows (n, c, t), all on the CPU.

        Half of the code are the principal components of the shares, and half those of the values,
        with `VALUES_SHARE` of the variance; both are standardised before. Numbers for which
        windows have no components of shares become components of the values; those for which they
        have none of the values either become cosines, the slowest first. An orthogonal matrix
        mixes all: a head that standardises each number of the code would otherwise give all
        components the same weight.

        Parameters
        ----------
        windows : tensor of shape (n, c, t)

        Returns
        -------
        weight, bias : Tensor of shape (c t, n_components), Tensor of shape (c t,)
            Of the linear map from the code to the values, by their components.
        """
        kernels, linear = self
        assert isinstance(kernels, RandomKernels)
        assert isinstance(linear, nn.Linear)
        kernels.fit(windows)
        features = kernels(windows).double()
        mean = features.mean(dim=0)
        features -= mean
        shares, values = features.split([kernels.n_shares, windows[0].numel()], dim=1)
        width = linear.out_features
        spread = shares.square().mean(dim=0).sqrt()
        spread[spread < _NO_SPREAD] = math.inf  # a share that never varies has no weight
        of_shares, variance_of_shares = _components(shares / spread, width // 2)
        n_of_values = width - of_shares.shape[1]
        place = values.square().mean(dim=0).sqrt()
        place.clamp_(min=_LEAST_SPREAD * float(place.square().mean().sqrt()) or 1.0)
        of_values, variance_of_values = _components(values / place, n_of_values)
        of_values = _with_cosines(of_values, n_of_values, (windows.shape[1], windows.shape[2]))
        # So that a number of the code has a variance of about one.
        of_shares *= math.sqrt(width * (1 - VALUES_SHARE) / (variance_of_shares or 1.0))
        scale = math.sqrt(width * VALUES_SHARE / (variance_of_values or 1.0))
        # Random like the weights that it is taken from, which are replaced here.
        mixing = torch.linalg.qr(linear.weight[:, :width].double()).Q
        mix_shares, mix_values = mixing.split([width - n_of_values, n_of_values], dim=1)
        weight = torch.cat(
            [
                mix_shares @ (of_shares / spread[:, None]).T,
                mix_values @ (scale * of_values / place[:, None]).T,
            ],
            dim=1,
        )
        linear.weight.copy_(weight)
        linear.bias.copy_(-weight @ mean)
        return place[:, None] * of_values @ mix_values.T / scale, mean[kernels.n_shares :]


def _components(X: torch.Tensor, n: int) -> tuple[torch.Tensor, float]:
    """Return the first principal components of centred rows, and the variance that they have.

    Returns
    -------
    components : Tensor of shape (n_columns, k)
        Orthonormal columns, `n` at most; fewer where the rows do not vary in so many directions.
    variance : float
        Of the rows along them.
    """
    tall = X.shape[0] > X.shape[1]
    products = (X.T @ X if tall else X @ X.T).numpy()
    size = len(products)
    n = min(n, size)
    if n < 1:
        return X.new_empty(X.shape[1], 0), 0.0
    variances, vectors = scipy.linalg.eigh(products, subset_by_index=(size - n, size - 1))
    variances, vectors = variances[::-1].copy(), vectors[:, ::-1].copy()
    real = variances > max(_NO_SPREAD**2 * len(X), 1e-10 * variances[0])
    variances, components = variances[real], torch.from_numpy(vectors[:, real])
    if not tall:
        components = X.T @ components / torch.from_numpy(variances).sqrt()
    largest = components.abs().argmax(dim=0, keepdim=True)
    return components * components.gather(0, largest).sign(), float(variances.sum() / len(X))


def _with_cosines(components: torch.Tensor, n: int, shape: WindowShape) -> torch.Tensor:
    """Return n orthonormal columns: those given, then ones that slow cosines in time span."""
    missing = n - components.shape[1]
    if not missing:
        return components
    channels, steps = shape
    frequencies = torch.arange(-(-n // channels), dtype=torch.float64)[:, None]
    times = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    waves = functional.normalize(torch.cos(math.pi * frequencies * times))
    cosines = torch.einsum("ft,cd->fcdt", waves, torch.eye(channels, dtype=torch.float64))
    slow = cosines.reshape(-1, channels * steps).T
    remainder = slow - components @ (components.T @ slow)
    new = torch.linalg.svd(remainder, full_matrices=False).U[:, :missing]
    return torch.cat([components, new], dim=1)


def fit_kernels(encoder: KernelEncoder, decoder: nn.Module, windows: torch.Tensor) -> None:
    """Compute a `KernelEncoder` from windows, and begin a linear decoder with its reconstruction.

    Parameters
    ----------
    encoder : KernelEncoder
    decoder : torch.nn.Module
        A decoder with hidden layers stays as it is.
    windows : Tensor of shape (n, c, t)
        Network inputs, on the CPU.
    """
    weight, bias = encoder.fit(windows)
    layers = list(decoder.children())
    if len(layers) == 2 and isinstance(layers[0], nn.Linear):
        with torch.no_grad():
            layers[0].weight.copy_(weight)
            layers[0].bias.copy_(bias)
