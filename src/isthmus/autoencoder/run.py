"""One training run of an autoencoder: who trains, who validates, who watches, what is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from isthmus.autoencoder.held_out import split_rows
from isthmus.autoencoder.model import Model
from isthmus.errors import TrainingError
from isthmus.networks import Networks
from isthmus.objectives import Objective
from isthmus.training import (
    Checkpoints,
    Listener,
    Progress,
    ProgressBar,
    Rows,
    Settings,
    TensorBoard,
    train,
)
from isthmus.workers import Workers

if TYPE_CHECKING:
    from isthmus.autoencoder.estimator import Autoencoder


def run_training(
    encoder: Autoencoder,
    X: np.ndarray,
    networks: Networks,
    objective: Objective,
    settings: Settings,
    validation_fraction: float,
    workers: Workers,
) -> Progress:
    """Train networks in place, as the parameters of an autoencoder say.

    Parameters
    ----------
    encoder : Autoencoder
        With schema, preprocessing and settled choices, its networks yet to come.
    X : array of shape (n, *schema.shape)
        Checked instances; some of them, drawn at random, choose the best epoch.
    networks : Networks
    objective : Objective
        Ready for network and data.
    settings : Settings
    validation_fraction : float
    workers : Workers
        Those that train; the first alone shows and writes anything.

    Raises
    ------
    DataError
        When another worker has other data or parameters.
    TrainingError
        As `isthmus.training.train` does, and when there is no checkpoint to go on from.
    """
    # The seed is the first worker's and the devices may differ; all else decides the weights.
    own = {"device", "seed"}
    said = {name: value for name, value in encoder.training_.items() if name not in own}
    workers.check_same({"instances": len(X), "data": encoder.data_fingerprint_, "parameters": said})
    network = Model(networks, objective)
    held_out, rest = map(np.sort, split_rows(len(X), validation_fraction, settings.seed))
    n_validation = len(held_out)
    prepare, loss = encoder.preprocessor_.to_network, encoder.loss_
    checkpoints = None
    if encoder.checkpoint_dir is not None:
        run = encoder.training_ | {"architecture": networks.spec, "loss": loss}
        run |= {"n_validation": n_validation, "data": encoder.data_fingerprint_}
        checkpoints = Checkpoints(encoder.checkpoint_dir, run, resume=encoder.resume)
    elif encoder.resume:
        raise TrainingError("got resume=True without a checkpoint_dir; pass the one to go on from")
    listeners: list[Listener] = []
    if encoder.verbose and workers.is_first:
        done = checkpoints.epochs_done() if checkpoints else 0
        listeners.append(ProgressBar("training", len(rest), settings.max_epochs, done))
    if encoder.log_dir is not None and workers.is_first:
        images = encoder.schema_.kind == "images"
        examples = prepare(X[held_out[:10] if n_validation else rest[:10]]) if images else None
        to_picture = torch.sigmoid if loss == "bce" else torch.clone
        listeners.append(TensorBoard(encoder.log_dir, examples, to_picture))
    return train(
        network,
        objective,
        Rows(X, rest, prepare),
        Rows(X, held_out, prepare) if n_validation else None,
        settings,
        listeners,
        checkpoints,
        workers,
    )
