"""Files of an export, its metadata, and the errors of exporting."""

import csv
import json
import re
import runpy
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

import isthmus
from isthmus import (
    AnomalyDetector,
    Autoencoder,
    CodeClassifier,
    export_bundle,
    load,
    load_bundle,
    save_bundle,
)
from isthmus.bundle import Bundle
from isthmus.data import Schema
from isthmus.errors import BundleError, DataError, DataWarning, ExportError, SchemaError
from isthmus.export import Exported, read_references
from isthmus.export import writer as write
from isthmus.serve import Limits
from isthmus.serve.bodies import from_lists

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")


def facts_in(folder):
    model = onnx.load(folder / "model.onnx")
    return json.loads({one.key: one.value for one in model.metadata_props}["isthmus"])


def bundle_of(encoder, heads, path):
    save_bundle(path, encoder, heads)
    return path


def test_an_export_is_a_checked_model_with_its_facts(wine_bundle, table, tmp_path):
    facts = export_bundle(wine_bundle, tmp_path / "out", table)
    scripts = {"predict.py", "predict_files.py"}
    files = {"model.onnx", "README.md", "known.npz", "monitor.json"}
    assert set(facts["files"]) == files | scripts
    model = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    stored = facts_in(tmp_path / "out")
    assert stored == {key: facts[key] for key in stored}
    bundle = load_bundle(wine_bundle)
    assert Schema.from_dict(stored["schema"]) == bundle.encoder.schema_
    assert stored["digest"] == bundle.encoder.digest_
    assert stored["heads"]["kind"]["classes"] == [0, 1]
    normal, detector = stored["heads"]["normal"], bundle.heads["normal"]
    assert normal["threshold"] == -detector.offset_
    assert "17 of 178 calibration scores" in normal["threshold_set_by"]
    assert stored["parity"]["n_rows"] == len(table)
    assert stored["libraries"]["onnx"] == metadata.version("onnx")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert all(f"'{one['name']}'" in text for one in stored["outputs"])


def test_calibration_scores_are_stored_in_the_graph(wine_bundle, table, tmp_path):
    export_bundle(wine_bundle, tmp_path / "out", table)
    model = onnx.load(tmp_path / "out" / "model.onnx")
    held = [
        onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.data_type != 8
    ]
    scores = load_bundle(wine_bundle).heads["normal"].score_calibration_.scores
    # In blocks, and filled up.
    assert any(
        one.size >= len(scores) and (one.ravel()[: len(scores)] == scores).all() for one in held
    )


def test_batches_that_run_at_the_same_time_decide_as_one_after_the_other(
    wine_bundle, table, tmp_path
):
    export_bundle(wine_bundle, tmp_path / "out", table)
    exported = Exported(tmp_path / "out", threads=1)
    rows = exported.feed(pd.concat([pd.DataFrame(table)] * 20, ignore_index=True))
    one_after_the_other, at_once = exported.run_fed(rows), exported.run_fed(rows, at_once=3)
    for name, values in one_after_the_other.items():
        np.testing.assert_array_equal(at_once[name], values)


def test_without_rows_those_of_the_heads_codes_are_rebuilt(wine_bundle, tmp_path):
    facts = export_bundle(wine_bundle, tmp_path / "out")
    assert facts["parity"]["of"] == "rebuilt from codes stored by the heads"
    assert facts["parity"]["n_rows"] == 178 + 89


def test_every_kind_can_be_rebuilt(digit_encoder, digits, mixed_encoder, mixed, tmp_path):
    for name, encoder, X, y in (
        ("images", digit_encoder, digits[0][:60], digits[1][:60]),
        ("table", mixed_encoder, mixed[:60], mixed["ok"][:60]),
    ):
        head = CodeClassifier(encoder).fit(X, y)
        path = bundle_of(encoder, {"it": head}, tmp_path / name)
        assert export_bundle(path, tmp_path / f"{name}-out")["parity"]["n_rows"] == 60


