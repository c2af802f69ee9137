"""Bundles, exports and stored codes of before load for ever, and decide as they did.

`tests/golden` holds what an isthmus of before wrote, and what it answered; `tests/golden/make.py`
says how. A test that fails here says that people's bundles broke: mend the code, not the samples.
"""

import hashlib
import io
import json
import math

import numpy as np
import pytest

from golden.answers import (
    COMMANDS,
    HERE,
    READING,
    SAMPLES,
    TRAINING,
    as_plain,
    decisions,
    earlier_decisions,
    printed,
    rows_of,
)
from isthmus import AnomalyDetector, CodeClassifier, load, load_bundle, load_codes, save_bundle
from isthmus.bundle import MANIFEST
from isthmus.bundle.manifest import verify_files
from isthmus.cli.commands import COMMANDS as ALL_COMMANDS
from isthmus.export import Exported, read_references

pytest.importorskip("onnxruntime")
pytest.importorskip("matplotlib")

pytestmark = [
    # What scikit-learn thinks of its own objects of before is not what is tested.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning"),
    pytest.mark.filterwarnings("ignore:.*gaps? in time"),
]

#: Keys and words of before that are called otherwise today, in what commands print.
RENAMED: dict[str, str] = {
    "score": "method",
    "unknown_rate": "rejection_rate",
    "novelty": "rejecter",
    "digest_before": "encoder_digest",
    "digest_after": "encoder_digest",
    "controls": "baselines",
    "worth": "baseline_comparison",
}
#: Keys of before that a command still prints, and not about a head.
KEPT = {"demo": {"digest_before", "digest_after"}}
#: Keys that manifests, exports and commands have since.
ADDED = {
    "n_grouped",
    "alarms", "answer", "cells", "dates", "decoder_digest", "drift_reference", "file_digests",
    "flagged", "holds", "monitor.json", "moved_columns", "n_fit", "n_missing", "n_trained",
    "number", "part", "points", "precision", "predict_files.py", "untested", "window_label",
}  # fmt: skip
#: Another processor adds numbers up in another order.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
#: Bundles of then hash rows of a table after the inverse hyperbolic sine, whose last bit differs
#: from one processor or C library to the next. Theirs are compared where it is that of then.
ARCSINH = np.arcsinh(np.linspace(0.1, 3, 257, dtype=np.float32))
HASHES_AS_THEN = hashlib.sha256(ARCSINH.tobytes()).hexdigest().startswith("c201764f31d0f96d")
#: A text of so many words is a sentence: that there is one counts, not how it is put.
SENTENCE = 5
#: What an earlier version of a head answers is in `answers-HEAD-before`.
WITH_EARLIER = ["digits"]


@pytest.fixture
def undrawn(monkeypatch):
    """Leave pictures empty: drawing them takes longer than all else, and changes no number."""

    def draw(figure, file, **_):
        file.write("<svg></svg>" if isinstance(file, io.TextIOBase) else b"")

    figures = "matplotlib.figure.Figure"
    monkeypatch.setattr(f"{figures}.savefig", draw)
    monkeypatch.setattr(f"{figures}.draw_without_rendering", lambda _: None)
    monkeypatch.setattr(f"{figures}.__deepcopy__", lambda figure, _: figure, raising=False)


def recorded(path):
    return json.loads(path.read_text("utf-8"))


def renamed(value, kept=frozenset()):
    """Return what was recorded in the words of today, but for the keys that are kept."""
    words = {word: new for word, new in RENAMED.items() if word not in kept}
    if isinstance(value, dict):
        if not isinstance(value.get("score"), str):
            words.pop("score", None)  # the score of a row, and no method's name
        return {words.get(key, key): renamed(below, kept) for key, below in value.items()}
    if isinstance(value, list):
        return [renamed(below, kept) for below in value]
    return words.get(value, value) if isinstance(value, str) else value


def assert_same(found, before, where="$"):
    """Compare plain values: numbers with a point up to the tolerance, all else exactly."""
    if isinstance(before, dict):
        assert isinstance(found, dict), where
        assert sorted(found) == sorted(before), where
        for key, value in before.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(before, list):
        assert isinstance(found, list), where
        assert len(found) == len(before), where
        for at, pair in enumerate(zip(found, before, strict=True)):
            assert_same(*pair, f"{where}[{at}]")
    elif where.endswith(".row") and ".worst." in where:
        assert isinstance(found, int), where  # the row that is rounded worst, on this processor
    elif isinstance(before, float) and isinstance(found, float) and not math.isnan(before):
        assert found == pytest.approx(before, rel=TOLERANCE["rtol"], abs=TOLERANCE["atol"]), where
    elif isinstance(before, str) and len(before.split()) >= SENTENCE:
        assert isinstance(found, str), where
        assert found, where
    else:
        assert type(found) is type(before), where
        assert found == before or (found != found and before != before), where


