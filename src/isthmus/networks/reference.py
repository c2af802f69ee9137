"""The convolutional autoencoder of the Keras tutorials, with the same 4,969 parameters.

Source: the conv example of "Building Autoencoders in Keras" (F. Chollet, 2016), with a
code of 4 x 4 x 8 = 128 numbers for a 28 x 28 image.

Layers and weights are the listing's, computed in a faster way: see `Encoder` and `Decoder`, and
"The reference network on a CPU" in docs/performance.md.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

# Along one axis: which of a kernel's three weights fall on each of two neighbouring pixels. At
# even positions of the doubled image the first two fall on one pixel, at odd ones the last two.
_WEIGHT_SUMS = [[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]


def double_convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, padding: int, *, relu: bool = False
) -> torch.Tensor:
    """Double every pixel in both directions, then convolve 3 x 3.

    The doubled image is never computed: each position in its 2 x 2 blocks is an output channel of
    a 2 x 2 convolution on the small image, whose weights are sums of the 3 x 3 ones, and the
    channels are then rearranged to pixels. This needs four of nine multiplications, and gradients
    flow to the 3 x 3 weights through the sums.

    Parameters
    ----------
    x : tensor of shape (batch, c, h, w)
    weight : tensor of shape (o, c, 3, 3)
    bias : tensor of shape (o,)
    padding : {0, 1}
        Zeros around the doubled image.
    relu : bool, default=False
        Apply a ReLU to the result.

    Returns
    -------
    tensor of shape (batch, o, 2 h + 2 padding - 2, 2 w + 2 padding - 2)

    Examples
    --------
    >>> x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    >>> double_convolve(x, weight, torch.zeros(1), padding=1)[0, 0, :2, :3].tolist()
    [[4.0, 6.0, 6.0], [6.0, 9.0, 9.0]]
    """
    sums = torch.tensor(_WEIGHT_SUMS, dtype=weight.dtype, device=weight.device)
    # Outputs come in the order that pixel_shuffle expects: channel, row, column.
    small = torch.einsum("auy,bvx,ocyx->oabcuv", sums, sums, weight).flatten(0, 2)
    out = functional.conv2d(x, small, bias.repeat_interleave(4), padding=padding)
    if relu:
        out = out.relu()
    image = functional.pixel_shuffle(out, 2)
    # A zero of padding is two zeros around the doubled image, one too many: crop it.
    return image[..., 1:-1, 1:-1] if padding else image


Shape = tuple[int, int, int]  # (channels, height, width)

#: Images that an encoder processes at once, so that activations fit in the CPU's cache.
CHUNK = 256


class Crop(nn.Module):
    """Crop an image to a size: (b, c, H, W) -> (b, c, h, w).

    Parameters
    ----------
    height, width : int
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the top left corner.

        Parameters
        ----------
        x : tensor of shape (b, c, H, W)

        Returns
        -------
        tensor of shape (b, c, h, w)
        """
        return x[..., : self.height, : self.width]


class Encoder(nn.Sequential):
    """The listed layers; on a CPU, activations stay in oneDNN's memory layout between them.

    By default each layer converts its input to that layout and its output back, which takes
    longer than the arithmetic.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layers: (batch, c, h, w) -> (batch, n_components).

        Parameters
        ----------
        x : tensor of shape (batch, c, h, w)

        Returns
        -------
        tensor of shape (batch, n_components)
        """
        if not _takes_onednn(x) or _has_hooks(self):
            return super().forward(x)
        return torch.cat([self._encode(part) for part in x.split(CHUNK)])

    def _encode(self, x: torch.Tensor) -> torch.Tensor:
        z = x.contiguous().to_mkldnn()
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                # The backward pass in this layout needs every argument given.
                z = torch.conv2d(z, layer.weight, layer.bias, (1, 1), (1, 1), (1, 1))
                z = torch.max_pool2d(z, (2, 2), (2, 2), (0, 0), (1, 1), ceil_mode=True).relu()
        return z.to_dense().flatten(1)


class Decoder(nn.Sequential):
    """The listed layers; upsampling and the convolution after it in one step."""

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """Run the layers: (batch, n_components) -> (batch, c, h, w).

        Parameters
        ----------
        code : tensor of shape (batch, n_components)

        Returns
        -------
        tensor of shape (batch, c, h, w)
        """
        if _has_hooks(self):
            return super().forward(code)
        z, layers = code, list(self)
        while layers:
            layer = layers.pop(0)
            if isinstance(layer, nn.Upsample):
                convolution = layers.pop(0)
                assert isinstance(convolution, nn.Conv2d)
                assert convolution.bias is not None
                relu = bool(layers) and isinstance(layers[0], nn.ReLU)
                padding = int(convolution.padding[0])
                z = double_convolve(z, convolution.weight, convolution.bias, padding, relu=relu)
                layers = layers[relu:]
            else:
                z = layer(z)
        return z


def reference_encoder(input_shape: Shape) -> nn.Sequential:
    """Build `(batch, c, h, w) -> (batch, n_components)`.

    A ReLU after a max-pool is the same function as before it, on a quarter of the
    values; that is the only departure from the listing.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((input_shape[0], 16, 8, 8)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.ReLU(),
        ]
    return _initialised(Encoder(*layers, nn.Flatten()))


def reference_decoder(input_shape: Shape) -> nn.Sequential:
    """Build `(batch, n_components) -> (batch, c, h, w)`, as logits.

    The listing reduces 16 x 16 to 14 x 14 by a convolution without padding. Sizes for which that
    does not fit are cropped instead.
    """
    channels, height, width = input_shape
    code = code_shape(input_shape)
    half = (-(-height // 2), -(-width // 2))
    unpadded = (4 * code[1] - 2, 4 * code[2] - 2) == half
    middle = [nn.Conv2d(8, 16, 3, padding=0 if unpadded else 1), nn.ReLU()]
    layers = [
        nn.Unflatten(1, code),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)),
        *(middle if unpadded else [*middle, Crop(*half)]),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(16, channels, 3, padding=1)),
    ]
    exact = (2 * half[0], 2 * half[1]) == (height, width)
    return _initialised(Decoder(*layers, *([] if exact else [Crop(height, width)])))


def code_shape(input_shape: Shape) -> Shape:
    """Return the shape of the code before it is flattened: `(8, ⌈h/8⌉, ⌈w/8⌉)`."""
    return (8, -(-input_shape[1] // 8), -(-input_shape[2] // 8))


def _has_hooks(network: nn.Sequential) -> bool:
    """Return whether layers have hooks, as in `summarise`: then they run one by one."""
    # torch has no public way to look hooks up.
    return any(layer._forward_hooks or layer._forward_pre_hooks for layer in network)  # noqa: SLF001


def _takes_onednn(x: torch.Tensor) -> bool:
    """Return whether oneDNN's layout applies: float32 on a CPU, run eagerly."""
    return bool(
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
    )


def _initialised(network: nn.Sequential) -> nn.Sequential:
    """Initialise as Keras does: Glorot uniform weights, zero biases."""
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network