def test_an_encoder_alone_needs_rows(table_fit, table, tmp_path):
    path = bundle_of(table_fit, {}, tmp_path / "alone")
    with pytest.raises(ExportError, match="parity is measured on rows; pass some"):
        export_bundle(path, tmp_path / "out")
    facts = export_bundle(path, tmp_path / "out", table, residual=True)
    names = ["code", "reconstruction_error", "residual", "reconstruction"]
    assert [one["name"] for one in facts["outputs"]] == names
    assert facts["known"] is None
    assert "known.npz" not in facts["files"]


def test_a_deviating_graph_is_refused_with_output_and_row(
    wine_bundle, table, tmp_path, monkeypatch
):
    right = write.run

    def wrong(*words):
        got = right(*words)
        got["probabilities"][5] += 0.01
        return got

    monkeypatch.setattr(write, "run", wrong)
    with pytest.raises(ExportError, match=r"graph's probabilities is off by 0\.01 in row 5"):
        export_bundle(wine_bundle, tmp_path / "out", table)
    assert not (tmp_path / "out").exists()
    facts = export_bundle(wine_bundle, tmp_path / "out", table, tolerance=0.02)
    assert facts["parity"]["worst"]["probabilities"]["row"] == 5


def test_a_decision_that_differs_is_refused_outside_the_band_only(
    wine_bundle, table, tmp_path, monkeypatch
):
    bundle = load_bundle(wine_bundle)
    detector = bundle.heads["normal"]
    scores = -detector.score_samples(table)
    far, near = np.abs(scores + detector.offset_).argsort()[[-1, 0]]
    apart = abs(scores[near] + detector.offset_)
    right = write.run

    def wrong(row):
        def run(*words):
            got = right(*words)
            got["verdict"][row] *= -1
            return got

        return run

    monkeypatch.setattr(write, "run", wrong(far))
    with pytest.raises(ExportError, match=f"1 of 178 decisions of verdict .* in row {far},"):
        export_bundle(bundle, tmp_path / "out", table)
    monkeypatch.setattr(write, "run", wrong(near))
    facts = export_bundle(bundle, tmp_path / "out", table, tolerance=2 * apart)
    found = facts["parity"]["decisions"]["verdict"]
    assert (found["differ"], found["in_band"], found["rows"]) == (1, 1, [near])


def test_scores_that_rounding_of_the_code_explains_are_exported_with_a_warning(
    tmp_path, monkeypatch
):
    """2,000 references in a code of one number are as near as float32 tells them apart."""
    rng = np.random.default_rng(2)
    X, rows = rng.normal(size=(3000, 2)), rng.normal(size=(200, 2))
    encoder = Autoencoder(1, max_epochs=1, random_state=2)
    detector = AnomalyDetector(encoder, "neighbours", 0.1, "split", random_state=2).fit(X)
    bundle = bundle_of(detector.encoder_, {"normal": detector}, tmp_path / "press")
    with pytest.warns(DataWarning, match="anomaly_score is off by 0.00.* float32 tells them apart"):
        facts = export_bundle(bundle, tmp_path / "out", rows)
    worst = facts["parity"]["worst"]["anomaly_score"]
    assert worst["relative"] > 1e-4 >= worst["beyond_rounding"]
    right = write.run

    def wrong(*words):
        got = right(*words)
        got["anomaly_score"][7] += 0.05
        got["p_value"][:] = detector.p_values_of(got["anomaly_score"])
        return got

    monkeypatch.setattr(write, "run", wrong)
    with (
        pytest.warns(DataWarning, match="row 7"),
        pytest.raises(ExportError, match=r"anomaly_score is off by 0\.05"),
    ):
        export_bundle(bundle, tmp_path / "other", rows)


def test_a_p_value_that_is_not_of_its_score_is_refused(wine_bundle, table, tmp_path, monkeypatch):
    right = write.run

    def wrong(*words):
        got = right(*words)
        got["p_value"][2] += 1e-9
        return got

    monkeypatch.setattr(write, "run", wrong)
    with pytest.raises(ExportError, match="1 of 178 values of the graph's p_value"):
        export_bundle(wine_bundle, tmp_path / "out", table)


