"""Every error isthmus raises on purpose.

::

    IsthmusError
    ├── DataError           (ValueError)    the data cannot be used as it is
    │   ├── SchemaError     (ValueError)    it is not like the data the model was fitted on
    │   ├── ShardError      (ValueError)    one file of many is damaged or unlike the others
    │   └── TooLargeError   (MemoryError)   it would hold more than is allowed, or than fits
    ├── DownloadError       (OSError)       a named data set could not be found or fetched
    ├── OutputError         (OSError)       no space for a file or folder, or it is being written
    ├── MissingExtraError   (ImportError)   an optional dependency is not installed
    ├── ArchitectureError   (ValueError)    the network does not fit the data or the code width
    ├── TrainingError       (RuntimeError)  training cannot continue
    │   └── CheckpointError (ValueError)    a checkpoint belongs to another run, or is damaged
    ├── CalibrationError    (ValueError)    too few calibration rows for the rate asked for
    ├── FrozenError         (RuntimeError)  the encoder changed while it was frozen
    ├── BundleError         (ValueError)    a saved bundle is missing, damaged or too new
    ├── ExportError         (ValueError)    not exportable, or the graph decides differently
    ├── ScoringError        (ValueError)    the output is of another run, in use, or out of space
    └── ServeError          (ValueError)    the service cannot start, or refuses a request

Each also inherits the built-in error that people already catch. A message says what
was got, what was expected, and how to fix it. `CalibrationWarning` (UserWarning): too few
calibration rows for the default false-alarm rate.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path


class IsthmusError(Exception):
    """Base class of every error isthmus raises on purpose.

    Examples
    --------
    >>> import isthmus
    >>> try:
    ...     isthmus.load("no-such-file.csv")
    ... except isthmus.IsthmusError as error:
    ...     print(type(error).__name__)
    DataError
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, torch or ONNX Runtime means out of memory.

    Parameters
    ----------
    error : exception

    Returns
    -------
    bool

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("CUDA out of memory")), is_out_of_memory(OSError("gone"))
    (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    # torch and ONNX Runtime have no class for it.
    message = str(error).lower()
    return any(words in message for words in _NO_MEMORY)


_NO_MEMORY = ("out of memory", "allocate memory", "bad_alloc", "bad allocation")


class DataError(IsthmusError, ValueError):
    """The data cannot be used as it is.

    Parameters
    ----------
    *args : object
        The message, whose fix is what a program or a command can do.
    request_fix : str, optional
        What a client of the service can do, where that is something else.
    problems : sequence of DataError
        Errors that are raised together as this one.

    Examples
    --------
    >>> issubclass(DataError, ValueError)
    True
    """

    def __init__(
        self,
        *args: object,
        request_fix: str | None = None,
        problems: Sequence[DataError] = (),
    ) -> None:
        super().__init__(*args)
        self.request_fix = request_fix
        self.problems = tuple(problems)


class SchemaError(DataError):
    """The data is not like the data that the model was fitted on.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus.data import Schema
    >>> try:
    ...     Schema.learn(np.zeros((5, 3))).check(np.zeros((5, 4)))
    ... except SchemaError as error:
    ...     print(str(error).partition(",")[0])
    got an array of shape (5
    """


class ShardError(DataError):
    """One file of many is damaged, or holds something else than the others."""


class TooLargeError(DataError, MemoryError):
    """The data would take more memory than is allowed, or than there is."""


class DownloadError(IsthmusError, OSError):
    """A named data set is not on this machine and could not be fetched."""


class OutputError(IsthmusError, OSError):
    """A file or folder cannot be written, and what was there before is unchanged.

    Attributes
    ----------
    errno : int or None
        Of the operating system's error; None when another process writes there.
    filename : str or None
    needed : int or None
        Bytes that were to be written, where that is known.
    """

    needed: int | None = None

    def __str__(self) -> str:
        return str(self.args[0])

    @classmethod
    def of(cls, path: str | Path, error: OSError, needed: int | None = None) -> OutputError:
        """Return the error for a path that the operating system refused to write.

        Parameters
        ----------
        path : path
        error : OSError
        needed : int, optional
            Bytes that were to be written.

        Returns
        -------
        OutputError

        Examples
        --------
        >>> import errno
        >>> print(OutputError.of("press", OSError(errno.ENOSPC, "No space left on device"), 2000))
        no space left for press (No space left on device; 2.0 kB needed); what was there before is unchanged: free some space, and run again
        """  # noqa: E501
        reason = error.strerror or str(error)
        needed = getattr(error, "needed", None) if needed is None else needed
        unchanged = "what was there before is unchanged"
        if is_disk_full(error):
            size = "" if needed is None else f"; {_size(needed)} needed"
            text = f"no space left for {path} ({reason}{size}); {unchanged}: free some space"
        else:
            text = f"cannot write {path} ({reason}); {unchanged}: see to it, or choose another path"
        found = cls(f"{text}, and run again")
        found.errno, found.strerror, found.filename = error.errno, reason, str(path)
        found.needed = needed
        return found


def is_disk_full(error: OSError) -> bool:
    """Return whether the disk is full or the user's quota is used up.

    Parameters
    ----------
    error : OSError

    Returns
    -------
    bool

    Examples
    --------
    >>> is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
    True
    """
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _size(n_bytes: int) -> str:
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if n_bytes >= 10**power:
            return f"{n_bytes / 10**power:.1f} {unit}"
    return f"{n_bytes} bytes"


class MissingExtraError(IsthmusError, ImportError):
    """An optional dependency is not installed.

    Examples
    --------
    >>> error = MissingExtraError("matplotlib is not installed; pip install 'isthmus[report]'")
    >>> isinstance(error, ImportError)
    True
    """


class ArchitectureError(IsthmusError, ValueError):
    """The network does not fit the data or the code width."""


class TrainingError(IsthmusError, RuntimeError):
    """Training cannot continue.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus import Autoencoder
    >>> try:
    ...     Autoencoder(max_epochs=0).fit(np.zeros((5, 3)))
    ... except TrainingError as error:
    ...     print(str(error).partition(",")[0])
    got max_epochs=0
    """


class CheckpointError(TrainingError, ValueError):
    """A checkpoint belongs to another run, or is damaged."""


class CalibrationError(IsthmusError, ValueError):
    """A false-alarm rate is out of range, or needs more calibration rows.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus.detection import Calibration
    >>> try:
    ...     Calibration(np.arange(10.0)).threshold_for_rate(0.01)
    ... except CalibrationError as error:
    ...     print(str(error).partition(",")[0])
    a false-alarm rate of 0.01 needs 99 calibration rows
    """


class CalibrationWarning(UserWarning):
    """Calibration rows are too few for the default false-alarm rate, or depend on each other.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from isthmus.detection import Calibration
    >>> with warnings.catch_warnings(record=True) as issued:
    ...     warnings.simplefilter("always")
    ...     rate = Calibration(np.arange(19.0)).choose_rate("auto")
    >>> rate, issued[0].category.__name__
    (0.05, 'CalibrationWarning')
    """


class DataWarning(UserWarning):
    """Data will mislead a model, or lacks what a decision rests on.

    Parameters
    ----------
    text : str
        What a person reads.
    row, step : int or None
        Row of X that the text names, and of a window the time step.
    place : str
        How the text names it.

    Attributes
    ----------
    row, step : int or None
        Row of X that the text names, and of a window the time step.
    place : str
        How the text names it.

    Examples
    --------
    >>> warning = DataWarning("row 3 has -9999 in 'x'", row=3, place="row 3")
    >>> warning.row, str(warning)
    (3, "row 3 has -9999 in 'x'")
    """

    def __init__(
        self, text: str, row: int | None = None, step: int | None = None, place: str = ""
    ) -> None:
        super().__init__(text)
        self.row, self.step, self.place = row, step, place


class WindowWarning(UserWarning):
    """Windows leave out rows or classes that decisions on time points do not leave out.

    Parameters
    ----------
    text, of_points : str

    Attributes
    ----------
    of_points : str
        What holds where time points are decided; empty for nothing.
    """

    def __init__(self, text: str, of_points: str = "") -> None:
        super().__init__(text)
        self.of_points = of_points


class FrozenError(IsthmusError, RuntimeError):
    """The encoder changed although it was frozen.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from isthmus import Autoencoder
    >>> encoder = Autoencoder(2, max_epochs=1).fit(np.random.default_rng(0).normal(size=(50, 4)))
    >>> with torch.no_grad():
    ...     for weights in encoder.encoder_.parameters():
    ...         weights += 1
    >>> try:
    ...     encoder.check_frozen()
    ... except FrozenError as error:
    ...     print(str(error).partition(":")[0])
    the weights of the encoder changed after they were fitted
    """


class BundleError(IsthmusError, ValueError):
    """A saved bundle is missing, damaged or from a newer format.

    Examples
    --------
    >>> import isthmus
    >>> try:
    ...     isthmus.load_bundle("no-such-folder")
    ... except BundleError as error:
    ...     print(type(error).__name__)
    BundleError
    """


class ExportError(IsthmusError, ValueError):
    """Something cannot be exported, or the exported graph differs from the library.

    Examples
    --------
    >>> from isthmus.export import Exported
    >>> try:
    ...     Exported("no-such-folder")
    ... except ExportError as error:
    ...     print(type(error).__name__)
    ExportError
    """


class ScoringError(IsthmusError, ValueError):
    """The output is of another run, being written by another process, or out of space."""


class ServeError(IsthmusError, ValueError):
    """The service cannot start as asked, or refuses a request."""
