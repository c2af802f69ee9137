"""Export of a bundle: the graph and its variants, measured, timed and written to a folder."""

from __future__ import annotations

import copy
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._core import (
    check_writable,
    isolated_from_host,
    recover_folder,
    replaced_folder,
    require,
    shown,
    user_path,
    write_bytes,
)
from isthmus.bundle import Bundle, Head, load_bundle
from isthmus.data import Dataset, as_instances, read_groups
from isthmus.data.preprocessing import issue_warnings
from isthmus.detection import thresholds_of
from isthmus.errors import ExportError
from isthmus.export.decision_graph import (
    Output,
    build_decision_graph,
    group_columns_of,
    group_input,
    parity_groups,
)
from isthmus.export.frozen_encoder_graph import export_encoder
from isthmus.export.graph import normalise_model, onnx_module
from isthmus.export.inputs import Input, feed, inputs_of
from isthmus.export.metadata import describe_export, readme, write_facts
from isthmus.export.model_file import with_digest
from isthmus.export.monitored_heads import MONITOR_FILE, monitor_references
from isthmus.export.parity import Parity, compare_within_rounding, library_outputs, measure
from isthmus.export.point_heads import (
    CHANNEL_PARTS,
    PointHead,
    measure_points,
    parity_points,
)
from isthmus.export.reference_instances import REFERENCES_FILE, ReferenceInstances
from isthmus.export.reference_selection import (
    check_reference_instances,
    reconstructed_rows,
    references_from_heads,
    references_from_rows,
)
from isthmus.export.runtime import open_session, run

if TYPE_CHECKING:
    from onnx import ModelProto

VARIANTS = ("fp16", "int8")
#: A timing is the best of so many runs, on at most so many rows.
N_RUNS, MAX_TIMED_ROWS = 3, 1024
MODEL, PREDICT, README = "model.onnx", "predict.py", "README.md"
#: Beside `predict.py`: files in and out.
PREDICT_FILES = "predict_files.py"
#: Beside `predict.py`, where a head decides on time points of series.
PREDICT_POINTS = "predict_points.py"
#: Largest deviation allowed: see `isthmus.export.parity.Parity`.
TOLERANCE = 1e-4


def convert_networks(networks: ModelProto, variant: str) -> ModelProto:
    """Return the networks in lower precision; the heads that follow stay in float64.

    Parameters
    ----------
    networks : ModelProto
        As `export_networks` returns it.
    variant : {"fp16", "int8"}
        Weights and arithmetic in float16; or weights, and inputs as they come, in eight bits
        (dynamic quantisation), of layers that are matrix products.

    Returns
    -------
    ModelProto
        With the same inputs and outputs.
    """
    if variant == "fp16":
        convert = require(
            "onnxruntime.transformers.float16", extra="onnx", purpose="the variant fp16"
        )
        models = require(
            "onnxruntime.transformers.onnx_model", extra="onnx", purpose="the variant fp16"
        )
        networks = copy.deepcopy(networks)  # the conversion is in place
        converted = models.OnnxModel(convert.convert_float_to_float16(networks, keep_io_types=True))
        converted.topological_sort()  # casts are appended at the end
        return normalise_model(converted.model)
    quantization = require("onnxruntime.quantization", extra="onnx", purpose="the variant int8")
    onnx = require("onnx", extra="onnx", purpose="exporting")
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # its advice on preprocessing does not apply here
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "networks.onnx", Path(folder) / "int8.onnx"
            onnx.save(networks, source)
            quantization.quantize_dynamic(
                source, target, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True
            )
            return normalise_model(onnx.load(target))
    finally:
        logger.setLevel(before)


def rows_per_second(
    sessions: Mapping[str, Any], rows: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, float]:
    """Return the best speed of each graph on the same rows, timed in turn."""
    rows = {name: values[:MAX_TIMED_ROWS] for name, values in rows.items()}
    n = len(next(iter(rows.values())))
    best = dict.fromkeys(sessions, np.inf)
    for _ in range(N_RUNS):
        for name, session in sessions.items():
            start = time.perf_counter()
            run(session, rows, names)
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: n / seconds for name, seconds in best.items()}