def test_an_export_opened_again_decides_as_the_library(wine_bundle, table, tmp_path):
    export_bundle(wine_bundle, tmp_path / "out", table)
    exported, bundle = Exported(tmp_path / "out"), load_bundle(wine_bundle)
    content = (tmp_path / "out" / "model.onnx").read_bytes()
    assert Exported(content).facts == exported.facts
    with pytest.raises(ExportError, match="the graph is damaged, or no export"):
        Exported(content[:100])
    found = exported.run(table)
    assert list(found) == exported.names
    np.testing.assert_array_equal(found["verdict"], bundle.heads["normal"].predict(table))
    assert exported.schema == bundle.encoder.schema_
    with pytest.raises(SchemaError, match="expected \\(n, 13\\) as at fit"):
        exported.run(table[:, :5])


def test_an_output_that_is_not_there_is_named_with_the_way_to_have_it(wine_bundle, table, tmp_path):
    export_bundle(wine_bundle, tmp_path / "out", table)
    found = Exported(tmp_path / "out").run(table)
    with pytest.raises(ExportError, match="got the output 'reconstruction', .*residual=True"):
        found["reconstruction"]
    with pytest.raises(ExportError, match="expected one of code, "):
        found["scores"]
    assert found.get("scores") is None


def test_what_is_no_export_is_not_opened(wine_bundle, table, tmp_path, monkeypatch):
    with pytest.raises(ExportError, match="holds no exported graph; write one with"):
        Exported(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ExportError, match="is damaged, or no export of isthmus"):
        Exported(tmp_path)
    monkeypatch.setattr("isthmus.export.metadata.FIRST_FORMAT", 3)
    export_bundle(wine_bundle, tmp_path / "out", table)
    with pytest.raises(ExportError, match="has export format 3, this isthmus reads up to 2"):
        Exported(tmp_path / "out")


def test_no_byte_of_an_export_can_change_its_decisions(wine_bundle, table, tmp_path):
    folder = tmp_path / "out"
    export_bundle(wine_bundle, folder, table, residual=True)
    graph, known = folder / "model.onnx", folder / "known.npz"
    content, stored = graph.read_bytes(), known.read_bytes()
    rng = np.random.default_rng(0)
    places = [*rng.integers(0, len(content), 60), *range(len(content) - 90, len(content), 10)]
    mutations = [content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
                 for at in places]  # fmt: skip
    # The digest cut off, and bytes put in, taken out and added.
    entry = content.rindex(b"sha256") - 4
    mutations += [content[:entry], content[:500] + b"0" + content[500:], content + content[-64:]]
    mutations += [content[: at - 8] + content[at:] for at in rng.integers(8, len(content), 20)]
    for mutation in mutations:
        with pytest.raises(ExportError, match="the graph is damaged"):
            Exported(mutation, 1)
    exported = Exported(folder, 1)
    for at in rng.integers(0, len(stored), 30):
        known.write_bytes(stored[:at] + bytes([stored[at] ^ 4]) + stored[at + 1 :])
        with pytest.raises(ExportError, match="SHA-256 is not the one in the graph"):
            read_references(graph, exported.facts, exported.schema)


class OwnTree(DecisionTreeClassifier):
    """A head of a class that no release of skl2onnx knows."""


def test_a_head_that_cannot_be_converted_is_named(table_fit, table, tmp_path):
    kind = CodeClassifier(table_fit, OwnTree()).fit(table, table[:, 0] > 13)
    linear = CodeClassifier(table_fit).fit(table, table[:, 0] > 13)
    bundle = Bundle(tmp_path, {"heads": {}}, table_fit, {"trees": kind, "line": linear})
    with pytest.raises(ExportError, match="'trees' is a OwnTree.* leave this one out"):
        export_bundle(bundle, tmp_path / "out", table)
    assert list(export_bundle(bundle, tmp_path / "out", table, ["line"])["heads"]) == ["line"]


