"""A bundle: encoder, decoder and heads, with their metadata, in one folder.

::

    press/
      manifest.json         format version, architecture, schema, parameters, metrics,
                            digests, library versions; readable without torch
      encoder.safetensors   decoder.safetensors
      history.jsonl         one line an epoch
      seen.safetensors      hashes of the training rows
      held_out.safetensors  codes and errors of instances it was not trained on
      heads/linear/1/       head.skops (and head.safetensors for a neural head)
      heads/normal/1/       detector.safetensors, and the encoders of its folds, if any
      heads/normal/2/       the next version; every version stays
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from isthmus._core import copy_files, isolated_from_host, reading, user_path
from isthmus.autoencoder import InstanceEncoder
from isthmus.bundle.encoder_files import (
    encoder_files,
    facts_of_same_encoder,
    read_encoder,
    write_encoder,
)
from isthmus.bundle.head_binding import Head, check_bound, decisions, reasons_of
from isthmus.bundle.head_folders import add_version, read_head
from isthmus.bundle.head_versions import architecture_name, history, last_head, version_folder
from isthmus.bundle.manifest import (
    bundle_files,
    bundle_lock,
    bundle_state,
    check_target,
    new_bundle,
    read_manifest,
    require_files,
    verify_files,
    write_manifest,
)
from isthmus.data import as_instances, prediction_columns, row_index
from isthmus.detection import AnomalyDetector
from isthmus.encoding import FrozenEncoder, encoder_identity, identity_in_manifest
from isthmus.errors import BundleError


@dataclass(repr=False)
class Bundle:
    """A loaded bundle.

    Attributes
    ----------
    path : Path
    manifest : dict
        Plain values, as in `manifest.json`.
    encoder : Autoencoder or FrozenEncoder
        Fitted.
    heads : dict of str to CodeClassifier or AnomalyDetector
        Fitted, bound to the encoder: the current version of each.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isthmus import Autoencoder
    >>> normal = np.random.default_rng(0).normal(size=(200, 6))
    >>> detector = AnomalyDetector(
    ...     Autoencoder(max_epochs=2), "neighbours", 0.05, "split", random_state=0
    ... ).fit(normal)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bundle(f"{folder}/press", detector.encoder_, {"normal": detector})
    ...     version = add_head(f"{folder}/press", "normal", detector.set_false_alarm_rate(0.1))
    ...     bundle = load_bundle(f"{folder}/press")
    >>> bundle.heads["normal"].false_alarm_rate_
    0.1
    >>> bundle.predictions(normal[:2]).columns.tolist()
    ['prediction', 'anomaly_score', 'p_value', 'reconstruction_error']
    >>> bundle.head("normal") is bundle.detector(), len(bundle.history("normal"))
    (True, 2)
    >>> len(bundle.reasons(normal[:2]))
    2
    >>> [(head["version"], head["false_alarm_rate"]) for head in bundle.history("normal")]
    [(1, 0.05), (2, 0.1)]
    >>> print(str(bundle).partition(", ")[2])
    table of 6, dense encoder of 3 numbers, heads: normal (AnomalyDetector))
    """

    path: Path
    manifest: dict[str, Any]
    encoder: InstanceEncoder
    heads: dict[str, Head] = field(default_factory=dict)

    def __repr__(self) -> str:
        schema, design = self.encoder.schema_, architecture_name(self.manifest["encoder"])
        what = f"{schema.kind} of {' x '.join(map(str, schema.shape))}, {design}"
        heads = [f"{name} ({type(head).__name__})" for name, head in self.heads.items()]
        width = f"encoder of {self.encoder.n_components_} numbers"
        return f"Bundle({str(self.path)!r}, {what} {width}, heads: {', '.join(heads) or 'none'})"

    def head(self, name: str | None = None) -> Head:
        """Return a head by name; without one the head that was fitted last.

        Parameters
        ----------
        name : str, optional

        Returns
        -------
        CodeClassifier or AnomalyDetector

        Raises
        ------
        BundleError
            When there is no such head.
        """
        if name is None and self.heads:
            return self.heads[last_head(self.manifest)]
        if name not in self.heads:
            which = f"head {name!r} (heads: {', '.join(self.heads)})" if self.heads else "head yet"
            raise BundleError(
                f"{self.path} has no {which}; "
                "fit one with: isthmus classify BUNDLE LABELLED --label COLUMN, "
                "or: isthmus detect BUNDLE NORMAL"
            )
        return self.heads[name]

    def detector(self, name: str | None = None) -> AnomalyDetector:
        """Return a detector by name; without one the detector that was fitted last.

        Parameters
        ----------
        name : str, optional

        Returns
        -------
        AnomalyDetector

        Raises
        ------
        BundleError
            When there is none, or the head of that name is no detector.
        """
        detectors = [key for key, head in self.heads.items() if isinstance(head, AnomalyDetector)]
        if name is None and detectors:
            name = detectors[-1]
        head = self.heads.get(name or "")
        if not isinstance(head, AnomalyDetector):
            what = f"no detector {name!r}" if name else "no detector"
            raise BundleError(
                f"{self.path} has {what} (detectors: {', '.join(detectors) or 'none'}); "
                "fit one with: isthmus detect BUNDLE NORMAL"
            )
        return head

    @isolated_from_host()
    def predictions(
        self,
        X: Any,
        head: str | None = None,
        *,
        explain: bool = False,
        groups: Any = None,
        alpha: float | None = None,
        by_class: bool = False,
    ) -> pd.DataFrame:
        """Return what a head predicts for instances in memory, as `isthmus predict` writes it.

        Parameters
        ----------
        X : array or DataFrame of n instances
        head : str, optional
            Its name; without one the head that was fitted last.
        explain : bool, default=False
            Add the columns of `Explanation.frame`; for detectors.
        groups
            Of a detector that decides by group, see `AnomalyDetector.predict`.
        alpha : float in (0, 1), optional
            Add sets of classes, see `CodeClassifier.predict_set`.
        by_class : bool, default=False
            As in `CodeClassifier.predict_set`.

        Returns
        -------
        DataFrame
            n rows, with the index of X; the columns of `isthmus.data.prediction_columns`.

        Raises
        ------
        BundleError, DataError
            When there is no such head; for explanations of a classifier or sets of a detector.
        """
        decider = self.head(head)
        reasons = self.reasons(X, head) if explain else None
        found = decisions(decider, X, groups, alpha=alpha, by_class=by_class)
        X = as_instances(X).held
        if self.encoder.has_decoder:
            found["reconstruction_error"] = self.encoder.reconstruction_error(X)
        columns = prediction_columns(found, getattr(decider, "classes_", ()), reasons, alpha)
        return pd.DataFrame(columns, index=row_index(X))

    def reasons(self, X: Any, head: str | None = None) -> pd.DataFrame:
        """Return the columns that explain a detector's decisions, see `Explanation.frame`.

        Parameters
        ----------
        X : array or DataFrame of n instances
        head : str, optional

        Returns
        -------
        DataFrame of n rows

        Raises
        ------
        BundleError, DataError
            When there is no such head, or it is a classifier.
        """
        return reasons_of(self.head(head), X)

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return all versions of a head, oldest first; see `isthmus.bundle.history`.

        Parameters
        ----------
        name : str

        Returns
        -------
        list of dict
        """
        return history(self.manifest, name)


