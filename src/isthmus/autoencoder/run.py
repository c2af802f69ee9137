"""One training run of an autoencoder: who trains, who validates, who watches, what is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from isthmus.autoencoder.model import Model
from isthmus.autoencoder.sources import Source
from isthmus.errors import TrainingError
from isthmus.networks import Networks
from isthmus.objectives import Objective
from isthmus.training import (
    Checkpoints,
    Listener,
    Progress,
    ProgressBar,
    Settings,
    TensorBoard,
    train,
)

if TYPE_CHECKING:
    from isthmus.autoencoder.estimator import Autoencoder


def run_training(
    encoder: Autoencoder,
    source: Source,
    networks: Networks,
    objective: Objective,
    settings: Settings,
) -> Progress:
    """Train networks in place, as the parameters of an autoencoder say.

    Parameters
    ----------
    encoder : Autoencoder
        With schema, preprocessing and settled choices, its networks yet to come.
    source : Source
        Instances; some of them, drawn at random, choose the best epoch.
    networks : Networks
    objective : Objective
        Ready for network and data.
    settings : Settings
    """
    network = Model(networks, objective)
    n_validation = 0 if source.validation is None else len(source.validation)
    prepare, loss = encoder.preprocessor_.to_network, encoder.loss_
    checkpoints = None
    if encoder.checkpoint_dir is not None:
        run = encoder.training_ | {"architecture": networks.spec, "loss": loss}
        run |= {"n_validation": n_validation, "data": encoder.data_fingerprint_}
        checkpoints = Checkpoints(encoder.checkpoint_dir, run, resume=encoder.resume)
    elif encoder.resume:
        raise TrainingError("got resume=True without a checkpoint_dir; pass the one to go on from")
    listeners: list[Listener] = []
    if encoder.verbose:
        done = checkpoints.epochs_done() if checkpoints else 0
        listeners.append(ProgressBar("training", len(source.training), settings.max_epochs, done))
    if encoder.log_dir is not None:
        images = encoder.schema_.kind == "images"
        examples = prepare(source.examples(10)) if images else None
        to_picture = torch.sigmoid if loss == "bce" else torch.clone
        listeners.append(TensorBoard(encoder.log_dir, examples, to_picture))
    return train(
        network,
        objective,
        source.training,
        source.validation,
        settings,
        listeners,
        checkpoints,
    )