def test_wrong_arguments_are_refused(wine_bundle, table, tmp_path):
    with pytest.raises(BundleError, match="no head 'other'"):
        export_bundle(wine_bundle, tmp_path / "out", table, ["other"])
    with pytest.raises(ExportError, match="variant 'int4', expected fp16 or int8"):
        export_bundle(wine_bundle, tmp_path / "out", table, variants=["int4"])
    with pytest.raises(ExportError, match="tolerance=0"):
        export_bundle(wine_bundle, tmp_path / "out", table, tolerance=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ExportError, match="no earlier export, and is not replaced"):
        export_bundle(wine_bundle, tmp_path / "mine", table)
    assert (tmp_path / "mine" / "notes.txt").exists()


def test_an_earlier_export_is_replaced(wine_bundle, table, tmp_path):
    export_bundle(wine_bundle, tmp_path / "out", table, variants=["int8"])
    facts = export_bundle(wine_bundle, tmp_path / "out", table)
    assert "model-int8.onnx" not in facts["files"]


def test_variants_are_smaller_and_their_parity_is_reported(digit_encoder, digits, tmp_path):
    head = CodeClassifier(digit_encoder).fit(digits[0][:200], digits[1][:200])
    path = bundle_of(digit_encoder, {"digit": head}, tmp_path / "digits")
    facts = export_bundle(path, tmp_path / "out", digits[0][:300], variants=("fp16", "int8"))
    sizes = facts["files"]
    assert sizes["model-fp16.onnx"] < 0.6 * sizes["model.onnx"]
    assert sizes["model-int8.onnx"] < sizes["model.onnx"]
    for variant in ("model-fp16.onnx", "model-int8.onnx"):
        worst = facts["variants"][variant]["worst"]
        exact = facts["parity"]["worst"]["code"]["deviation"]
        assert exact < worst["code"]["deviation"] < 0.2
        assert facts["rows_per_second"][variant] > 0


def run_bare(python, *words, cwd):
    done = subprocess.run(
        [python, *words], cwd=cwd, capture_output=True, text=True, check=False, env={}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


UNREADABLE = {
    "semicolons": (
        b"width;kind\n1,5;nut\n",
        "bad.csv has ';' between its columns; write it with commas there, points as decimal marks",
    ),
    "column lacks": (
        b"width\n1\n",
        r"1 rows of the columns \['width'\], without \['kind'\]; name each",
    ),
    "twice": (b"width,kind,kind\n1,nut,nut\n", "name each once, with commas"),
    "empty": (b"", "0 rows of the columns"),
    "header alone": (b"width,kind\n", "0 rows of the columns"),
    "ragged": (b"width,kind\n1,nut\n2\n", "line 3 of .*bad.csv has 1 cells, expected 2"),
    "utf-16": ("width,kind\n1,nut\n".encode("utf-16"), "is not text in UTF-8; save it"),
    "a word": (
        b"width,kind\nwide,nut\n",
        "got 'wide' in row 0, counting from 0, of column 'width'",
    ),
    "no file": (None, "No such file"),
}


@pytest.fixture(scope="module")
def screw_export(tmp_path_factory):
    """An export of a table with a number and a category."""
    folder = tmp_path_factory.mktemp("screws") / "out"
    rows = {"width": np.linspace(0, 1, 60), "kind": ["nut", "bolt", "rod"] * 20}
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(pd.DataFrame(rows))
    save_bundle(folder.with_name("bundle"), encoder)
    export_bundle(folder.with_name("bundle"), folder, pd.DataFrame(rows))
    return folder


@pytest.mark.parametrize("name", UNREADABLE)
def test_predict_names_what_it_cannot_read(screw_export, name, tmp_path, monkeypatch):
    content, message = UNREADABLE[name]
    if content is not None:
        (tmp_path / "bad.csv").write_bytes(content)
    words = [str(tmp_path / "bad.csv"), str(tmp_path / "out.npz")]
    monkeypatch.setattr(sys, "argv", ["predict.py", *words])
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(screw_export / "predict.py"), run_name="__main__")
    assert not (tmp_path / "out.npz").exists()


