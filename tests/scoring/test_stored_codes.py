"""Heads fitted on the output of `isthmus encode` equal heads fitted on the instances."""

import copy
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from isthmus import (
    AnomalyDetector,
    Autoencoder,
    CodeClassifier,
    StoredCodes,
    load,
    load_bundle,
    load_codes,
)
from isthmus.data import codes as codes_module
from isthmus.detection import compute_stored_codes, extract_features
from isthmus.encoding import encoder_identity
from isthmus.errors import DataError, DataWarning
from isthmus.evaluation import evaluate_detector
from isthmus.scoring import score

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FEATURES = ["width", "height", "weight", "colour"]


def kinds_of(rows):
    return np.array(["low", "middle", "high"])[np.digitize(rows["width"], [-0.5, 0.5])]


@pytest.fixture(scope="module")
def rows(shards):
    """The rows of the shards, and their classes."""
    table = pd.read_parquet(shards)
    return table.assign(state=kinds_of(table))


@pytest.fixture(scope="module")
def stored(bundle, rows, tmp_path_factory):
    """Codes for heads in a folder of three part files, a fifth of the labels missing."""
    where = tmp_path_factory.mktemp("stored")
    some = rows.assign(state=rows["state"].where(rows["id"] % 5 > 0))
    for at, part in enumerate(np.array_split(np.arange(len(rows)), 3)):
        some.iloc[part].to_parquet(where / f"{at}.parquet", index=False)
    stream = load(f"{where}/*.parquet", columns=FEATURES, keys=["id", "state"])
    score(bundle, stream, where / "codes", what="encode", for_heads=True)
    return where / "codes"


@pytest.fixture(scope="module")
def encoder(bundle):
    return load_bundle(bundle).encoder


@pytest.fixture(scope="module")
def exact(encoder, rows):
    """Codes of the rows by the library, without a graph and its rounding."""
    X = rows[FEATURES]
    seen = extract_features(encoder, X)
    made_by = encoder.digest_, encoder_identity(encoder)
    hashes = encoder.row_hashes(X)
    return StoredCodes(seen.codes, *made_by, hashes, seen.residuals, rows["state"].to_numpy())


def test_stored_codes_are_the_features_of_the_heads(stored, encoder, rows):
    codes, seen = load_codes(stored), extract_features(encoder, rows[FEATURES])
    np.testing.assert_array_equal(codes.hashes, encoder.row_hashes(rows[FEATURES]))
    np.testing.assert_allclose(codes.codes, seen.codes, atol=1e-5)
    np.testing.assert_allclose(codes.residuals, seen.residuals, atol=1e-5)
    assert extract_features(encoder, codes).explained == pytest.approx(seen.explained, rel=1e-5)
    assert repr(codes).endswith("1,000 of 2 numbers, with row hashes, residuals)")


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_a_detector_of_codes_is_that_of_the_rows(exact, stored, encoder, rows, calibration):
    y = np.where(np.arange(len(rows)) % 50 == 3, -1, 0)
    new = rows[FEATURES].iloc[::-1] + {"width": 3.0, "height": 0.0, "weight": 0.5, "colour": ""}
    fresh = AnomalyDetector(encoder, "auto", 0.05, calibration, random_state=0)
    own = fresh.fit(rows[FEATURES], y)
    same = AnomalyDetector(encoder, "auto", 0.05, calibration, random_state=0).fit(exact, y)
    assert same.offset_ == own.offset_
    assert same.data_fingerprint_ == own.data_fingerprint_
    np.testing.assert_array_equal(same.p_values(new), own.p_values(new))
    near = AnomalyDetector(encoder, "auto", 0.05, calibration, random_state=0)
    near.fit(load_codes(stored), y)
    assert near.offset_ == pytest.approx(own.offset_, rel=1e-4)
    assert near.data_fingerprint_ == own.data_fingerprint_
    np.testing.assert_allclose(near.p_values(new), own.p_values(new), atol=2 / own.n_calibration_)


