"""A tree of arrays and plain values on disk: arrays as safetensors, the rest for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from isthmus.errors import BundleError
from isthmus.storage import write_bytes


def write_state(path: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """Write the arrays of a tree as one safetensors file, and return the rest.

    Parameters
    ----------
    path : Path
    state : mapping of str to array, NumPy scalar, plain value or such a mapping
        Names without a slash.

    Returns
    -------
    dict
        The tree without its arrays and NumPy scalars, as JSON can hold it.
    """
    arrays: dict[str, np.ndarray] = {}
    plain = _without_arrays(state, "", arrays)
    write_bytes(path, safetensors.numpy.save(arrays))
    return plain


def read_state(path: Path, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Put together again what `write_state` wrote and what it returned.

    Values and dtypes are those that were written; all arrays are C-contiguous.

    Raises
    ------
    BundleError
        When the file is missing or damaged.
    """
    try:
        arrays = safetensors.numpy.load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} is damaged ({error}); copy or save the bundle again") from error
    state = _copied(plain)
    for name, value in arrays.items():
        *groups, last = name.split("/")
        place = state
        for group in groups:
            place = place.setdefault(group, {})
        # A copy, because what was loaded is read-only; () makes a scalar of no dimensions.
        place[last] = np.array(value)[()]
    return state


def _without_arrays(
    state: Mapping[str, Any], prefix: str, arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Mapping):
            plain[name] = _without_arrays(value, f"{prefix}{name}/", arrays)
        elif isinstance(value, np.ndarray | np.generic):
            arrays[prefix + name] = np.asarray(value, order="C")
        else:
            plain[name] = value
    return plain


def _copied(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copied(v) if isinstance(v, Mapping) else v for k, v in plain.items()}
