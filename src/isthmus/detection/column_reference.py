"""The columns of rows that calibrate, with which a monitor compares those of later rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_array

from isthmus.autoencoder import Autoencoder
from isthmus.data import Instances, take_rows
from isthmus.detection.calibration import MAX_CALIBRATION_ROWS


@dataclass(frozen=True, eq=False)
class ColumnReference:
    """The columns of a table in some rows that calibrate.

    Attributes
    ----------
    values : float64 array of shape (k, m)
        As the schema gives them: NaN is missing, a category its position.
    rows : int array of shape (k,)
        Which rows of the reference set these are.
    """

    values: np.ndarray
    rows: np.ndarray

    @classmethod
    def draw(
        cls, encoder: Autoencoder, instances: Instances, rows: np.ndarray, seed: int, first: int = 0
    ) -> Self | None:
        """Draw at most 2,000 of these rows; None where instances are no table, or stored codes.

        Parameters
        ----------
        encoder : fitted Autoencoder
        instances : Instances
        rows : int array
            Rows of the reference set that calibrate, all of them among the instances.
        seed : int
        first : int, default=0
            Which row of the reference set the first instance is.
        """
        if instances.encoded or encoder.schema_.kind != "table":
            return None
        rng = np.random.default_rng([seed, 9])
        rows = np.sort(rng.permutation(rows)[:MAX_CALIBRATION_ROWS])
        drawn = take_rows(instances.held, rows - first)
        if isinstance(drawn, np.ndarray) and encoder.schema_.column_types is None:
            drawn = check_array(drawn, ensure_all_finite="allow-nan")  # numbers may be objects
        values = encoder.schema_.check(drawn)
        return cls(values.astype(np.float64), rows)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self | None:
        """Rebuild from the state of a reference set; None in bundles of an earlier isthmus."""
        if "columns" not in state:
            return None
        return cls(state["columns"]["values"], state["columns"]["rows"])

    def state(self) -> dict[str, Any]:
        """Return the arrays by name."""
        return {"values": self.values, "rows": self.rows}
