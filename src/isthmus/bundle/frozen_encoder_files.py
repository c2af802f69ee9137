"""A `FrozenEncoder` as files in a bundle, without pickle.

::

    encoder.safetensors   weights of a torch module, whose code is given again to load it
    encoder.onnx          an ONNX file, as it was
    encoder.skops         a scikit-learn transformer
    trial.safetensors     codes of instances drawn at random, with which what is loaded is compared

Functions are code, which no bundle holds: a `preprocess` or a function as the model is given again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.numpy
import safetensors.torch

from isthmus._core import check_archive, write_bytes
from isthmus.classification import TRUSTED_TYPES
from isthmus.data import Schema
from isthmus.data.preprocessing import read_preprocessor
from isthmus.encoding import (
    Backend,
    FrozenEncoder,
    OnnxBackend,
    PrecomputedBackend,
    TorchBackend,
    TransformerBackend,
    backend_of,
)
from isthmus.errors import BundleError
from isthmus.networks import read_weights

#: Value of `kind` in the manifest's entry; an autoencoder has none.
FROZEN = "frozen"
TRIAL = "trial.safetensors"
#: File of the model, by the kind of its backend.
MODEL_FILES = {
    "torch": "encoder.safetensors",
    "onnx": "encoder.onnx",
    "scikit-learn": "encoder.skops",
}


def is_frozen_encoder(facts: Mapping[str, Any]) -> bool:
    """Return whether the manifest's entry of an encoder is that of a `FrozenEncoder`."""
    return facts.get("kind") == FROZEN