@isolated_from_host()
def save_bundle(
    path: str | Path,
    encoder: InstanceEncoder,
    heads: Mapping[str, Head] | None = None,
    *,
    metrics: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    window_label: str | None = None,
) -> None:
    """Write a bundle; an earlier one at `path` is replaced once all files are written.

    Heads of an earlier bundle of the same encoder stay, and a head given here becomes the next
    version of one of its name. Heads of another encoder are never deleted unasked.

    Parameters
    ----------
    path : path
    encoder : fitted Autoencoder or FrozenEncoder
        Of a detector that trained its own: `detector.encoder_`.
    heads : mapping of name to fitted CodeClassifier or AnomalyDetector, optional
        Fitted on this very encoder.
    metrics : mapping, optional
        Plain values to store beside them; those under a head's name are stored with the head.
    overwrite : bool, default=False
        Delete all heads of an earlier bundle at `path`, also those of the same encoder.
    window_label : str, optional
        The rule that labels of windows followed, see `add_head`.

    Raises
    ------
    BundleError
        When a head belongs to another encoder, `path` holds something that is not a bundle, or
        the bundle there has heads of another encoder and `overwrite` is False.
    FrozenError
        When the weights changed after they were fitted.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isthmus import Autoencoder, CodeClassifier
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(X)
    >>> sign = CodeClassifier(encoder).fit(X[:50], X[:50, 0] > 0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bundle(f"{folder}/press", encoder, {"sign": sign})
    ...     same = load_bundle(f"{folder}/press").heads["sign"]
    >>> bool((same.predict(X) == sign.predict(X)).all())
    True
    """
    metrics = dict(metrics or {})
    identity = encoder_identity(encoder)
    check_target(path)
    with bundle_lock(path):
        state = bundle_state(path)
        earlier = {} if overwrite else facts_of_same_encoder(path, encoder, identity)
        with new_bundle(path, state) as folder:
            copy_files(user_path(path), folder, earlier.pop("files", ()))
            facts: dict[str, Any] = {"heads": {}} | earlier
            facts |= {
                "encoder": write_encoder(encoder, folder),
                "metrics": earlier.get("metrics", {}) | metrics,
            }
            for name, head in (heads or {}).items():
                check_bound(name, head, encoder.digest_, identity, encoder.decoder_digest_)
                facts |= add_version(folder, facts, name, head, metrics.get(name, {}), window_label)
            write_manifest(folder, facts)


