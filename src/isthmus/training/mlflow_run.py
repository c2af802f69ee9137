"""Tracking of a training by MLflow: its parameters, losses and outcome as one run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from isthmus._core import require
from isthmus.errors import OutputError
from isthmus.training.callbacks import Callback

#: Start of a `log_dir` that is an experiment of MLflow and no folder.
PREFIX = "mlflow:"
#: Longest value of a parameter that every store of MLflow takes.
MAX_VALUE = 500


def mlflow_experiment(log_dir: str | Path) -> str | None:
    """Return the experiment that `log_dir` names as `mlflow:EXPERIMENT`; None for a folder.

    Parameters
    ----------
    log_dir : str or path

    Returns
    -------
    str or None

    Examples
    --------
    >>> mlflow_experiment("mlflow:press"), mlflow_experiment("mlflow:"), mlflow_experiment("runs")
    ('press', 'Default', None)
    """
    text = str(log_dir)
    return (text.removeprefix(PREFIX) or "Default") if text.startswith(PREFIX) else None


class MLflowRun(Callback):
    """One run of MLflow: parameters at its start, the numbers of the history after each epoch.

    Where the calling program has an active run, the numbers go to it, and it is left open;
    otherwise a run is made and ended. MLflow's active run and settings are not changed.

    Parameters
    ----------
    experiment : str
        Its name; made where there is none. Not used where a run is active.
    parameters : mapping of str to JSON value
        Longer values than 500 characters are cut. Of a run of the caller they are not written,
        because a parameter of MLflow can be set once alone.

    Raises
    ------
    MissingExtraError
        When mlflow is not installed.
    OutputError
        When MLflow cannot make the run.

    References
    ----------
    MLflow Tracking, https://mlflow.org/docs/latest/ml/tracking
    """

    def __init__(self, experiment: str, parameters: Mapping[str, Any]) -> None:
        mlflow = require("mlflow", extra="mlflow", purpose="log_dir='mlflow:...' (tracking)")
        self._failed = False
        try:
            self._client = mlflow.MlflowClient()
            active = mlflow.active_run()
            self._own = active is None
            if active is not None:
                self.run_id = active.info.run_id
                return
            known = self._client.get_experiment_by_name(experiment)
            number = (
                self._client.create_experiment(experiment) if known is None else known.experiment_id
            )
            self.run_id = self._client.create_run(number).info.run_id
            for name, value in parameters.items():
                text = value if isinstance(value, str) else json.dumps(value, default=str)
                self._client.log_param(self.run_id, name, text[:MAX_VALUE])
        except Exception as error:  # of MLflow, its store, or the network
            raise OutputError(
                f"MLflow cannot track the experiment {experiment!r} ({error}); set "
                "MLFLOW_TRACKING_URI, or pass a folder as log_dir (on the command line --log-dir)"
            ) from error

    def on_epoch_end(self, record: dict[str, Any], network: nn.Module, improved: bool) -> None:
        """Write the epoch's numbers; a store that fails is warned about, and training goes on.

        Parameters
        ----------
        record, network, improved
            See `Callback.on_epoch_end`.
        """
        if self._failed:
            return
        try:
            for name, value in record.items():
                if name != "epoch":
                    self._client.log_metric(self.run_id, name, float(value), step=record["epoch"])
        except Exception as error:  # of MLflow, its store, or the network
            self._failed = True
            warnings.warn(
                f"MLflow takes no numbers from epoch {record['epoch']} on ({error}); training "
                "goes on, and history_ has them",
                stacklevel=2,
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End a run of our own: FINISHED, KILLED when interrupted, or FAILED."""
        if not self._own:
            return
        interrupted = kind is not None and not issubclass(kind, Exception)
        status = "FINISHED" if kind is None else "KILLED" if interrupted else "FAILED"
        try:
            self._client.set_terminated(self.run_id, status)
        except Exception as failure:  # of MLflow, its store, or the network
            warnings.warn(f"MLflow did not end the run {self.run_id} ({failure})", stacklevel=2)