def frozen_encoder_files(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the files that are read of a bundle with such an encoder."""
    model = MODEL_FILES.get(facts["backend"])
    return (TRIAL,) if model is None else (TRIAL, model)


def write_frozen_encoder(encoder: FrozenEncoder, folder: Path) -> dict[str, Any]:
    """Write a model into a bundle's folder; return the manifest's entry.

    Raises
    ------
    BundleError
        When skops cannot store the transformer so that it loads as it is.
    FrozenError
        When the model changed after it was fitted.
    """
    encoder.check_frozen()
    backend = encoder.backend_
    facts: dict[str, Any] = {
        "kind": FROZEN,
        "backend": backend.kind,
        "model": backend.name,
        "digest": encoder.digest_,
        "decoder_digest": None,
        "architecture": encoder.spec_,
        "schema": encoder.schema_.to_dict(),
        "preprocessing": encoder.preprocessor_.to_dict(),
        "n_rows": encoder.n_rows_,
        "loss": None,
        "training": {},
        "data_fingerprint": None,
        "parameters": {"kind": encoder.kind, "batch_size": encoder.batch_size},
    }
    if isinstance(backend, TorchBackend):
        # Copies, as safetensors takes no tensors that share memory.
        state = {name: value.cpu().clone() for name, value in backend.module.state_dict().items()}
        write_bytes(
            folder / MODEL_FILES[backend.kind],
            safetensors.torch.save({name: value.contiguous() for name, value in state.items()}),
        )
    elif isinstance(backend, OnnxBackend):
        write_bytes(folder / MODEL_FILES[backend.kind], backend.content)
    elif isinstance(backend, TransformerBackend):
        packed, types = _packed(backend)
        write_bytes(folder / MODEL_FILES[backend.kind], packed)
        facts["types_to_trust"] = types
    codes = encoder.trial_codes_
    write_bytes(folder / TRIAL, safetensors.numpy.save({} if codes is None else {"codes": codes}))
    return facts


def read_frozen_encoder(
    folder: Path,
    facts: Mapping[str, Any],
    given: FrozenEncoder | None = None,
    trusted: Sequence[str] = (),
) -> FrozenEncoder:
    """Rebuild a `FrozenEncoder` from a bundle's folder and its manifest's entry.

    Parameters
    ----------
    folder : path
    facts : mapping
        As `write_frozen_encoder` gave it.
    given : FrozenEncoder, optional
        With what the bundle does not hold: a module of the same layers, whatever its weights; the
        function that is the model; `preprocess`.
    trusted : sequence of str, optional
        Types that skops does not trust by itself.

    Raises
    ------
    BundleError
        When something has to be given, is of another kind, or gives other codes than stored.
    """
    _check_given(folder, facts, given)
    kind, file = facts["backend"], folder / MODEL_FILES.get(facts["backend"], "")
    if kind == "onnx":
        backend: Backend = OnnxBackend(file)
        backend.name = facts["model"]
    elif kind == "scikit-learn":
        backend = TransformerBackend(_read_transformer(file, facts, trusted))
    elif kind == "precomputed":
        backend = PrecomputedBackend()
    else:
        assert given is not None  # as was checked
        backend = backend_of(given.model)
        if isinstance(backend, TorchBackend):
            read_weights(file, backend.module)
    schema = Schema.from_dict(facts["schema"])
    stored = safetensors.numpy.load_file(folder / TRIAL)
    encoder = FrozenEncoder.restored(
        backend,
        {
            "model": _model(backend, file, given),
            "preprocess": None if given is None else given.preprocess,
            **facts["parameters"],
        },
        {
            "schema_": schema,
            "preprocessor_": read_preprocessor(facts["preprocessing"], schema),
            "spec_": dict(facts["architecture"]),
            "n_rows_": facts["n_rows"],
            "trial_codes_": stored.get("codes"),
            "digest_": facts["digest"],
        },
    )
    if (found := encoder.encoder_digest()) != facts["digest"]:
        raise BundleError(
            f"the encoder of {folder} is another one than the bundle was saved with: digest "
            f"{found[:12]}, expected {facts['digest'][:12]}; pass load_bundle(path, encoder="
            "FrozenEncoder(...)) the same model and preprocess, or copy the bundle again, whole"
        )
    if not encoder.gives_codes_of_fit():
        raise BundleError(
            f"the encoder of {folder} gives other codes than when the bundle was saved; pass "
            "load_bundle(path, encoder=FrozenEncoder(...)) the same model and preprocess"
        )
    return encoder


def _check_given(folder: Path, facts: Mapping[str, Any], given: FrozenEncoder | None) -> None:
    """Check that what the bundle does not hold is given."""
    missing = []
    if facts["backend"] in ("torch", "callable"):
        missing.append(f"the {facts['backend']} model {facts['model']}")
    if facts["architecture"]["preprocess"] is not None:
        missing.append(f"preprocess {facts['architecture']['preprocess']}")
    if missing and given is None:
        raise BundleError(
            f"{folder} was saved with {' and '.join(missing)}, which are code and not in the "
            "bundle; pass load_bundle(path, encoder=FrozenEncoder(model, preprocess)), in Python; "
            "a module may have any weights, as those of the bundle are read"
        )
    if given is None:
        return
    if facts["backend"] in ("torch", "callable"):
        kind = backend_of(given.model).kind
        if kind != facts["backend"]:
            raise BundleError(
                f"got encoder= with a model of kind {kind}, expected {facts['backend']} as in "
                f"{folder}: {facts['model']}"
            )
    if (given.preprocess is None) != (facts["architecture"]["preprocess"] is None):
        has = facts["architecture"]["preprocess"] or "none"
        raise BundleError(
            f"got encoder= {'without' if given.preprocess is None else 'with'} preprocess, and "
            f"{folder} was saved with {has}; pass the same"
        )


def _model(backend: Backend, file: Path, given: FrozenEncoder | None) -> Any:
    """Return the parameter `model` of an encoder that was loaded."""
    if isinstance(backend, OnnxBackend):
        return str(file)
    if isinstance(backend, TransformerBackend):
        return backend.transformer
    if isinstance(backend, TorchBackend):
        return backend.module
    return backend.kind if given is None else given.model


def _packed(backend: TransformerBackend) -> tuple[bytes, list[str]]:
    """Return a transformer as skops writes it, and the types to trust when it is read."""
    import skops.io  # takes a second: only when a transformer is written or read

    try:
        packed = skops.io.dumps(backend.transformer)
        types = skops.io.get_untrusted_types(data=packed)
        again = TransformerBackend(skops.io.loads(packed, trusted=types))
    except Exception as error:  # of types that skops does not know, of many kinds
        raise BundleError(
            f"skops cannot store the transformer {backend.name} ({error}); put functions of your "
            "own into preprocess, or into a model that is a function"
        ) from error
    if again.digest() != backend.digest():
        raise BundleError(
            f"the transformer {backend.name} would load from skops as another one; wrap it in a "
            "function, as in FrozenEncoder(transformer.transform), which is given again to load"
        )
    return packed, sorted(set(types).difference(TRUSTED_TYPES))


def _read_transformer(file: Path, facts: Mapping[str, Any], trusted: Sequence[str]) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    check_archive(file)
    try:
        return skops.io.load(file, trusted=[*TRUSTED_TYPES, *trusted])
    except UntrustedTypesFoundException as error:
        raise BundleError(
            f"{file} holds types that could run code when loaded: {facts['types_to_trust']}; when "
            "you trust where the bundle is from, pass "
            f"load_bundle(path, trusted={facts['types_to_trust']})"
        ) from error
