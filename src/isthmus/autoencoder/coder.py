"""What a fitted autoencoder makes of instances and codes, a batch at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from isthmus.autoencoder.reconstructed import Reconstructed
from isthmus.autoencoder.seen import row_hashes
from isthmus.data.instances import as_instances, over_pieces
from isthmus.data.preprocessing import Preprocessor
from isthmus.data.schema import Schema
from isthmus.objectives import Loss, errors_per_instance
from isthmus.training import to_tensor


class Coder(TransformerMixin):
    """Instances in, codes out, and back: the part of an autoencoder that needs no training.

    Attributes
    ----------
    schema_ : Schema
    preprocessor_ : Preprocessor
    encoder_, decoder_ : torch.nn.Module
    n_components_ : int
    loss_ : {"bce", "mse"}
    """

    schema_: Schema
    preprocessor_: Preprocessor
    encoder_: nn.Module
    decoder_: nn.Module
    n_components_: int
    loss_: Loss

    @over_pieces
    def transform(self, X: Any) -> np.ndarray:
        """Turn instances into codes.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Returns
        -------
        array of shape (n, n_components_), float32
        """
        X = self._check(X)
        codes = np.empty((len(X), self.n_components_), dtype=np.float32)
        for part, x in self._batches(X):
            codes[part] = self.encoder_(x).float().cpu().numpy()
        return codes

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Turn codes back into instances, in the units of the training data.

        Parameters
        ----------
        X : array of shape (n, n_components_)
            Codes.

        Returns
        -------
        array of shape (n, *schema_.shape), float32, or DataFrame of shape (n, m)
            Images in 0..255 when they were uint8 at `fit`, else in [0, 1]. A DataFrame for
            tables that are not all numbers: names, order and types of the columns at `fit`,
            with the likeliest category where there were categories. Nothing is missing in
            it; where a value was missing it says what the code suggests.
        """
        codes = self._check_codes(X)
        back = np.empty((len(codes), *self.preprocessor_.network_shape), dtype=np.float32)
        first = 0
        for outputs in self.decode(codes):
            back[first : first + len(outputs)] = outputs.numpy()
            first += len(outputs)
        return self.preprocessor_.from_network(back)

    def decode(self, codes: np.ndarray) -> Iterator[torch.Tensor]:
        """Rebuild instances from codes batch by batch, as the network gives them.

        Parameters
        ----------
        codes : float32 array of shape (n, n_components_)

        Yields
        ------
        tensor of shape (batch, *network_shape)
            On the CPU; what `reconstruct` gives as outputs.

        Raises
        ------
        ValueError
            When the codes have another width.

        Examples
        --------
        >>> from isthmus import Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
        >>> encoder = Autoencoder(n_components=3, max_epochs=2, random_state=0).fit(X)
        >>> [tuple(outputs.shape) for outputs in encoder.decode(encoder.transform(X))]
        [(200, 8)]
        """
        codes = self._check_codes(codes)
        step = self._inference_batch()
        with torch.inference_mode():
            for first in range(0, len(codes), step):
                z = torch.from_numpy(codes[first : first + step]).to(self._device())
                output = self.decoder_(z).float()
                yield (output.sigmoid() if self.loss_ == "bce" else output).cpu()

    @over_pieces
    def reconstruction_error(self, X: Any) -> np.ndarray:
        """Return how far each instance is from its reconstruction.

        The mean over an instance's values of the loss trained on: binary cross-entropy
        per pixel, natural logarithm (images), or squared error of standardised values
        (series, and tables after taming heavy tails).

        Returns
        -------
        array of shape (n,), float64
        """
        X = self._check(X)
        errors, first = np.empty(len(X)), 0
        for batch in self._rebuild(X):
            errors[first : first + len(batch.errors)] = batch.errors.numpy()
            first += len(batch.errors)
        return errors

    def reconstruct(self, X: Any) -> Iterator[Reconstructed]:
        """Go through instances batch by batch, as the network sees and rebuilds them.

        Yields
        ------
        Reconstructed
            Inputs, codes, outputs and errors of one batch, as tensors on the CPU, in order.
        """
        check_is_fitted(self)
        return itertools.chain.from_iterable(
            as_instances(X).map(lambda held: self._rebuild(self._check(held)))
        )

    def _rebuild(self, X: np.ndarray) -> Iterator[Reconstructed]:
        for _, x in self._batches(X):
            code = self.encoder_(x)
            output = self.decoder_(code).float()
            errors = errors_per_instance(output, x, self.loss_).double()
            if self.loss_ == "bce":
                output = output.sigmoid()
            yield Reconstructed(x.cpu(), code.float().cpu(), output.cpu(), errors.cpu())

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the negated reconstruction error: higher is more normal.

        Returns
        -------
        array of shape (n,), float64
        """
        return -self.reconstruction_error(X)

    @over_pieces
    def row_hashes(self, X: Any) -> np.ndarray:
        """Return a hash of each instance as the network sees it: uint64 of shape (n,)."""
        return self._row_hashes(self._check(X))

    def _check_codes(self, codes: Any) -> np.ndarray:
        check_is_fitted(self)
        # torch wants memory that it may write to; a DataFrame's is read-only.
        codes = np.require(np.asarray(codes), np.float32, ["C", "W"])
        if codes.ndim != 2 or codes.shape[1] != self.n_components_:
            raise ValueError(
                f"got codes of shape {codes.shape}, expected (n, {self.n_components_}) as "
                "transform gives"
            )
        return codes

    def _check(self, X: Any) -> np.ndarray:
        """Check instances to predict on and return them as an array."""
        check_is_fitted(self)
        if self.schema_.kind == "table":
            if isinstance(X, pd.DataFrame) or self.schema_.column_types is not None:
                return self.schema_.check(X)
            X = validate_data(self, X, reset=False, ensure_all_finite="allow-nan")
        return self.schema_.check(X)

    def _row_hashes(self, X: np.ndarray) -> np.ndarray:
        step, prepare = self._inference_batch(), self.preprocessor_.to_network
        parts = [row_hashes(prepare(X[first : first + step])) for first in range(0, len(X), step)]
        return np.concatenate(parts)

    def _batches(self, X: np.ndarray) -> Any:
        step = self._inference_batch()
        with torch.inference_mode():
            for first in range(0, len(X), step):
                part = slice(first, first + step)
                yield part, to_tensor(self.preprocessor_.to_network(X[part]), self._device())

    def _inference_batch(self) -> int:
        return max(1, min(1024, 2**22 // math.prod(self.preprocessor_.network_shape)))

    def _device(self) -> torch.device:
        parameter = next(self.encoder_.parameters(), None)
        return parameter.device if parameter is not None else torch.device("cpu")
