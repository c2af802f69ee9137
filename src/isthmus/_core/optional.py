"""Optional dependencies: import one, or name the extra that installs it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from isthmus.errors import MissingExtraError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or raise an error that names the extra which installs it.

    Parameters
    ----------
    module : str
        Dotted name, such as ``"matplotlib.pyplot"``.
    extra : str
        Name of the extra in ``pip install 'isthmus[extra]'``.
    purpose : str
        What needs it, as the subject of a sentence ("drawing pictures").

    Raises
    ------
    MissingExtraError
        When the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{purpose} needs {module.split('.')[0]}, which is not installed; "
            f"get it with: pip install 'isthmus[{extra}]'"
        ) from error


def library_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Return the installed version of each library; None is one that is not installed.

    Examples
    --------
    >>> library_versions(["no-such-library"])
    {'no-such-library': None}
    """
    return {name: _installed(name) for name in names}


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
