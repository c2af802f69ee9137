"""`isthmus fit`."""

from __future__ import annotations

import shlex
import shutil
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus._core import require, user_path
from isthmus.bundle import (
    bundle_lock,
    bundle_state,
    check_target,
    describe_heads,
    refuse_changed,
    refuse_to_delete_heads,
    stored_heads,
)
from isthmus.cli.commands import rank, refuse_process_group, whole_or_auto
from isthmus.cli.data_options import (
    DEFAULTS,
    ByGroup,
    DataOptions,
    point_options,
    warnings_as_lines,
    with_option_groups,
)
from isthmus.cli.labelled_data import check_detector_labels_of
from isthmus.cli.options import (
    Address,
    Causal,
    Contamination,
    Data,
    Engine,
    FalseAlarmRate,
    FalseAlarms,
    Json,
    MergeGap,
    MinLength,
    Missing,
    Normal,
    Recipe,
    Seed,
    Workers,
    console_for,
    contamination_of,
    detector_facts,
    names_or_none,
    number_or_auto,
    reads_in_chunks,
    refuse_ray,
    resumable,
    weights_by_name,
    window_label_facts,
    window_label_of,
    write_json_facts,
)
from isthmus.errors import BundleError, DataError, TrainingError


@with_option_groups
def fit(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the bundle.")],
    n_components: Annotated[str, typer.Option(help="Width of the code, or auto.")] = "auto",
    architecture: Annotated[
        str,
        typer.Option(
            help="Network: auto, dense, conv, strided, patches, conv1d, random_kernels or "
            "reference."
        ),
    ] = "auto",
    encoder_file: Annotated[
        Path | None,
        typer.Option(
            "--encoder",
            help="ONNX file whose first output is the code, in place of training; see "
            "docs/encoders.md.",
        ),
    ] = None,
    recipe: Recipe = "default",
    objective: Annotated[
        str,
        typer.Option(
            help="Objective: auto (that of the recipe), reconstruction, denoising, masked, "
            "variational, invariant; or several with weights: denoising=1,invariant=0.5."
        ),
    ] = "auto",
    augmentations: Annotated[
        str,
        typer.Option(
            help="Augmentations for the objective invariant: auto, none, or some of affine,elastic "
            "(images), jitter,scaling,crop (series), corruption (tables)."
        ),
    ] = "auto",
    max_epochs: Annotated[str, typer.Option(help="Maximum number of epochs.")] = "auto",
    batch_size: Annotated[str, typer.Option(help="Instances in a training step.")] = "auto",
    lr: Annotated[str, typer.Option(help="Maximum learning rate.")] = "auto",
    seed: Seed = 0,
    device: Annotated[
        str, typer.Option(help="Device to train on: auto, cpu, cuda or mps.")
    ] = "auto",
    reading: DataOptions = DEFAULTS,
    log_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for curves and images of TensorBoard, or mlflow:EXPERIMENT for MLflow."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume from the last checkpoint of an interrupted run."),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Delete the heads of a bundle that is at --output."),
    ] = False,
    detector: Annotated[
        bool,
        typer.Option(
            "--detector", help="Also fit an anomaly detector, on rows held out from training."
        ),
    ] = False,
    false_alarm_rate: FalseAlarmRate = None,
    false_alarms: FalseAlarms = None,
    merge_gap: MergeGap = None,
    min_length: MinLength = None,
    causal: Causal = False,
    by_group: ByGroup = False,
    normal: Normal = None,
    missing: Missing = None,
    contamination: Contamination = None,
    engine: Engine = "local",
    workers: Workers = None,
    address: Address = None,
    json: Json = None,
) -> None:
    """Train an autoencoder on instances without labels, and write a bundle with its encoder.

    Labels are not used; the column --label is no feature. Of data with a training and a test part
    the training part is used. With --kind series a table is a long one, with a row for each
    time point, and is cut into windows. A folder of Parquet or .npy files, or a pattern such as
    'events/*.parquet', is read in chunks and may be larger than memory; each long table in it is
    cut by itself.

    With --detector the data is mostly normal, and the bundle gets a head "normal" that separates
    normal from abnormal instances at --false-alarm-rate. Its threshold is calibrated on rows that
    neither the encoder nor the head was trained on. Labels are then used: 1 normal, -1 abnormal, 0
    or empty for unlabelled; others, and labels of only 0 and 1, need --normal.

    With --encoder FILE.onnx nothing is trained: the codes are those of an encoder that was trained
    elsewhere, and the bundle holds a copy of it.

    With --engine ray the workers of a Ray cluster train together, as processes of torchrun do.
    """
    options = dict(locals())
    if encoder_file is not None:
        _check_encoder_file(encoder_file, options)
    if log_dir is not None:
        require("tensorboard", extra="tensorboard", purpose="--log-dir (curves in TensorBoard)")
    check_target(output)
    state, deleted = bundle_state(output), stored_heads(output)
    if not overwrite:
        refuse_to_delete_heads(output)
    checkpoints = output.with_name(f"{output.name}-checkpoints")
    if reads_in_chunks(engine, resume=False):
        from isthmus.cli.ray_training import fit_on_ray

        refuse_process_group("fit --engine ray")
        reading = options.pop("reading")
        # A restarted worker may find the bundle that the one before it wrote.
        options |= {"engine": "local", "workers": None, "address": None, "overwrite": True}
        fit_on_ray(fit, options | vars(reading), checkpoints, workers, address)
        return
    refuse_ray(workers, address)
    console = console_for(json)
    of_points = point_options(false_alarms, merge_gap, min_length, causal, by_group)
    of_detector = {
        "--false-alarm-rate": false_alarm_rate,
        "--normal": normal,
        "--missing": missing,
        "--contamination": contamination,
        **{f"--{name.replace('_', '-')}": value for name, value in of_points.items()},
    }
    for option, value in of_detector.items():
        if value is not None and not detector:
            raise DataError(f"got {option}, which is for a detector; add --detector")
    train = reading.open(data, normal=normal, by_point=detector).train
    streamed = not train.in_memory
    by_point = not streamed and train.points is not None
    instances = train if streamed or by_point or train.group_columns else train.X
    if streamed and normal is not None:
        raise DataError(
            f"got --normal {normal}, and labels of data read in chunks are not used; leave it out"
        )
    from isthmus.autoencoder import Autoencoder
    from isthmus.detection import AnomalyDetector

    y = train.y if detector and not streamed and not by_point else None
    if y is not None or normal is not None:
        check_detector_labels_of(train, normal)
    encoder: Any = Autoencoder(
        n_components=whole_or_auto("--n-components", n_components),
        architecture=architecture,
        kind=train.kind,
        recipe=recipe,
        objective=weights_by_name("--objective", objective),
        augmentations=names_or_none(augmentations),
        max_epochs=whole_or_auto("--max-epochs", max_epochs),
        batch_size=whole_or_auto("--batch-size", batch_size),
        lr=number_or_auto("--lr", lr),
        device=device,
        random_state=seed,
        verbose=True,
        log_dir=log_dir,
        checkpoint_dir=checkpoints,
        resume=resume,
    )
    if encoder_file is not None:
        from isthmus.encoding import FrozenEncoder

        encoder = FrozenEncoder(str(encoder_file), kind=train.kind)
    heads: dict[str, Any] = {}
    resumes = encoder.trainable
    if detector:
        rate = number_or_auto("--false-alarm-rate", false_alarm_rate or "auto")
        policy: Any = missing or "unusual"
        heads["normal"] = AnomalyDetector(
            encoder,
            false_alarm_rate=rate,
            random_state=seed,
            normal=normal,
            missing=policy,
            contamination=contamination_of(contamination),
            **of_points,
        )
        resumes = heads["normal"].n_encoders(instances, y) == 1
    channel_names = None if streamed else train.channel_names
    # Here, because it imports torch, which `isthmus fit --help` does without.
    from isthmus.training import lock_checkpoints

    # Until they are deleted: another run would lose its own.
    with lock_checkpoints(checkpoints) if rank() == 0 else nullcontext():
        with resumable(checkpoints) if resumes else nullcontext(), warnings_as_lines(train):
            if detector:
                heads["normal"].fit(instances, y, channel_names=channel_names)
                encoder = heads["normal"].encoder_
            else:
                encoder.fit(instances, channel_names=channel_names)
        if rank() > 0:
            return  # rank 0 writes what all have
        from isthmus.bundle import save_bundle

        try:
            rule = window_label_of(train, by_point=by_point) if detector else None
            with bundle_lock(output):
                if overwrite:
                    refuse_changed(output, state)  # heads added in the meantime would be deleted
                save_bundle(output, encoder, heads, overwrite=overwrite, window_label=rule)
        except (OSError, BundleError) as error:
            if not resumes:
                raise
            reason = getattr(error, "strerror", None) or error
            raise TrainingError(
                f"cannot write {output} ({reason}); training is done and its last checkpoint "
                "stands: see to it, and run the same line with --resume"
            ) from error
        if resumes:
            shutil.rmtree(checkpoints, ignore_errors=True)
    facts: dict[str, Any] = {
        "dataset": train.name,
        "kind": train.kind,
        "n_train": len(train),
        "input_shape": list(train.schema.shape),
        "n_components": encoder.n_components_,
        **(_training_facts(encoder) if encoder.trainable else {"encoder": str(encoder_file)}),
        "skipped": [asdict(part) for part in train.skipped] if streamed else [],
        "digest": encoder.digest_,
        "bundle": str(output),
    }
    if train.reading:
        facts["reading"] = train.reading
    if deleted:
        facts["deleted_heads"] = deleted
    if detector:
        found = facts["detector"] = detector_facts(heads["normal"])
        found |= {} if missing is None else {"missing": missing}
        found |= window_label_facts(console, train, by_point=by_point)
        facts["n_train"] -= found["labels"]["abnormal"]
        bounded = found.get("contamination", {"n_trimmed": 0, "n_left_out": 0})
        held_out = found["n_calibration"] + bounded["n_left_out"]
        facts["n_train"] -= held_out if found["calibration"] == "split" else 0
        facts["n_train"] -= bounded["n_trimmed"]
    if encoder.trainable:
        console.print(encoder.summary())
        held_out = facts["loss"]["validation"]
        losses = f"training loss {facts['loss']['train']:.4f}"
        losses += f", validation loss {held_out:.4f}" if held_out is not None else ""
        how = f"kept epoch {facts['best_epoch']} of {facts['epochs']}: {losses}"
    else:
        how = f"by {encoder_file}, which was not trained here"
    console.print(
        f"{facts['n_train']:,} instances, {train.schema.n_features} "
        f"value{'s' * (train.schema.n_features != 1)} -> "
        f"{facts['n_components']}; {how}",
        soft_wrap=True,
    )
    for part in facts["skipped"]:
        lost = "" if part["n_rows"] is None else f", {part['n_rows']:,} rows"
        console.print(f"skipped {part['source']}{lost}: {part['reason']}", soft_wrap=True)
    if deleted:
        console.print(f"deleted {describe_heads(deleted)} of the bundle that was there")
    console.print(f"digest {encoder.digest_}")
    console.print(f"bundle {output}", soft_wrap=True)
    if detector:
        from isthmus.cli.results import print_detector  # it imports pandas

        print_detector(console, facts["detector"])
        after = ["-o", "points.csv"] if by_point and reading.time else ["--explain"]
        words = ["predict", str(output), "NEW", *reading.for_later_files(), *after]
    else:
        words = ["classify", str(output), "LABELLED"]
        words += [] if train.kind == "images" else ["--label", "COLUMN"]  # folders are classes
        words += reading.for_later_files()
    console.print(f"next   isthmus {shlex.join(words)}", soft_wrap=True)
    write_json_facts(json, facts)


