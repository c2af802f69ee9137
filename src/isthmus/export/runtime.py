"""Running of exports by ONNX Runtime, without torch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._core import reading, require, user_path
from isthmus.bundle import upgrade_head_entry
from isthmus.data import (
    NO_GROUP,
    Schema,
    check_complete,
    match_groups,
    prediction_sets,
    read_groups,
)
from isthmus.data.preprocessing import Preprocessor, read_preprocessor
from isthmus.detection import check_rate
from isthmus.errors import CalibrationWarning, DataError, ExportError
from isthmus.export.inputs import GROUP, Input, MissingInputs, feed
from isthmus.export.model_file import changed_file, check_digest, read_model
from isthmus.export.point_heads import ExportedPoints, PointHead

if TYPE_CHECKING:
    from onnx import ModelProto


#: Rows of one batch.
ROWS = 512
#: Key of the metadata's one entry, a JSON object.
KEY = "isthmus"
#: Newest format, and that of exports whose graph has no input of groups.
FORMAT_VERSION, FIRST_FORMAT = 2, 1
#: Of the facts: SHA-256 by name of the files beside the graph, which then ends with its own.
FILE_DIGESTS = "file_digests"


def open_session(model: ModelProto, threads: int = 0) -> Any:
    """Return an ONNX Runtime session on the CPU; 0 threads is one a core.

    Parameters
    ----------
    model : onnx.ModelProto
    threads : int

    Returns
    -------
    onnxruntime.InferenceSession
    """
    return new_session(model.SerializeToString(), threads)


def new_session(content: bytes, threads: int = 0) -> Any:
    """Return a session for the content of a model's file, as `open_session` does."""
    runtime = require("onnxruntime", extra="onnx", purpose="running an exported graph")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(
    session: Any, rows: Mapping[str, np.ndarray], names: Sequence[str], at_once: int = 1
) -> dict[str, np.ndarray]:
    """Return outputs by name for rows as `isthmus.export.inputs.feed` gives them.

    Up to `at_once` batches run at the same time, in threads.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    rows : mapping of str to array of shape (n, ...)
    names : sequence of str
        Outputs to compute.
    at_once : int

    Returns
    -------
    dict of str to array of shape (n, ...)
    """
    n = len(next(iter(rows.values())))

    def run_batch(first: int) -> list[np.ndarray]:
        batch = {name: values[first : first + ROWS] for name, values in rows.items()}
        found: list[np.ndarray] = session.run(list(names), batch)
        return found

    if at_once == 1:
        batches = [run_batch(first) for first in range(0, n, ROWS)]
    else:
        with ThreadPoolExecutor(at_once) as pool:
            batches = list(pool.map(run_batch, range(0, n, ROWS)))
    columns = zip(*batches, strict=True)
    return Outputs((n, np.concatenate(c)) for n, c in zip(names, columns, strict=True))


class Outputs(dict[str, np.ndarray]):
    """Outputs of a graph by name; asking for one that it has not is an error that says so."""

    def __missing__(self, name: str) -> np.ndarray:
        fix = "export again with residual=True (on the command line --residual)"
        raise ExportError(
            f"got the output {name!r}, expected one of {', '.join(self)}"
            + (f"; {fix}" if name in ("reconstruction", "residual") else "")
        )