def test_a_detector_of_codes_counts_missing_values(stored, encoder, rows, exact, tmp_path):
    codes, new = load_codes(stored), rows[FEATURES].assign(height=np.nan)[:40]
    assert codes.missing.shape == (1000, 4)
    assert not codes.missing.any()
    detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0).fit(codes)
    assert (detector.predict(new) == -1).all()
    stored_new = compute_stored_codes(encoder, new, for_heads=True)
    with pytest.warns(DataWarning, match="'height' lacks the value in 20 of 20 rows"):
        np.testing.assert_array_equal(detector.predict(stored_new[:20]), [-1] * 20)
    pq.write_table(stored_new.to_arrow(["a", "b"]), tmp_path / "new.parquet")
    np.testing.assert_array_equal(
        load_codes(tmp_path / "new.parquet").missing, new.isna().to_numpy()
    )
    # Codes that an earlier isthmus stored do not hold it.
    earlier = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0)
    with pytest.warns(DataWarning, match="without the missing values of their rows"):
        earlier.fit(exact)
    assert earlier.missing_penalty_ is None


def test_a_classifier_of_codes_is_that_of_the_rows_and_takes_labels(exact, encoder, rows):
    X, y = rows[FEATURES], rows["state"].to_numpy()
    own = CodeClassifier(encoder, random_state=0).fit(X[:600], y[:600])
    same = CodeClassifier(encoder, random_state=0).fit(exact[:600])
    np.testing.assert_array_equal(same.predict_proba(X), own.predict_proba(X))
    np.testing.assert_array_equal(same.predict(exact), own.predict(X))
    assert same.data_fingerprint_ == own.data_fingerprint_
    # The first 100 are known again, raw or stored.
    own.add_labels(X[500:], y[500:])
    same.add_labels(exact[500:], y[500:])
    assert same.n_labels_ == own.n_labels_ == len(rows)
    np.testing.assert_array_equal(same.predict_proba(X), own.predict_proba(X))


def test_rejection_works_on_codes(exact, encoder, rows):
    X, y = rows[FEATURES], rows["state"].to_numpy()
    own = CodeClassifier(encoder, rejection_rate=0.2, random_state=0).fit(X, y)
    same = CodeClassifier(encoder, rejection_rate=0.2, random_state=0).fit(exact)
    np.testing.assert_array_equal(same.predict(X), own.predict(X))


def test_codes_with_labels_calibrate_detectors(exact, encoder, rows):
    X = rows[FEATURES]
    detectors = [
        AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0).fit(
            X[:500], X_calibration=calibrating
        )
        for calibrating in (X[500:], exact[500:])
    ]
    assert detectors[0].offset_ == detectors[1].offset_
    found = np.full(20, -1)
    detectors[0].add_labels(X[:20], found)
    detectors[1].add_labels(exact[:20], found)
    assert len(detectors[1].reference_set_.y) == len(rows)
    assert detectors[0].offset_ == detectors[1].offset_


def test_detectors_are_tested_on_the_codes_that_have_a_label(exact, encoder, rows):
    X = rows[FEATURES]
    detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0).fit(X[:500])
    y = np.random.default_rng(0).choice([1, 0, -1], 500)
    found = evaluate_detector(detector, exact[500:], y)
    assert found["n_unlabelled"] == (y == 0).sum() > 100
    assert found == evaluate_detector(detector, X[500:], y)


def test_images_with_pooled_residuals(image_fit, digits, monkeypatch, tmp_path):
    monkeypatch.setattr("isthmus.detection.features.MAX_UNPOOLED_VALUES", 10)
    monkeypatch.setattr("isthmus.detection.features.POOLED_SIDE", 4)
    images = digits[0][1000:1300]
    np.save(tmp_path / "new.npy", images)
    image_fit.save(tmp_path / "press")
    stream = load(tmp_path / "new.npy", lazy=True)
    score(tmp_path / "press", stream, tmp_path / "o", what="encode", for_heads=True)
    codes, seen = load_codes(tmp_path / "o"), extract_features(image_fit, images)
    assert codes.residuals.shape == (300, 16)
    np.testing.assert_allclose(codes.residuals, seen.residuals, atol=1e-5)
    again = extract_features(image_fit, codes)
    assert again.signed is seen.signed is False
    assert again.explained == pytest.approx(seen.explained, rel=1e-5)
    np.testing.assert_array_equal(codes.hashes, image_fit.row_hashes(images))


