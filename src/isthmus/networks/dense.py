"""Dense networks, several of them as one, strided convolutions with a dense decoder, dropout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from isthmus.distributed import current_generator


def dense_encoder(
    input_shape: tuple[int, ...], n_components: int, hidden: Sequence[int]
) -> nn.Sequential:
    """Build `(batch, *input_shape) -> (batch, n_components)`.

    The code itself has no activation. Without hidden layers the network is linear, and
    trained on squared error it spans the principal subspace (Baldi and Hornik, 1989).
    """
    return nn.Sequential(nn.Flatten(), *_layers([math.prod(input_shape), *hidden, n_components]))


def dense_decoder(
    input_shape: tuple[int, ...], n_components: int, hidden: Sequence[int]
) -> nn.Sequential:
    """Build the mirror image: `(batch, n_components) -> (batch, *input_shape)`."""
    layers = _layers([n_components, *reversed(hidden), math.prod(input_shape)])
    return nn.Sequential(*layers, nn.Unflatten(1, input_shape))


def hidden_sizes(n_features: int) -> tuple[int, ...]:
    """Choose hidden layers: one, as wide as the input rounded to a power of two, 128 to 512.

    Parameters
    ----------
    n_features : int

    Returns
    -------
    tuple of one int
    """
    return (min(512, max(128, 2 ** round(math.log2(n_features)))),)


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]  # no activation after the last


@dataclass(frozen=True)
class _StackedLayer:
    """A layer of all networks of a stack, as views of one vector.

    Attributes
    ----------
    stored : tensor of shape (networks, narrower side, wider side)
        The weights as they lie in memory.
    weights : tensor of shape (networks, outputs, inputs)
        The same.
    biases : tensor of shape (networks, outputs, 1)
    activated : bool
        Whether an activation follows.
    """

    stored: torch.Tensor
    weights: torch.Tensor
    biases: torch.Tensor
    activated: bool

    @property
    def widens(self) -> bool:
        return self.stored is not self.weights


class DenseStack(nn.Module):
    """Dense autoencoders with the same layers, each with its own weights, computed as one.

    On small batches a layer takes longer to call than to compute: here one product computes it for
    all networks, and the gradient of the squared error is written out. All weights are one
    vector, which an optimiser updates at once. Instances are columns, and weights lie in memory
    with the wider side last, because products with few columns take up to four times as long.

    Parameters
    ----------
    networks : sequence of (encoder, decoder)
        As `dense_encoder` and `dense_decoder` return them, on a CPU. Their weights are copied here,
        and copied back by `unstack`.

    Examples
    --------
    >>> pairs = [(dense_encoder((4,), 2, ()), dense_decoder((4,), 2, ())) for _ in range(3)]
    >>> x = torch.ones(3, 4, 5)  # five instances of four values for each of three networks
    >>> loss, errors = DenseStack(pairs)(x, x)
    >>> encoder, decoder = pairs[1]
    >>> torch.allclose(errors[1], nn.functional.mse_loss(decoder(encoder(x[1].T)), x[1].T))
    True
    """

    def __init__(self, networks: Sequence[tuple[nn.Module, nn.Module]]) -> None:
        super().__init__()
        self._linear = [list(_linear_layers(*pair)) for pair in networks]
        parameters = [(linear.weight, linear.bias) for linear, _ in self._linear[0]]
        n = len(networks) * sum(one.numel() for pair in parameters for one in pair)
        self.vector = nn.Parameter(torch.empty(n, dtype=torch.float32))
        self.layers = self._views(self.vector.detach())
        #: The gradient in the vector, computed anew by each backward pass.
        self.gradient = torch.empty_like(self.vector, requires_grad=False)
        self.gradients = self._views(self.gradient)
        for stacked, own in self._pairs():
            stacked.copy_(own)

    def forward(
        self, corrupted: torch.Tensor, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean squared errors of the networks in reconstructing their instances.

        Parameters
        ----------
        corrupted : tensor of shape (networks, values, batch)
            What the encoders get.
        x : tensor of the same shape
            What the decoders should return.

        Returns
        -------
        loss : tensor of shape ()
            The error of the first network, and not finite where that of another is not. A backward
            pass from it gives each network the gradient of its own error.
        errors : tensor of shape (networks,)
            Without gradients.
        """
        loss, errors = _StackedError.apply(self.vector, self, corrupted, x)
        return loss, errors

    def unstack(self) -> None:
        """Copy the weights into the networks that the stack was made of."""
        for stacked, own in self._pairs():
            own.copy_(stacked)

    def _views(self, vector: torch.Tensor) -> list[_StackedLayer]:
        layers, first, n = [], 0, len(self._linear)
        for linear, activated in self._linear[0]:
            n_outputs, n_inputs = linear.weight.shape
            end = first + n * n_outputs * n_inputs
            stored = vector[first:end].view(n, *sorted(linear.weight.shape))
            first = end + n * n_outputs
            biases = vector[end:first].view(n, n_outputs, 1)
            weights = stored.mT if n_outputs > n_inputs else stored
            layers.append(_StackedLayer(stored, weights, biases, activated))
        return layers

    def _pairs(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield weights and biases of each layer here with those of each network."""
        for number, linear_layers in enumerate(self._linear):
            for layer, (linear, _) in zip(self.layers, linear_layers, strict=True):
                yield layer.weights[number], linear.weight.detach()
                yield layer.biases[number, :, 0], linear.bias.detach()


def _linear_layers(encoder: nn.Module, decoder: nn.Module) -> Iterator[tuple[nn.Linear, bool]]:
    """Yield the linear layers in order, each with whether an activation follows."""
    for half in (encoder, decoder):
        linear = [module for module in half.modules() if isinstance(module, nn.Linear)]
        yield from ((module, module is not linear[-1]) for module in linear)


class _StackedError(torch.autograd.Function):
    """`DenseStack.forward`, and the gradient in the vector of weights."""

    @staticmethod
    def forward(
        ctx: Any, vector: torch.Tensor, stack: DenseStack, corrupted: torch.Tensor, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        activations = [corrupted]
        for layer in stack.layers:
            outputs = torch.baddbmm(layer.biases, layer.weights, activations[-1])
            activations.append(outputs.relu_() if layer.activated else outputs)
        residuals = activations.pop().sub_(x)
        ctx.stack = stack
        ctx.save_for_backward(residuals, *activations)
        errors = residuals.square().mean(dim=(1, 2))
        ctx.mark_non_differentiable(errors)
        return errors[0] + 0 * errors.sum(), errors

    @staticmethod
    def backward(ctx: Any, *by_results: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        residuals, *activations = ctx.saved_tensors
        layers, gradients = ctx.stack.layers, ctx.stack.gradients
        by_outputs = residuals * (by_results[0] * (2 / residuals[0].numel()))
        for number in reversed(range(len(layers))):
            layer, inputs = layers[number], activations[number]
            torch.sum(by_outputs, 2, keepdim=True, out=gradients[number].biases)
            factors = (inputs, by_outputs) if layer.widens else (by_outputs, inputs)
            torch.bmm(factors[0], factors[1].mT, out=gradients[number].stored)
            if number:
                by_outputs = torch.bmm(layer.weights.mT, by_outputs)
                if layers[number - 1].activated:
                    by_outputs = torch.ops.aten.threshold_backward(by_outputs, inputs, 0)
        return ctx.stack.gradient, None, None, None


Shape = tuple[int, int, int]  # (channels, height, width)

MIN_SIDE = 4  # sides are not halved further: the linear layer takes all positions


def strided_encoder(
    input_shape: Shape, n_components: int, channels: Sequence[int]
) -> nn.Sequential:
    """Build `(batch, c, h, w) -> (batch, n_components)`.

    A 5x5 convolution, then a 3x3 one for each further entry of `channels`, with stride 2 along
    sides longer than four; then one linear layer to the code, which has no activation. All but the
    first are followed by batch normalisation (Ioffe and Szegedy, 2015): after the first, with the
    most values, it takes longer than the convolution and improves nothing.
    """
    layers: list[nn.Module] = []
    before, size = input_shape[0], input_shape[1:]
    for index, after in enumerate(channels):
        stride = (_stride(size[0]), _stride(size[1]))
        if index:
            layers.append(nn.Conv2d(before, after, 3, stride, 1, bias=False))
            layers.append(nn.BatchNorm2d(after))
        else:
            layers.append(nn.Conv2d(before, after, 5, stride, 2))
        layers.append(nn.ReLU())
        before, size = after, (-(-size[0] // stride[0]), -(-size[1] // stride[1]))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * math.prod(size), n_components))


def strided_decoder(input_shape: Shape, n_components: int, channels: Sequence[int]) -> nn.Module:
    """Build `(batch, n_components) -> (batch, c, h, w)`, dense, with one hidden layer.

    That is as wide as the image has values, rounded to a power of two, 128 to 1,024.

    Dense layers use a CPU far better than transposed convolutions, and a decoder need not mirror
    its encoder.
    """
    del channels  # of the encoder
    width = 2 ** round(math.log2(math.prod(input_shape)))
    return dense_decoder(input_shape, n_components, (min(1024, max(128, width)),))


def strided_channels(input_shape: Shape) -> tuple[int, ...]:
    """Choose a stage for each halving of the longer side down to four, two at least.

    Of 32, 64, then 128 channels.
    """
    longest, stages = max(input_shape[1:]), 0
    while longest > MIN_SIDE:
        longest, stages = -(-longest // 2), stages + 1
    return (32, 64, *(128,) * (stages - 2))


def _stride(side: int) -> int:
    return 2 if side > MIN_SIDE else 1


class Dropout(nn.Module):
    """Set a share `p` of the values to zero in training, and scale the rest up.

    On a CPU, torch draws a number for each value, which takes longer than all else in a small
    network. Here the eight bytes of a 64-bit number serve eight values, which rounds `p` to a
    multiple of 1/256; on other devices each value has a number of its own.

    Parameters
    ----------
    p : float in [0, 1)

    Examples
    --------
    >>> layer = Dropout(0.25)
    >>> x = layer(torch.ones(1000, 1000))
    >>> [round(value, 2) for value in x.unique().tolist()], round(x.mean().item(), 2)
    ([0.0, 1.33], 1.0)
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.n_of_256 = max(1, round((1 - p) * 256))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape.

        Parameters
        ----------
        x : tensor

        Returns
        -------
        tensor of the same shape
        """
        if not self.training or self.n_of_256 == 256:
            return x
        generator = current_generator(x.device)
        if x.device.type != "cpu":
            kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=generator)
            return x * kept.div_(1 - self.p)
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device="cpu")
        draws.random_(-(2**63), None, generator=generator)
        mask = draws.view(torch.uint8)[: x.numel()].view(x.shape) < self.n_of_256
        return x * mask.to(x.dtype).mul_(256 / self.n_of_256)

    def extra_repr(self) -> str:
        """Show the share in the module's repr.

        Returns
        -------
        str
        """
        return f"p={self.p}"
