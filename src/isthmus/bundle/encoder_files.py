"""A fitted encoder as files in a bundle: weights, history, and plain facts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from torch import nn

from isthmus._core import write_bytes
from isthmus.autoencoder import Autoencoder, HeldOut, InstanceEncoder, TrainingRowHashes
from isthmus.bundle.frozen_encoder_files import (
    frozen_encoder_files,
    is_frozen_encoder,
    read_frozen_encoder,
    write_frozen_encoder,
)
from isthmus.bundle.manifest import (
    read_manifest,
    refuse_to_delete_heads,
    stored_heads,
    verify_files,
)
from isthmus.data import Schema
from isthmus.data.preprocessing import read_preprocessor
from isthmus.encoding import FrozenEncoder, identity_in_manifest
from isthmus.errors import BundleError
from isthmus.networks import build, check_weights, read_weights, write_weights
from isthmus.training import isolated_random_state

ENCODER, DECODER, HISTORY = "encoder.safetensors", "decoder.safetensors", "history.jsonl"
SEEN, HELD_OUT = "seen.safetensors", "held_out.safetensors"

#: What is read of every bundle; the first ones have no held-out instances.
ENCODER_FILES = (ENCODER, DECODER, HISTORY, SEEN)

# Output folders and verbosity belong to the training run, not to the model.
RUN_PARAMETERS = ("checkpoint_dir", "log_dir", "resume", "verbose")


def encoder_files(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the files that are read of a bundle, from the manifest's entry of its encoder."""
    return frozen_encoder_files(facts) if is_frozen_encoder(facts) else ENCODER_FILES


def write_encoder(encoder: InstanceEncoder, folder: Path) -> dict[str, Any]:
    """Write weights and history into a bundle's folder; return the manifest's entry.

    Raises
    ------
    FrozenError
        When the weights changed after they were fitted.
    """
    if isinstance(encoder, FrozenEncoder):
        return write_frozen_encoder(encoder, folder)
    assert isinstance(encoder, Autoencoder)  # the only other kind
    encoder.check_frozen()
    write_weights(folder / ENCODER, encoder.encoder_)
    write_weights(folder / DECODER, encoder.decoder_)
    lines = "".join(json.dumps(record) + "\n" for record in encoder.history_)
    write_bytes(folder / HISTORY, lines.encode())
    write_bytes(
        folder / SEEN, safetensors.numpy.save({"hashes": encoder.training_row_hashes_.hashes})
    )
    write_bytes(folder / HELD_OUT, safetensors.numpy.save(dict(vars(encoder.held_out_))))
    parameters = encoder.get_params()
    return {
        "digest": encoder.digest_,
        "decoder_digest": encoder.decoder_digest_,
        "architecture": encoder.spec_,
        "n_parameters": encoder.n_parameters_,
        "schema": encoder.schema_.to_dict(),
        "preprocessing": encoder.preprocessor_.to_dict(),
        "loss": encoder.loss_,
        "best_epoch": encoder.best_epoch_,
        "training": encoder.training_,
        "data_fingerprint": encoder.data_fingerprint_,
        "repeated_rows": encoder.training_row_hashes_.repeated,
        "parameters": {k: _plain(k, v) for k, v in parameters.items() if k not in RUN_PARAMETERS},
    }


