"""Labels as the text that people read in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.labels import MISSING, as_labels, distinct_names
from isthmus.errors import DataError


def name_classes(
    labels: Sequence[Any], class_names: Sequence[str] | None = None
) -> tuple[list[str], list[np.ndarray]]:
    """Return the names of all classes, and for each array of labels the classes' positions.

    Parameters
    ----------
    labels : sequence of arrays of shape (n_i,)
        Integers, strings or other labels, which may differ in which classes they hold.
    class_names : sequence of str, optional
        Names for the sorted distinct labels, of all arrays or of the first. Otherwise
        labels are looked up among the names, or, as integers, count them from 0.

    Returns
    -------
    names : list of str
    positions : list of integer arrays of shape (n_i,)
        Indices into `names`; -1 where an instance has no label.

    Raises
    ------
    DataError
        When names and labels do not match.

    Examples
    --------
    >>> name_classes([[0, 2, 1], [2, None]], ["cat", "dog", "eel"])
    (['cat', 'dog', 'eel'], [array([0, 2, 1]), array([ 2, -1])])
    """
    arrays = [as_labels(y) for y in labels]
    distinct = _distinct(np.concatenate([y.astype(object) for y in arrays]))
    names, of_text = _match(distinct, _distinct(arrays[0]), class_names)
    return names, [_positions(y, of_text) for y in arrays]


def readable(name: str, width: int) -> str:
    r"""Return a name on one line of at most `width` characters, its middle cut when longer.

    Examples
    --------
    >>> readable("a name\nof many words", 12), readable("US$", 12)
    ('a name…words', 'US\\$')
    """
    name = " ".join(str(name).split())
    if len(name) > width:
        tail = max(1, width // 2 - 1)
        name = f"{name[: width - tail - 1].rstrip()}…{name[-tail:]}"
    # Unescaped, matplotlib would set what stands between two dollar signs as a formula.
    return name.replace("$", r"\$")


def _distinct(y: np.ndarray) -> list[str]:
    return list(dict.fromkeys(distinct_names(y)))


def _match(
    distinct: list[str], first: list[str], class_names: Sequence[str] | None
) -> tuple[list[str], dict[str, int]]:
    if class_names is None:
        return distinct, {text: position for position, text in enumerate(distinct)}
    names = [str(name) for name in class_names]
    if len(names) == len(distinct):
        return names, {text: position for position, text in enumerate(distinct)}
    if len(names) == len(first):
        strangers = [text for text in distinct if text not in first]
        order = first + strangers
        return names + strangers, {text: position for position, text in enumerate(order)}
    if set(distinct) <= set(names):
        return names, {text: names.index(text) for text in distinct}
    if all(text.isdecimal() and int(text) < len(names) for text in distinct):
        return names, {text: int(text) for text in distinct}
    raise DataError(
        f"got {len(names)} class names for {len(distinct)} distinct labels "
        f"({', '.join(distinct[:5])}{', …' * (len(distinct) > 5)}); "
        "expected one name for each distinct label, in sorted order"
    )


def _positions(y: np.ndarray, of_text: dict[str, int]) -> np.ndarray:
    series = pd.Series(y, dtype=object)
    missing = ~MISSING.has_label(y)
    positions = np.full(len(y), -1)
    codes, uniques = pd.factorize(series[~missing])
    of_code = [of_text[distinct_names(np.array([label], dtype=object))[0]] for label in uniques]
    positions[~missing] = np.array(of_code, dtype=int)[codes]
    return positions
