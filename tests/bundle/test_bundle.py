"""A bundle gives back what was saved, or says which file is wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import LinearSVC
from torch import nn

from isthmus import Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus.bundle import add_head, read_manifest
from isthmus.errors import BundleError


@pytest.fixture(scope="module")
def labelled(digits):
    return digits[0][:400], digits[1][:400]


@pytest.fixture(scope="module")
def heads(image_fit, labelled):
    """One head of each name. Do not refit."""
    names = ("linear", "neighbours", "mlp", "svm")
    return {n: CodeClassifier(image_fit, n, random_state=0).fit(*labelled) for n in names}


@pytest.fixture
def bundle(tmp_path, image_fit, heads):
    path = tmp_path / "press"
    save_bundle(path, image_fit, heads, metrics={"linear": {"test_accuracy": 0.5}})
    return path


def test_loaded_equals_saved_to_the_bit(bundle, image_fit, heads, digits):
    X = digits[0][500:600]
    loaded = load_bundle(bundle)
    np.testing.assert_array_equal(loaded.encoder.transform(X), image_fit.transform(X))
    codes = image_fit.transform(X)
    np.testing.assert_array_equal(
        loaded.encoder.inverse_transform(codes), image_fit.inverse_transform(codes)
    )
    assert loaded.encoder.digest_ == image_fit.digest_
    assert loaded.encoder.history_ == image_fit.history_
    assert list(loaded.heads) == list(heads)
    for name, head in heads.items():
        np.testing.assert_array_equal(loaded.heads[name].predict_proba(X), head.predict_proba(X))
        assert loaded.heads[name].encoder_digest_ == image_fit.digest_


def test_table_with_names_keeps_its_columns_and_units(tmp_path, frame):
    encoder = Autoencoder(n_components=3, max_epochs=3, random_state=0).fit(frame)
    encoder.save(tmp_path / "wine")
    loaded = load_bundle(tmp_path / "wine").encoder
    assert list(loaded.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(loaded.transform(frame), encoder.transform(frame))
    np.testing.assert_array_equal(
        loaded.reconstruction_error(frame), encoder.reconstruction_error(frame)
    )


def test_string_classes_come_back_as_strings(tmp_path, image_fit, labelled):
    X, y = labelled
    names = np.array([f"digit {label}" for label in y])
    head = CodeClassifier(image_fit, "mlp", random_state=0).fit(X, names)
    save_bundle(tmp_path / "b", image_fit, {"named": head})
    loaded = load_bundle(tmp_path / "b").head("named")
    assert list(loaded.predict(X[:5])) == list(head.predict(X[:5]))


def test_there_is_no_pickle_in_a_bundle(bundle):
    for file in bundle.rglob("*"):
        if file.is_file():
            assert file.suffix in {".json", ".jsonl", ".safetensors", ".skops"}
            assert not file.read_bytes().startswith(b"\x80")  # every pickle's first byte


def test_manifest_says_what_is_inside_and_needs_no_torch(bundle, image_fit):
    script = (
        "import json, sys; from isthmus.bundle import read_manifest; "
        f"m = read_manifest({str(bundle)!r}); "
        "print(json.dumps([m['encoder']['digest'], 'torch' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [image_fit.digest_, False]
    manifest = read_manifest(bundle)
    assert manifest["format_version"] == 1
    assert manifest["encoder"]["schema"]["shape"] == [8, 8]
    assert manifest["encoder"]["data_fingerprint"] == image_fit.data_fingerprint_
    assert manifest["heads"]["linear"]["metrics"] == {"test_accuracy": 0.5}
    assert "torch" in manifest["libraries"]


@pytest.mark.parametrize(
    "name",
    ["encoder.safetensors", "decoder.safetensors", "history.jsonl", "heads/mlp/1/head.skops"],
)
def test_a_damaged_file_is_named(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        load_bundle(bundle)


def test_a_missing_file_is_named(bundle):
    (bundle / "decoder.safetensors").unlink()
    with pytest.raises(BundleError, match=r"decoder\.safetensors is missing"):
        load_bundle(bundle)


@pytest.mark.parametrize("network", ["encoder", "decoder"])
def test_other_weights_are_refused_even_with_matching_checksums(bundle, network, image_fit):
    from isthmus._core import file_digest

    file = bundle / f"{network}.safetensors"
    tensors = load_file(file)
    first = sorted(tensors)[0]
    save_file(tensors | {first: tensors[first] + 1}, file)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][file.name] = file_digest(file)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=f"digest of the {network} in"):
        load_bundle(bundle)
    del manifest["encoder"]["digest" if network == "encoder" else "decoder_digest"]
    if network == "decoder":  # as in the first bundles
        (bundle / "manifest.json").write_text(json.dumps(manifest))
        assert load_bundle(bundle).encoder.decoder_digest_ != image_fit.decoder_digest_


@pytest.mark.parametrize("network", ["encoder", "mlp"])
def test_networks_larger_than_their_files_are_never_built(tmp_path, frame, network):
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(frame)
    kinds = CodeClassifier(encoder, "mlp").fit(frame, np.arange(len(frame)) % 2)
    save_bundle(tmp_path / "large", encoder, {"mlp": kinds})
    manifest = json.loads((tmp_path / "large" / "manifest.json").read_text())
    entry = manifest["encoder"] if network == "encoder" else manifest["heads"]["mlp"]
    entry["architecture"]["hidden_layer_sizes"] = [100_000, 100_000]  # 40 GB
    (tmp_path / "large" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"weights take [48]\d(,\d{3}){3} bytes, and .* have"):
        load_bundle(tmp_path / "large")


def test_a_newer_format_is_refused(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(BundleError, match="pip install --upgrade"):
        load_bundle(bundle)


def test_what_is_no_bundle_is_said_so(tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        load_bundle(tmp_path)


def test_an_interrupted_save_leaves_the_old_bundle_whole(bundle, image_fit, heads, monkeypatch):
    before = {p.name: p.read_bytes() for p in bundle.iterdir() if p.is_file()}

    def disk_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("isthmus.bundle.head_folders.write_head", disk_full)
    with pytest.raises(OSError, match="No space"):
        save_bundle(bundle, image_fit, heads)
    assert {p.name: p.read_bytes() for p in bundle.iterdir() if p.is_file()} == before
    assert [p.name for p in bundle.parent.iterdir()] == ["press"]
    load_bundle(bundle)


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path, image_fit):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="left alone"):
        image_fit.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_head_can_be_added_and_replaced(bundle, image_fit, labelled):
    forest = RandomForestClassifier(5)
    head = CodeClassifier(image_fit, LinearSVC(), random_state=0).fit(*labelled)
    add_head(bundle, "svc", head, metrics={"test_accuracy": 0.9})
    loaded = load_bundle(bundle)
    assert list(loaded.heads) == ["linear", "neighbours", "mlp", "svm", "svc"]
    assert loaded.head() is loaded.heads["svc"]
    assert not hasattr(loaded.head(), "predict_proba")
    replaced = CodeClassifier(image_fit, "linear").fit(labelled[0][:200], labelled[1][:200])
    add_head(bundle, "linear", replaced)
    assert list(load_bundle(bundle).heads) == ["neighbours", "mlp", "svm", "svc", "linear"]
    add_head(bundle, "forest", CodeClassifier(image_fit, forest, random_state=0).fit(*labelled))
    with pytest.raises(BundleError, match=r"trusted=\['sklearn\.tree\._tree\.Tree'\]"):
        load_bundle(bundle)
    trusting = load_bundle(bundle, trusted=["sklearn.tree._tree.Tree"])
    assert "forest" in trusting.heads


def test_a_head_of_another_encoder_is_refused(bundle, image_fit, labelled):
    other = CodeClassifier(image_fit.untrained(1)).fit(*labelled)
    with pytest.raises(BundleError, match="another encoder"):
        add_head(bundle, "stray", other)
    with pytest.raises(BundleError, match="another encoder"):
        save_bundle(bundle.with_name("new"), image_fit, {"stray": other})


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b"])
def test_a_heads_name_cannot_lead_elsewhere(bundle, heads, name):
    with pytest.raises(BundleError, match="names a folder"):
        add_head(bundle, name, heads["linear"])


def test_an_unknown_head_lists_the_known(bundle):
    with pytest.raises(BundleError, match="linear, neighbours, mlp"):
        load_bundle(bundle).head("quadratic")


def test_a_bundle_without_heads_says_how_to_fit_one(tmp_path, image_fit):
    save_bundle(tmp_path / "bundle", image_fit)
    for name in (None, "linear"):
        with pytest.raises(BundleError, match="has no head yet; fit one with: isthmus classify"):
            load_bundle(tmp_path / "bundle").head(name)


def test_own_modules_are_given_again_at_load(tmp_path, images):
    def modules():
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5))
        return encoder, nn.Sequential(nn.Linear(5, 64), nn.Unflatten(1, (1, 8, 8)))

    torch_seed = torch.random.get_rng_state()
    encoder = Autoencoder(architecture=modules(), max_epochs=2, random_state=0).fit(images)
    encoder.save(tmp_path / "own")
    with pytest.raises(BundleError, match=r"architecture=\(encoder, decoder\)"):
        load_bundle(tmp_path / "own")
    loaded = load_bundle(tmp_path / "own", architecture=modules()).encoder
    np.testing.assert_array_equal(loaded.transform(images), encoder.transform(images))
    with pytest.raises(BundleError, match=r"encoder\.safetensors"):
        other = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
        load_bundle(tmp_path / "own", architecture=(other, modules()[1]))
    torch.random.set_rng_state(torch_seed)