def add_head(
    path: str | Path,
    name: str,
    head: Head,
    *,
    metrics: Mapping[str, Any] | None = None,
    window_label: str | None = None,
) -> int:
    """Add a head to a saved bundle; one of that name becomes an earlier version of it.

    Parameters
    ----------
    path : path
        Of a bundle with the head's encoder.
    name : str
    head : fitted CodeClassifier or AnomalyDetector
    metrics : mapping, optional
        Plain values measured for this head.
    window_label : str, optional
        The rule that labels of windows followed, `data.window_label`, for `read_window_label`.
        Default: that of the version before.

    Returns
    -------
    int
        Its version: 1 for the first head of that name.

    Raises
    ------
    BundleError
        When the head belongs to another encoder, or a file of the bundle is damaged.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> from isthmus import Autoencoder, CodeClassifier
    >>> X = np.random.default_rng(0).normal(size=(100, 6))
    >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(X)
    >>> encoder.save(folder := mkdtemp())
    >>> add_head(folder, "sign", CodeClassifier(encoder).fit(X, X[:, 0] > 0))
    1
    """
    metrics = {name: metrics or {}}
    return add_heads(path, {name: head}, metrics=metrics, window_label=window_label)[name]


@isolated_from_host()
def add_heads(
    path: str | Path,
    heads: Mapping[str, Head],
    *,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    window_label: str | None = None,
) -> dict[str, int]:
    """Add several heads to a saved bundle as `add_head` does, all of them or none.

    Parameters
    ----------
    path : path
        Of a bundle with the heads' encoder.
    heads : mapping of name to fitted CodeClassifier or AnomalyDetector
    metrics : mapping of name to mapping, optional
    window_label : str, optional

    Returns
    -------
    dict of str to int
        The version of each.

    Raises
    ------
    BundleError
        When a head belongs to another encoder, or a file of the bundle is damaged.
    """
    read_manifest(path)  # before a lock is made beside it
    with bundle_lock(path):
        return _add_heads(path, heads, metrics or {}, window_label)


def _add_heads(
    path: str | Path,
    heads: Mapping[str, Head],
    metrics: Mapping[str, Mapping[str, Any]],
    window_label: str | None,
) -> dict[str, int]:
    state = bundle_state(path)
    manifest = read_manifest(path)
    verify_files(path, manifest)
    encoder = manifest["encoder"]
    bound_to = encoder["digest"], identity_in_manifest(encoder), encoder.get("decoder_digest")
    for name, head in heads.items():
        check_bound(name, head, *bound_to)
    carried = ("encoder", "heads", "history", "metrics")
    facts: dict[str, Any] = {key: manifest[key] for key in carried if key in manifest}
    with new_bundle(path, state) as folder:
        copy_files(user_path(path), folder, bundle_files(user_path(path)))
        for name, head in heads.items():
            facts |= add_version(folder, facts, name, head, metrics.get(name, {}), window_label)
        write_manifest(folder, facts)
    return {name: int(facts["heads"][name]["version"]) for name in heads}


@isolated_from_host()
def load_bundle(
    path: str | Path,
    *,
    architecture: tuple[nn.Module, nn.Module] | None = None,
    encoder: FrozenEncoder | None = None,
    trusted: Sequence[str] = (),
) -> Bundle:
    """Load a bundle after checking every file against the manifest.

    Parameters
    ----------
    path : path
    architecture : (encoder, decoder), optional
        The modules it was fitted with, when these were the user's own.
    encoder : FrozenEncoder, optional
        With what is code of a `FrozenEncoder`, fitted or not: module, function, `preprocess`.
    trusted : sequence of str, optional
        Types in scikit-learn heads that skops does not trust by itself, once you have checked
        them; an error lists them.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        When there is no bundle, a file is missing or damaged, the format is newer, or
        the weights do not have the digest in the manifest.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isthmus import Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(100, 6))
    >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder.save(f"{folder}/press")
    ...     same = load_bundle(f"{folder}/press").encoder
    >>> bool((same.transform(X) == encoder.transform(X)).all())
    True
    """
    folder = user_path(path)
    for _ in range(_READS - 1):
        state = bundle_state(folder)
        try:
            return _load(folder, architecture, encoder, trusted)
        except (BundleError, OSError):
            # A bundle that was replaced in the meantime is read again.
            if bundle_state(folder) == state:
                raise
    return _load(folder, architecture, encoder, trusted)


#: How often a bundle is read that is replaced while it is read.
_READS = 5


def _load(
    folder: Path,
    architecture: tuple[nn.Module, nn.Module] | None,
    given: FrozenEncoder | None,
    trusted: Sequence[str],
) -> Bundle:
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    with reading(folder, BundleError, "it is damaged: copy or save the bundle again"):
        facts = manifest["encoder"]
        require_files(folder, manifest, encoder_files(facts))
        encoder = read_encoder(folder, facts, architecture, given, trusted)
        places = {
            name: version_folder(name, entry["version"])
            for name, entry in manifest["heads"].items()
        }
        require_files(folder, manifest, list(places.values()))
        heads = {
            name: read_head(folder / places[name], entry, encoder, trusted)
            for name, entry in manifest["heads"].items()
        }
    return Bundle(folder, manifest, encoder, heads)