def read_encoder(
    folder: Path,
    facts: Mapping[str, Any],
    architecture: tuple[nn.Module, nn.Module] | None = None,
    given: FrozenEncoder | None = None,
    trusted: Sequence[str] = (),
) -> InstanceEncoder:
    """Rebuild a fitted encoder from a bundle's folder and its manifest's entry.

    Its weights are checked against the digests of the entry; the first bundles have none of the
    decoder.

    Parameters
    ----------
    folder : path
    facts : mapping
        As `write_encoder` gave it.
    architecture : (encoder, decoder), optional
        Needed when it was fitted with modules of the user's own.
    given, trusted
        See `read_frozen_encoder`.

    Raises
    ------
    BundleError
        When a network does not have its digest, or modules are needed, or given in vain.
    """
    if is_frozen_encoder(facts):
        return read_frozen_encoder(folder, facts, given, trusted)
    if given is not None:
        raise BundleError(
            f"got encoder=, and {folder} holds an autoencoder, with its weights; leave it out"
        )
    name = str(facts["architecture"]["architecture"])
    if name.startswith("own: ") and architecture is None:
        raise BundleError(
            f"{folder} was fitted with modules of your own ({name.removeprefix('own: ')}), which "
            "are code and not in the bundle; pass load_bundle(path, architecture=(encoder, "
            "decoder))"
        )
    if architecture is None or not name.startswith("own: "):
        own = {}
    else:
        own = {"architecture": tuple(architecture)}
    if not own:
        check_weights(lambda: build(**facts["architecture"]), [folder / ENCODER, folder / DECODER])
    with isolated_random_state(0):  # the weights drawn are replaced
        networks = build(**(facts["architecture"] | own))
    read_weights(folder / ENCODER, networks.encoder)
    read_weights(folder / DECODER, networks.decoder)
    schema = Schema.from_dict(facts["schema"])
    hashes = safetensors.numpy.load_file(folder / SEEN)["hashes"]
    text = (folder / HISTORY).read_text(encoding="utf-8")
    learned = {
        "schema_": schema,
        "preprocessor_": read_preprocessor(facts["preprocessing"], schema),
        "loss_": facts["loss"],
        "training_": facts["training"],
        "best_epoch_": facts["best_epoch"],
        "data_fingerprint_": facts["data_fingerprint"],
        "training_row_hashes_": TrainingRowHashes(hashes, facts["repeated_rows"]),
        "history_": [json.loads(line) for line in text.splitlines()],
        "held_out_": _read_held_out(folder / HELD_OUT, networks.n_components),
    }
    encoder = Autoencoder.restored(facts["parameters"] | own, learned, networks)
    for name, found, expected in (
        ("encoder", encoder.digest_, facts["digest"]),
        ("decoder", encoder.decoder_digest_, facts.get("decoder_digest")),
    ):
        if expected not in (None, found):
            raise BundleError(
                f"the digest of the {name} in {folder} is {found[:12]}, expected {expected[:12]} "
                "as stored with it; the files do not belong together: copy the bundle again, whole"
            )
    return encoder


def _read_held_out(file: Path, n_components: int) -> HeldOut:
    """Read the held-out instances; the first bundles have no such file."""
    if not file.is_file():
        return HeldOut.empty(n_components)
    return HeldOut(**safetensors.numpy.load_file(file))


def _plain(name: str, value: Any) -> Any:
    """Return a constructor parameter as plain JSON values.

    Modules, objectives and augmentations of the user's own become "auto", and random
    generators None: they cannot be rebuilt from a file, and the fitted weights are stored.
    """
    try:
        return json.loads(json.dumps(value, default=_number))
    except TypeError:
        return "auto" if name in ("architecture", "objective", "augmentations") else None


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError


def facts_of_same_encoder(
    path: str | Path, encoder: InstanceEncoder, identity: str
) -> dict[str, Any]:
    """Return heads, history, metrics and head files of a bundle of the same encoder.

    {} where it has no heads.

    Parameters
    ----------
    path : path
        Of the bundle.
    encoder : Autoencoder or FrozenEncoder
        Fitted.
    identity : str
        See `encoder_identity`.

    Returns
    -------
    dict

    Raises
    ------
    BundleError
        When it has heads and another encoder, or is damaged.
    """
    if not stored_heads(path):
        return {}
    try:
        manifest = read_manifest(path)
        known = manifest["encoder"]
        same = identity_in_manifest(known) == identity
        same = same and known.get("decoder_digest") in (None, encoder.decoder_digest_)
    except (BundleError, KeyError):
        same = False
    if not same:
        refuse_to_delete_heads(path)
    verify_files(path, manifest)
    facts = {key: manifest[key] for key in ("heads", "history", "metrics") if key in manifest}
    return facts | {"files": [name for name in manifest["files"] if name.startswith("heads/")]}