def test_predict_has_help(screw_export, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["predict.py", "--help"])
    with pytest.raises(SystemExit, match="^0$"):
        runpy.run_path(str(screw_export / "predict.py"), run_name="__main__")
    assert ".csv with a header" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: predict.py"),
        (["rows.csv"], "the following arguments are required: out"),
        (["rows.csv", "p.txt"], "got the output p.txt, expected a name with .csv or .npz"),
        (["rows.csv", "p.csv", "--key", "part"], r"without ['part']"),
        (["rows.csv", "p.csv", "--key", "code_0"], "got --key code_0, the name of an output"),
    ],
)
def test_predict_says_how_it_is_called(screw_export, words, message, tmp_path, monkeypatch, capsys):
    pd.DataFrame({"width": [0.5], "kind": ["nut"], "code_0": [1]}).to_csv(tmp_path / "rows.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["predict.py", *words])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(screw_export / "predict.py"), run_name="__main__")
    assert message in capsys.readouterr().err + str(left.value)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_predict_writes_csv_and_npz_with_the_same_decisions(
    wine_bundle, screw_export, table, tmp_path, monkeypatch, capsys
):
    export_bundle(wine_bundle, tmp_path / "out", table)
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", table)
    for name in ("p.csv", "p.npz"):
        monkeypatch.setattr(sys, "argv", ["predict.py", "rows.npy", name])
        runpy.run_path("out/predict.py", run_name="__main__")
    assert not Path("p.csv.npz").exists()
    found, arrays = pd.read_csv("p.csv"), np.load("p.npz")
    bundle = load_bundle(wine_bundle)
    n_abnormal = int((bundle.heads["normal"].predict(table) == -1).sum())
    assert f"verdict: abnormal: {n_abnormal}, normal: " in capsys.readouterr().out
    np.testing.assert_array_equal(found["class"], bundle.heads["kind"].predict(table))
    np.testing.assert_array_equal(found["verdict"], arrays["verdict"])
    for k in (0, 1):  # the classes, and the first two numbers of the code
        np.testing.assert_allclose(found[f"probabilities_{k}"], arrays["probabilities"][:, k])
        np.testing.assert_allclose(found[f"code_{k}"], arrays["code"][:, k])
    rows = pd.DataFrame({"part": ["007", "8"], "kind": ["nut", "rod"], "width": [0.2, 0.4]})
    rows.to_csv("screws.csv", index=False)
    words = ["predict.py", "screws.csv", "keyed.csv", "--key", "part"]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(screw_export / "predict.py"), run_name="__main__")
    assert pd.read_csv("keyed.csv", dtype=str)["part"].tolist() == ["007", "8"]