def test_labels_in_a_column_and_labels_that_come_later(stored, rows):
    carried = load_codes(stored, label="state")
    assert pd.isna(carried.y).sum() == 200
    known = ~pd.isna(carried.y)
    np.testing.assert_array_equal(carried.y[known], rows["state"][known])
    later = rows[["id", "state"]].sample(90, random_state=0)
    later.loc[len(rows)] = [-1, "low"]
    with pytest.warns(UserWarning, match="1 of 91 labels are of rows that are not in"):
        codes = load_codes(stored, label="state", labels=later)
    at = np.sort(later.index[:90])
    np.testing.assert_array_equal(codes.y, rows["state"].iloc[at])
    np.testing.assert_array_equal(codes.hashes, carried.hashes[at])


def test_of_many_rows_a_sample_is_drawn(stored, monkeypatch, rows):
    monkeypatch.setattr(codes_module, "MAX_ROWS", 300)
    monkeypatch.setattr(codes_module, "BATCH_ROWS", 64)
    codes, whole = load_codes(stored, label="state", labels=rows[["id", "state"]]), rows["state"]
    assert len(codes) == 300
    assert len(np.unique(codes.hashes)) == 300
    drawn = load_codes(stored, random_state=1)
    assert len(drawn) == 300
    assert set(drawn.hashes) != set(codes.hashes)
    assert set(codes.y) == set(whole)


def test_codes_of_another_encoder_are_refused(exact, encoder, rows):
    X = rows[FEATURES]
    other = Autoencoder(2, max_epochs=1, random_state=1).fit(X)
    message = f"digest {encoder.digest_[:12]}, expected {other.digest_[:12]}.*encode the instances"
    for fit in (CodeClassifier(other).fit, AnomalyDetector(other).fit):
        with pytest.raises(DataError, match=message):
            fit(exact)
    with pytest.raises(DataError, match=message):
        CodeClassifier(other).fit(X, exact.y).predict(exact)
    with pytest.raises(DataError, match="encoder that is not fitted learns from instances"):
        AnomalyDetector(Autoencoder()).fit(exact)


def test_the_same_weights_after_other_preprocessing_are_another_encoder(exact, encoder, rows):
    twin = copy.copy(encoder)
    wider = rows[FEATURES].assign(width=1000 * rows["width"])
    twin.preprocessor_ = Autoencoder(2, max_epochs=1).fit(wider).preprocessor_
    assert twin.digest_ == encoder.digest_
    with pytest.raises(DataError, match="the weights are the same, the preprocessing is not"):
        CodeClassifier(twin).fit(exact)


def test_a_detector_that_trained_several_encoders_takes_no_new_rows_as_codes(rows):
    X = rows[FEATURES]
    detector = AnomalyDetector(
        Autoencoder(2, max_epochs=1), "neighbours", 0.1, "cross", random_state=0
    ).fit(X[:60])
    encoder = detector.encoder_
    seen, hashes = extract_features(encoder, X), encoder.row_hashes(X)
    identity = encoder_identity(encoder)
    codes = StoredCodes(seen.codes, encoder.digest_, identity, hashes, seen.residuals)
    with pytest.raises(DataError, match="calibrated with several.*pass the instances"):
        detector.add_labels(codes[58:62], [-1] * 4)
    detector.add_labels(codes[58:60], [-1] * 2)
    assert (detector.reference_set_.y == -1).sum() == 2


