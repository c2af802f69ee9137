"""Reconstructions in the units of the raw values, and the reference instances of an export."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, export_bundle, load_bundle
from isthmus.bundle import Bundle
from isthmus.data import Dataset
from isthmus.errors import ExportError
from isthmus.export import Exported, plain_instances, read_references, sample_evenly
from isthmus.export.metadata import write_facts
from isthmus.export.reference_selection import reconstruct
from isthmus.serve import Limits
from isthmus.serve.bodies import from_lists

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")


KINDS = ("uint8", "floats", "colours", "series", "numbers", "names", "mixed", "zone")


def instances_of(kind, mixed, frame, table):
    rng = np.random.default_rng(0)
    if kind == "uint8":
        return rng.integers(0, 256, (40, 9, 8), dtype=np.uint8)
    if kind == "floats":
        return rng.random((40, 9, 8)).astype(np.float32)
    if kind == "colours":
        return rng.random((40, 9, 8, 3))
    if kind == "series":
        return 100 + 5 * rng.normal(size=(40, 12, 2))
    if kind == "zone":
        return mixed[:80].assign(day=mixed["day"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    return {"numbers": table, "names": frame, "mixed": mixed}[kind][:80]


def in_memory(encoder, **heads):
    return Bundle(Path("nowhere"), {"heads": {}}, encoder, heads)


def references_of(folder):
    exported = Exported(folder, 1)
    return read_references(folder / "model.onnx", exported.facts, exported.schema)


def read_back(schema, known):
    """Return reference instances as a service would take them in a request."""
    return from_lists([known.plain(at) for at in range(len(known))], schema, Limits())


@pytest.fixture(scope="module")
def exports(tmp_path_factory, mixed, frame, table):
    """The folder of exports by kind, and of each the encoder and 40 or 80 rows. Written once."""
    folder, found = tmp_path_factory.mktemp("known"), {}
    for kind in KINDS:
        X = instances_of(kind, mixed, frame, table)
        of = "series" if kind == "series" else "auto"
        encoder = Autoencoder(3, max_epochs=1, random_state=0, architecture="dense", kind=of)
        y = np.array(["a", "b", "b", None], dtype=object)[np.arange(len(X)) % 4]
        rows = Dataset(X, y, encoder.fit(X).schema_)
        export_bundle(in_memory(encoder), folder / kind, rows, residual=True, known=30)
        found[kind] = encoder, rows
    return folder, found


@pytest.mark.parametrize("kind", KINDS)
def test_reconstructions_in_own_units_are_the_librarys(exports, kind):
    folder, found = exports
    encoder, rows = found[kind]
    exported = Exported(folder / kind, 1)
    ours = exported.rebuilt(exported.run(rows.X)["reconstruction"])
    theirs = encoder.inverse_transform(encoder.transform(rows.X))
    assert type(ours) is type(theirs)
    if isinstance(ours, pd.DataFrame):
        if "day" in ours:  # to the second, which the last digit of a float32 may move
            apart = (ours.pop("day") - theirs.pop("day")).abs()
            assert apart.max() <= pd.Timedelta(5, "s")
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3, atol=1e-3)
    else:
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_instances_as_plain_values_are_read_back_as_they_were(exports, kind):
    encoder, rows = exports[1][kind]
    plain = json.loads(json.dumps(plain_instances(encoder.schema_, rows.X)))
    back = from_lists(plain, encoder.schema_, Limits())
    np.testing.assert_array_equal(encoder.schema_.check(back), encoder.schema_.check(rows.X))


def test_cells_are_plain_json_values(mixed_encoder, strange):
    first, *_, last = plain_instances(mixed_encoder.schema_, strange[:45])
    assert first["class"] == "cog"  # never seen, and kept as it is
    day = strange["day"][0]
    assert first["day"] == day.isoformat()
    assert first["ok"] is bool(strange["ok"][0])
    assert first["size"] == strange["size"][0]
    assert last["ok"] is None
    assert plain_instances(mixed_encoder.schema_, strange[20:21])[0]["day"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_stored_rows_are_those_passed_evenly_over_labels(exports, kind):
    folder, found = exports
    encoder, rows = found[kind]
    known = references_of(folder / kind)
    assert known.to_dict() == {"n": 30, "rebuilt": False}
    assert sorted(known.labels.tolist()) == [""] * 10 + ["a"] * 10 + ["b"] * 10
    back = read_back(encoder.schema_, known)
    np.testing.assert_allclose(known.codes, encoder.transform(back), rtol=1e-5, atol=1e-5)
    given, kept = (
        np.nan_to_num(encoder.schema_.check(X).reshape(len(X), -1).astype(float))
        for X in (rows.X, back)
    )
    for one, label in zip(kept, known.labels, strict=True):
        places = np.flatnonzero(np.isclose(given, one, rtol=1e-6).all(axis=1))
        assert label in [rows.y[place] or "" for place in places]


def test_the_file_needs_no_pickle_and_comes_out_the_same(exports, tmp_path):
    folder, found = exports
    encoder, rows = found["mixed"]
    facts = export_bundle(in_memory(encoder), tmp_path / "again", rows, known=30)
    assert facts["known"] == {"n": 30, "rebuilt": False}
    content = (tmp_path / "again" / "known.npz").read_bytes()
    assert content == (folder / "mixed" / "known.npz").read_bytes()
    with np.load(tmp_path / "again" / "known.npz", allow_pickle=False) as file:
        kinds = {name: (file[name].dtype.kind, file[name].shape) for name in file.files}
    assert kinds == {
        "codes": ("f", (30, 3)),
        "labels": ("U", (30,)),
        "instances": ("U", (30,)),
        "rebuilt": ("b", ()),
        "digest": ("U", ()),
    }
    assert "rows that were passed" in (tmp_path / "again" / "README.md").read_text()


def test_by_default_codes_of_heads_are_rebuilt_and_no_row_is_stored(wine_bundle, table, tmp_path):
    facts = export_bundle(wine_bundle, tmp_path / "out", table)
    bundle = load_bundle(wine_bundle)
    known = references_of(tmp_path / "out")
    # The classifier's rows are the detector's too, and are taken once, by their class.
    assert facts["known"] == known.to_dict() == {"n": 178, "rebuilt": True}
    labels, codes = bundle.head("kind").labelled_.y, bundle.head("kind").labelled_.codes
    of_classes = known.labels != "normal"
    assert sorted(known.labels[of_classes]) == sorted(map(str, labels))
    for code, label in zip(codes, labels, strict=True):
        (at,) = np.flatnonzero((known.codes == code).all(axis=1))
        assert known.labels[at] == str(label)
    rebuilt = bundle.encoder.inverse_transform(known.codes)
    np.testing.assert_allclose(known.instances, rebuilt, rtol=1e-6)
    assert not any((known.instances[:, None] == table).all(axis=2).any(axis=1))
    assert "holds none of your rows" in (tmp_path / "out" / "README.md").read_text()


def test_of_many_codes_some_are_rebuilt_from_every_head_and_label(digit_encoder, digits, tmp_path):
    X, y = digits
    signs = np.where(np.arange(600) % 20 == 0, -1, 0)
    detector = AnomalyDetector(digit_encoder, "neighbours", 0.1, "split", random_state=0)
    bundle = in_memory(
        digit_encoder,
        kind=CodeClassifier(digit_encoder).fit(X[:800], y[:800]),
        normal=detector.fit(X[900:1500], signs),
    )
    export_bundle(bundle, tmp_path / "out")
    known = references_of(tmp_path / "out")
    labels, counts = np.unique(known.labels, return_counts=True)
    found = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    assert found.keys() == {*map(str, range(10)), "normal", "abnormal"}
    assert found["abnormal"] == 30  # all there are
    assert known.instances.dtype == np.uint8
    assert sum(found.values()) == 512
    others = [n for label, n in found.items() if label != "abnormal"]
    assert max(others) - min(others) <= 1
    export_bundle(bundle, tmp_path / "one", heads=["kind"])
    assert "normal" not in references_of(tmp_path / "one").labels  # a head left out gives nothing


def test_an_encoder_alone_has_no_reference_instances(exports, tmp_path):
    encoder, rows = exports[1]["series"]
    facts = export_bundle(in_memory(encoder), tmp_path / "out", rows)
    assert facts["known"] is None
    assert not (tmp_path / "out" / "known.npz").exists()
    assert references_of(tmp_path / "out") is None
    with pytest.raises(ExportError, match="with residual=True"):
        Exported(tmp_path / "out", 1).rebuilt(np.zeros((1, 2, 12), np.float32))


def test_more_than_all_rows_is_all_and_wrong_numbers_are_refused(exports, tmp_path):
    encoder, rows = exports[1]["series"]
    facts = export_bundle(in_memory(encoder), tmp_path / "out", rows.X, known=1000)
    assert facts["known"]["n"] == len(rows)
    assert set(references_of(tmp_path / "out").labels) == {""}
    with pytest.raises(ExportError, match="known=3 and no rows, expected rows to keep 3 of"):
        export_bundle(in_memory(encoder), tmp_path / "none", known=3)
    with pytest.raises(ExportError, match="got known=-1, expected a whole number"):
        export_bundle(in_memory(encoder), tmp_path / "none", rows, known=-1)


def test_an_older_export_still_runs_and_is_replaced(exports, tmp_path):
    encoder, rows = exports[1]["numbers"]
    export_bundle(in_memory(encoder), tmp_path / "out", rows, residual=True, known=5)
    model = onnx.load(tmp_path / "out" / "model.onnx")
    facts = json.loads(model.metadata_props[0].value)
    del facts["known"], facts["preprocessing"], facts["file_digests"]
    write_facts(model, facts)
    onnx.save(model, tmp_path / "out" / "model.onnx")
    exported = Exported(tmp_path / "out", 1)
    assert exported.run(rows.X)["code"].shape == (80, 3)
    assert not exported.rebuilds
    assert references_of(tmp_path / "out") is None  # whatever lies there
    (tmp_path / "out" / "known.npz").unlink()
    export_bundle(in_memory(encoder), tmp_path / "out", rows, known=5)
    assert len(references_of(tmp_path / "out")) == 5


def damaged(content, name):
    """Return the content of a known.npz with one thing wrong."""
    if name == "half a file":
        return content[: len(content) // 2]
    with np.load(io.BytesIO(content)) as file:
        parts = dict(file)
    if name == "an array missing":
        del parts["labels"]
    elif name == "pickle":
        parts["instances"] = np.array([{}] * 30, dtype=object)
    elif name == "codes of another encoder":
        parts["digest"] = np.array("0" * 64)
    elif name == "one row too many":
        parts["codes"] = np.concatenate([parts["codes"], parts["codes"][:1]])
    else:
        parts["instances"] = np.array(['{"width": 1}'] * 30)
    made = io.BytesIO()
    np.savez(made, **parts)
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half a file", "export the bundle again, or delete it"),
        ("an array missing", "labels"),
        ("pickle", "Python objects"),
        ("codes of another encoder", "another encoder"),
        ("one row too many", r"shape \(31, 3\), expected \(30, 3\)"),
        ("rows of other columns", "other columns"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(exports, tmp_path, name, message):
    shutil.copytree(exports[0] / "mixed", tmp_path / "out")
    file = tmp_path / "out" / "known.npz"
    file.write_bytes(damaged(file.read_bytes(), name))
    exported = Exported(tmp_path / "out", 1)
    facts = exported.facts | {"file_digests": {}}  # as in exports of an earlier isthmus
    with pytest.raises(ExportError, match=f"damaged.*{message}"):
        read_references(tmp_path / "out" / "model.onnx", facts, exported.schema)
    with pytest.raises(ExportError, match="SHA-256 is not the one in the graph"):
        references_of(tmp_path / "out")


def test_samples_are_even_over_groups():
    groups = ["a"] * 100 + ["b"] * 3 + ["c"] * 50
    chosen = sample_evenly(groups, 23)
    assert [groups[at] for at in chosen] == ["a"] * 10 + ["b"] * 3 + ["c"] * 10
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, sample_evenly(groups, 23))
    assert chosen.tolist() != sample_evenly(groups, 23, seed=1).tolist()
    assert sample_evenly(groups, 1000).tolist() == list(range(153))


def test_rebuilt_images_are_clipped_to_bytes():
    images = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (60, 8, 8))
    encoder = Autoencoder(2, loss="mse", max_epochs=1, random_state=0).fit(images)
    codes = 100 * encoder.transform(images)
    far = encoder.inverse_transform(codes)
    assert far.max() > 256
    assert far.min() < -1
    kept = reconstruct(encoder, codes)
    assert (kept[far > 255] == 255).all()
    assert (kept[far < 0] == 0).all()
