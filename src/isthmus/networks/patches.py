"""An encoder of small images: trained convolutions beside features of patches in closed form."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import scipy.linalg
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from isthmus.distributed import current_generator
from isthmus.networks.dense import Shape, strided_encoder

#: Part of the code that are features of patches.
SHARE = 4
N_FILTERS = 64
#: Images that features are fitted on, at most.
MAX_IMAGES = 4096
#: Standard deviation of a feature. Those of trained numbers are near 1, and distances between codes
#: should be theirs most of all: heads standardise, but detectors measure distances as they are.
DEVIATION = 0.5
SIDE = 5  # of a patch
CELLS = 4  # along each side of the image, in which features are averaged
#: Share of patches to which a filter does not respond.
QUIET = 0.8
#: Variances are raised by these shares of their mean: of the values of patches, of features.
PATCH_RIDGE, FEATURE_RIDGE = 0.1, 0.3
#: Patches that are clustered, of each image and in all.
_PATCHES_PER_IMAGE, _MAX_PATCHES = 25, 50_000
#: A patch with a smaller standard deviation is of a plain part of the image.
_PLAIN = 0.03
#: A smaller standard deviation along a direction, as a share of what is mapped, is of rounding.
_NO_SPREAD = 1e-2
#: Outputs of filters at a time, which stay in the cache until they are averaged; and images of
#: which views are made.
_NUMBERS_AT_A_TIME, _IMAGES_AT_A_TIME = 2**19, 512


class SquareRoot(nn.Module):
    """The square root of x + 0.001, which evens out the variance of means of few responses."""

    least = 1e-3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape.

        Parameters
        ----------
        x : Tensor

        Returns
        -------
        Tensor
        """
        return torch.sqrt(x + self.least)