#: Options of the training, which an encoder from elsewhere has none of, and their defaults.
_OF_TRAINING = {
    "n_components": "auto",
    "architecture": "auto",
    "recipe": "default",
    "objective": "auto",
    "augmentations": "auto",
    "max_epochs": "auto",
    "batch_size": "auto",
    "lr": "auto",
    "device": "auto",
    "log_dir": None,
    "resume": False,
    "engine": "local",
}


def _check_encoder_file(file: Path, options: dict[str, Any]) -> None:
    """Check that an ONNX file can be used, before data is read.

    Raises
    ------
    DataError
        When it is not there, or options of the training stand beside it.
    MissingExtraError
        When ONNX Runtime is not installed.
    """
    for name, default in _OF_TRAINING.items():
        if options[name] != default:
            option = f"--{name.replace('_', '-')}"
            raise DataError(
                f"got {option} beside --encoder, which trains nothing; leave one of them out"
            )
    require("onnxruntime", extra="onnx", purpose="--encoder")
    if not user_path(file).is_file():
        raise DataError(f"got --encoder {file}, expected an ONNX file that is there")


def _training_facts(encoder: Any) -> dict[str, Any]:
    best = encoder.history_[encoder.best_epoch_ - 1]
    return {
        "parameters": encoder.n_parameters_,
        "epochs": len(encoder.history_),
        "best_epoch": encoder.best_epoch_,
        "loss": {
            "metric": encoder.loss_,
            "train": best["train_loss"],
            "validation": best.get("validation_loss"),
        },
    }
