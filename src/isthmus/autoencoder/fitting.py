"""Fitting: plan a training run of an autoencoder and carry it out, or several of them as one."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from isthmus.autoencoder.inference import Inference
from isthmus.autoencoder.sources import Source, open_source
from isthmus.data import Instances, Kind
from isthmus.data.preprocessing import Preprocessor
from isthmus.distributed import ProcessGroup, draw_normal_like, run_on_rank_zero
from isthmus.errors import DataError, TrainingError
from isthmus.networks import (
    MAX_IMAGES,
    MAX_VALUES,
    MAX_WINDOWS,
    DenseStack,
    KernelEncoder,
    Networks,
    PatchEncoder,
    build,
    digest,
    fit_kernels,
    multiply_adds,
)
from isthmus.objectives import Loss, Model, Objective, Task, build_objective, choose_loss
from isthmus.recipes import Choices, resolve_choices
from isthmus.training import (
    Batches,
    Callback,
    Checkpoints,
    FitTask,
    MLflowRun,
    Progress,
    ProgressBar,
    Settings,
    StackedBatches,
    TensorBoard,
    choose_device,
    choose_precision,
    derived_seed,
    draw_seed,
    isolated_random_state,
    mlflow_experiment,
    train,
)

#: Prepared rows of a fit that is part of a stack: larger ones would take memory for each network,
#: and hardly train faster.
MAX_STACKED_BYTES = 2**23


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

        Raises
        ------
        DataError
            When there are fewer than two rows.
        """
        if n_rows < 2:
            raise DataError(f"got {n_rows} instance, expected at least two to learn from")
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
            loss = choose_loss(parameters["loss"], kind)
            n_training = math.ceil(n_rows * (1 - choices.validation_fraction))
            n_trained = getattr(networks.encoder, "n_trained", None)
            task = Task(kind, shape, networks.n_components, loss, n_training, n_trained)
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

    @property
    def n_sample(self) -> int:
        """Instances at most that an encoder, or a part, in closed form is fitted on; else 0."""
        encoder = self.networks.encoder
        most = {KernelEncoder: MAX_WINDOWS, PatchEncoder: MAX_IMAGES}.get(type(encoder), 0)
        if not most or self.started_from is not None:
            return 0
        return max(2, min(most, MAX_VALUES // math.prod(self.preprocessor.network_shape)))

    def open_source(self, instances: Instances, encoder: Inference) -> Source:
        """Return the training and validation part of checked instances."""
        fraction, seed = self.validation_fraction, self.settings.seed
        return open_source(instances, encoder, fraction, seed, self.n_sample)

    def describe(self, progress: Progress | None = None) -> dict[str, Any]:
        """Return every choice as plain values, and where training was interrupted, if it was."""
        choices = self.settings.plain() | {"objective": self.objective.describe()}
        if self.n_sample:
            name = {"images": "max_images_of_features", "series": "max_windows_of_encoder"}
            choices[name[self.kind]] = self.n_sample
        if progress is not None and progress.interrupted:
            choices["interrupted_in_epoch"] = progress.epoch + 1
        return choices

    def train(self, source: Source, further: Sequence[Callback] = ()) -> Progress:
        """Train the networks in place, with the callbacks and checkpoints of the parameters.

        Parameters
        ----------
        source : Source
            Training and validation part of the instances.
        further : sequence of Callback
            Called beside those of the parameters.

        Raises
        ------
        DataError
            When another process has other data or parameters.
        TrainingError
            As `isthmus.training.train` does, and when there is no checkpoint to go on from.
        """
        self.check_equal_in_group(source)
        if self.n_sample:
            # Of rank 0, whose weights all processes train with.
            run_on_rank_zero(self.group, lambda: self._fit_encoder(source))
        checkpoints = None if self.one_pass else self._checkpoints(source)
        measured = source.measured
        return train(
            Model(self.networks.encoder, self.networks.decoder, self.objective),
            self.objective,
            source.training,
            source.validation if measured is None else measured.batches,
            self.settings if measured is None else replace(self.settings, best_by=None),
            [*self.callbacks(source, checkpoints.epochs_done() if checkpoints else 0), *further],
            checkpoints,
            self.group,
            # With checkpoints the run can go on instead.
            keep_interrupted=checkpoints is None and self.group.world_size == 1,
            multiply_adds=multiply_adds(self.networks.encoder, self.preprocessor.network_shape)
            + multiply_adds(self.networks.decoder, (self.networks.n_components,)),
        )

    def _fit_encoder(self, source: Source) -> None:
        """Compute an encoder in closed form, or its part, from a sample of the training part."""
        sample = torch.from_numpy(self.preprocessor.to_network(source.sample)).float()
        encoder, decoder = self.networks.encoder, self.networks.decoder
        if isinstance(encoder, PatchEncoder):
            with isolated_random_state(self.settings.seed):
                encoder.features.fit(sample, self.objective.views)
        elif isinstance(encoder, KernelEncoder):
            fit_kernels(encoder, decoder, sample)

    def check_equal_in_group(self, source: Source) -> None:
        """Check that all processes have the same data and parameters.

        Raises
        ------
        DataError
            When another process has others.
        """
        # The seed is rank 0's and the devices may differ; all else decides the weights.
        local = {"device", "seed"}
        shared = {name: value for name, value in self.describe().items() if name not in local}
        n_rows = len(source.training) + (len(source.validation) if source.validation else 0)
        self.group.check_equal(
            {"instances": n_rows, "data": source.fingerprint, "parameters": shared}
        )

    def callbacks(self, source: Source, epochs_done: int = 0) -> list[Callback]:
        """Return the callbacks of the parameters: a progress bar, TensorBoard."""
        callbacks: list[Callback] = []
        if self.parameters["verbose"] and self.group.is_rank_zero:
            n_rows, max_epochs = len(source.training), self.settings.max_epochs
            callbacks.append(ProgressBar("training", n_rows, max_epochs, epochs_done))
        log_dir = self.parameters["log_dir"]
        experiment = None if log_dir is None else mlflow_experiment(log_dir)
        if experiment is not None and self.group.is_rank_zero:
            callbacks.append(MLflowRun(experiment, self.describe()))
        elif log_dir is not None and self.group.is_rank_zero:
            prepare = self.preprocessor.to_network
            examples = prepare(source.examples(10)) if self.kind == "images" else None
            to_picture = torch.sigmoid if self.loss == "bce" else torch.clone
            callbacks.append(TensorBoard(log_dir, examples, to_picture))
        return callbacks

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


@dataclass(frozen=True)
class PlannedFit:
    """A fit with every choice made, and what is to be done when it has been trained.

    Attributes
    ----------
    estimator : Autoencoder
    run : TrainingRun
    source : Source
    finish : callable
        Called with the estimator, the source, the run as it was trained and its progress.
    """

    estimator: Inference
    run: TrainingRun
    source: Source
    finish: Callable[[Any, Source, TrainingRun, Progress], None]

    def carry_out(self, task: FitTask | None = None) -> None:
        """Train, and finish; warn when training was interrupted.

        Parameters
        ----------
        task : FitTask, optional
            Within which each epoch is a task.
        """
        progress = self.run.train(self.source, task.epochs(self._learned_after) if task else [])
        self.finish(self.estimator, self.source, self.run, progress)
        if progress.interrupted:
            warn_of_interruption(progress, self.run.settings.max_epochs)

    def _learned_after(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what the estimator would have learned, had training ended with this epoch."""
        twin, n = copy.copy(self.estimator), len(history)
        run = replace(self.run, networks=copy.deepcopy(self.run.networks))
        self.finish(twin, self.source, run, Progress(n, best_epoch=n, history=history))
        return dict(vars(twin))

    def stackable_rows(self) -> torch.Tensor | None:
        """Return the prepared training rows, or None of a fit that cannot be part of a stack."""
        run, batches = self.run, self.source.training
        stackable = (
            run.networks.spec["architecture"] == "dense"
            and run.loss == "mse"
            and run.objective.noise is not None
            and run.settings.device.type == "cpu"
            and run.settings.precision == torch.float32
            and run.parameters["checkpoint_dir"] is None
            and self.source.validation is None
        )
        if not stackable or not isinstance(batches, Batches):
            return None
        rows = batches.prepared(run.settings.device)
        return None if rows is None or rows.nbytes > MAX_STACKED_BYTES else rows


def carry_out_together(planned: Iterable[PlannedFit]) -> None:
    """Carry out several fits of the same parameters on different instances.

    Dense networks that reconstruct rows in memory, with or without normal noise and without a
    validation part, are trained as one on a CPU: with the settings of the first fit, for as many
    steps, and the same noise in each batch. Its progress is shown. Others are trained one after
    another, and planned when their turn has come.

    Parameters
    ----------
    planned : iterable of PlannedFit

    Raises
    ------
    TrainingError
        As `TrainingRun.train` does.
    """
    left = iter(planned)
    first = next(left)
    if first.stackable_rows() is not None:
        _carry_out_stacked([first, *left])
        return
    first.carry_out()
    for one in left:
        one.carry_out()


def _carry_out_stacked(planned: Sequence[PlannedFit]) -> None:
    of_shape: dict[str, list[PlannedFit]] = {}
    for one in planned:  # a category that few rows have may be missing where they are left out
        of_shape.setdefault(repr(one.run.networks.spec), []).append(one)
    for fits in of_shape.values():
        _train_stack(fits, planned[0])


def _train_stack(fits: Sequence[PlannedFit], first: PlannedFit) -> None:
    """Train networks of one shape, as the first of all fits was planned."""
    run = first.run
    for one in fits:
        one.run.check_equal_in_group(one.source)
    rows = [prepared for one in fits if (prepared := one.stackable_rows()) is not None]
    stack = DenseStack([(one.run.networks.encoder, one.run.networks.decoder) for one in fits])
    errors: list[torch.Tensor] = []
    progress = train(
        stack,
        _stacked_objective(run.objective.noise or 0.0, errors),
        StackedBatches(rows, len(first.source.training)),
        None,
        run.settings,
        run.callbacks(first.source) if fits[0] is first else [],
        multiply_adds=stack.vector.numel(),
    )
    if run.group.world_size > 1:  # each has trained all, perhaps on another kind of processor
        run.group.broadcast_tensors([stack.vector.detach()], run.settings.device)
    stack.unstack()
    means = torch.stack(errors).view(progress.epoch, -1, len(fits)).mean(dim=1)
    for one, losses in zip(fits, means.T.tolist(), strict=True):
        records = zip(progress.history, losses, strict=True)
        history = [record | {"train_loss": loss} for record, loss in records]
        trained = replace(one.run, settings=run.settings), replace(progress, history=history)
        one.finish(one.estimator, one.source, *trained)


def _stacked_objective(
    noise: float, errors: list[torch.Tensor]
) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], dict[str, torch.Tensor]]:
    """Return the objective of a stack, which adds the error of each network to a list."""

    def objective(stack: nn.Module, batch: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        (x,) = batch
        corrupted = torch.add(x, draw_normal_like(x[0]), alpha=noise) if noise else x
        loss, of_networks = stack(corrupted, x)
        errors.append(of_networks)
        return {"loss": loss}

    return objective


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