class PatchFeatures(nn.Sequential):
    """`(batch, c, h, w) -> (batch, n_features)`, computed by `fit` and never trained.

    The 64 filters of 5 x 5 are means of clusters of whitened patches (Coates and Ng, 2011). What
    exceeds a filter's threshold is averaged in 4 x 4 cells of the image; square roots follow, then
    a linear map to the directions that differ most between images, relative to how much they
    differ between two views of an image.

    Parameters
    ----------
    input_shape : tuple of int
        `(c, h, w)`.
    n_features : int
    """

    def __init__(self, input_shape: Shape, n_features: int) -> None:
        channels, *sides = input_shape
        kernel = [min(SIDE, side) for side in sides]
        positions = [side - size + 1 for side, size in zip(sides, kernel, strict=True)]
        cells = [min(CELLS, n) for n in positions]
        stride = [n // many for n, many in zip(positions, cells, strict=True)]
        # Cells overlap where the positions cannot be divided evenly.
        window = [
            n - (many - 1) * step for n, many, step in zip(positions, cells, stride, strict=True)
        ]
        super().__init__(
            nn.Conv2d(channels, N_FILTERS, (kernel[0], kernel[1])),
            nn.ReLU(),
            nn.AvgPool2d((window[0], window[1]), (stride[0], stride[1])),
            SquareRoot(),
            nn.Flatten(),
            nn.Linear(N_FILTERS * cells[0] * cells[1], n_features),
        )
        self._images_at_a_time = max(
            1, _NUMBERS_AT_A_TIME // (N_FILTERS * positions[0] * positions[1])
        )
        self.requires_grad_()

    def requires_grad_(self, requires_grad: bool = True) -> PatchFeatures:
        """Leave all parameters without gradient, whatever is asked.

        Parameters
        ----------
        requires_grad : bool
            Of no effect.

        Returns
        -------
        PatchFeatures
            Itself.
        """
        super().requires_grad_(False)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features.

        Parameters
        ----------
        x : Tensor of shape (n, c, h, w)

        Returns
        -------
        Tensor of shape (n, n_features)
        """
        forward = super().forward
        return torch.cat([forward(part) for part in x.split(self._images_at_a_time)])

    @torch.no_grad()
    def fit(
        self, images: torch.Tensor, views: Callable[[torch.Tensor], torch.Tensor | None]
    ) -> None:
        """Compute filters, thresholds and linear map from images (n, c, h, w).

        With S the covariances of what the linear map gets, over both views of all images, and W
        those within an image, half of the mean product of the differences between its two views,
        the directions v have the largest vᵀ(S - W)v / vᵀ(W + ρI)v, where ρ is 0.3 of the mean of
        S's diagonal: regularised canonical correlations between views, which are what a linear
        network learns by VICReg (Balestriero and LeCun, 2022). Without views they are principal
        components. Over the views each has the mean 0 and the standard deviation 0.5.

        Parameters
        ----------
        images : Tensor of shape (n, c, h, w)
            On the CPU.
        views : callable
            From images to two views of each, first those of all, and then the others; or to None.
        """
        self._fit_filters(images)
        linear = self[-1]
        assert isinstance(linear, nn.Linear)
        size = linear.in_features
        total, n = torch.zeros(size, dtype=torch.float64), 0
        products, within = torch.zeros(2, size, size, dtype=torch.float64)
        for part in images.split(_IMAGES_AT_A_TIME):
            pairs = views(part)
            rows = self._before_map(part if pairs is None else pairs)
            total += rows.sum(dim=0)
            products += rows.T @ rows
            n += len(rows)
            if pairs is not None:
                first, second = rows.chunk(2)
                differences = first - second
                within += differences.T @ differences
        mean, within = total / n, within / n
        in_all = products / n - torch.outer(mean, mean)
        # Features are above 0, as square roots of 0.001 and more.
        mean_square = float(products.diagonal().mean()) / n
        ridge = FEATURE_RIDGE * max(float(in_all.diagonal().mean()), _NO_SPREAD**2 * mean_square)
        width = min(size, linear.out_features)
        _, vectors = scipy.linalg.eigh(
            (in_all - within).numpy(),
            (within + ridge * torch.eye(size, dtype=torch.float64)).numpy(),
            subset_by_index=(size - width, size - 1),
        )
        directions = nn.functional.normalize(torch.from_numpy(vectors[:, ::-1].copy()), dim=0)
        largest = directions.abs().argmax(dim=0, keepdim=True)
        directions *= directions.gather(0, largest).sign()
        spread = (directions * (in_all @ directions)).sum(dim=0).clamp_min(0.0).sqrt()
        least = _NO_SPREAD * math.sqrt(mean_square)
        scaled = DEVIATION * directions / spread.clamp_min(least)
        weight = torch.where(spread > least, scaled, 0.0).T
        linear.weight.zero_()[:width] = weight.float()
        linear.bias.zero_()[:width] = (-weight @ mean).float()

    def _fit_filters(self, images: torch.Tensor) -> None:
        """Compute filters and thresholds from patches of images."""
        conv = self[0]
        assert isinstance(conv, nn.Conv2d)
        patches = _draw_patches(images, (conv.kernel_size[0], conv.kernel_size[1]))
        varied = patches.std(dim=1, correction=0) > _PLAIN
        if int(varied.sum()) >= N_FILTERS:
            patches = patches[varied]
        mean = patches.mean(dim=0)
        variances, axes = torch.linalg.eigh(torch.cov((patches - mean).T, correction=0))
        variances = variances.clamp_min(0.0)
        ridge = PATCH_RIDGE * float(variances.mean()) or 1.0
        whiten = axes @ torch.diag(1 / torch.sqrt(variances + ridge)) @ axes.T
        directions = nn.functional.normalize((patches - mean) @ whiten)
        filters = nn.functional.normalize(_centers(directions)) @ whiten
        responses = (patches - mean) @ filters.T
        scale = responses.std(dim=0, correction=0)
        scale[scale < 1e-12] = 1.0
        threshold = torch.quantile(responses[: 2**14], QUIET, dim=0)
        conv.weight.copy_((filters / scale[:, None]).view_as(conv.weight))
        assert conv.bias is not None
        conv.bias.copy_(-(filters @ mean + threshold) / scale)

    def _before_map(self, images: torch.Tensor) -> torch.Tensor:
        layers = nn.Sequential(*list(self)[:-1])
        return torch.cat([layers(part) for part in images.split(self._images_at_a_time)])


def _centers(rows: torch.Tensor) -> torch.Tensor:
    """Return the centers of `N_FILTERS` clusters of rows; of fewer rows these, repeated."""
    if len(rows) < N_FILTERS:
        return rows[torch.arange(N_FILTERS) % len(rows)]
    # Here, as it takes 0.4 s to load, and most fits and commands need none of it.
    from sklearn.cluster import MiniBatchKMeans

    seed = torch.randint(2**31 - 1, (1,), generator=current_generator(rows.device))
    means = MiniBatchKMeans(
        N_FILTERS, n_init=1, batch_size=4096, max_iter=30, random_state=int(seed)
    )
    with warnings.catch_warnings():  # of fewer distinct patches than filters
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(rows.numpy())
    return torch.from_numpy(means.cluster_centers_)


def _draw_patches(images: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
    """Return patches from random places of images, one a row, (n, c h w) in double precision."""
    generator = current_generator(images.device)
    corners = images.unfold(2, sides[0], 1).unfold(3, sides[1], 1)
    n = min(_MAX_PATCHES, _PATCHES_PER_IMAGE * len(images))
    rows, tops, lefts = (
        torch.randint(corners.shape[axis], (n,), generator=generator) for axis in (0, 2, 3)
    )
    return corners[rows, :, tops, lefts].flatten(1).double()


class PatchEncoder(nn.Module):
    """Numbers of a trained network, and beside them those of `PatchFeatures`.

    `(batch, c, h, w) -> (batch, n_components)`, of which a quarter are features of patches. They
    take no gradients, so a step of training takes less time than that of a wider network.

    Parameters
    ----------
    input_shape : tuple of int
        `(c, h, w)`.
    n_components : int
        Four or more.
    channels : sequence of int
        Of the stages of the trained network, see `strided_encoder`.

    Examples
    --------
    >>> encoder = PatchEncoder((1, 28, 28), 128, (32, 64, 128))
    >>> encoder(torch.rand(2, 1, 28, 28)).shape, encoder.n_trained
    (torch.Size([2, 128]), 96)
    """

    def __init__(self, input_shape: Shape, n_components: int, channels: Sequence[int]) -> None:
        super().__init__()
        n_features = n_components // SHARE
        self.n_trained = n_components - n_features
        self.trained = strided_encoder(input_shape, self.n_trained, channels)
        self.features = PatchFeatures(input_shape, n_features)

    def requires_grad_(self, requires_grad: bool = True) -> PatchEncoder:
        """Set whether the trained part takes gradients.

        Parameters
        ----------
        requires_grad : bool

        Returns
        -------
        PatchEncoder
            Itself.
        """
        self.trained.requires_grad_(requires_grad)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the codes: the trained numbers first.

        Parameters
        ----------
        x : Tensor of shape (n, c, h, w)

        Returns
        -------
        Tensor of shape (n, n_components)
        """
        return torch.cat([self.trained(x), self.features(x)], dim=1)


def patch_encoder(input_shape: Shape, n_components: int, channels: Sequence[int]) -> nn.Module:
    """Build a `PatchEncoder`; of a code of fewer than four numbers all are trained."""
    build = PatchEncoder if n_components >= SHARE else strided_encoder
    return build(input_shape, n_components, channels)
