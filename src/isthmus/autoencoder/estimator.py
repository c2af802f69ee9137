"""`Autoencoder`: the scikit-learn transformer from instances to codes and back."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from isthmus._core import LearnedTable, isolated_from_host
from isthmus.augmentations import Augmentations
from isthmus.autoencoder.fitting import PARAMETERS, PlannedFit, TrainingRun, trainable_copies
from isthmus.autoencoder.inference import Inference
from isthmus.autoencoder.sources import Measured, Source, check_before_reading, refuse_held_out
from isthmus.autoencoder.training_rows import HeldOut
from isthmus.data import Instances, as_instances
from isthmus.data.preprocessing import column_warnings, issue_warnings
from isthmus.networks import SERIES_ARCHITECTURES, Networks, build
from isthmus.training import (
    Progress,
    choose_device,
    draw_seed,
    isolated_random_state,
    with_callbacks,
)


class Autoencoder(LearnedTable, Inference, ClassNamePrefixFeaturesOutMixin, BaseEstimator):
    """Learn a code from unlabelled instances, and reconstruct instances from it.

    An encoder maps an instance of m values to a code of n < m; a mirrored decoder, trained with
    it, reconstructs the instance. Images keep their shape: pass
    `(n, h, w)` or `(n, h, w, c)`, uint8 or floats in [0, 1]. Windows of time series are
    `(n, t, c)` with `kind="series"`. Tables are `(n, m)` arrays or DataFrames.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Width of the code. `"auto"` takes `4 √m` rounded up to a power of two, at most
        m/2 and 512: 128 for 28 x 28 images; with `"random_kernels"` twice that or m - 1.
    architecture : {"auto", "dense", "conv", "strided", "patches", "conv1d", "random_kernels", \
"reference"} or (encoder, decoder), default="auto"
        `"auto"` is the recipe's: for images of up to 64 x 64 values `"patches"`, a quarter of
        whose code is computed from up to 4,096 images and not trained, or `"strided"` for those of
        fewer than 16 x 16 and with an objective without views; for larger ones `"conv"`; for
        tables `"dense"`; for series `"random_kernels"`, whose encoder is computed from up to 4,096
        windows, or `"conv1d"` with `"fast"`, `"thorough"`, an objective, noise or hidden layers.
        `"reference"` is the 4,969-parameter network of the Keras tutorials. A copy of a pair of
        `torch.nn.Module` is trained further: `(batch, c, h, w)`, `(batch, c, t)` or `(batch, m)`
        to `(batch, n_components)` and back, logits for images, else standardised values.
    kind : {"auto", "images", "series", "table"}, default="auto"
        `"auto"` takes arrays of three and four dimensions for images; for windows of series,
        `(n, t, c)`, pass `"series"`, or an architecture for series.
    hidden_layer_sizes : sequence of int or "auto", default="auto"
        Hidden widths (dense) or channels of the stages (conv) of the encoder; the decoder
        mirrors them. `()` with `"dense"` is linear; `"random_kernels"` has them in its decoder.
    loss : {"auto", "bce", "mse"}, default="auto"
        Binary cross-entropy (images) or squared error (tables, after standardising).
    recipe : {"default", "fast", "thorough", "detection", "reference"}, default="default"
        Named set of choices, see `isthmus.recipes`; explicit parameters override it.
    objective : str, Objective, mapping, callable or "auto", default="auto"
        What is minimised: `"reconstruction"`, `"denoising"`, `"masked"`, `"variational"`,
        `"invariant"`, one of `isthmus.objectives` with options of your own, a mapping of
        these to weights, or any `(network, batch) -> loss`, see `isthmus.objectives.Own`.
        `"auto"` is the recipe's, with the level `noise`.
    noise : float of 0 or more, or "auto", default="auto"
        Standard deviation of the Gaussian noise that is added to instances in training and that
        the network learns to remove, in the network's units: short for the objective
        `Denoising(["gaussian"], (noise, noise))`, and unused with another objective. `"auto"` is
        0.6 for tables and 0 for images and series.
    augmentations : "auto", sequence of str, mapping, callable or None, default="auto"
        How the objective `"invariant"` makes views, see
        `isthmus.augmentations.build_augmentation`: choose those that do not change the meaning of
        your data. `transform` applies none.
    optimizer : {"auto", "adamw", "adadelta", "muon"}, default="auto"
    lr : float or "auto", default="auto"
        Highest learning rate.
    max_epochs, batch_size : int or "auto", default="auto"
        See the table `isthmus.recipes.RECIPES` and its functions.
    validation_fraction : float in [0, 0.9] or "auto", default="auto"
        Share of the instances held out to choose the best epoch; 0 takes the last epoch.
    patience : int, None or "auto", default="auto"
        Epochs without improvement after which training stops.
    device : str, default="auto"
        `"auto"` is cuda, else mps, else cpu.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the forward pass in training. `"auto"` is bfloat16 on CUDA devices that have it, else
        float32.
    random_state : int, RandomState instance or None, default=None
        The same integer gives the same weights on the same machine with as many threads.
    verbose : bool, default=False
        Show a progress bar on standard error.
    log_dir : path, optional
        Folder for curves and reconstructions for TensorBoard; or `"mlflow:EXPERIMENT"`, which
        tracks parameters and curves by MLflow, see `isthmus.training.MLflowRun`.
    checkpoint_dir : path, optional
        Folder for checkpoints: after every epoch, every ten minutes within one, and the best one.
    resume : bool, default=False
        Go on from the last checkpoint in `checkpoint_dir`, to the same weights as an
        uninterrupted run. `max_epochs` may be larger than there: the learning rate then follows
        the schedule of the larger number from the epochs done on.
    warm_start : bool, default=False
        Let `fit` start from the weights of the previous `fit`. Schema and preprocessing stay, as
        the weights depend on them; new instances must match the schema.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        Trained, in evaluation mode, without gradients.
    n_components_ : int
    schema_ : Schema
        Kind, shape and columns of the training instances; later ones are checked against it.
    history_ : list of dict
        One record an epoch: losses, learning rate, seconds, instances per second.
    best_epoch_ : int
        The epoch whose weights are used.
    loss_ : {"bce", "mse"}
    digest_ : str
        SHA-256 of the encoder's parameters and buffers. Saving, fitting a head and exporting
        compare it with them first, and raise `FrozenError` when they changed: see `adopt_weights`.
    decoder_digest_ : str
        SHA-256 of the decoder's, likewise.
    data_fingerprint_ : str
        SHA-256 of the training instances.
    training_row_hashes_ : TrainingRowHashes
        Hashes of the training instances, to check that calibration rows are new.
    held_out_ : HeldOut
        Codes and errors of up to 1,000 instances of the validation part, to compare new data
        with; empty without one.
    training_ : dict
        Every training choice as plain values, such as seed, epochs, batch size and device, and how
        many instances of `X_validation` are measured (`n` of `of`).
    n_features_in_ : int
    feature_names_in_ : array of str
        Only after fitting on a DataFrame with string column names.

    Notes
    -----
    As in scikit-learn `score_samples(X) = -reconstruction_error(X)`: higher is more normal.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 8))
    >>> encoder = Autoencoder(n_components=3, max_epochs=5, random_state=0).fit(X)
    >>> encoder.transform(X).shape, encoder.inverse_transform(encoder.transform(X)).shape
    ((200, 3), (200, 8))
    """

    history_: list[dict[str, Any]]
    feature_names_in_: np.ndarray

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        architecture: str | tuple[nn.Module, nn.Module] = "auto",
        kind: Literal["auto", "images", "series", "table"] = "auto",
        hidden_layer_sizes: Sequence[int] | Literal["auto"] = "auto",
        loss: Literal["auto", "bce", "mse"] = "auto",
        recipe: str = "default",
        objective: Any = "auto",
        noise: float | Literal["auto"] = "auto",
        augmentations: Augmentations = "auto",
        optimizer: str = "auto",
        lr: float | Literal["auto"] = "auto",
        max_epochs: int | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        validation_fraction: float | Literal["auto"] = "auto",
        patience: int | Literal["auto"] | None = "auto",
        device: str = "auto",
        precision: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        log_dir: str | Path | None = None,
        checkpoint_dir: str | Path | None = None,
        resume: bool = False,
        warm_start: bool = False,
    ) -> None:
        self.n_components = n_components
        self.architecture = architecture
        self.kind = kind
        self.hidden_layer_sizes = hidden_layer_sizes
        self.loss = loss
        self.recipe = recipe
        self.objective = objective
        self.noise = noise
        self.augmentations = augmentations
        self.optimizer = optimizer
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose
        self.log_dir = log_dir
        self.checkpoint_dir = checkpoint_dir
        self.resume = resume
        self.warm_start = warm_start

    @with_callbacks
    @isolated_from_host()
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        X_validation: Any = None,
        channel_names: Sequence[str] | None = None,
        warn: bool = True,
    ) -> Self:
        """Learn encoder and decoder from instances without labels.

        In processes that torchrun started, or that joined a process group of torch's, all train
        together: each trains on its shard of every batch, and all end with the same encoder.

        Parameters
        ----------
        X : array of shape (n, h, w), (n, h, w, c) or (n, m), DataFrame of (n, m), Dataset, Stream
            Of a data set channels and step are kept. Of a stream a few chunks at a time are in
            memory: two passes learn schema, preprocessing, hashes and the validation part (10,000
            rows at most), then each epoch reads all of it in an order of its own.
        y : ignored
        X_validation : like X, optional
            Instances on which the loss is measured after each epoch, for the `validation_*` of
            `history_`, where nothing is held out (`validation_fraction=0`, as of
            `recipe="reference"`); of a stream 10,000 rows at most, drawn at random, which a warning
            and `training_` say. They decide nothing: the last epoch is kept.
        channel_names : sequence of str, optional
            Of windows of series in an array: `Dataset.channel_names`. Columns of later long
            tables are matched to them. A stream has its own.
        warn : bool, default=True
            Issue a `DataWarning` about columns in memory that hold extreme values, follow the
            order of the rows or look like identifiers; about those of a stream always.

        Returns
        -------
        self
            Also when training is interrupted (KeyboardInterrupt) after the first epoch and without
            `checkpoint_dir`: with a warning, and the best weights so far.

        Raises
        ------
        DataError, ValueError
            When the instances cannot be used (infinite or out of range values, missing ones in
            images and series, fewer than two, a single column), or names do not match the channels.
        ArchitectureError
            When architecture, code width and data do not fit together.
        TrainingError
            When a parameter is out of range, the loss stops being finite, another process is
            lost, or there are `X_validation` and a part that is held out.
        """
        planned = self.plan_fit(
            as_instances(X), channel_names=channel_names, warn=warn, X_validation=X_validation
        )
        with self.fit_task(X, y, planned.run.settings.max_epochs) as task:
            del X  # the unchecked instances are not held in memory while the networks train
            planned.carry_out(task)
        return self

    def plan_fit(
        self,
        X: Instances,
        *,
        channel_names: Sequence[str] | None = None,
        warn: bool = True,
        X_validation: Any = None,
    ) -> PlannedFit:
        """Return what `fit` does with these instances, with all but the training done.

        Parameters
        ----------
        X : Instances
        channel_names, warn, X_validation
            As for `fit`.

        Returns
        -------
        PlannedFit
            Whose `carry_out()` trains.
        """
        if X_validation is not None:
            check_before_reading(X, self.recipe, self.validation_fraction)
        warm = self.warm_start and self.__sklearn_is_fitted__()
        X = self._check_training_instances(X) if warm else self._learn_schema(X)
        if channel_names is not None:
            self._name_channels(channel_names)
        if warn and not warm and X.in_memory:
            issue_warnings(column_warnings(X, self.schema_, self.preprocessor_))
        return self._plan_training(X, trainable_copies(self) if warm else None, X_validation)

    @isolated_from_host()
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Go on from the present weights with one pass over new instances.

        The first call learns schema and preprocessing as well; later ones keep both. The
        weights change, and with them codes, errors and `digest_` (of `"random_kernels"` the errors
        alone): fit heads again. A pass that fails or is interrupted changes nothing.

        Parameters
        ----------
        X : array, DataFrame or Stream, like at `fit`
            At least two instances. Some are held out like at `fit`, and replace `held_out_`.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        DataError, ValueError
            As `fit` and `transform` do.

        Examples
        --------
        >>> X = np.random.default_rng(0).normal(size=(400, 8))
        >>> encoder = Autoencoder(n_components=3, max_epochs=2, random_state=0).fit(X[:200])
        >>> before = encoder.digest_
        >>> encoder.partial_fit(X[200:]).digest_ == before, len(encoder.history_)
        (False, 3)
        """
        X = as_instances(X)
        if not self.__sklearn_is_fitted__():
            self._plan_training(self._learn_schema(X), None, one_pass=True).carry_out()
            return self
        before = dict(self.__dict__)
        try:
            checked = self._check_training_instances(X)
            self._plan_training(checked, trainable_copies(self), one_pass=True).carry_out()
        except BaseException:  # by Ctrl-C too
            self.__dict__.update(before)
            raise
        return self._prepend(before)

    @isolated_from_host()
    def untrained(self, random_state: int | np.random.RandomState | None = None) -> Autoencoder:
        """Return the same autoencoder with fresh random weights: the baseline for training.

        Schema, preprocessing and architecture are shared; modules passed as `architecture` have
        the weights they were passed with.

        Parameters
        ----------
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        Autoencoder
        """
        check_is_fitted(self)
        twin = copy.copy(self)
        device = self._device()
        with isolated_random_state(draw_seed(random_state), device):
            is_custom = isinstance(self.architecture, tuple | list)
            modules = {"architecture": self.architecture} if is_custom else {}
            networks = build(**(self.spec_ | modules))
        twin._freeze(networks.encoder, networks.decoder, device)  # noqa: SLF001
        # Those held out are codes of this encoder.
        twin.held_out_ = HeldOut.empty(twin.n_components_)
        return twin

    @isolated_from_host()
    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a bundle: a folder with manifest, weights and history, no pickle.

        Parameters
        ----------
        path : path
            An earlier bundle there is replaced once all is written. Heads in it stay where they
            are of this encoder.
        overwrite : bool, default=False
            Delete heads in it.

        Raises
        ------
        BundleError
            When `path` holds something that is not a bundle, or a bundle with heads of another
            encoder and `overwrite` is False.
        FrozenError
            When the weights changed after they were fitted.
        """
        # At use, as `isthmus.bundle` imports this module.
        from isthmus.bundle import save_bundle

        check_is_fitted(self)
        save_bundle(path, self, overwrite=overwrite)

    @classmethod
    @isolated_from_host()
    def restored(
        cls, parameters: Mapping[str, Any], learned: Mapping[str, Any], networks: Networks
    ) -> Autoencoder:
        """Rebuild a fitted autoencoder from its parameters, fitted attributes and networks.

        Parameters
        ----------
        parameters : mapping
            Those of the constructor.
        learned : mapping
            The fitted attributes that follow neither from the schema nor from the networks, by
            name: `schema_`, `preprocessor_`, `history_`, ...
        networks : Networks
            Trained.

        Returns
        -------
        Autoencoder
        """
        encoder = cls(**parameters)
        for name, value in learned.items():
            setattr(encoder, name, value)
        encoder._name_features()
        encoder._set_networks(networks, choose_device(encoder.device))
        return encoder

    def _learned(self) -> dict[str, Any]:
        best = self.history_[self.best_epoch_ - 1]
        loss = {
            part: best[f"{name}_loss"]
            for name, part in (("train", "training"), ("validation", "validation"))
            if best.get(f"{name}_loss") is not None
        }
        return {
            "code": f"{self.n_components_:,} numbers of {self.schema_.n_features:,}",
            "instances": f"{self.schema_.kind}, {' x '.join(map(str, self.schema_.shape))}",
            "network": f"{self.spec_['architecture']}, {self.n_parameters_:,} parameters",
            "epoch kept": f"{self.best_epoch_} of {len(self.history_)}",
            "loss": ", ".join(f"{part} {value:.4g}" for part, value in loss.items()),
            "digest": self.digest_[:12],
        }

    @property
    def _usual_kind(self) -> str:
        return "series" if self.architecture in SERIES_ARCHITECTURES else "auto"

    def _plan_training(
        self,
        instances: Instances,
        networks: Networks | None,
        X_validation: Any = None,
        *,
        one_pass: bool = False,
    ) -> PlannedFit:
        """Plan to train new networks, or go on with those given, on checked instances."""
        self.__dict__.pop("digest_", None)  # a failed fit leaves an unfitted estimator
        run = TrainingRun.plan(
            {name: getattr(self, name) for name in PARAMETERS},
            self.schema_.kind,
            self.preprocessor_,
            len(instances),
            networks,
            one_pass=one_pass,
            epochs_before=len(self.history_) if one_pass and networks is not None else 0,
        )
        self.loss_ = run.loss
        measured = None
        if X_validation is not None:
            refuse_held_out(run.validation_fraction, len(instances))
            measured = Measured.of(as_instances(X_validation), self)
        source = run.open_source(instances, self)
        source.measured = measured
        self.data_fingerprint_, self.training_row_hashes_ = source.fingerprint, source.row_hashes
        return PlannedFit(self, run, source, type(self)._finish)  # noqa: SLF001

    def _finish(self, source: Source, run: TrainingRun, progress: Progress) -> None:
        measured = {} if source.measured is None else {"X_validation": source.measured.facts}
        self.training_ = run.describe(progress) | measured
        self.history_ = progress.history
        self.best_epoch_ = progress.best_epoch or progress.epoch
        self._set_networks(run.networks, run.settings.device)
        self.held_out_ = source.held_out(self)

    def _prepend(self, before: Mapping[str, Any]) -> Self:
        """Prepend history, hashes and fingerprint of before the last pass to those of the pass."""
        done = len(before["history_"])
        self.history_ = before["history_"] + [
            record | {"epoch": record["epoch"] + done} for record in self.history_
        ]
        self.best_epoch_ += done
        hashes = before["training_row_hashes_"].merged_with(self.training_row_hashes_)
        self.training_row_hashes_ = hashes
        both = f"{before['data_fingerprint_']} {self.data_fingerprint_}".encode()
        self.data_fingerprint_ = hashlib.sha256(both).hexdigest()
        return self

    def _set_networks(self, networks: Networks, device: torch.device) -> None:
        """Set the trained networks, frozen on a device, and their facts."""
        self.n_components_, self.spec_ = networks.n_components, networks.spec
        self._freeze(networks.encoder, networks.decoder, device)
