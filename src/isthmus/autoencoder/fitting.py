"""Fitting: plan one training run of an autoencoder, and carry it out."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from isthmus.autoencoder.inference import Inference
from isthmus.autoencoder.sources import Source
from isthmus.data import Kind
from isthmus.data.preprocessing import Preprocessor
from isthmus.distributed import ProcessGroup
from isthmus.errors import TrainingError
from isthmus.networks import Networks, build, digest
from isthmus.objectives import Loss, Objective, Task, build_objective
from isthmus.recipes import Choices, resolve_choices
from isthmus.training import (
    Callback,
    Checkpoints,
    Progress,
    ProgressBar,
    Settings,
    TensorBoard,
    choose_device,
    choose_precision,
    derived_seed,
    draw_seed,
    isolated_random_state,
    train,
)


class Model(nn.Module):
    """Encoder and decoder as one module, with which objectives are called.

    The objective is a submodule, so that optimiser, checkpoints and best weights include its own
    parameters.
    """

    def __init__(self, networks: Networks, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.decoder = networks.encoder, networks.decoder
        self.objective = objective

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the reconstructions."""
        return self.decoder(self.encoder(x))


def trainable_copies(encoder: Inference) -> Networks:
    """Return copies of the networks of a fitted autoencoder, to train further."""
    networks = copy.deepcopy((encoder.encoder_, encoder.decoder_))
    for network in networks:
        network.float().requires_grad_(True)
    return Networks(*networks, encoder.n_components_, encoder.spec_)


def warn_of_interruption(progress: Progress, max_epochs: int) -> None:
    """Warn that Ctrl-C ended a run, and of which epoch the weights are."""
    warnings.warn(
        f"training was interrupted in epoch {progress.epoch + 1} of {max_epochs}: the weights are "
        f"those of epoch {progress.best_epoch or progress.epoch}, and the autoencoder can be used; "
        "with checkpoint_dir a run that was interrupted can go on (resume=True)",
        stacklevel=2,
    )


# The parameters of an autoencoder whose "auto" is resolved by recipe and size of the data.
_RESOLVED = (
    "architecture",
    "n_components",
    "hidden_layer_sizes",
    "optimizer",
    "lr",
    "max_epochs",
    "batch_size",
    "validation_fraction",
    "patience",
    "objective",
    "noise",
    "augmentations",
)

#: The parameters of an autoencoder that a training run depends on.
PARAMETERS = (
    *_RESOLVED,
    "recipe",
    "loss",
    "device",
    "precision",
    "random_state",
    "verbose",
    "log_dir",
    "checkpoint_dir",
    "resume",
)


