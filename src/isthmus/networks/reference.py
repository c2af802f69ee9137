"""The convolutional autoencoder of the Keras tutorials, to the parameter.

Source: the conv example of "Building Autoencoders in Keras" (F. Chollet, 2016), with a
code of 4 x 4 x 8 = 128 numbers for a 28 x 28 image and 4,969 parameters in all.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

Shape = tuple[int, int, int]  # (channels, height, width)


class Crop(nn.Module):
    """Cut an image to a size: (b, c, H, W) -> (b, c, h, w)."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the top left corner."""
        return x[..., : self.height, : self.width]


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
    return _initialised(nn.Sequential(*layers, nn.Flatten()))


def reference_decoder(input_shape: Shape) -> nn.Sequential:
    """Build `(batch, n_components) -> (batch, c, h, w)`, as logits.

    The listing brings 16 x 16 to 14 x 14 by a convolution without padding. Sizes for
    which that does not come out are cut to fit instead.
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
    return _initialised(nn.Sequential(*layers, *([] if exact else [Crop(height, width)])))


def code_shape(input_shape: Shape) -> Shape:
    """Shape of the code before it is flattened: `(8, ⌈h/8⌉, ⌈w/8⌉)`."""
    return (8, -(-input_shape[1] // 8), -(-input_shape[2] // 8))


def _initialised(network: nn.Sequential) -> nn.Sequential:
    """Start as Keras does: Glorot uniform weights, zero biases."""
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network
