"""`isthmus fit`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

from isthmus.cli.common import (
    Data,
    DataDir,
    Json,
    Label,
    Resize,
    Seed,
    console_for,
    read_data,
    resumable,
    write_facts,
)
from isthmus.errors import DataError
from isthmus.manifest import check_target


def fit(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the bundle.")],
    n_components: Annotated[str, typer.Option(help="Width of the code.")] = "auto",
    architecture: Annotated[str, typer.Option(help="auto, dense, conv or reference.")] = "auto",
    recipe: Annotated[str, typer.Option(help="default or reference.")] = "default",
    max_epochs: Annotated[str, typer.Option(help="Most passes over the data.")] = "auto",
    batch_size: Annotated[str, typer.Option(help="Instances in a step.")] = "auto",
    lr: Annotated[str, typer.Option(help="Highest learning rate.")] = "auto",
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    label: Label = None,
    data_dir: DataDir = None,
    resize: Resize = None,
    log_dir: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's curves and pictures.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of an interrupted run.")
    ] = False,
    json: Json = None,
) -> None:
    """Learn a code from instances without labels, and write a bundle.

    Labels that the data brings are not looked at; --label leaves that column out. Of data
    with a training and a test part the training part is learned from.
    """
    console = console_for(json)
    check_target(output)
    train = read_data(data, data_dir=data_dir, label=label, resize=resize).train
    from isthmus.autoencoder import Autoencoder

    checkpoints = output.with_name(f"{output.name}-checkpoints")
    encoder = Autoencoder(
        n_components=_whole("--n-components", n_components),
        architecture=architecture,
        recipe=recipe,
        max_epochs=_whole("--max-epochs", max_epochs),
        batch_size=_whole("--batch-size", batch_size),
        lr=_number("--lr", lr),
        device=device,
        random_state=seed,
        verbose=True,
        log_dir=log_dir,
        checkpoint_dir=checkpoints,
        resume=resume,
    )
    with resumable(checkpoints):
        encoder.fit(train.X)
    encoder.save(output)
    shutil.rmtree(checkpoints, ignore_errors=True)
    kept = encoder.history_[encoder.best_epoch_ - 1]
    facts = {
        "dataset": train.name,
        "kind": train.kind,
        "n_train": len(train),
        "input_shape": list(train.schema.shape),
        "n_components": encoder.n_components_,
        "parameters": encoder.n_parameters_,
        "epochs": len(encoder.history_),
        "best_epoch": encoder.best_epoch_,
        "loss": {
            "metric": encoder.loss_,
            "train": kept["train_loss"],
            "validation": kept.get("validation_loss"),
        },
        "digest": encoder.digest_,
        "bundle": str(output),
    }
    console.print(encoder.summary())
    held_out = kept.get("validation_loss")
    told = f"training loss {kept['train_loss']:.4f}"
    told += f", validation loss {held_out:.4f}" if held_out is not None else ""
    console.print(
        f"{facts['n_train']:,} instances, {train.schema.n_features} values -> "
        f"{facts['n_components']}; kept epoch {facts['best_epoch']} of {facts['epochs']}: {told}"
    )
    console.print(f"digest {encoder.digest_}")
    console.print(f"bundle {output}", soft_wrap=True)
    console.print(f"next   isthmus classify {output} LABELLED --label COLUMN", soft_wrap=True)
    write_facts(json, facts)


def _whole(option: str, text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdigit():
        raise DataError(f"got {option} {text}, expected a whole number or auto")
    return int(text)


def _number(option: str, text: str) -> float | Literal["auto"]:
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError as error:
        raise DataError(f"got {option} {text}, expected a number or auto") from error
