"""Scoring of a stream: export of the graph, then every chunk through it to an output folder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from isthmus._core import isolated_from_host, refuse_address, user_path, with_progress
from isthmus.bundle import Bundle, check_sets, last_head, load_bundle
from isthmus.data import as_instances
from isthmus.data.preprocessing import (
    describe_empty_rows,
    describe_missing,
    issue_warnings,
    more_missing_values,
)
from isthmus.data.streaming import ChunkRange, Stream
from isthmus.detection import (
    AnomalyDetector,
    n_residuals,
    n_training_rows,
    warn_of_unused_groups,
)
from isthmus.errors import DataError
from isthmus.export import export_bundle
from isthmus.scoring.output_folder import describe_run, finish, open_output
from isthmus.scoring.worker import (
    ScoredChunk,
    ScoringJob,
    Worker,
    code_columns,
    decision_columns,
    key_schema,
)

#: Number of rows that parity is measured on.
N_PARITY_ROWS = 512
#: Number of rows that are explained at a time.
N_EXPLAINED_ROWS = 4096
ENGINES = ("local", "ray")
Engine = Callable[[ScoringJob, Sequence[ChunkRange]], Iterable[ScoredChunk]]


def export_scoring_graph(
    bundle: Bundle, head: str | None, rows: Any, *, with_reconstructions: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """Export encoder and head as a graph, with reconstructions on request.

    Parameters
    ----------
    bundle : Bundle
    head : str or None
    rows : array or DataFrame
        Instances that parity is measured on.
    with_reconstructions : bool, default=False

    Returns
    -------
    graph : bytes
        `model.onnx`.
    facts : dict
        See `isthmus.export.export_bundle`.

    Raises
    ------
    ExportError
        When the head cannot be exported, or the graph decides differently.
    DataError
        When the stream's rows do not fit the bundle.
    """
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        target = Path(folder) / "exported"
        facts = export_bundle(
            bundle, target, rows, [] if head is None else [head], residual=with_reconstructions
        )
        return (target / "model.onnx").read_bytes(), facts


def _parity_rows(bundle: Bundle, stream: Stream) -> Any:
    """Return rows spread over the first usable chunk; rows of all would need all to be read."""
    first_error: DataError | None = None
    for chunk in stream.chunk_ranges:
        try:
            X = stream.read(chunk).X
            rows = np.unique(np.linspace(0, len(X) - 1, N_PARITY_ROWS).astype(np.intp))
            sample = X.iloc[rows].reset_index(drop=True) if isinstance(X, pd.DataFrame) else X[rows]
            bundle.encoder.schema_.check(sample)
        except DataError as error:
            if stream.on_bad_shard == "fail":
                raise
            first_error = first_error or error
        else:
            return sample
    raise first_error or DataError(f"{stream.name} holds no rows; expected at least one")


def explain_in_slices(bundle: Bundle, head: str, X: Any) -> pd.DataFrame:
    """Return the columns that explain a detector's decisions, in memory for a few rows at a time.

    Raises
    ------
    DataError
        When the head is a classifier.
    """
    slices = range(0, len(X), N_EXPLAINED_ROWS)
    found = [bundle.reasons(X[first : first + N_EXPLAINED_ROWS], head) for first in slices]
    return pd.concat(found, ignore_index=True)


@isolated_from_host()
def score(
    bundle: Bundle | str | Path,
    stream: Stream,
    output: str | Path,
    *,
    what: Literal["predict", "encode"] = "predict",
    head: str | None = None,
    for_heads: bool = False,
    explain: bool = False,
    alpha: float | None = None,
    by_class: bool = False,
    engine: Literal["local", "ray"] = "local",
    resume: bool = False,
    workers: int | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> dict[str, Any]:
    """Predict or encode every row of a stream, and write the results to a folder of Parquet files.

    The bundle is exported and its graph run, after its parity with the library is measured on rows
    of the stream. Memory holds a few chunks at a time, however long the stream is.

    Parameters
    ----------
    bundle : Bundle or path
    stream : Stream
        Opened by `isthmus.load` with the bundle's columns, and with `keys=[...]` for columns
        that identify rows. Without keys, `row` is the row's number, counting from 0.
    output : path
        Folder for the part files; `pandas.read_parquet` reads it as one table, in the order of
        the stream. For several machines, on storage that all of them share.
    what : {"predict", "encode"}, default="predict"
    head : str, optional
        Which head decides; by default the one fitted last.
    for_heads : bool, default=False
        Of `"encode"`: write each row's hash and residual beside its code; detectors need them to
        be fitted on what `isthmus.load_codes` returns.
    explain : bool, default=False
        Of a detector: write also the columns of `Explanation.frame`, as the library computes them;
        with the engine "local".
    alpha : float in (0, 1), optional
        Of a calibrated classifier: add sets of classes, see `CodeClassifier.predict_set`.
    by_class : bool, default=False
        As in `CodeClassifier.predict_set`.
    engine : {"local", "ray"}, default="local"
        In this process, or on the workers of a Ray cluster. The results are the same.
    resume : bool, default=False
        Continue an earlier run of the same bundle, data and options in `output`. No row is
        written twice.
    workers : int, optional
        Number of workers of Ray; by default one a CPU of the cluster.
    address : str, optional
        Of a Ray cluster; by default a local one is started for this call.
    verbose : bool, default=False
        Show rows, rows a second and time left on standard error.

    Returns
    -------
    dict
        Plain values: `n` rows, `n_parts` files, `n_resumed` of them from earlier runs, `counts`
        of each decision, `skipped` chunks with reasons, `digest` of the encoder, `head`, `parity`,
        `engine`, `seconds`, `rows_per_second`, `output`; of images `reading`, see `Dataset`; of
        tables `n_missing`, the rows without a value in each column, and `missing_values`, the
        columns that lack values more often than at fit, of which a `DataWarning` is issued too.

    Raises
    ------
    ScoringError
        When the output is another run's, is being written by another process, is there already
        and `resume` was not asked for, or there is no space left.
    DataError
        When the rows do not fit the bundle, files or store are gone, or `output` is an address.
    ShardError
        When a file is damaged, unless the stream skips bad ones.
    ExportError
        When the head cannot be exported.
    MissingExtraError
        When the extra `onnx`, or for Ray the extra `scale`, is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import pandas as pd
    >>> from isthmus import AnomalyDetector, Autoencoder, load, save_bundle
    >>> from isthmus.scoring.scorer import score
    >>> X = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 3)), columns=["a", "b", "c"])
    >>> encoder = Autoencoder(2, max_epochs=2)
    >>> detector = AnomalyDetector(encoder, "neighbours", 0.05, "split", random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bundle(f"{folder}/press", detector.encoder_, {"normal": detector})
    ...     X.assign(part=range(200)).to_parquet(f"{folder}/new.parquet")
    ...     stream = load(f"{folder}/new.parquet", lazy=True, keys=["part"])
    ...     facts = score(f"{folder}/press", stream, f"{folder}/out.parquet")
    ...     table = pd.read_parquet(f"{folder}/out.parquet")
    >>> list(table.columns)
    ['part', 'prediction', 'anomaly_score', 'p_value', 'reconstruction_error']
    >>> facts["n"], bool((table["prediction"] == detector.predict(X)).all())
    (200, True)
    """
    _check(stream, what, head, engine, workers, address)
    if for_heads and what != "encode":
        raise DataError("got for_heads=True, which is for what='encode'; leave it out")
    if explain and (what != "predict" or engine != "local"):
        given = f"what={what!r}" if what != "predict" else f"engine={engine!r}"
        raise DataError(
            f"got explain=True with {given}, and explanations are of predictions in this process, "
            "as they need the reference rows of the detector; leave explain out (on the command "
            "line --explain), or the engine"
        )
    refuse_address(output)
    opened = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    if what == "predict":
        decider = opened.head(head)  # raises when there is no such head
        check_sets(decider, alpha, by_class=by_class)
        head = head or last_head(opened.manifest)
        decider = opened.head(head)
        if isinstance(decider, AnomalyDetector):
            if not stream.group_columns:
                decider.calibration_by_group(None)  # raises where it needs groups
            elif decider.group_calibration_ is None and stream.kind != "series":
                warn_of_unused_groups(stream.name, stream.group_columns)
    run_engine = _select_engine(engine, workers, address)
    rows = _parity_rows(opened, stream)
    explainer = None
    if explain and head is not None:
        explainer = partial(explain_in_slices, opened, head)
    reasons = None if explainer is None else explainer(rows[:1])
    graph, exported = export_scoring_graph(opened, head, rows, with_reconstructions=for_heads)
    if head is None:
        encoder = opened.encoder
        width = n_residuals(encoder.preprocessor_.network_shape) if for_heads else 0
        n_features = encoder.schema_.n_features if encoder.schema_.kind == "table" else 0
        columns = code_columns(list(encoder.get_feature_names_out()), width, n_features)
    else:
        columns = decision_columns(exported, head, reasons, alpha=alpha, by_class=by_class)
    keys = key_schema(stream, columns.schema)
    schema = pa.schema([*keys, *columns.schema])
    run = describe_run(opened, head, what, stream, schema)
    start_time = time.perf_counter()
    with open_output(user_path(output).absolute(), run, schema, resume) as files:
        chunks = [chunk for chunk in stream.chunk_ranges if chunk.n_rows]
        missing = [chunk for chunk in chunks if files.find(chunk) is None]
        n_missing = sum(chunk.n_rows for chunk in missing)
        n_rows = sum(chunk.n_rows for chunk in chunks)
        skipped = list(stream.skipped)
        job = ScoringJob(stream, graph, keys, columns, files, explainer)
        done = run_engine(job, missing)
        for one in with_progress(
            done,
            lambda one: one.chunk.n_rows,
            what,
            n_rows,
            n_done=n_rows - n_missing,
            silent=not verbose,
        ):
            skipped += [] if one.skipped is None else [one.skipped]
        facts = finish(files, run, skipped)
    more_missing: list[dict[str, Any]] = []
    if "n_missing" in facts:
        n_fit, n_missing_values = n_training_rows(opened.encoder), np.array(facts["n_missing"])
        prepare = opened.encoder.preprocessor_
        more_missing = more_missing_values(n_missing_values, facts["n"], prepare, n_fit)
        issue_warnings([describe_missing(one) for one in more_missing])
        issue_warnings(describe_empty_rows(facts.get("n_empty_rows", 0), facts["n"]))
    seconds = time.perf_counter() - start_time
    return (
        facts
        | {
            "n_resumed": len(chunks) - len(missing),
            "what": what,
            "digest": opened.encoder.digest_,
            "head": head,
            "parity": exported["parity"],
            "engine": engine,
            "seconds": seconds,
            "rows_per_second": n_missing / seconds,
            "output": str(output),
        }
        | ({"missing_values": more_missing} if more_missing else {})
        | ({"reading": stream.reading} if stream.reading else {})
    )


def _check(
    stream: Any, what: str, head: str | None, engine: str, workers: int | None, address: str | None
) -> None:
    if as_instances(stream).in_memory:
        raise DataError(
            f"got a {type(stream).__name__}, expected a Stream, which load(...) gives of a folder "
            "of Parquet or .npy files, and of a single one with lazy=True"
        )
    if what not in ("predict", "encode"):
        raise DataError(f"got what={what!r}, expected 'predict' or 'encode'")
    if what == "encode" and head is not None:
        raise DataError(f"got head={head!r}, and codes need no head; leave it out")
    if engine not in ENGINES:
        raise DataError(f"got engine={engine!r}, expected one of {', '.join(ENGINES)}")
    if engine == "local" and (workers is not None or address is not None):
        given = f"workers={workers}" if workers is not None else f"address={address!r}"
        raise DataError(f"got {given}, which is for Ray; leave it out, or pass engine='ray'")
    if workers is not None and workers < 1:
        raise DataError(f"got workers={workers}, expected 1 or more")


def _select_engine(engine: str, workers: int | None, address: str | None) -> Engine:
    if engine == "local":
        return lambda job, chunks: Worker(job).run(chunks)
    from isthmus.scoring.ray import check_ray, score_on_ray

    check_ray()
    return lambda job, chunks: score_on_ray(job, chunks, workers, address)
