"""A bundle: encoder, decoder, heads and all that is known about them, in one folder.

::

    press/
      manifest.json         format version, architecture, schema, parameters, metrics,
                            digests, library versions; readable without torch
      encoder.safetensors   decoder.safetensors
      history.jsonl         one line an epoch
      heads/linear/         head.skops (and head.safetensors for a neural head)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from isthmus.autoencoder import Autoencoder
from isthmus.autoencoder.parts import write_parts
from isthmus.errors import BundleError
from isthmus.heads import CodeClassifier
from isthmus.heads.parts import read_head, write_head
from isthmus.manifest import new_bundle, read_manifest, verify_files, write_manifest


@dataclass
class Bundle:
    """What `load_bundle` gives.

    Attributes
    ----------
    path : Path
    manifest : dict
        Plain values, as in `manifest.json`.
    encoder : Autoencoder
        Fitted.
    heads : dict of str to CodeClassifier
        Fitted, bound to the encoder.
    """

    path: Path
    manifest: dict[str, Any]
    encoder: Autoencoder
    heads: dict[str, CodeClassifier] = field(default_factory=dict)

    def head(self, name: str | None = None) -> CodeClassifier:
        """Return a head by name; without one the head that was fitted last.

        Raises
        ------
        BundleError
            When there is no such head.
        """
        if name is None and self.heads:
            return self.heads[last_head(self.manifest)]
        if name not in self.heads:
            known = ", ".join(self.heads) or "none"
            raise BundleError(
                f"{self.path} has no head {name or ''!r} (heads: {known}); "
                "fit one with: isthmus classify BUNDLE LABELLED --label COLUMN"
            )
        return self.heads[name]


def save_bundle(
    path: str | Path,
    encoder: Autoencoder,
    heads: Mapping[str, CodeClassifier] | None = None,
    *,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle; an earlier one at `path` is replaced only when all is written.

    Parameters
    ----------
    path : path
    encoder : fitted Autoencoder
    heads : mapping of name to fitted CodeClassifier, optional
        Fitted on this very encoder.
    metrics : mapping, optional
        Plain values to keep beside them; what stands under a head's name goes with it.

    Raises
    ------
    BundleError
        When a head belongs to another encoder, or `path` holds something that is not a
        bundle.
    """
    metrics = dict(metrics or {})
    with new_bundle(path) as folder:
        facts = {"encoder": write_parts(encoder, folder), "heads": {}, "metrics": metrics}
        for name, classifier in (heads or {}).items():
            facts["heads"][name] = _add(folder, name, classifier, encoder.digest_, metrics)
        write_manifest(folder, facts)


def add_head(
    path: str | Path,
    name: str,
    classifier: CodeClassifier,
    *,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Add a head to a saved bundle, or replace the one of that name; the rest stays.

    Parameters
    ----------
    path : path
        Of a bundle with the classifier's encoder.
    name : str
    classifier : fitted CodeClassifier
    metrics : mapping, optional
        Plain values measured for this head.
    """
    manifest = read_manifest(path)
    with new_bundle(path) as folder:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        shutil.rmtree(folder / "heads" / name, ignore_errors=True)
        entry = _add(
            folder, name, classifier, manifest["encoder"]["digest"], {name: dict(metrics or {})}
        )
        others = {known: kept for known, kept in manifest["heads"].items() if known != name}
        heads = others | {name: entry}
        facts = {"encoder": manifest["encoder"], "heads": heads}
        write_manifest(folder, facts | {"metrics": manifest.get("metrics", {})})


def load_bundle(
    path: str | Path,
    *,
    architecture: tuple[nn.Module, nn.Module] | None = None,
    trusted: Sequence[str] = (),
) -> Bundle:
    """Load a bundle after checking every file against the manifest.

    Parameters
    ----------
    path : path
    architecture : (encoder, decoder), optional
        The modules it was fitted with, when these were the person's own.
    trusted : sequence of str, optional
        Types of scikit-learn heads that skops does not vouch for, after you looked at
        them: an error names them.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        When there is no bundle, a file is missing or damaged, the format is newer, or
        the weights are not those the manifest speaks of.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(100, 6))
    >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder.save(f"{folder}/press")
    ...     same = load_bundle(f"{folder}/press").encoder
    >>> bool((same.transform(X) == encoder.transform(X)).all())
    True
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    facts = manifest["encoder"]
    own = str(facts["architecture"]["architecture"]).startswith("own: ")
    if own and architecture is None:
        raise BundleError(
            f"{folder} was fitted with modules of your own "
            f"({facts['architecture']['architecture'].removeprefix('own: ')}), which are code and "
            "not in the bundle; pass load_bundle(path, architecture=(encoder, decoder))"
        )
    encoder = Autoencoder.load_parts(folder, facts, architecture if own else None)
    if encoder.digest_ != facts["digest"]:
        raise BundleError(
            f"the encoder's digest is {encoder.digest_[:12]}, the manifest of {folder} says "
            f"{facts['digest'][:12]}; save the bundle again"
        )
    heads = {
        name: read_head(folder / "heads" / name, entry, encoder, trusted)
        for name, entry in manifest["heads"].items()
    }
    return Bundle(folder, manifest, encoder, heads)


def last_head(manifest: Mapping[str, Any]) -> str:
    """Return the name of the head that was fitted last."""
    return list(manifest["heads"])[-1]


def _add(
    folder: Path,
    name: str,
    classifier: CodeClassifier,
    digest: str,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
        raise BundleError(
            f"got the head's name {name!r}, which names a folder; "
            "expected letters, digits, '-' and '_'"
        )
    if classifier.digest_after_ != digest:
        raise BundleError(
            f"the head {name!r} was fitted on the codes of another encoder (digest "
            f"{classifier.digest_after_[:12]}, here {digest[:12]}); fit it on this one"
        )
    facts = write_head(folder / "heads" / name, classifier)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return facts | {"created": created, "metrics": dict(metrics.get(name, {}))}