@isolated_from_host()
def export_bundle(
    bundle: Bundle | str | Path,
    directory: str | Path,
    rows: Any = None,
    heads: Sequence[str] | None = None,
    *,
    residual: bool = False,
    variants: Sequence[str] = (),
    tolerance: float = TOLERANCE,
    known: int = 0,
    groups: Any = None,
) -> dict[str, Any]:
    """Write a bundle's whole decision, from raw instance to verdict, as one ONNX graph.

    `model.onnx` takes the schema's raw form and gives `code`, `reconstruction_error` and, of a
    classifier, `class` and `probabilities`; of a detector, or a classifier that rejects what is
    of no class, `anomaly_score`, `p_value` and `verdict` (1 normal, -1 abnormal). Where several
    heads give such an output, each is prefixed with the head's name, as in `normal.p_value`. Beside
    it are `predict.py`, which needs numpy and onnxruntime, and `predict_files.py`, by which it
    reads and writes files; a `README.md`; `known.npz` with reference instances: codes, labels and
    instances to compare new ones with; and of detectors `monitor.json`, by which a service tests
    whether later rows are like those that calibrated.

    Parameters
    ----------
    bundle : Bundle or path
    directory : path
        An earlier export there is replaced at the end, when everything has succeeded.
    rows : array, DataFrame or Dataset, optional
        Instances on which graph and library are compared; all are used. Without any,
        reconstructions of codes stored by the heads.
    heads : sequence of str, optional
        Which to export; all when left out.
    residual : bool, default=False
        Give the squared residual of each value too, `residual`, and the `reconstruction` as the
        network returns it; `isthmus.export.Exported.rebuilt` brings it to the units of the raw
        values.
    variants : sequence of {"fp16", "int8"}, default=()
        Write `model-fp16.onnx` and `model-int8.onnx` too, with networks in lower precision.
        Their deviation from the library is measured and does not make the export fail.
    tolerance : float above 0, default=0.0001
        Largest deviation, relative to the larger of 1 and the value, and how near to the threshold
        a decision may differ.
    known : int of 0 or more, default=0
        Number of rows to store in `known.npz` as reference instances, evenly over the labels of
        a Dataset. With 0 the export holds no row of yours: the reference instances are
        reconstructions of at most 512 codes stored by the heads, none where no head stores any.
    groups : array of shape (n,) or name of columns, optional
        Of `rows`, where a detector decides by group; the group is then an input of the graph. By
        default those of the rows, or where they have none the groups at fit in turn.

    Returns
    -------
    dict
        The graph's metadata, plain JSON values: `schema`, `digest`, `inputs`,
        `outputs`, `heads` with classes and thresholds, `known` (`n` and whether `rebuilt`, or
        None), `parity`, `libraries`; and `directory`, `files` with their sizes in bytes,
        `rows_per_second` by graph, `variants` with the parity of each.

    Raises
    ------
    ExportError
        When something cannot be exported, or the graph's outputs deviate by more than `tolerance`:
        output and row are named, and nothing is written.
    MissingExtraError
        When the extra `onnx` is not installed.
    BundleError, DataError
        When there is no such bundle or head, or the rows do not fit it.
    FrozenError
        When weights of the encoder changed after it, or a head, was fitted.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isthmus import AnomalyDetector, Autoencoder, save_bundle
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> encoder = Autoencoder(max_epochs=2)
    >>> detector = AnomalyDetector(encoder, "neighbours", 0.05, "split", random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bundle(f"{folder}/press", detector.encoder_, {"normal": detector})
    ...     facts = export_bundle(f"{folder}/press", f"{folder}/onnx", X)
    >>> [output["name"] for output in facts["outputs"]]
    ['code', 'anomaly_score', 'p_value', 'verdict', 'reconstruction_error']
    >>> facts["parity"]["decisions"]["verdict"]["differ"]
    0
    """
    onnx_module()
    unsupported = [name for name in variants if name not in VARIANTS]
    if unsupported:
        raise ExportError(f"got the variant {unsupported[0]!r}, expected {' or '.join(VARIANTS)}")
    if not tolerance > 0:
        raise ExportError(f"got tolerance={shown(tolerance)}, expected a number above 0")
    check_reference_instances(known, rows)
    target = check_directory(directory)
    opened = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    encoder, chosen = opened.encoder, _select_heads(opened, heads)
    if residual and not encoder.has_decoder:
        raise ExportError(
            f"got residual=True, and {type(encoder).__name__} has no decoder; leave it out (on the "
            "command line --residual)"
        )
    rows_used = "rows given"
    if rows is None:
        rows, rows_used = (
            reconstructed_rows(encoder, chosen),
            "rebuilt from codes stored by the heads",
        )
    X, y = (rows.X, rows.y) if isinstance(rows, Dataset) else (rows, None)
    inputs = inputs_of(encoder.schema_)
    graph_rows = feed(encoder.schema_, inputs, X)
    of_groups, columns = group_input(chosen, inputs), group_columns_of(chosen.values())
    of_rows = None
    if of_groups is not None:
        of_rows = read_groups(rows, groups, columns)[1]
        if of_rows is None:
            of_rows = parity_groups(chosen, len(as_instances(X)))
        graph_rows[of_groups.name] = of_rows
    elif groups is not None:
        raise ExportError("got groups=, and no head decides by group; leave groups out")
    all_inputs = inputs if of_groups is None else [*inputs, of_groups]
    networks = {MODEL: export_encoder(encoder)}
    networks |= {f"model-{name}.onnx": convert_networks(networks[MODEL], name) for name in variants}
    models: dict[str, ModelProto] = {}
    sessions: dict[str, Any] = {}
    parities: dict[str, Parity] = {}
    expected: dict[str, np.ndarray] = {}
    for name, network in networks.items():  # the exact one first: variants only if it passes
        models[name], outputs = build_decision_graph(
            encoder, network, chosen, inputs, with_residual=residual
        )
        sessions[name] = open_session(models[name])
        names = [one.name for one in outputs]
        expected = expected or library_outputs(encoder, chosen, outputs, X, of_rows)
        got = run(sessions[name], graph_rows, names)
        parities[name] = measure(chosen, outputs, expected, got, tolerance, rows_used, of_rows)
        points = point_heads_of(chosen, outputs)
        for head, one in points.items():
            parities[name].points[head] = _compare_points(
                chosen[head], one, sessions[name], inputs, rows, X, tolerance
            )
        if name == MODEL:
            of_head = encoder, chosen, outputs, X, got, of_rows
            issue_warnings(compare_within_rounding(parities[name], *of_head))
            parities[name].check()
    if known:
        references: ReferenceInstances | None = references_from_rows(
            encoder.schema_, X, y, expected["code"], known
        )
    else:
        references = references_from_heads(encoder, chosen)
    facts = {}
    scripts = {PREDICT: "predict_script.py", PREDICT_FILES: "predict_files_script.py"}
    scripts |= {PREDICT_POINTS: "predict_points_script.py"} if points else {}
    beside = {name: Path(__file__).with_name(of).read_bytes() for name, of in scripts.items()}
    if references is not None:
        beside[REFERENCES_FILE] = references.to_bytes(encoder.digest_)
    if (monitored := monitor_references(chosen)) is not None:
        beside[MONITOR_FILE] = monitored
    for name in models:
        facts[name] = describe_export(
            encoder,
            chosen,
            all_inputs,
            outputs,
            parities[name],
            references,
            points,
            beside,
            columns,
        )
        write_facts(models[name], facts[name])
    with replaced_folder(target) as folder:
        for name in models:
            write_bytes(folder / name, with_digest(models[name].SerializeToString()))
        for name, content in beside.items():
            write_bytes(folder / name, content)
        write_bytes(folder / README, readme(facts[MODEL]).encode())
        # Here, as another process may replace the export once it is in place.
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return facts[MODEL] | {
        "directory": str(target),
        "files": sizes,
        "rows_per_second": rows_per_second(sessions, graph_rows, names),
        "variants": {name: parities[name].to_dict() for name in models if name != MODEL},
    }