def assert_same_arrays(found, file):
    """Compare arrays by name: floats up to the tolerance, all others exactly."""
    with np.load(file, allow_pickle=False) as before:
        assert sorted(found) == sorted(before.files)
        for name in before.files:
            values, expected = as_plain(found[name]), before[name]
            assert values.dtype.kind == expected.dtype.kind, name
            if name == "row_hashes" and not HASHES_AS_THEN:
                assert values.shape == expected.shape, name
            elif expected.dtype.kind == "f":
                assert values.dtype == expected.dtype, name
                np.testing.assert_allclose(values, expected, **TOLERANCE, err_msg=name)
            else:
                np.testing.assert_array_equal(values, expected, err_msg=name)


def without_added(found, before):
    """Return both without the keys that were added since, where they are new."""
    if isinstance(found, dict) and isinstance(before, dict):
        names = [name for name in found if name in before or name not in ADDED]
        pairs = {name: without_added(found[name], before.get(name)) for name in names}
        return {name: pair[0] for name, pair in pairs.items()}, before
    if isinstance(found, list) and isinstance(before, list) and len(found) == len(before):
        return [without_added(*pair)[0] for pair in zip(found, before, strict=True)], before
    return found, before


def keys_of(value):
    """Return the keys of plain values, those of everything in a list together."""
    if isinstance(value, dict):
        return {key: keys_of(below) for key, below in value.items()}
    found = {}
    for below in map(keys_of, value if isinstance(value, list) else ()):
        for key, deeper in below.items():
            found[key] = found.get(key, {}) | deeper
    return found


def files_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", SAMPLES)
def test_a_bundle_decides_as_it_did(name):
    facts, arrays = decisions(HERE / name / "bundle", rows_of(name).X)
    assert_same(facts, recorded(HERE / name / "answers.json"))
    assert_same_arrays(arrays, HERE / name / "answers.npz")


@pytest.mark.parametrize("name", WITH_EARLIER)
def test_heads_of_a_bundle_go_back_to_the_version_before(name):
    there = {file.stem for file in (HERE / name).glob("answers-*-before.npz")}
    for head, facts, arrays in earlier_decisions(HERE / name / "bundle", rows_of(name).X):
        before = HERE / name / f"answers-{head}-before"
        there.remove(before.name)
        assert_same(facts, recorded(before.with_suffix(".json")))
        assert_same_arrays(arrays, before.with_suffix(".npz"))
    assert not there


@pytest.mark.parametrize("name", SAMPLES)
def test_a_bundle_written_again_has_the_same_files(name, tmp_path):
    path = HERE / name / "bundle"
    bundle = load_bundle(path)
    verify_files(path, bundle.manifest)
    assert sorted([MANIFEST, *bundle.manifest["files"]]) == files_in(path)
    save_bundle(tmp_path / "again", bundle.encoder, bundle.heads)
    again = load_bundle(tmp_path / "again").manifest
    assert sorted(again) == sorted(bundle.manifest)
    assert_same(*without_added(again["encoder"], bundle.manifest["encoder"]))
    weights = {}
    for head, entry in bundle.manifest["heads"].items():
        old, new = f"heads/{head}/{entry['version']}/", f"heads/{head}/1/"
        same = {"version": 1, "created": again["heads"][head]["created"], "metrics": {}}
        assert_same(*without_added(again["heads"][head], entry | same))
        weights |= {
            file.replace(old, new): digest
            for file, digest in bundle.manifest["files"].items()
            if file.startswith(old)
        }
    weights |= {f: d for f, d in bundle.manifest["files"].items() if not f.startswith("heads/")}
    assert sorted(weights) == sorted(again["files"])
    for file, digest in weights.items():
        if file.endswith("encoder.json"):  # of a fold, like the manifest's entry
            written = [json.loads((tmp_path / "again" / file).read_text("utf-8"))]
            written += [
                json.loads(one.read_text("utf-8")) for one in path.rglob(file.split("/", 3)[-1])
            ]
            assert_same(*without_added(written[0], written[1]))
            continue
        # An archive of skops says when it was packed, and by which version.
        assert again["files"][file] == digest or file.endswith(".skops"), file


@pytest.mark.parametrize("name", SAMPLES)
def test_an_export_decides_as_it_did(name):
    graph = Exported(HERE / name / "export", threads=1)
    assert_same(graph.facts, renamed(recorded(HERE / name / "answers-graph.json")))
    assert_same_arrays(graph.run(rows_of(name).X), HERE / name / "answers-graph.npz")