def test_codes_of_training_rows_are_refused(encoder, exact):
    seen = copy.copy(encoder)
    seen.training_row_hashes_ = type(encoder.training_row_hashes_).from_hashes(exact.hashes)
    with pytest.raises(ValueError, match="were among those the encoder was trained on"):
        AnomalyDetector(seen).fit(exact)


def test_codes_alone_serve_classifiers_only(bundle, shards, encoder, rows, tmp_path):
    score(bundle, load(shards, keys=["id", "site"]), tmp_path / "o", what="encode")
    codes = load_codes(tmp_path / "o", label="site")
    with pytest.raises(DataError, match="codes without row hashes.*again with --for-heads"):
        AnomalyDetector(encoder).fit(codes)
    classifier = CodeClassifier(encoder).fit(codes, rows["state"].to_numpy())
    own = CodeClassifier(encoder).fit(rows[FEATURES], rows["state"].to_numpy())
    agreed = classifier.predict(rows[FEATURES]) == own.predict(rows[FEATURES])
    assert agreed.mean() > 0.99
    with pytest.raises(DataError, match="not on stored codes without row hashes"):
        classifier.add_labels(rows[FEATURES][:2], ["low", "high"])
    with pytest.raises(DataError, match="holds codes without row hashes"):
        own.add_labels(codes[:2], ["low", "high"])
    with pytest.raises(DataError, match="codes without labels; name their column"):
        CodeClassifier(encoder).fit(load_codes(tmp_path / "o"))


def test_what_needs_instances_refuses_codes(exact, encoder, rows):
    detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0).fit(exact)
    for call in (detector.explain, encoder.transform, Autoencoder(2, max_epochs=1).fit):
        with pytest.raises(DataError, match="needs the instances themselves"):
            call(exact)


def test_codes_that_cannot_be_read_name_the_reason(stored, tmp_path, rows):
    def refused(match, source=stored, **words):
        with pytest.raises(DataError, match=match):
            load_codes(source, **words)

    refused("does not exist", tmp_path / "nowhere.parquet")
    rows.to_parquet(tmp_path / "rows.parquet")
    refused("does not say of which encoder", tmp_path / "rows.parquet")
    refused("has no column 'kind'; it has id, state, autoencoder0.*--label kind", label="kind")
    later = rows[["id", "state"]]
    refused("expected the name of one of them", labels=later, label="kind")
    refused("no key column", labels=later[["state"]], label="state")
    refused("2 rows whose id stood", labels=pd.concat([later, later[:2]]), label="state")
    refused("none of 1,000 labels", labels=later.assign(id=-later["id"] - 1), label="state")

    half = tmp_path / "half"
    half.mkdir()
    manifest = json.loads((stored / "_manifest.json").read_text()) | {"finished": False}
    (half / "_manifest.json").write_text(json.dumps(manifest))
    refused("not finished; run isthmus encode again with --resume", half)
    (half / "_manifest.json").write_text(json.dumps(manifest | {"finished": True}))
    refused("holds no parts", half)
    (half / "part-00000.parquet").write_bytes(b"PAR1 and then nothing")
    refused("cannot read .*part-00000.parquet", half)


def test_a_table_of_codes_keeps_its_other_columns(exact, tmp_path):
    names = ["autoencoder0", "autoencoder1"]
    front = pd.DataFrame({"state": exact.y, "at": range(len(exact))})
    pq.write_table(exact.to_arrow(names, front), tmp_path / "codes.parquet")
    again = load_codes(tmp_path / "codes.parquet", label="state")
    for part in ("codes", "hashes", "residuals", "y"):
        np.testing.assert_array_equal(getattr(again, part), getattr(exact, part))
    assert (again.digest, again.identity) == (exact.digest, exact.identity)
    assert list(pd.read_parquet(tmp_path / "codes.parquet")) == [
        *("state", "at"),
        *names,
        *("row_hash", "residual"),
    ]
    with pytest.raises(
        DataError, match="the column 'residual' has the name of a column of the codes"
    ):
        exact.to_arrow(names, front.rename(columns={"at": "residual"}))