def test_predict_checks_the_scale_of_images_as_the_library_does(digits, tmp_path, capsys):
    X = digits[0][:200]
    most = X.max()
    images = (X / most * 255).round().astype(np.uint8).reshape(-1, 8, 8)
    for of, fitted in (("bytes", images), ("floats", (images / 255).astype(np.float32))):
        encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(fitted)
        export_bundle(bundle_of(encoder, {}, tmp_path / of), tmp_path / f"{of}-out", fitted)
        predict = runpy.run_path(str(tmp_path / f"{of}-out" / "predict.py"))["predict"]
        predict(fitted)
        assert capsys.readouterr().err == ""
        dark = (fitted // 16) if of == "bytes" else fitted / 17
        with pytest.warns(UserWarning, match="dark or of low contrast"):
            encoder.transform(dark)
        predict(dark)
        assert "pixels of 0 to " in capsys.readouterr().err
    predict(np.zeros((1, 8, 8), np.float32))  # all black, of which the library says nothing
    assert capsys.readouterr().err == ""
    with pytest.raises(DataError, match="expected"):
        encoder.transform(fitted * 16)
    with pytest.raises(ValueError, match="got pixels of 0 to 16, expected the scale at fit"):
        predict(fitted * 16)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_predict_needs_numpy_and_onnxruntime_alone(bare_python, wine_bundle, table, tmp_path):
    export_bundle(wine_bundle, tmp_path / "out", table)
    assert len((tmp_path / "out" / "predict.py").read_text().splitlines()) < 165
    np.save(tmp_path / "rows.npy", table)
    run_bare(bare_python, "out/predict.py", "rows.npy", "found.npz", cwd=tmp_path)
    run_bare(bare_python, "out/predict.py", "rows.npy", "found.csv", cwd=tmp_path)
    refused = subprocess.run(
        [bare_python, "out/predict.py", "rows.png", "found.npz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    expected = "got rows.png, expected a .npy file of an array\n"
    assert (refused.returncode, refused.stderr) == (1, expected)
    missing = run_bare(
        bare_python,
        "-c",
        "from importlib.util import find_spec\n"
        "print([n for n in ('isthmus', 'torch', 'sklearn', 'pandas', 'onnx') if find_spec(n)])",
        cwd=tmp_path,
    )
    assert missing.strip() == "[]"
    bundle = load_bundle(wine_bundle)
    graph, script = (tmp_path / "out" / name for name in ("model.onnx", "predict.py"))
    content = graph.read_bytes()
    graph.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    words = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False, "env": {}}
    refused = subprocess.run(
        [bare_python, "out/predict.py", "rows.npy", "other.npz"],
        **words,
    )
    assert "model.onnx is damaged or was changed; copy it or" in refused.stderr
    assert not (tmp_path / "other.npz").exists()
    graph.write_bytes(content)
    script.write_text(script.read_text().replace("batch: int = 512", "batch: int = 9"))
    edited = subprocess.run([bare_python, "out/predict.py", "rows.npy", "other.npz"], **words)
    assert edited.returncode == 0
    assert edited.stderr == f"{script} is not as it was exported: damaged, or edited\n"
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_array_equal(found["class"], bundle.heads["kind"].predict(table))
        np.testing.assert_array_equal(found["verdict"], bundle.heads["normal"].predict(table))
        np.testing.assert_allclose(found["code"], bundle.encoder.transform(table), atol=1e-5)


def test_onnx_runtime_reports_nothing_to_its_publisher(wine_bundle, table, tmp_path):
    """By default it keeps an identifier and events to send in the user's home."""
    export_bundle(wine_bundle, tmp_path / "out", table)
    np.save(tmp_path / "rows.npy", table)
    home = tmp_path / "home"
    home.mkdir()
    path = str(Path(isthmus.__file__).parents[1])
    library = ["-c", "from isthmus.export import Exported; Exported('out')"]
    for command in (library, ["out/predict.py", "rows.npy", "found.npz"]):
        environment = {"HOME": str(home), "PYTHONPATH": path}
        subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, check=True)
        assert list(home.rglob("*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_predict_reads_a_table_of_every_type_as_the_library_does(
    bare_python, mixed_encoder, mixed, strange, tmp_path
):
    head = CodeClassifier(mixed_encoder).fit(mixed[:100], mixed["class"][:100].fillna("none"))
    path = bundle_of(mixed_encoder, {"kind": head}, tmp_path / "mixed")
    export_bundle(path, tmp_path / "out", strange)
    strange.to_csv(tmp_path / "rows.csv", index=False)
    run_bare(bare_python, "out/predict.py", "rows.csv", "found.npz", cwd=tmp_path)
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_array_equal(found["class"], head.predict(strange))
        np.testing.assert_allclose(found["code"], mixed_encoder.transform(strange), atol=1e-5)
    lines = (tmp_path / "rows.csv").read_text().splitlines(keepends=True)
    for text in (f"width,{lines[0]}1.0,{lines[1]}", f"{lines[0]}1.0\n{lines[1]}"):
        (tmp_path / "odd.csv").write_text(text)
        with pytest.raises(
            AssertionError, match="name each once|cells, expected"
        ):  # a name twice; a line too short
            run_bare(bare_python, "out/predict.py", "odd.csv", "found.npz", cwd=tmp_path)
    # The same from a DataFrame, with its own types.
    sys.path.insert(0, str(tmp_path / "out"))
    try:
        from predict import predict
    finally:
        sys.path.remove(str(tmp_path / "out"))
        sys.modules.pop("predict", None)
    np.testing.assert_allclose(
        predict(strange)["code"], mixed_encoder.transform(strange), atol=1e-5
    )
    with pytest.raises(KeyError):
        predict(strange.drop(columns="width"))
    rows = strange[50:52].reset_index(drop=True).astype(object)
    rows["day"] = rows["day"].astype(str)
    for column, cell in (
        *(("width", text) for text in ("inf", "1e400", "1_0", "25:99", "word", "None")),
        *(("heavy tail", -np.inf), ("ok", "2"), ("ok", 0.5), ("ok", "10:30")),
        *(("day", text) for text in ("2024", "20240102", "2024-02-30", "today")),
    ):
        rows.loc[1, column] = cell
        where = f"got {cell!r} in row 1, counting from 0, of column {column!r}, expected a "
        with pytest.raises(ValueError, match=re.escape(where)):
            predict(rows)
        with pytest.raises(DataError):
            mixed_encoder.transform(rows)
        rows.loc[1, column] = rows.loc[0, column]
    for column, cell in (
        *(
            ("width", cell)
            for cell in (
                " 1.5 ",
                "1:30",
                "10:30:15.5",
                "-.5E-1",
                True,
                "True",
                "false",
                "\u22121.5",
                pd.NA,
            )
        ),
        *(("ok", "TRUE"), ("ok", 1.0), ("day", "2024-01-02 06:30Z"), ("size", 3.0), ("size", "7")),
    ):
        rows.loc[1, column] = cell
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy on zones of dates
            found = predict(rows)
        np.testing.assert_allclose(found["code"], mixed_encoder.transform(rows), atol=1e-5)
        rows.loc[1, column] = rows.loc[0, column]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_predict_reads_times_of_day_as_the_library_does(bare_python, tmp_path):
    rows = pd.DataFrame({"at": [f"{n % 24:02d}:{7 * n % 60:02d}" for n in range(60)]})
    rows["a"] = np.random.default_rng(0).normal(size=60)
    rows.loc[0, "at"], rows.loc[1, "at"] = "10:30:15", None
    encoder = Autoencoder(1, max_epochs=1, random_state=0).fit(rows)
    export_bundle(bundle_of(encoder, {}, tmp_path / "times"), tmp_path / "out", rows)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    run_bare(bare_python, "out/predict.py", "rows.csv", "found.npz", cwd=tmp_path)
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_allclose(found["code"], encoder.transform(rows), atol=1e-5)


def test_the_command_prints_parity_and_writes_facts(
    wine_bundle, table, tmp_path, monkeypatch, capsys
):
    from isthmus.cli import main

    np.save(tmp_path / "rows.npy", table)
    monkeypatch.chdir(tmp_path)
    words = ["export", str(wine_bundle), "rows.npy", "-o", "out", "--head", "normal", "--int8"]
    monkeypatch.setattr(sys, "argv", ["isthmus", *words, "--json", "facts.json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    captured = capsys.readouterr().out
    assert re.search(r"^- anomaly_score: off by [\de.-]+ at most \(row \d+\)$", captured, re.M)
    assert re.search(
        r"^- verdict: 0 of 178 decisions differ, 0 of them in the band", captured, re.M
    )
    assert re.search(r"^model-int8\.onnx .* rows/s$", captured, re.M)
    rebuilt = r"^references   178 instances, rebuilt from codes that heads store, in known\.npz$"
    assert re.search(rebuilt, captured, re.M)
    assert "next         python out/predict.py NEW.npy decisions.csv" in captured
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["parity"]["n_rows"] == len(table)
    assert list(facts["heads"]) == ["normal"]
    words = ["export", str(wine_bundle), "rows.npy", "-o", "out", "--known", "20"]
    monkeypatch.setattr(sys, "argv", ["isthmus", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    captured = capsys.readouterr().out
    assert re.search(r"^references   20 of the rows given, in known\.npz$", captured, re.M)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_row_alone_is_what_it_is_among_others(bare_python, tmp_path):
    cells = {"part": ["007", "A12", "B07"], "state": ["True", "False", "Unknown"]}
    frame = pd.DataFrame({name: np.resize(column, 60) for name, column in cells.items()})
    frame["width"] = np.random.default_rng(0).normal(size=60)
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(frame)
    head = CodeClassifier(encoder).fit(frame, frame["part"])
    path = bundle_of(encoder, {"part": head}, tmp_path / "parts")
    export_bundle(path, tmp_path / "out", frame)
    expected = encoder.transform(frame)[:3]
    exported = Exported(tmp_path / "out")
    for at in range(3):
        frame[at : at + 1].to_csv(tmp_path / "row.csv", index=False)
        guessed = pd.read_csv(tmp_path / "row.csv")
        np.testing.assert_allclose(encoder.transform(guessed)[0], expected[at], atol=1e-5)
        np.testing.assert_allclose(exported.run(guessed)["code"][0], expected[at], atol=1e-5)
        run_bare(bare_python, "out/predict.py", "row.csv", "found.npz", cwd=tmp_path)
        with np.load(tmp_path / "found.npz") as found:
            np.testing.assert_allclose(found["code"][0], expected[at], atol=1e-5)


#: Cells in columns whose categories are text, numbers and truth values, and the meaning of each.
CATEGORY_CELLS = {
    "text": ["007", "7", 7, 7.0, "A", True, "True", "true", "x", "", "NA", "null", None, "9" * 17],
    "number": [1, "1", "01", "1.0", " 1", True, "true", "1e1", 10, 10.5, "x", "", "nan", np.nan],
    "truth": [True, "true", "TRUE", 1, "1", 0.0, np.False_, "0", "no", 2, "N/A", pd.NA],
    "date": ["2024-05-01", pd.Timestamp("2024-05-01"), "2024-05-01T00:00", "soon", pd.NaT, "NULL"],
    "land": ["NA", "", "DE", "null", "x"],
}


def test_a_cell_means_the_same_in_every_way_in(tmp_path):
    categories = {
        "text": ["007", "A", "True", str(2**53), str(2**53 + 1)],
        "number": [1, 2, 10],
        "truth": [True, False],
        "date": ["2024-05-01", "soon", "2024-06-01"],
        "land": ["NA", "DE"],
    }
    frame = pd.DataFrame({k: pd.Categorical(np.resize(one, 60)) for k, one in categories.items()})
    frame["width"], frame["ok"] = np.random.default_rng(0).normal(size=60), np.arange(60) % 3 == 0
    frame.iloc[3, :5] = None
    encoder = Autoencoder(3, max_epochs=1, random_state=0).fit(frame)
    export_bundle(bundle_of(encoder, {}, tmp_path / "b"), tmp_path / "out", frame)
    script = runpy.run_path(str(tmp_path / "out" / "predict.py"))
    exported = Exported(tmp_path / "out")
    cells = CATEGORY_CELLS | {"width": ["", "NA", "-nan"], "ok": ["", "NULL", "1"]}
    cells["text"] += [2**53, 2**53 + 1]
    for name, values in cells.items():
        for value in values:
            row = frame[10:11].astype(object).reset_index(drop=True)
            row[name] = pd.Series([value], dtype=object)
            expected = encoder.transform(row)
            found = {
                "predict.py": script["predict"](row)["code"],
                "export": exported.run(row)["code"],
            }
            if not isinstance(value, pd.Timestamp):
                plain = [None if pd.isna(one) else one for one in row.iloc[0]]
                plain = json.loads(json.dumps(plain, default=lambda one: one.item()))
                instances = from_lists([plain], encoder.schema_, Limits())
                found["JSON"] = encoder.transform(instances)
            if isinstance(value, str):
                row.to_csv(tmp_path / "row.csv", index=False)
                loaded = load(tmp_path / "row.csv", schema=encoder.schema_)
                found["CSV"] = encoder.transform(loaded.X)
                with (tmp_path / "row.csv").open(newline="") as file:
                    head, line = csv.reader(file)
                given = {column: [cell] for column, cell in zip(head, line, strict=True)}
                found["CSV in predict.py"] = script["predict"](given)["code"]
            for way, code in found.items():
                np.testing.assert_allclose(
                    code, expected, atol=1e-5, err_msg=f"{value!r} in {name}, {way}"
                )