class Exported(MissingInputs, ExportedPoints):
    """An export opened for inference; instances are checked as the library does.

    Parameters
    ----------
    path : path or bytes
        The folder, one of the models in it, or such a file's content.
    threads : int, default=0
        Of ONNX Runtime; 0 is one a core.

    Attributes
    ----------
    inputs : list of Input
        Of the graph.
    facts : dict
        The graph's metadata: see `isthmus.export.export_bundle`.
    schema : Schema
    names : list of str
        Of the outputs.

    Raises
    ------
    ExportError
        When there is no such file, it is damaged, no export of isthmus, or of a newer format.
    MissingExtraError
        When onnxruntime is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from isthmus import Autoencoder, export_bundle, save_bundle
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder.save(f"{folder}/press")
    ...     facts = export_bundle(f"{folder}/press", f"{folder}/onnx", X)
    ...     exported = Exported(f"{folder}/onnx")
    >>> bool(np.allclose(exported.run(X)["code"], encoder.transform(X), atol=1e-5))
    True
    >>> rows = exported.feed(X)
    >>> list(exported.run_fed(rows, ["code"])), exported.preprocess(X).shape
    (['code'], (200, 6))
    >>> exported.missing(rows).any().item(), exported.count_empty(rows)
    (False, 0)
    >>> n_missing = exported.count_missing(rows)
    >>> exported.more_missing(n_missing, len(X)), exported.missing_where_complete(rows)
    ([], None)
    """

    def __init__(self, path: str | Path | bytes, threads: int = 0) -> None:
        file, content = (
            ("the graph", path) if isinstance(path, bytes) else read_model(user_path(path))
        )
        require("onnxruntime", extra="onnx", purpose="running an exported graph")
        try:
            has_digest = check_digest(content, file)
            self._session = new_session(content, threads)
            facts = json.loads(self._session.get_modelmeta().custom_metadata_map[KEY])
            found = facts["format_version"]
            if not has_digest and FILE_DIGESTS in facts:
                raise changed_file(file)
        except ExportError:
            raise
        except Exception as error:  # ONNX Runtime's own errors have no common base
            raise ExportError(
                f"{file} is damaged, or no export of isthmus "
                f"({str(error).splitlines()[0][:200]}); export the bundle again"
            ) from error
        with reading(file, ExportError, "it is damaged: export the bundle again"):
            if found > FORMAT_VERSION:
                raise ExportError(
                    f"{file} has export format {found}, this isthmus reads up to {FORMAT_VERSION}; "
                    "update with: pip install --upgrade isthmus"
                )
            heads = {name: upgrade_head_entry(head) for name, head in facts["heads"].items()}
            self.facts: dict[str, Any] = facts | {"heads": heads}
            self.schema = Schema.from_dict(facts["schema"])
            self.names: list[str] = [one["name"] for one in facts["outputs"]]
            plain = facts.get("preprocessing")  # older exports have none
            self._preprocessor = None if plain is None else read_preprocessor(plain, self.schema)
            #: Heads that decide on time points of series, by name.
            self.point_heads = {
                name: PointHead.from_dict(one) for name, one in facts.get("points", {}).items()
            }
            inputs = [Input(**(one | {"shape": tuple(one["shape"])})) for one in facts["inputs"]]
            self.inputs = [one for one in inputs if one.type != GROUP]
            self.group_input = next((one for one in inputs if one.type == GROUP), None)
            self.group_columns = tuple(facts.get("group_columns", ()))

    def run(self, X: Any, groups: Any = None) -> dict[str, np.ndarray]:
        """Return every output by name.

        Parameters
        ----------
        X : array or DataFrame of n instances like those at fit
            Images may be uint8 or floats in [0, 1]; where they were uint8 at fit, floats are
            rounded to its 256 levels, with a warning where they are between two.
        groups : array of shape (n,) or name of columns, optional
            Where a detector decides by group, see `AnomalyDetector.predict`.

        Returns
        -------
        dict of str to array of shape (n, ...)

        Raises
        ------
        DataError
            When the instances do not fit the schema.
        """
        return self.run_fed(self.feed(X, groups))

    def feed(self, X: Any, groups: Any = None, *, decides: bool = True) -> dict[str, np.ndarray]:
        """Return instances by input, checked as by `run`; without `decides` groups may lack.

        Parameters
        ----------
        X, groups
            As for `run`.
        decides : bool, default=True
            Whether groups are needed where the export decides by group.

        Returns
        -------
        dict of str to array of shape (n, ...)

        Raises
        ------
        DataError
            When the instances do not fit the schema, or groups are given and not used.
        """
        if self.group_input is None and groups is not None:
            raise DataError(
                "got groups, and no head of the export decides by group; leave them out"
            )
        of_rows = None
        if self.group_input is not None:
            instances, of_rows = read_groups(X, groups, self.group_columns)
            X = instances.held
        rows = feed(self.schema, self.inputs, X)
        if self.group_input is not None:
            if of_rows is None and not decides:
                n = len(next(iter(rows.values())))
                of_rows = np.full(n, NO_GROUP, dtype=object)
            rows[self.group_input.name] = self._checked_groups(of_rows, warn=decides)
        refused = self.missing_where_complete(rows, "error")
        if refused is not None:
            check_complete(refused, self.schema.columns)
        return rows

    def _checked_groups(self, groups: np.ndarray | None, *, warn: bool) -> np.ndarray:
        """Return groups after a check that they are there; warn of those that were not at fit."""
        if groups is None:
            columns = ", ".join(map(repr, self.group_columns)) or "no column"
            raise DataError(
                f"the export decides by group (at fit {columns}), and got no groups; pass groups, "
                "the group of each instance, or a table with the column"
            )
        heads = self.facts["heads"].values()
        known = {one["name"] for head in heads for one in head.get("groups", {}).get("groups", [])}
        groups = match_groups(groups, known)
        unseen = [one for one in groups.tolist() if one not in known]
        if unseen and warn:
            warnings.warn(
                f"{len(unseen):,} of {len(groups):,} instances are of groups that were not there "
                f"at fit, or of none ({', '.join(map(repr, sorted(set(unseen))[:5]))}), and are "
                "decided by the threshold of all groups together, which promises no rate for them",
                CalibrationWarning,
                stacklevel=3,
            )
        return groups

    def preprocess(self, X: Any) -> np.ndarray:
        """Return instances as the network's input: (n, *network_shape), float32.

        Parameters
        ----------
        X : array or DataFrame of n instances

        Returns
        -------
        float32 array of shape (n, *network_shape)

        Raises
        ------
        DataError
            When the instances do not fit the schema.
        ExportError
            When an earlier isthmus wrote the export.
        """
        return self.preprocessor.to_network(self.schema.check(X))

    @property
    def preprocessor(self) -> Preprocessor:
        """What makes network inputs of checked instances.

        Raises
        ------
        ExportError
            When an earlier isthmus wrote the export.
        """
        if self._preprocessor is None:
            raise ExportError("the export holds no preprocessing; export the bundle again")
        return self._preprocessor

    def run_fed(
        self,
        rows: Mapping[str, np.ndarray],
        names: Sequence[str] | None = None,
        at_once: int = 1,
    ) -> dict[str, np.ndarray]:
        """Return all outputs, or those named, for rows as `feed` returns them.

        Up to `at_once` batches of 512 rows run at the same time.

        Parameters
        ----------
        rows : mapping of str to array
            As `feed` returns them.
        names : sequence of str, optional
            Outputs, by default all.
        at_once : int, default=1

        Returns
        -------
        dict of str to array of shape (n, ...)
        """
        return run(self._session, rows, self.names if names is None else names, at_once)

    def predict_set(
        self, X: Any, alpha: float = 0.1, *, by_class: bool = False, head: str | None = None
    ) -> np.ndarray:
        """Return the prediction sets of a classifier, boolean (n, n_classes).

        Parameters
        ----------
        X, alpha, by_class
            As for `CodeClassifier.predict_set`.
        head : str, optional
            Name of the classifier, needed where several are calibrated.

        Returns
        -------
        boolean array of shape (n, n_classes)

        Raises
        ------
        ExportError, CalibrationError
            As `class_p_values_output` does; when `alpha` is not in (0, 1).

        Examples
        --------
        >>> import tempfile
        >>> from isthmus import Autoencoder, CodeClassifier, export_bundle, save_bundle
        >>> X = np.random.default_rng(0).normal(size=(200, 6))
        >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(X[:100])
        >>> classifier = CodeClassifier(encoder, calibration="split", random_state=0)
        >>> classifier = classifier.fit(X[100:], X[100:, 0] > 0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_bundle(f"{folder}/press", encoder, {"sign": classifier})
        ...     facts = export_bundle(f"{folder}/press", f"{folder}/onnx", X)
        ...     exported = Exported(f"{folder}/onnx")
        >>> exported.predict_set(X, alpha=0.2).shape, exported.class_p_values_output()
        ((200, 2), 'class_p_values')
        """
        check_rate(alpha, "alpha")
        output = self.class_p_values_output(head, by_class=by_class)
        return prediction_sets(self.run_fed(self.feed(X, decides=False), [output])[output], alpha)

    def class_p_values_output(self, head: str | None = None, *, by_class: bool = False) -> str:
        """Return the name of the output with the p-values of classes, see `predict_set`.

        Parameters
        ----------
        head, by_class
            As for `predict_set`.

        Returns
        -------
        str

        Raises
        ------
        ExportError
            When no head of the export, or none of this name, is calibrated; or several are and
            none is named.
        """
        what = "class_p_values_by_class" if by_class else "class_p_values"
        named = {one["head"]: one["name"] for one in self.facts["outputs"] if one["what"] == what}
        chosen = [name for name in named if head in (None, name)]
        if len(chosen) != 1:
            got = f"{len(named)} calibrated heads ({', '.join(map(str, named)) or 'none'})"
            raise ExportError(
                f"got head={head!r} and an export with {got}; name one of these, or calibrate one: "
                "isthmus classify BUNDLE LABELLED --calibration cross, and export again"
            )
        return str(named[chosen[0]])

    @property
    def rebuilds(self) -> bool:
        """Whether the export has reconstructions and the preprocessing to invert."""
        return "reconstruction" in self.names and self._preprocessor is not None

    def rebuilt(self, values: np.ndarray) -> Any:
        """Return reconstructions in the units of the raw values.

        Parameters
        ----------
        values : array of shape (n, *network_shape)
            The output `reconstruction`.

        Returns
        -------
        array of shape (n, *schema.shape), float32, or DataFrame of shape (n, m)
            As `Autoencoder.inverse_transform` gives it.

        Raises
        ------
        ExportError
            When the export was written without reconstructions.

        Examples
        --------
        >>> import tempfile
        >>> from isthmus import Autoencoder, export_bundle, save_bundle
        >>> X = np.random.default_rng(0).normal(size=(200, 6))
        >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     encoder.save(f"{folder}/press")
        ...     facts = export_bundle(f"{folder}/press", f"{folder}/onnx", X, residual=True)
        ...     exported = Exported(f"{folder}/onnx")
        >>> back = exported.rebuilt(exported.run(X)["reconstruction"])
        >>> bool(np.allclose(back, encoder.inverse_transform(encoder.transform(X)), atol=1e-4))
        True
        """
        if self._preprocessor is None or not self.rebuilds:
            raise ExportError(
                "the export gives no reconstructions, expected one that does; export the bundle "
                "again with residual=True, or isthmus export BUNDLE --residual"
            )
        return self._preprocessor.from_network(values)