def check_directory(directory: str | Path) -> Path:
    """Check that an export may be written to a folder.

    Raises
    ------
    ExportError
        When the folder holds something other than an export.
    OutputError
        When it cannot be written there.
    """
    check_writable(directory, folder=True)
    target = user_path(directory)
    recover_folder(target)
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return target
    is_export = target.is_dir() and all(
        (target / name).is_file() for name in (MODEL, PREDICT, README)
    )
    if not is_export:
        raise ExportError(
            f"{target} exists and is no earlier export, and is not replaced; choose another folder"
        )
    return target


def point_heads_of(heads: Mapping[str, Head], outputs: Sequence[Output]) -> dict[str, PointHead]:
    """Return the heads that decide on time points of series, by name."""
    named = {(one.head, one.what): one.name for one in outputs}
    return {
        name: PointHead.of_detector(head, named[name, "anomaly_score"], named[name, CHANNEL_PARTS])
        for name, head in heads.items()
        if (name, CHANNEL_PARTS) in named
    }


def _compare_points(
    detector: Any,
    head: PointHead,
    session: Any,
    inputs: Sequence[Input],
    rows: Any,
    X: Any,
    tolerance: float,
) -> dict[str, Any]:
    """Return how far a graph's decisions on time points are from the library's."""
    points = parity_points(rows, X, head)

    def run_windows(windows: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        return run(session, feed(detector.encoder_.schema_, inputs, windows), names)

    expected, got = detector.decide_points(points), head.decide(points, run_windows)
    thresholds = thresholds_of(expected.points, head, head.threshold)
    return measure_points(expected, got, thresholds, tolerance)


def _select_heads(bundle: Bundle, heads: Sequence[str] | None) -> dict[str, Head]:
    names = list(bundle.heads) if heads is None else list(heads)
    chosen = {name: bundle.head(name) for name in names}
    for head in chosen.values():
        head.check_encoder_unchanged()
    return chosen
