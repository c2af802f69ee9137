"""A detector comes back from a bundle to the bit, and only onto the encoder it belongs to."""

import copy
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import nn

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus._core import file_digest
from isthmus.bundle import add_head, read_manifest
from isthmus.bundle.head_files import read_state, write_state
from isthmus.errors import BundleError, OutputError

SCORES = ("combined", "neighbours", "mahalanobis", "reconstruction", "head", "blend")


def rows(n, seed, shift=0.0):
    """A table of numbers, categories, yes and no, and a missing value."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    table = pd.DataFrame(
        {
            "width": common + 0.1 * rng.normal(size=n) + shift,
            "height": 40 + 3 * common + 0.1 * rng.normal(size=n),
            "hue": rng.choice(["red", "green", "blue"], n),
            "sealed": rng.random(n) > 0.5,
            "weight": 1000 * rng.normal(size=n) + 200 * shift,
        }
    )
    table.loc[1, "width"] = np.nan
    return table


X_NEW = rows(60, 7, shift=1.0)
Y = np.zeros(100, dtype=int)
Y[:3], Y[3:10] = -1, 1


@pytest.fixture(scope="module")
def table_encoder():
    """Of 120 rows. Do not refit."""
    return Autoencoder(n_components=3, max_epochs=3, random_state=0).fit(rows(120, 0))


@pytest.fixture(scope="module")
def detectors(table_encoder):
    """One of each score, and one that calibrates on every row. Do not refit."""
    X = pd.concat([rows(3, 2, shift=6.0), rows(97, 1)], ignore_index=True)
    made = {}
    for score in SCORES:
        labels = Y if score in ("head", "blend") else None
        detector = AnomalyDetector(table_encoder, score, 0.1, "split", random_state=0)
        made[score] = detector.fit(X, labels)
    cross = AnomalyDetector(table_encoder, "neighbours", 0.05, "cross", random_state=0)
    made["cross"] = cross.fit(X)
    return made


@pytest.fixture(scope="module")
def own_encoders():
    """A detector whose folds have encoders of their own. Do not refit."""
    X = pd.concat([rows(3, 2, shift=6.0), rows(77, 3)], ignore_index=True)
    encoder = Autoencoder(n_components=3, max_epochs=2, random_state=0)
    return AnomalyDetector(encoder, "auto", 0.05, "cross", random_state=0).fit(X, Y[:80])


@pytest.fixture(scope="module")
def saved(tmp_path_factory, table_encoder, detectors):
    path = tmp_path_factory.mktemp("bundles") / "press"
    save_bundle(path, table_encoder, detectors)
    return path


@pytest.fixture(scope="module")
def saved_own(tmp_path_factory, own_encoders):
    path = tmp_path_factory.mktemp("bundles") / "own"
    save_bundle(path, own_encoders.encoder_, {"normal": own_encoders})
    return path


@pytest.fixture(scope="module")
def loaded(saved):
    """Do not change its detectors: copy them."""
    return load_bundle(saved)


def assert_same(found, expected, X=X_NEW):
    """Check that two detectors answer the same in everything, to the bit."""
    for ask in ("score_samples", "decision_function", "predict", "p_values", "suggest"):
        np.testing.assert_array_equal(getattr(found, ask)(X), getattr(expected, ask)(X), ask)
    why, expected_why = found.explain(X), expected.explain(X)
    pd.testing.assert_frame_equal(why.frame(), expected_why.frame(), check_exact=True)
    np.testing.assert_array_equal(why.residuals, expected_why.residuals)
    np.testing.assert_array_equal(why.distances, expected_why.distances)
    for name in vars(expected):
        value = getattr(expected, name)
        if isinstance(value, str | int | float | list | None) and name != "random_state":
            assert getattr(found, name) == value, name


@pytest.mark.parametrize("name", [*SCORES, "cross"])
def test_every_score_comes_back_to_the_bit(loaded, detectors, name):
    assert isinstance(loaded.heads[name], AnomalyDetector)
    assert_same(loaded.heads[name], detectors[name])


def test_nothing_that_fit_learned_is_forgotten(loaded, detectors):
    for name, detector in detectors.items():
        assert set(vars(loaded.heads[name])) == learned(detector)


def learned(detector):
    """Return what a bundle holds of a detector: not the scores of single rows of the fit."""
    return set(vars(detector)) - {"held_out_scores_"}


@pytest.mark.parametrize("name", [*SCORES, "cross"])
def test_labels_mean_the_same_before_and_after(loaded, detectors, name):
    X = rows(8, 5, shift=5.0)
    y = np.array([-1, -1, -1, -1, 1, 1, 0, -1])
    before, after = copy.copy(detectors[name]), copy.copy(loaded.heads[name])
    assert_same(after.add_labels(X, y), before.add_labels(X, y))


def test_a_rate_is_moved_to_the_same_threshold(loaded, detectors):
    before, after = copy.copy(detectors["cross"]), copy.copy(loaded.heads["cross"])
    assert_same(after.set_false_alarm_rate(0.2), before.set_false_alarm_rate(0.2))
    assert after.offset_ != detectors["cross"].offset_


def test_folds_keep_encoders_of_their_own(saved_own, own_encoders):
    detector = load_bundle(saved_own).heads["normal"]
    assert_same(detector, own_encoders)
    for found, expected in zip(
        detector.reference_set_.folds, own_encoders.reference_set_.folds, strict=True
    ):
        assert found.encoder.digest_ == expected.encoder.digest_
        np.testing.assert_array_equal(found.held_out, expected.held_out)
    X, y = rows(6, 5, shift=5.0), np.full(6, -1)
    assert_same(copy.copy(detector).add_labels(X, y), copy.copy(own_encoders).add_labels(X, y))


def test_images_and_the_memory_come_back_with_their_types(tmp_path, images):
    encoder = Autoencoder(4, architecture="dense", max_epochs=2, random_state=0).fit(images[:150])
    detector = AnomalyDetector(encoder, false_alarm_rate=0.1, calibration="split", random_state=0)
    y = np.zeros(150)
    y[:3] = -1
    detector.fit(images[150:], y)
    save_bundle(tmp_path / "b", encoder, {"normal": detector})
    found = load_bundle(tmp_path / "b").heads["normal"]
    assert_same(found, detector, images[:40])
    kept, expected = found.reference_set_, detector.reference_set_
    assert kept.seed == expected.seed
    for name in ("y", "hashes"):
        assert getattr(kept, name).dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(getattr(kept, name), getattr(expected, name))
    for name, value in vars(expected.features).items():
        assert np.asarray(getattr(kept.features, name)).dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(getattr(kept.features, name), value)


def test_folds_of_own_modules_are_built_of_them_again(tmp_path):
    def modules():
        return nn.Linear(4, 2), nn.Linear(2, 4)

    X = np.random.default_rng(0).normal(size=(40, 4))
    encoder = Autoencoder(architecture=modules(), max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, "neighbours", 0.1, "cross", random_state=0).fit(X)
    save_bundle(tmp_path / "own", detector.encoder_, {"normal": detector})
    found = load_bundle(tmp_path / "own", architecture=modules()).heads["normal"]
    assert_same(found, detector, X[:10])
    X_odd, y = X[:5] + 9, np.full(5, -1)
    assert_same(found.add_labels(X_odd, y), copy.copy(detector).add_labels(X_odd, y), X[:10])


@pytest.mark.parametrize("fitted", [True, False])
def test_a_classifier_rejects_what_it_rejected(tmp_path, table_encoder, fitted):
    X = rows(90, 1)
    encoder = table_encoder if fitted else Autoencoder(3, max_epochs=1, random_state=0)
    kind = CodeClassifier(encoder, random_state=0, rejection_rate=0.1).fit(X, X["hue"])
    save_bundle(tmp_path / "b", kind.encoder_, {"kind": kind})
    bundle = load_bundle(tmp_path / "b")
    found, odd = bundle.heads["kind"], pd.concat([rows(20, 4), rows(5, 5, shift=9.0)])
    assert (found.predict(odd) == "unknown").sum() >= 5
    np.testing.assert_array_equal(found.predict(odd), kind.predict(odd))
    assert set(vars(found.rejecter_)) == learned(kind.rejecter_)
    assert_same(found.rejecter_, kind.rejecter_)
    assert found.rejection_rate == 0.1
    assert "state" not in bundle.history("kind")[0]["rejecter"]


def in_words_of_before(plain):
    """The keys that bundles and exports had for heads."""
    words = {"method": "score", "rejection_rate": "unknown_rate", "rejecter": "novelty"}
    if not isinstance(plain, dict):
        return plain
    found = {words.get(key, key): in_words_of_before(value) for key, value in plain.items()}
    if "encoder_digest" in found:
        found |= dict.fromkeys(("digest_before", "digest_after"), found["encoder_digest"])
    return found


def test_a_bundle_in_the_words_of_before_loads_and_takes_new_heads(tmp_path, table_encoder):
    X = rows(90, 1)
    kind = CodeClassifier(table_encoder, random_state=0, rejection_rate=0.1).fit(X, X["hue"])
    detector = AnomalyDetector(table_encoder, "blend", 0.1, "split", random_state=0)
    detector.fit(X, [-1] * 4 + [0] * 86)
    folder = tmp_path / "b"
    save_bundle(folder, table_encoder, {"kind": kind, "normal": detector})
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, entry in manifest["heads"].items():
        manifest["heads"][name] = in_words_of_before(entry)
        manifest["history"][name] = [manifest["heads"][name]]
    (folder / "manifest.json").write_text(json.dumps(manifest))

    bundle = load_bundle(folder)

    found = bundle.heads["kind"]
    assert found.rejection_rate == 0.1
    np.testing.assert_array_equal(found.predict(X_NEW), kind.predict(X_NEW))
    assert_same(found.rejecter_, kind.rejecter_)
    assert bundle.heads["normal"].get_params()["method"] == "blend"
    assert_same(bundle.heads["normal"], detector)
    assert add_head(folder, "normal", bundle.heads["normal"]) == 2
    methods = [entry["method"] for entry in load_bundle(folder).history("normal")]
    assert methods == ["blend", "blend"]


def test_a_state_keeps_values_types_and_shape_of_its_tree(tmp_path):
    state = {
        "a": {"flags": np.array([True, False]), "b": {"ids": np.array([2**63], dtype=np.uint64)}},
        "labels": np.array([-1, 0, 1], dtype=np.int8),
        "half": np.float32(0.1),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "none": np.empty((0, 3), dtype=np.float32),
        "plain": {"number": 0.1, "word": "x", "nothing": None},
    }
    plain = json.loads(json.dumps(write_state(tmp_path / "s.safetensors", state)))
    assert plain["plain"] == state["plain"]
    found = read_state(tmp_path / "s.safetensors", plain)
    assert found["plain"] == state["plain"]
    assert type(found["half"]) is np.float32
    for given, back in (
        (state["a"]["flags"], found["a"]["flags"]),
        (state["a"]["b"]["ids"], found["a"]["b"]["ids"]),
        (state["labels"], found["labels"]),
        (state["half"], found["half"]),
        (state["columns"], found["columns"]),
        (state["none"], found["none"]),
    ):
        assert back.dtype == given.dtype
        np.testing.assert_array_equal(back, given)


def test_the_manifest_says_what_a_detector_is(saved, detectors):
    entry = read_manifest(saved)["heads"]["blend"]
    detector = detectors["blend"]
    assert (entry["kind"], entry["method"], entry["version"]) == ("detector", "blend", 1)
    assert entry["false_alarm_rate"] == 0.1
    assert entry["offset"] == detector.offset_
    assert (entry["calibration"], entry["n_calibration"]) == ("split", detector.n_calibration_)
    assert entry["labels"] == {"normal": 7, "abnormal": 3, "unknown": 90}
    assert entry["label_curve"] == detector.label_curve_
    assert entry["data_fingerprint"] == detector.data_fingerprint_
    assert entry["encoder_digest"] == detector.encoder_.digest_


def test_there_is_no_pickle_in_a_bundle_with_detectors(saved, saved_own):
    for file in [*saved.rglob("*"), *saved_own.rglob("*")]:
        if file.is_file():
            assert file.suffix in {".json", ".jsonl", ".safetensors"}
            assert not file.read_bytes().startswith(b"\x80")  # every pickle's first byte


@pytest.mark.parametrize(
    "name", ["detector.safetensors", "folds/2/encoder.safetensors", "folds/0/encoder.json"]
)
def test_a_damaged_file_of_a_detector_is_named(tmp_path, own_encoders, name):
    save_bundle(tmp_path / "b", own_encoders.encoder_, {"normal": own_encoders})
    file = tmp_path / "b" / "heads" / "normal" / "1" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=f"heads/normal/1/{name} is damaged"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("name", ["offset", "false_alarm_rate"])
@pytest.mark.parametrize("value", [None, True, "0.5", [0.5]])
def test_a_threshold_that_is_no_number_is_refused(tmp_path, saved, name, value):
    shutil.copytree(saved, tmp_path / "b")
    file = tmp_path / "b" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["heads"]["combined"][name] = value
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=f"heads/combined/1 is damaged: {name} = .*no finite num"):
        load_bundle(tmp_path / "b")


def test_weights_of_another_fold_are_refused_even_with_matching_checksums(tmp_path, own_encoders):
    path = tmp_path / "b"
    save_bundle(path, own_encoders.encoder_, {"normal": own_encoders})
    file = path / "heads/normal/1/folds/0/encoder.safetensors"
    tensors = load_file(file)
    first = sorted(tensors)[0]
    save_file(tensors | {first: tensors[first] + 1}, file)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["heads/normal/1/folds/0/encoder.safetensors"] = file_digest(file)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="digest of the encoder in .*folds/0 is"):
        load_bundle(path)


def test_a_detector_of_another_encoder_is_refused(saved, tmp_path, table_encoder, own_encoders):
    with pytest.raises(BundleError, match="'stray' was fitted on the codes of another encoder"):
        save_bundle(tmp_path / "b", table_encoder, {"stray": own_encoders})
    with pytest.raises(BundleError, match="'stray' was fitted on the codes of another encoder"):
        add_head(saved, "stray", own_encoders)
    assert not (tmp_path / "b").exists()


def other_units(encoder):
    """The same weights, with the preprocessing of a table in other units."""
    twin = copy.copy(encoder)
    table = rows(120, 0)
    table["weight"] *= 1000
    twin.preprocessor_ = Autoencoder(3, max_epochs=1, random_state=0).fit(table).preprocessor_
    assert twin.digest_ == encoder.digest_
    return twin


def test_a_head_with_other_preprocessing_is_refused(tmp_path, table_encoder):
    twin = other_units(table_encoder)
    X = rows(100, 1)
    heads = {
        "kind": CodeClassifier(twin).fit(X, X["sealed"]),
        "normal": AnomalyDetector(twin, "neighbours", 0.1, "split", random_state=0).fit(X),
    }
    table_encoder.save(tmp_path / "press")
    for name, head in heads.items():
        with pytest.raises(BundleError, match="weights are the same, the preprocessing is not"):
            save_bundle(tmp_path / "b", table_encoder, {name: head})
        with pytest.raises(BundleError, match="weights are the same, the preprocessing is not"):
            add_head(tmp_path / "press", name, head)
        # A manifest put together from two bundles.
        save_bundle(tmp_path / "mixed", twin, {name: head}, overwrite=True)
        manifest = json.loads((tmp_path / "mixed" / "manifest.json").read_text())
        right = read_manifest(tmp_path / "press")["encoder"]
        manifest["encoder"]["preprocessing"] = right["preprocessing"]
        (tmp_path / "mixed" / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(BundleError, match="other preprocessing"):
            load_bundle(tmp_path / "mixed")


def test_what_the_manifest_lacks_is_named(tmp_path, table_encoder, detectors):
    save_bundle(tmp_path / "b", table_encoder, {"normal": detectors["combined"]})
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    del manifest["heads"]["normal"]["offset"]
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="'offset' is missing"):
        load_bundle(tmp_path / "b")


def test_detectors_are_asked_for_by_name_or_the_last_is_given(tmp_path, table_encoder, detectors):
    X = rows(100, 1)
    kind = CodeClassifier(table_encoder).fit(X, X["sealed"])
    heads = {"first": detectors["combined"], "second": detectors["neighbours"], "kind": kind}
    save_bundle(tmp_path / "b", table_encoder, heads)
    bundle = load_bundle(tmp_path / "b")
    assert bundle.head() is bundle.heads["kind"]
    assert bundle.detector() is bundle.heads["second"]
    assert bundle.detector("first") is bundle.heads["first"]
    with pytest.raises(BundleError, match=r"no detector 'kind' \(detectors: first, second\)"):
        bundle.detector("kind")
    table_encoder.save(tmp_path / "b", overwrite=True)
    with pytest.raises(BundleError, match=r"no detector \(detectors: none\)"):
        load_bundle(tmp_path / "b").detector()


def test_arrays_that_a_full_disk_does_not_take_leave_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "arrays.safetensors"
    write_state(path, {"a": np.arange(3)})

    def disk_full(_, file):
        file.write_bytes(b"a part")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", disk_full)
    with pytest.raises(OutputError, match="arrays.safetensors") as caught:
        write_state(path, {"a": np.arange(9)})
    assert (caught.value.errno, caught.value.needed) == (28, 72)
    np.testing.assert_array_equal(read_state(path, {})["a"], np.arange(3))
    assert list(tmp_path.iterdir()) == [path]