@dataclass(frozen=True)
class TrainingRun:
    """A training run with every choice made.

    Attributes
    ----------
    parameters : mapping
        Those named in `PARAMETERS`, as passed by the caller.
    kind : {"images", "series", "table"}
    preprocessor : Preprocessor
    networks : Networks
        New, or those to train further; trained in place.
    objective : Objective
        Prepared for network and data.
    settings : Settings
    validation_fraction : float
    loss : {"bce", "mse"}
    started_from : str or None
        Digest of the encoder that is trained further.
    one_pass : bool
        Whether to train for a single epoch, without checkpoints.
    group : ProcessGroup
        The processes that train together; rank 0 alone prints and writes.
    """

    parameters: Mapping[str, Any]
    kind: Kind
    preprocessor: Preprocessor
    networks: Networks
    objective: Objective
    settings: Settings
    validation_fraction: float
    loss: Loss
    started_from: str | None
    one_pass: bool
    group: ProcessGroup

    @classmethod
    def plan(
        cls,
        parameters: Mapping[str, Any],
        kind: Kind,
        preprocessor: Preprocessor,
        n_rows: int,
        networks: Networks | None,
        *,
        one_pass: bool = False,
        epochs_before: int = 0,
    ) -> TrainingRun:
        """Make every choice that an autoencoder's parameters leave to `"auto"`.

        Parameters
        ----------
        parameters : mapping
            Those named in `PARAMETERS`.
        kind : {"images", "series", "table"}
        preprocessor : Preprocessor
        n_rows : int
        networks : Networks or None
            Those to train further; None builds new ones.
        one_pass : bool
        epochs_before : int
            Epochs that the networks have been trained for, so that a later pass has another seed.
        """
        shape = preprocessor.network_shape
        chosen = {name: parameters[name] for name in _RESOLVED}
        choices = resolve_choices(parameters["recipe"], chosen, n_rows, math.prod(shape), kind)
        group = ProcessGroup.find()
        seed = group.broadcast(draw_seed(parameters["random_state"]))
        if epochs_before:
            seed = derived_seed(seed, epochs_before)
        device = group.local_device(choose_device(parameters["device"]))
        started_from = None if networks is None else digest(networks.encoder)
        with isolated_random_state(seed, device):
            if networks is None:
                networks = build(
                    choices.architecture,
                    shape,
                    choices.n_components,
                    choices.hidden_layer_sizes,
                )
            loss = _choose_loss(parameters["loss"], kind)
            n_training = math.ceil(n_rows * (1 - choices.validation_fraction))
            task = Task(kind, shape, networks.n_components, loss, n_training)
            objective = build_objective(choices.objective, **choices.objective_options)
            objective = objective.prepare(task)
        settings = _settings(choices, seed, device, parameters["precision"])
        if one_pass:
            settings = replace(settings, max_epochs=1)
        return cls(
            parameters,
            kind,
            preprocessor,
            networks,
            objective,
            settings,
            choices.validation_fraction,
            loss,
            started_from,
            one_pass,
            group,
        )

    def describe(self) -> dict[str, Any]:
        """Return every choice as plain values."""
        return self.settings.plain() | {"objective": self.objective.describe()}

    def train(self, source: Source) -> Progress:
        """Train the networks in place, with the callbacks and checkpoints of the parameters.

        Parameters
        ----------
        source : Source
            Training and validation part of the instances.

        Raises
        ------
        DataError
            When another process has other data or parameters.
        TrainingError
            As `isthmus.training.train` does, and when there is no checkpoint to go on from.
        """
        # The seed is rank 0's and the devices may differ; all else decides the weights.
        local = {"device", "seed"}
        shared = {name: value for name, value in self.describe().items() if name not in local}
        n_rows = len(source.training) + (len(source.validation) if source.validation else 0)
        self.group.check_equal(
            {"instances": n_rows, "data": source.fingerprint, "parameters": shared}
        )
        checkpoints = None if self.one_pass else self._checkpoints(source)
        callbacks: list[Callback] = []
        if self.parameters["verbose"] and self.group.is_rank_zero:
            done = checkpoints.epochs_done() if checkpoints else 0
            bar = ProgressBar("training", len(source.training), self.settings.max_epochs, done)
            callbacks.append(bar)
        log_dir = self.parameters["log_dir"]
        if log_dir is not None and self.group.is_rank_zero:
            prepare = self.preprocessor.to_network
            examples = prepare(source.examples(10)) if self.kind == "images" else None
            to_picture = torch.sigmoid if self.loss == "bce" else torch.clone
            callbacks.append(TensorBoard(log_dir, examples, to_picture))
        return train(
            Model(self.networks, self.objective),
            self.objective,
            source.training,
            source.validation,
            self.settings,
            callbacks,
            checkpoints,
            self.group,
            # With checkpoints the run can go on instead.
            keep_interrupted=checkpoints is None and self.group.world_size == 1,
        )

    def _checkpoints(self, source: Source) -> Checkpoints | None:
        folder, resume = self.parameters["checkpoint_dir"], self.parameters["resume"]
        if folder is None:
            if resume:
                raise TrainingError(
                    "got resume=True without a checkpoint_dir; pass the one to go on from"
                )
            return None
        n_validation = 0 if source.validation is None else len(source.validation)
        run = self.describe() | {"architecture": self.networks.spec, "loss": self.loss}
        run |= {"n_validation": n_validation, "data": source.fingerprint}
        if self.started_from is not None:
            run["started_from"] = self.started_from
        return Checkpoints(folder, run, resume=resume)


def _settings(choices: Choices, seed: int, device: torch.device, precision: str) -> Settings:
    return Settings(
        max_epochs=choices.max_epochs,
        batch_size=choices.batch_size,
        lr=choices.lr,
        seed=seed,
        device=device,
        precision=choose_precision(precision, device),
        optimizer=choices.optimizer,
        weight_decay=choices.weight_decay,
        schedule=choices.schedule,
        patience=choices.patience,
    )


def _choose_loss(loss: str, kind: str) -> Loss:
    if loss == "auto":
        return "bce" if kind == "images" else "mse"
    if loss not in ("bce", "mse"):
        raise TrainingError(f"got loss={loss!r}, expected 'auto', 'bce' or 'mse'")
    if loss == "bce" and kind != "images":
        raise TrainingError(
            "got loss='bce' for a table, expected 'mse': its columns are standardised, and "
            "cross-entropy needs values in [0, 1]; reshape pixels to (n, h, w) instead"
        )
    return loss  # type: ignore[return-value]
