"""Inference: codes, reconstructions and errors of instances, computed batch by batch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from torch import nn

from isthmus._core import each_isolated, isolated_from_host
from isthmus.autoencoder.instance_encoder import InstanceEncoder
from isthmus.autoencoder.training_rows import HeldOut
from isthmus.data import as_instances, over_chunks
from isthmus.errors import FrozenError
from isthmus.networks import (
    build,
    count_parameters,
    digest,
    in_evaluation_mode,
    layer_table,
    summarise,
    tensor_versions,
)
from isthmus.objectives import Loss, errors_per_instance
from isthmus.training import isolated_random_state, move_to_device, to_tensor


@dataclass(frozen=True)
class Reconstruction:
    """A batch of network inputs with their codes, reconstructions and errors.

    Attributes
    ----------
    inputs, outputs : tensor of shape (batch, *network_shape)
        In the network's units: [0, 1] for images, standardised values otherwise.
    codes : tensor of shape (batch, n_components)
    errors : tensor of shape (batch,), float64
        Reconstruction errors.
    missing : boolean array of shape (batch, m) or None
        Which values of the rows of a table are missing; None for images and series.
    """

    inputs: torch.Tensor
    codes: torch.Tensor
    outputs: torch.Tensor
    errors: torch.Tensor
    missing: np.ndarray | None = None


class Inference(InstanceEncoder):
    """The methods of an autoencoder that use its networks without training them.

    Attributes
    ----------
    schema_ : Schema
    preprocessor_ : Preprocessor
    encoder_, decoder_ : torch.nn.Module
    n_components_ : int
    loss_ : {"bce", "mse"}
    """

    encoder_: nn.Module
    decoder_: nn.Module
    loss_: Loss
    training_: dict[str, Any]
    decoder_digest_: str
    plan_fit: Callable[..., Any]

    @isolated_from_host()
    @over_chunks
    def transform(self, X: Any) -> np.ndarray:
        """Return the codes of instances.

        The encoder runs in evaluation mode, whatever the mode of `encoder_`, which stays as it is.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Returns
        -------
        array of shape (n, n_components_), float32

        Examples
        --------
        >>> from isthmus import Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
        >>> encoder = Autoencoder(n_components=3, max_epochs=2, random_state=0).fit(X)
        >>> codes = encoder.transform(X)
        >>> codes.shape, encoder.inverse_transform(codes).shape
        ((200, 3), (200, 8))
        >>> [tuple(outputs.shape) for outputs in encoder.decode(codes)]
        [(200, 8)]
        >>> errors = encoder.reconstruction_error(X)
        >>> bool((encoder.score_samples(X) == -errors).all())
        True
        >>> [batch.outputs.shape[0] for batch in encoder.reconstruct(X)]
        [200]
        >>> [batch.errors.shape[0] for batch in encoder.reconstructed_batches(X)]
        [200]
        """
        X = self._check(X)
        codes = np.empty((len(X), self.n_components_), dtype=np.float32)
        encoder = self._ready(self.encoder_)
        for part, x in self._batches(X):
            with torch.inference_mode():
                codes[part] = encoder(x).float().cpu().numpy()
        return codes

    @isolated_from_host()
    def inverse_transform(self, X: Any) -> np.ndarray:
        """Reconstruct instances from codes, in the units of the training data.

        Parameters
        ----------
        X : array of shape (n, n_components_)
            Codes.

        Returns
        -------
        array of shape (n, *schema_.shape), float32, or DataFrame of shape (n, m)
            Images in 0..255 when they were uint8 at `fit`, else in [0, 1]. A DataFrame for
            tables that are not all numbers: names, order and types of the columns at `fit`,
            and the most likely category of categorical columns. It has no missing values: where
            one was missing it has the value decoded from the code.
        """
        codes = self._check_codes(X)
        back = np.empty((len(codes), *self.preprocessor_.network_shape), dtype=np.float32)
        first = 0
        for outputs in self.decode(codes):
            back[first : first + len(outputs)] = outputs.numpy()
            first += len(outputs)
        return self.preprocessor_.from_network(back)

    def decode(self, codes: np.ndarray) -> Iterator[torch.Tensor]:
        """Yield the network's outputs for codes, batch by batch.

        Parameters
        ----------
        codes : float32 array of shape (n, n_components_)

        Returns
        -------
        iterator of tensors

        Yields
        ------
        tensor of shape (batch, *network_shape)
            On the CPU; the outputs of `reconstruct`.

        Raises
        ------
        ValueError
            When the codes have another width.
        """
        return each_isolated(self._decoded_batches(self._check_codes(codes)))

    def _decoded_batches(self, codes: np.ndarray) -> Iterator[torch.Tensor]:
        step, decoder = self._inference_batch(), self._ready(self.decoder_)
        for first in range(0, len(codes), step):
            # Left before a batch is handed over: the mode is the thread's, and the caller's too.
            with torch.inference_mode():
                z = torch.from_numpy(codes[first : first + step]).to(self._device())
                output = decoder(z).float()
                output = (output.sigmoid() if self.loss_ == "bce" else output).cpu()
            yield output

    @isolated_from_host()
    @over_chunks
    def reconstruction_error(self, X: Any) -> np.ndarray:
        """Return the reconstruction error of each instance.

        The mean over an instance's values of the loss trained on: binary cross-entropy
        per pixel, natural logarithm (images), or squared error of standardised values
        (series, and tables after asinh scaling).

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Returns
        -------
        array of shape (n,), float64
        """
        X = self._check(X)
        errors, first = np.empty(len(X)), 0
        for batch in self.reconstructed_batches(X):
            errors[first : first + len(batch.errors)] = batch.errors.numpy()
            first += len(batch.errors)
        return errors

    def reconstruct(self, X: Any) -> Iterator[Reconstruction]:
        """Yield inputs, codes, reconstructions and errors of instances, batch by batch.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Yields
        ------
        Reconstruction
            Of one batch, in order, as tensors on the CPU.
        """
        check_is_fitted(self)
        batches = as_instances(X).map(lambda X: self.reconstructed_batches(self._check(X)))
        return each_isolated(itertools.chain.from_iterable(batches))

    def reconstructed_batches(self, X: np.ndarray) -> Iterator[Reconstruction]:
        """Yield the reconstruction of each batch of checked instances `X`.

        Parameters
        ----------
        X : array of shape (n, *schema_.shape)
            Checked.

        Yields
        ------
        Reconstruction
        """
        encoder, decoder = self._ready(self.encoder_), self._ready(self.decoder_)
        for part, x in self._batches(X):
            missing = np.isnan(X[part]) if self.schema_.kind == "table" else None
            with torch.inference_mode():
                code = encoder(x)
                output = decoder(code).float()
                errors = errors_per_instance(output, x, self.loss_).double()
                if self.loss_ == "bce":
                    output = output.sigmoid()
                batch = Reconstruction(
                    x.cpu(), code.float().cpu(), output.cpu(), errors.cpu(), missing
                )
            yield batch

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the negated reconstruction error: higher is more normal.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Returns
        -------
        array of shape (n,), float64
        """
        return -self.reconstruction_error(X)

    def encoder_digest(self) -> str:
        """Return the digest of the encoder's weights as they are now.

        Returns
        -------
        str
            SHA-256 in hexadecimal digits.
        """
        return digest(self.encoder_)

    def check_frozen(self, *, quick: bool = False) -> None:
        """Check that encoder and decoder have the weights that `digest_` was computed from.

        Saving, fitting a head and exporting do so first.

        Parameters
        ----------
        quick : bool, default=False
            Compute the digests only where torch counted a change of a tensor. Changes by
            `tensor.data` are then not found.

        Raises
        ------
        FrozenError
            When they have other weights or buffers.
        """
        check_is_fitted(self)
        versions = [tensor_versions(network) for network in (self.encoder_, self.decoder_)]
        if quick and versions == getattr(self, "_checked_versions", None):
            return
        for name, network, expected in (
            ("encoder", self.encoder_, self.digest_),
            ("decoder", self.decoder_, self.decoder_digest_),
        ):
            found = digest(network)
            if found != expected:
                raise FrozenError(
                    f"the weights of the {name} changed after they were fitted: digest "
                    f"{found[:12]}, expected {expected[:12]}; to use the changed weights, call "
                    "adopt_weights() of the autoencoder and fit its heads again; to have those of "
                    "before, load the bundle again (isthmus.load_bundle), or fit with resume=True "
                    "from its checkpoint_dir"
                )
        self._checked_versions = versions

    @isolated_from_host()
    def adopt_weights(self) -> Self:
        """Adopt weights that were changed from outside as those of a new encoder.

        After fine-tuning of `encoder_` and `decoder_` by a training loop of your own, for example.
        Weights become float32, the networks are put in evaluation mode without gradients, and
        `digest_` and `decoder_digest_` are computed anew: heads and stored codes of before are
        refused from then on. `held_out_` is emptied, as its codes are of the encoder before;
        `training_["adopted_from"]` lists the digests of the encoders before.

        Returns
        -------
        self

        Raises
        ------
        FrozenError
            When layers were replaced or reshaped, or a weight is not finite.

        Examples
        --------
        >>> from isthmus import Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(200, 8))
        >>> encoder = Autoencoder(n_components=3, max_epochs=2, random_state=0).fit(X)
        >>> before = encoder.digest_
        >>> with torch.no_grad():
        ...     _ = encoder.encoder_[1].weight.mul_(0.5)
        >>> encoder.adopt_weights().digest_ == before
        False
        """
        check_is_fitted(self)
        self._check_adoptable()
        before = self.digest_
        self._freeze(self.encoder_.float(), self.decoder_.float(), self._device())
        if self.digest_ != before:
            earlier = self.training_.get("adopted_from", [])
            self.training_ = self.training_ | {"adopted_from": [*earlier, before]}
            self.held_out_ = HeldOut.empty(self.n_components_)
        return self

    def _check_adoptable(self) -> None:
        for name, network in (("encoder", self.encoder_), ("decoder", self.decoder_)):
            for key, value in network.state_dict().items():
                if not bool(value.isfinite().all()):
                    raise FrozenError(
                        f"{key} of the {name} holds values that are not finite, and cannot be "
                        "adopted; load the bundle again (isthmus.load_bundle)"
                    )
        if str(self.spec_["architecture"]).startswith("own: "):
            return
        with isolated_random_state(0):
            fresh = build(**self.spec_)
        for name, network, expected in (
            ("encoder", self.encoder_, fresh.encoder),
            ("decoder", self.decoder_, fresh.decoder),
        ):
            if _layout(network) != _layout(expected):
                raise FrozenError(
                    f"the layers of the {name} are not those of the architecture "
                    f"{self.spec_['architecture']!r} any more; fit "
                    "Autoencoder(architecture=(encoder, decoder)) with modules of your own instead"
                )

    def _freeze(self, encoder: nn.Module, decoder: nn.Module, device: torch.device) -> None:
        """Set the networks, frozen and in evaluation mode on a device, and their digests."""
        for network in (encoder, decoder):
            move_to_device(network, device).eval().requires_grad_(False)
        self.encoder_, self.decoder_ = encoder, decoder
        self.digest_, self.decoder_digest_ = digest(encoder), digest(decoder)
        self._checked_versions = [tensor_versions(network) for network in (encoder, decoder)]

    def _ready(self, network: nn.Module) -> nn.Module:
        """Return a network in evaluation mode, after a check that its weights are float32."""
        for value in itertools.chain(network.parameters(), network.buffers()):
            if value.is_floating_point() and value.dtype != torch.float32:
                raise FrozenError(
                    f"the weights of a network are {value.dtype}, expected torch.float32; load "
                    "the bundle again (isthmus.load_bundle), or call adopt_weights(), which makes "
                    "them float32 again, with the rounding"
                )
        return in_evaluation_mode(network)

    @isolated_from_host()
    def summary(self, input_shape: Sequence[int] | None = None) -> str:
        """Return the layers as a table: name, output shape, parameters.

        Parts that stand beside each other, such as those of `architecture="patches"`, have a line
        each before their layers. Where training does not change all parameters, the last lines
        count those that it does and those that are computed from the data once.

        Parameters
        ----------
        input_shape : sequence of int, optional
            Of one instance, for an autoencoder that is not fitted yet: (h, w) or (h, w, c) of
            images, (t, c) of series with `kind="series"`, (m,) of a table of m numbers.

        Returns
        -------
        str

        Examples
        --------
        >>> from isthmus import Autoencoder
        >>> print(Autoencoder(8).summary((28, 28)).splitlines()[1])
        encoder, input (1, 28, 28)
        """
        if input_shape is None:
            check_is_fitted(self)
            width, shape = self.n_components_, self.preprocessor_.network_shape
            encoder, decoder = self.encoder_, self.decoder_
        else:
            # No choice of layers depends on the values or on the number of instances.
            drawn = np.random.default_rng(0).random((16, *input_shape), dtype=np.float32)
            run = clone(self).plan_fit(as_instances(drawn), warn=False).run
            width, shape = run.networks.n_components, run.preprocessor.network_shape
            encoder, decoder = run.networks.encoder, run.networks.decoder
        return layer_table((("encoder", encoder, shape), ("decoder", decoder, (width,))))

    def to_json(self) -> str:
        """Return the architecture as JSON text: layers, shapes and what builds them again.

        Returns
        -------
        str
            An object with `architecture`, the arguments of `isthmus.networks.build`; `encoder` and
            `decoder`, their layers with name, output shape, parameters, how many of these are
            trained, and of parts that stand beside each other the name of the part;
            `n_parameters`, `loss`, `schema`, `preprocessing` and `digest`. Weights are in a
            bundle, see `save`.

        Examples
        --------
        >>> import json
        >>> from isthmus import Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(200, 8))
        >>> encoder = Autoencoder(3, max_epochs=1, random_state=0).fit(X)
        >>> facts = json.loads(encoder.to_json())
        >>> facts["architecture"]["n_components"], facts["encoder"][-1]["output_shape"]
        (3, [3])
        """
        check_is_fitted(self)
        shape, width = self.preprocessor_.network_shape, (self.n_components_,)
        layers = {
            half: [layer._asdict() for layer in summarise(network, inputs)]
            for half, network, inputs in (
                ("encoder", self.encoder_, shape),
                ("decoder", self.decoder_, width),
            )
        }
        facts = {
            "architecture": self.spec_,
            **layers,
            "n_parameters": self.n_parameters_,
            "loss": self.loss_,
            "schema": self.schema_.to_dict(),
            "preprocessing": self.preprocessor_.to_dict(),
            "digest": self.digest_,
        }
        return json.dumps(facts, ensure_ascii=False)

    @property
    def n_parameters_(self) -> int:
        """Parameters of encoder and decoder together."""
        return count_parameters(self.encoder_) + count_parameters(self.decoder_)

    def _check_codes(self, codes: Any) -> np.ndarray:
        check_is_fitted(self)
        # torch needs writable memory; a DataFrame's is read-only.
        codes = np.require(np.asarray(codes), np.float32, ["C", "W"])
        if codes.ndim != 2 or codes.shape[1] != self.n_components_:
            raise ValueError(
                f"got codes of shape {codes.shape}, expected (n, {self.n_components_}) as "
                "transform gives"
            )
        return codes

    def _batches(self, X: np.ndarray) -> Any:
        step = self._inference_batch()
        for first in range(0, len(X), step):
            part = slice(first, first + step)
            yield part, to_tensor(self.preprocessor_.to_network(X[part]), self._device())

    def _device(self) -> torch.device:
        parameter = next(self.encoder_.parameters(), None)
        return parameter.device if parameter is not None else torch.device("cpu")


def _layout(network: nn.Module) -> list[tuple[str, type[nn.Module], list[tuple[int, ...]]]]:
    """Return name, type and shapes of the tensors of every layer."""
    return [
        (name, type(module), [tuple(one.shape) for one in module.state_dict().values()])
        for name, module in network.named_modules()
    ]
