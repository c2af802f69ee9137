"""Chapter "what changed": against what an encoder kept of its data, and an earlier bundle."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Bundle
from isthmus.data import Dataset
from isthmus.evaluation.against import errors_against
from isthmus.evaluation.drift import FEWEST, drift
from isthmus.evaluation.two_sample import holm
from isthmus.report.change_words import drift_in_words, errors_in_words, head_in_words
from isthmus.report.head_changes import head_changes


def change_facts(
    bundle: Bundle,
    codes: np.ndarray,
    errors: np.ndarray,
    looked_at: Dataset,
    *,
    hashes: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    earlier: Bundle | None = None,
    level: float = 0.05,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Tell what changed since an encoder was trained, and since an earlier bundle.

    Parameters
    ----------
    bundle : Bundle
    codes : array of shape (n, n_components)
        The bundle's codes of the instances looked at.
    errors : array of shape (n,)
        Their reconstruction errors.
    looked_at : Dataset of n instances
    hashes : uint64 array of shape (n,), optional
        As `bundle.encoder.row_hashes` gives them.
    labels : array of shape (n,), optional
        1 normal, -1 abnormal, 0 nobody looked: for detectors.
    earlier : Bundle, optional
        To compare encoders with, and heads of the same name and kind.
    level : float in (0, 1), default=0.05
        The chance of a false alarm: of each drift test, and of all comparisons with the earlier
        bundle together.
    seed : int, default=0

    Returns
    -------
    dict or None
        None when the encoder kept nothing of its data and there is no earlier bundle.

        `drift` : `found`, see `isthmus.evaluation.drift.drift`, None where there is too little to
        test; `n_left_out`, instances that the encoder was trained on; `n_kept`, those of the
        reference; `dependent`, whether the instances are windows that overlap; `verdict`, a
        sentence.

        `earlier` : None without one, else its `name`; `created`, `digest` and `n_components`
        (`then`, `now`); `same_encoder`; `errors`, see `errors_against`, None for the same encoder
        or other units, with `verdict`; `heads`, see `head_changes`, with `verdict`; names of
        heads that are `only_then` and `only_now`; `drift`, the same instances against what the
        earlier encoder kept. Every test has `adjusted`, Holm's p-value among all of them.

    Raises
    ------
    SchemaError
        When the earlier encoder cannot take these instances.
    """
    kept = bundle.encoder.held_out_
    if not len(kept) and earlier is None:
        return None
    if hashes is None:
        hashes = bundle.encoder.row_hashes(looked_at.X)
    dependent = _overlapping(looked_at)
    facts: dict[str, Any] = {
        "level": level,
        "drift": _drift(bundle.encoder, codes, errors, hashes, dependent, level, seed),
        "earlier": None,
    }
    if earlier is not None:
        facts["earlier"] = _against(
            bundle, earlier, codes, errors, looked_at, hashes, labels, dependent, level, seed
        )
    return facts


def _drift(
    encoder: Autoencoder,
    codes: np.ndarray,
    errors: np.ndarray,
    hashes: np.ndarray,
    dependent: bool,
    level: float,
    seed: int,
) -> dict[str, Any]:
    kept, new = encoder.held_out_, _new(encoder, hashes)
    # Who leaves out new rows with an equal among those at `fit` leaves out such kept rows too:
    # or the common ones would be on one side only, and look like a change.
    reference = np.ones(len(kept), dtype=bool) if new.all() else ~kept.repeated
    found = None
    if min(reference.sum(), new.sum()) >= FEWEST:
        found = drift(
            kept.codes[reference],
            kept.errors[reference],
            codes[new],
            errors[new],
            level=level,
            seed=seed,
        )
    facts: dict[str, Any] = {
        "found": found,
        "n_left_out": int((~new).sum()),
        "n_kept": int(reference.sum()),
        "dependent": dependent,
    }
    return facts | {"verdict": drift_in_words(facts, n_new=int(new.sum()))}


def _against(
    bundle: Bundle,
    earlier: Bundle,
    codes: np.ndarray,
    errors: np.ndarray,
    looked_at: Dataset,
    hashes: np.ndarray,
    labels: np.ndarray | None,
    dependent: bool,
    level: float,
    seed: int,
) -> dict[str, Any]:
    then, now = earlier.encoder, bundle.encoder
    codes_then, errors_then = then.transform(looked_at.X), then.reconstruction_error(looked_at.X)
    hashes_then = then.row_hashes(looked_at.X)
    new = _new(now, hashes) & _new(then, hashes_then)
    comparable = _units(then) == _units(now)
    # Scaled data gives the same weights behind another standardising.
    same = comparable and then.digest_ == now.digest_
    found = None
    if comparable and not same and new.any():
        found = errors_against(errors_then[new], errors[new])
    heads = head_changes(
        earlier, bundle, (codes_then, codes), (hashes_then, hashes), looked_at, labels
    )
    tests = [test for test in (found, *(t for head in heads for t in head["tests"])) if test]
    for test, adjusted in zip(tests, holm([test["p_value"] for test in tests]), strict=True):
        test["adjusted"] = adjusted
    for head in heads:
        head["verdict"] = head_in_words(head, level)
        del head["tests"]
    return {
        "name": earlier.path.name,
        "created": {
            "then": earlier.manifest.get("created"),
            "now": bundle.manifest.get("created"),
        },
        "digest": {"then": then.digest_, "now": now.digest_},
        "n_components": {"then": then.n_components_, "now": now.n_components_},
        "same_encoder": same,
        "errors": found,
        "verdict": errors_in_words(found, same=same, comparable=comparable, level=level),
        "heads": heads,
        "only_then": [name for name in earlier.heads if name not in bundle.heads],
        "only_now": [name for name in bundle.heads if name not in earlier.heads],
        "drift": _drift(then, codes_then, errors_then, hashes_then, dependent, level, seed),
    }


def _new(encoder: Autoencoder, hashes: np.ndarray) -> np.ndarray:
    """Return which instances the encoder was not trained on, boolean (n,).

    All, where no more equal one that it saw than chance would have it.
    """
    seen = encoder.seen_rows_.overlap(hashes)
    if seen.sum() <= encoder.seen_rows_.tolerated(len(hashes)):
        return np.ones(len(hashes), dtype=bool)
    return ~seen


def _units(encoder: Autoencoder) -> tuple[Any, ...]:
    """Return what decides the units of reconstruction errors."""
    return encoder.loss_, encoder.preprocessor_.to_dict()


def _overlapping(part: Dataset) -> bool:
    """Return whether instances are windows of which some share rows of their table."""
    windows = part.windows
    if windows is None or len(windows) < 2:
        return False
    groups = (
        np.zeros(len(windows))
        if windows.group is None
        else np.unique(windows.group, return_inverse=True)[1]
    )
    order = np.lexsort((windows.first_row, groups))
    meets = windows.first_row[order][1:] <= windows.last_row[order][:-1]
    return bool((meets & (np.diff(groups[order]) == 0)).any())
