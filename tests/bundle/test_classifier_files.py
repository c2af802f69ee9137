"""A calibrated classifier in a bundle decides as before, and is refused where it is damaged."""

import json
import shutil

import numpy as np
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus.classification import MLPHead
from isthmus.errors import BundleError, CalibrationError, DataError

# The digits that the shared encoder was trained on are among those that calibrate.
pytestmark = pytest.mark.filterwarnings("ignore:the encoder was trained on")


@pytest.fixture(scope="module")
def parts(digits):
    order = np.random.default_rng(0).permutation(len(digits[0]))
    X, y = digits[0][order], digits[1][order]
    return (X[:300], y[:300]), (X[300:500], y[300:500]), X[500:600]


@pytest.fixture(scope="module")
def calibrated(image_fit, parts):
    """Classifiers by what calibrates them. Do not refit."""
    small = MLPHead((8,), max_epochs=2)
    names = np.array([f"digit {label}" for label in parts[0][1]])
    partly = np.where(np.arange(300) < 200, parts[0][1], -1)
    return {
        "cross": CodeClassifier(image_fit, calibration="cross", random_state=0).fit(*parts[0]),
        "split": CodeClassifier(image_fit, "neighbours", calibration="split", random_state=0).fit(
            parts[0][0], names
        ),
        "network": CodeClassifier(image_fit, small, calibration="cross", random_state=0).fit(
            *parts[0]
        ),
        "partly": CodeClassifier(image_fit, "spreading", calibration="cross", random_state=0).fit(
            parts[0][0], partly
        ),
        "held": CodeClassifier(image_fit, random_state=0).fit(*parts[0]).calibrate(*parts[1]),
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory, image_fit, calibrated):
    path = tmp_path_factory.mktemp("calibrated") / "press"
    save_bundle(path, image_fit, calibrated)
    return path


def test_a_calibrated_classifier_comes_back_as_it_was(path, calibrated, parts):
    loaded = load_bundle(path)
    for name, before in calibrated.items():
        after = loaded.heads[name]
        np.testing.assert_array_equal(after.predict_proba(parts[2]), before.predict_proba(parts[2]))
        for by_class in (False, True):
            np.testing.assert_array_equal(
                after.class_p_values(parts[2], by_class=by_class),
                before.class_p_values(parts[2], by_class=by_class),
            )
        assert after.acceptance(0.1) == before.acceptance(0.1)
        assert after.calibration_ == before.calibration_
        assert after.calibration == before.calibration
        assert after.n_seen_ == before.n_seen_ > 0


def test_later_labels_calibrate_a_loaded_classifier_too(path, parts):
    classifier = load_bundle(path).heads["cross"]
    classifier.add_labels(parts[1][0][:40], parts[1][1][:40])
    assert classifier.class_calibration_.n == 340
    assert len(classifier.fold_heads_) == 5


def test_sets_are_columns_of_predictions(path, calibrated, parts):
    bundle = load_bundle(path)
    table = bundle.predictions(parts[2], "split", alpha=0.1)
    sets = calibrated["split"].predict_set(parts[2], alpha=0.1)

    assert list(table.columns[-3:]) == ["set", "set_size", "reconstruction_error"]
    assert table["set_size"].tolist() == sets.sum(axis=1).tolist()
    full = int(table["set_size"].argmax())
    assert table["set"][full].split("|") == list(calibrated["split"].classes_[sets[full]])


def test_without_calibration_the_error_says_how_to_get_it(tmp_path, image_fit, parts):
    save_bundle(tmp_path / "b", image_fit, {"plain": CodeClassifier(image_fit).fit(*parts[0])})
    bundle = load_bundle(tmp_path / "b")
    with pytest.raises(CalibrationError, match="isthmus classify --calibration cross"):
        bundle.predictions(parts[2], alpha=0.1)


def test_sets_of_a_detector_are_refused(table, tmp_path):
    detector = AnomalyDetector(Autoencoder(2, max_epochs=1), "neighbours", 0.1, random_state=0)
    detector.fit(table)
    save_bundle(tmp_path / "b", detector.encoder_, {"normal": detector})
    with pytest.raises(DataError, match="the head is a detector, and alpha="):
        load_bundle(tmp_path / "b").predictions(table[:3], alpha=0.1)


@pytest.mark.parametrize("temperature", [0, -1.0, True, "1", None])
def test_a_temperature_that_is_none_is_refused(path, tmp_path, temperature):
    copied = tmp_path / "press"
    shutil.copytree(path, copied)
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["heads"]["cross"]["class_calibration"]["temperature"] = temperature
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"calibration in .* is damaged: temperature ="):
        load_bundle(copied)