@pytest.mark.parametrize("name", SAMPLES)
def test_an_export_decides_as_its_bundle(name):
    X = rows_of(name).X
    answers = Exported(HERE / name / "export", threads=1).run(X)
    bundle = load_bundle(HERE / name / "bundle")
    np.testing.assert_allclose(answers["code"], bundle.encoder.transform(X), **TOLERANCE)
    for head_name, head in bundle.heads.items():
        what = "verdict" if isinstance(head, AnomalyDetector) else "class"
        # A name stands before what several heads give.
        output = f"{head_name}.{what}" if what not in answers else what
        np.testing.assert_array_equal(answers[output], head.predict(X), err_msg=head_name)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_export_holds_the_instances_it_did(name):
    folder = HERE / name / "export"
    graph = Exported(folder, threads=1)
    known = read_references(folder / "model.onnx", graph.facts, graph.schema)
    with np.load(folder / "known.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(known.codes, file["codes"])
        assert [known.label(at) or "" for at in range(len(known))] == file["labels"].tolist()
        assert known.rebuilt == bool(file["rebuilt"]) == (name != "digits")
    if not known.rebuilt:
        codes = graph.run(known.instances)["code"]
        np.testing.assert_allclose(codes, known.codes, **TOLERANCE)


def test_stored_codes_are_those_of_their_rows():
    encoder = load_bundle(HERE / "table" / "bundle").encoder
    data = load(HERE / "codes" / "labelled.csv", label="kind")
    codes = load_codes(HERE / "codes" / "codes.parquet", label="kind")
    assert codes.digest == encoder.digest_
    assert codes.y.tolist() == data.y.tolist()
    if HASHES_AS_THEN:
        np.testing.assert_array_equal(codes.hashes, encoder.row_hashes(data.X))
    np.testing.assert_allclose(codes.codes, encoder.transform(data.X), **TOLERANCE)
    np.testing.assert_array_equal(np.load(HERE / "codes" / "codes.npy"), codes.codes)
    table = load(HERE / "codes" / "codes.csv", label="kind")
    np.testing.assert_allclose(table.X, codes.codes, rtol=1e-6)


def test_codes_stored_of_several_files_are_those_of_their_rows():
    encoder = load_bundle(HERE / "table" / "bundle").encoder
    rows = load(HERE / "codes" / "rows", keys=["row"], columns=encoder.schema_.columns)
    codes = load_codes(HERE / "codes" / "files.parquet")
    assert codes.digest == encoder.digest_
    if HASHES_AS_THEN:
        np.testing.assert_array_equal(codes.hashes, encoder.row_hashes(rows))
    np.testing.assert_allclose(codes.codes, encoder.transform(rows), **TOLERANCE)


def test_heads_on_stored_codes_decide_as_those_on_rows():
    bundle = load_bundle(HERE / "table" / "bundle")
    codes = load_codes(HERE / "codes" / "codes.parquet", label="kind")
    rows, X = load(HERE / "codes" / "labelled.csv", label="kind").X, rows_of("table").X
    head = CodeClassifier(bundle.encoder, "neighbours").fit(codes, codes.y)
    np.testing.assert_array_equal(head.predict(X), bundle.heads["stored"].predict(X))
    of_codes, of_rows = (
        AnomalyDetector(bundle.encoder, false_alarm_rate=0.1, random_state=0).fit(known)
        for known in (codes, rows)
    )
    np.testing.assert_allclose(of_codes.score_samples(X), of_rows.score_samples(X), **TOLERANCE)


@pytest.mark.parametrize("name", READING)
def test_a_command_prints_what_it_did(name, tmp_path, undrawn):
    before = renamed(recorded(HERE / "commands" / f"{name}.json"))
    found = printed(COMMANDS[name], tmp_path)
    assert_same(*without_added(found, before))
    assert list(found.get("table", ())) == list(before.get("table", ()))


@pytest.mark.parametrize("name", TRAINING)
def test_a_command_that_trains_prints_the_keys_it_did(name, tmp_path, undrawn):
    before = renamed(recorded(HERE / "commands" / f"{name}.json"), KEPT.get(name, ()))
    found, before = without_added(keys_of(printed(COMMANDS[name], tmp_path)), keys_of(before))
    assert found == before


def test_every_command_that_prints_json_is_recorded():
    without = {"mcp", "serve"}  # both run until they are stopped
    assert {command.split()[0] for command in COMMANDS.values()} == set(ALL_COMMANDS) - without
    assert {f"{name}.json" for name in COMMANDS} == {f.name for f in (HERE / "commands").iterdir()}
