"""A bundle keeps every head ever fitted, says which is which, and can go back."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus.bundle import MANIFEST, add_head, read_manifest, roll_back
from isthmus.cli import main
from isthmus.errors import BundleError


def rows(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 5))


X_NEW = rows(50, 9)


@pytest.fixture(scope="module")
def encoder():
    """Do not refit."""
    return Autoencoder(n_components=2, max_epochs=3, random_state=0).fit(rows(120, 0))


@pytest.fixture(scope="module")
def versions(encoder):
    """Three detectors of different rows. Do not refit."""
    return [
        AnomalyDetector(encoder, "neighbours", 0.1, "split", random_state=0).fit(rows(n, n))
        for n in (80, 90, 100)
    ]


@pytest.fixture
def bundle(tmp_path, encoder, versions):
    """With three versions of a detector, and a classifier between them."""
    path = tmp_path / "press"
    save_bundle(path, encoder, {"normal": versions[0]}, metrics={"normal": {"auroc": 0.5}})
    sign = CodeClassifier(encoder).fit(rows(60, 3), rows(60, 3)[:, 0] > 0)
    assert add_head(path, "sign", sign) == 1
    assert add_head(path, "normal", versions[1], metrics={"auroc": 0.6}) == 2
    assert add_head(path, "normal", versions[2]) == 3
    return path


def files(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def scores(path):
    return load_bundle(path).heads["normal"].score_samples(X_NEW)


def test_history_tells_each_version_with_date_data_and_figures(bundle, versions):
    found = load_bundle(bundle).history("normal")
    assert [entry["version"] for entry in found] == [1, 2, 3]
    assert [entry["current"] for entry in found] == [False, False, True]
    assert [entry["n_rows"] for entry in found] == [80, 90, 100]
    assert [entry["metrics"] for entry in found] == [{"auroc": 0.5}, {"auroc": 0.6}, {}]
    assert {entry["kind"] for entry in found} == {"detector"}
    fingerprints = [detector.data_fingerprint_ for detector in versions]
    assert [entry["data_fingerprint"] for entry in found] == fingerprints
    assert len(set(fingerprints)) == 3
    assert all(entry["created"] for entry in found)
    json.dumps(found)  # plain values
    assert [entry["n_rows"] for entry in load_bundle(bundle).history("sign")] == [60]


def test_the_current_head_is_the_last_and_all_files_are_there(bundle, versions):
    np.testing.assert_array_equal(scores(bundle), versions[2].score_samples(X_NEW))
    kept = {f"heads/normal/{version}/detector.safetensors" for version in (1, 2, 3)}
    assert kept | {"heads/sign/1/head.skops"} <= set(files(bundle))
    assert kept <= set(read_manifest(bundle)["files"])
    assert list(load_bundle(bundle).heads) == ["sign", "normal"]


def test_a_version_that_is_current_again_decides_as_it_did(bundle, versions):
    assert roll_back(bundle, "normal", 1) == 1
    np.testing.assert_array_equal(scores(bundle), versions[0].score_samples(X_NEW))
    np.testing.assert_array_equal(
        load_bundle(bundle).heads["normal"].predict(X_NEW), versions[0].predict(X_NEW)
    )
    entries = load_bundle(bundle).history("normal")
    assert [entry["current"] for entry in entries] == [True, False, False]
    assert roll_back(bundle, "normal", 3) == 3
    np.testing.assert_array_equal(scores(bundle), versions[2].score_samples(X_NEW))


def test_going_back_step_by_step_loses_nothing(bundle, versions):
    before = files(bundle)
    assert roll_back(bundle, "normal") == 2
    assert roll_back(bundle, "normal") == 1
    np.testing.assert_array_equal(scores(bundle), versions[0].score_samples(X_NEW))
    with pytest.raises(BundleError, match="version 1 is the first of the head 'normal'"):
        roll_back(bundle, "normal")
    after = files(bundle)
    del before["manifest.json"], after["manifest.json"]
    assert after == before
    assert load_bundle(bundle).manifest["metrics"] == {"normal": {"auroc": 0.5}}
    # The next one counts on from the last, wherever one has gone back to.
    assert add_head(bundle, "normal", versions[1]) == 4
    assert [entry["version"] for entry in load_bundle(bundle).history("normal")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("normal", 7, "no version 7 of the head 'normal', expected one of 1, 2, 3"),
        ("nope", None, r"no head 'nope' \(heads: sign, normal\)"),
    ],
)
def test_what_is_not_there_is_said(bundle, name, version, message):
    before = files(bundle)
    with pytest.raises(BundleError, match=message):
        roll_back(bundle, name, version)
    assert files(bundle) == before


@pytest.mark.parametrize(
    "place", ["isthmus.bundle.head_folders.write_head", "isthmus.bundle.bundle.write_manifest"]
)
def test_an_interrupted_addition_leaves_the_bundle_whole(bundle, versions, monkeypatch, place):
    before = files(bundle)

    def disk_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place, disk_full)
    with pytest.raises(OSError, match="No space"):
        add_head(bundle, "normal", versions[0])
    assert files(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["press"]


def test_an_interrupted_roll_back_leaves_the_bundle_whole(bundle, monkeypatch):
    before = files(bundle)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("isthmus.bundle.manifest.write_manifest", stopped)
    with pytest.raises(KeyboardInterrupt):
        roll_back(bundle, "normal")
    assert files(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["press"]


def test_a_damaged_file_is_not_vouched_for_by_a_new_manifest(bundle, versions):
    file = bundle / "decoder.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for change in (
        lambda: roll_back(bundle, "normal"),
        lambda: add_head(bundle, "normal", versions[0]),
    ):
        with pytest.raises(BundleError, match=r"decoder\.safetensors is damaged"):
            change()


def test_a_version_cannot_lead_out_of_the_bundle(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["heads"]["normal"]["version"] = "../../elsewhere"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="expected a whole number"):
        load_bundle(bundle)


def test_the_fingerprint_stands_for_rows_and_labels(encoder):
    X, y = rows(40, 1), np.repeat(["a", "b"], 20)
    fitted = CodeClassifier(encoder).fit(X, y).data_fingerprint_
    assert CodeClassifier(encoder).fit(X.tolist(), list(y)).data_fingerprint_ == fitted
    assert CodeClassifier(encoder).fit(X, y[::-1]).data_fingerprint_ != fitted
    assert CodeClassifier(encoder).fit(X + 1, y).data_fingerprint_ != fitted


def test_new_labels_change_the_fingerprint_of_a_detector(encoder):
    detector = AnomalyDetector(encoder, "neighbours", 0.1, "split", random_state=0)
    before = detector.fit(rows(80, 1)).data_fingerprint_
    after = detector.add_labels(rows(80, 1)[:1], [1], normal=1).data_fingerprint_
    assert after != before
    assert detector.add_labels(rows(80, 1)[:1], [0]).data_fingerprint_ == before


def test_history_and_going_back_need_no_torch(bundle):
    script = (
        "import sys; from isthmus.bundle import history, roll_back; "
        "from isthmus.bundle import read_manifest; "
        f"roll_back({str(bundle)!r}, 'normal'); "
        f"print([e['current'] for e in history(read_manifest({str(bundle)!r}), 'normal')], "
        "'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[False, True, False] False"


# --- writing over a bundle with heads ------------------------------------------------------


@pytest.fixture
def pressed(tmp_path, table_fit, table):
    """A bundle with two versions of a classifier and one detector, and what they decide."""
    path = tmp_path / "press"
    labels = table[:, 0] > 13
    kinds = [CodeClassifier(table_fit, name).fit(table, labels) for name in ("linear", "svm")]
    others = table + np.random.default_rng(0).normal(size=table.shape)
    normal = AnomalyDetector(table_fit, "combined", 0.1, random_state=0).fit(others)
    save_bundle(path, table_fit, {"kind": kinds[0], "normal": normal}, metrics={"note": 1})
    add_head(path, "kind", kinds[1])
    return path, {"kind": kinds[1].predict(table), "normal": normal.predict(table)}


def test_heads_of_the_same_encoder_stay_when_it_is_saved_again(pressed, table_fit, table):
    path, decided = pressed
    before = load_bundle(path).manifest
    table_fit.save(path)
    bundle = load_bundle(path)
    assert [before[key] for key in ("heads", "history", "metrics")] == [
        bundle.manifest[key] for key in ("heads", "history", "metrics")
    ]
    for name, expected in decided.items():
        np.testing.assert_array_equal(bundle.heads[name].predict(table), expected)
    head = CodeClassifier(table_fit).fit(table, table[:, 1] > 2)
    save_bundle(path, table_fit, {"kind": head, "sort": head}, metrics={"more": 2})
    bundle = load_bundle(path)
    assert {name: len(bundle.history(name)) for name in bundle.heads} == {
        "normal": 1, "kind": 3, "sort": 1,
    }  # fmt: skip
    assert bundle.manifest["metrics"] == {"note": 1, "more": 2}
    np.testing.assert_array_equal(bundle.heads["kind"].predict(table), head.predict(table))


def test_heads_of_another_encoder_are_deleted_on_request_only(pressed, table):
    path, _ = pressed
    other = Autoencoder(4, max_epochs=1, random_state=1).fit(table)
    files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    message = r"holds the heads 'kind' \(2 versions\) and 'normal', .*overwrite=True .*--overwrite"
    for write in (lambda: other.save(path), lambda: save_bundle(path, other, {})):
        with pytest.raises(BundleError, match=message):
            write()
    (path / MANIFEST).write_text("{}")  # damaged: what it holds cannot be read
    with pytest.raises(BundleError, match=message):
        other.save(path)
    (path / MANIFEST).write_bytes(files[path / MANIFEST])
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == files

    other.save(path, overwrite=True)
    bundle = load_bundle(path)
    assert bundle.heads == {}
    assert bundle.encoder.digest_ == other.digest_
    other.save(path)  # without heads there is nothing to lose


def test_fit_refuses_to_delete_heads_before_it_trains(
    pressed, table, tmp_path, monkeypatch, capsys
):
    def isthmus(*options):
        words = ["fit", str(tmp_path / "rows.npy"), "-o", str(path), "--max-epochs", "1", *options]
        monkeypatch.setattr(sys, "argv", ["isthmus", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, " ".join((printed.out + printed.err).split())

    path, _ = pressed
    np.save(tmp_path / "rows.npy", table)
    with monkeypatch.context() as patched:
        patched.setattr(Autoencoder, "fit", lambda *_, **__: pytest.fail("trained"))
        code, message = isthmus()
    assert code == 1
    assert "holds the heads 'kind' (2 versions) and 'normal'" in message
    assert "--overwrite" in message
    assert len(load_bundle(path).heads) == 2

    facts = tmp_path / "facts.json"
    code, message = isthmus("--overwrite", "--json", str(facts))
    assert not code
    assert "deleted the heads 'kind' (2 versions) and 'normal'" in message
    assert json.loads(facts.read_text())["deleted_heads"] == {"kind": 2, "normal": 1}
    assert load_bundle(path).heads == {}


def test_a_clock_before_the_first_date_of_a_zip_archive_is_named(bundle, encoder, monkeypatch):
    head = CodeClassifier(encoder).fit(rows(60, 3), rows(60, 3)[:, 0] > 0)
    before = files(bundle)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(0))
    with pytest.raises(BundleError, match="is in 1970, expected 1980 or later.* set the clock"):
        add_head(bundle, "late", head)
    assert files(bundle) == before
