"""Bundles and their exports as models of MLflow: a flavour, and its Python function.

MLflow stores folders and the name of this module, so that no pickle is written or read. Its
Python function decides by the ONNX graph where the model has one, without torch, and otherwise
by the bundle.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from isthmus import __version__
from isthmus._core import from_json, require, user_path, write_json
from isthmus.bundle import Bundle, last_head, load_bundle, read_manifest
from isthmus.data import DECISIONS, as_instances, prediction_columns, row_index
from isthmus.errors import BundleError, ExportError
from isthmus.export import Exported

#: Name of the flavour in the file `MLmodel`.
FLAVOR_NAME = "isthmus"
#: Folder in a model; in it the bundle, the export, and the head that decides.
DATA = "isthmus"
BUNDLE, EXPORT, HEAD = "bundle", "export", "head.json"


def save_model(
    path: str | Path,
    bundle: str | Path,
    exported: str | Path | None = None,
    *,
    head: str | None = None,
    mlflow_model: Any = None,
) -> None:
    """Write a bundle, and its export where there is one, as a model of MLflow.

    Parameters
    ----------
    path : path
        Folder to write; there must be none.
    bundle : path
        Of `isthmus.save_bundle`.
    exported : path, optional
        Of `isthmus.export_bundle`, of the same encoder. The Python function then decides by it.
    head : str, optional
        That decides; without one the head that was fitted last.
    mlflow_model : mlflow.models.Model, optional
        That MLflow's `Model.log` passes.

    Raises
    ------
    BundleError, ExportError
        When there is no such bundle, head or export, or it is damaged.
    MissingExtraError
        When mlflow or, with an export, onnxruntime is not installed.

    Examples
    --------
    See `docs/integrations.md`.
    """
    models = require("mlflow.models", extra="mlflow", purpose="a model of MLflow")
    pyfunc = require("mlflow.pyfunc", extra="mlflow", purpose="a model of MLflow")
    manifest = read_manifest(bundle)
    if not manifest["heads"]:
        raise BundleError(f"{bundle} has no head, so that it decides nothing; add one first")
    chosen = last_head(manifest) if head is None else head
    if chosen not in manifest["heads"]:
        raise BundleError(
            f"got the head {chosen!r}, expected one of {bundle}: {', '.join(manifest['heads'])}"
        )
    if exported is not None and chosen not in Exported(exported).facts["heads"]:
        raise ExportError(f"the export {exported} has no head {chosen!r}; export the bundle again")
    extra = "" if exported is None else "[serve]"
    model = models.Model() if mlflow_model is None else mlflow_model
    model.add_flavor(FLAVOR_NAME, isthmus_version=__version__, data=f"data/{DATA}", head=chosen)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / DATA
        shutil.copytree(user_path(bundle), data / BUNDLE)
        if exported is not None:
            source = user_path(exported)
            shutil.copytree(source if source.is_dir() else source.parent, data / EXPORT)
        write_json(data / HEAD, {"head": chosen})
        pyfunc.save_model(
            str(user_path(path)),
            loader_module=__name__,
            data_path=str(data),
            mlflow_model=model,
            pip_requirements=[f"isthmus{extra}=={__version__}"],
        )


def log_model(
    bundle: str | Path,
    exported: str | Path | None = None,
    *,
    name: str = "model",
    head: str | None = None,
    registered_model_name: str | None = None,
) -> Any:
    """Log a bundle as a model of MLflow's active run, and register it under a name if given.

    Parameters
    ----------
    bundle, exported, head
        As of `save_model`.
    name : str, default="model"
    registered_model_name : str, optional

    Returns
    -------
    mlflow.models.model.ModelInfo
        Its `model_uri` is what `load_model` and `mlflow models serve` take.

    Raises
    ------
    BundleError, ExportError, MissingExtraError
        As `save_model` does.

    Examples
    --------
    >>> from isthmus.integrations import load_model, log_model
    >>> info = log_model("press/", "exported/", name="press")  # doctest: +SKIP
    >>> bundle = load_model(info.model_uri)  # doctest: +SKIP
    """
    models = require("mlflow.models", extra="mlflow", purpose="a model of MLflow")
    return models.Model.log(
        artifact_path=None,
        name=name,
        flavor=sys.modules[__name__],
        registered_model_name=registered_model_name,
        bundle=bundle,
        exported=exported,
        head=head,
    )


def load_model(model_uri: str | Path) -> Bundle:
    """Return the bundle of a model that `save_model` or `log_model` wrote.

    Parameters
    ----------
    model_uri : str or path
        A folder, `runs:/...` or `models:/...`.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        When the model is none of isthmus.

    Examples
    --------
    >>> from isthmus.integrations import load_model
    >>> bundle = load_model("models:/press/1")  # doctest: +SKIP
    """
    artifacts = require("mlflow.artifacts", extra="mlflow", purpose="a model of MLflow")
    folder = Path(artifacts.download_artifacts(artifact_uri=str(model_uri)))
    bundle = folder / "data" / DATA / BUNDLE
    if not bundle.is_dir():
        raise BundleError(f"{model_uri} holds no bundle; pass a model that isthmus logged")
    return load_bundle(bundle)


class MLflowDecider:
    """The Python function of a model: instances to the columns of `isthmus predict`.

    Parameters
    ----------
    data : path
        The model's data.
    """

    def __init__(self, data: str | Path) -> None:
        folder = Path(data)
        self.head = str(from_json((folder / HEAD).read_bytes())["head"])
        has_export = (folder / EXPORT).is_dir()
        self.exported = Exported(folder / EXPORT) if has_export else None
        self.bundle = None if has_export else load_bundle(folder / BUNDLE)

    def predict(self, model_input: Any, params: Any = None) -> pd.DataFrame:
        """Return a row of decisions for each instance.

        Parameters
        ----------
        model_input : DataFrame or array of n instances like those at fit
        params
            MLflow passes it; not used.
        """
        if self.bundle is not None:
            return self.bundle.predictions(model_input, self.head)
        assert self.exported is not None
        found = self.exported.run(model_input)
        outputs = self.exported.facts["outputs"]
        decisions = {
            one["what"]: found[one["name"]]
            for one in outputs
            if (one["what"] in DECISIONS and one.get("head") == self.head)
            or one["what"] == "reconstruction_error"
        }
        classes = self.exported.facts["heads"][self.head].get("classes", ())
        instances = as_instances(model_input).held
        return pd.DataFrame(prediction_columns(decisions, classes), index=row_index(instances))


def _load_pyfunc(data: str) -> MLflowDecider:
    """Return the Python function; MLflow calls this by name."""
    return MLflowDecider(data)
