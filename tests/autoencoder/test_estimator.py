"""The autoencoder as people use it: arrays and DataFrames in, codes out, and back."""

import copy
import pickle
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from isthmus import AnomalyDetector, Autoencoder
from isthmus.errors import (
    ArchitectureError,
    DataError,
    DataWarning,
    MissingExtraError,
    SchemaError,
    TrainingError,
)
from isthmus.networks import digest


def quick(n_components=3, **parameters):
    return Autoencoder(n_components, **{"max_epochs": 2, "random_state": 0} | parameters)


@pytest.fixture(scope="module")
def float_images(images):
    return images / 255


@pytest.fixture(scope="module")
def float_image_fit(float_images):
    """Do not refit."""
    return quick(16, max_epochs=10).fit(float_images)


@pytest.fixture(scope="module")
def frame_fit(frame):
    """Do not refit."""
    return quick(4, max_epochs=40).fit(frame)


@pytest.fixture(scope="module")
def colour_images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60, 9, 7, 3), dtype=np.uint8)


# --- what it learns ----------------------------------------------------------------------


def tamed(X):
    """Standardised columns as the network sees them, heavy tails drawn in."""
    return 2 * np.arcsinh(X / 2)


def test_a_linear_autoencoder_reaches_the_error_of_pca(table):
    encoder = Autoencoder(
        4,
        hidden_layer_sizes=(),
        noise=0,
        lr=0.02,
        batch_size=32,
        max_epochs=150,
        validation_fraction=0,
        precision="float32",
        random_state=0,
    ).fit(table)

    X = tamed(StandardScaler().fit_transform(table))
    pca = PCA(4).fit(X)
    best = np.mean((X - pca.inverse_transform(pca.transform(X))) ** 2)
    found = encoder.reconstruction_error(table).mean()
    # No linear map of rank four does better than PCA; float32 may round a little under it.
    assert best * (1 - 1e-6) <= found < best * 1.01


def test_digits_are_reconstructed_far_better_than_by_their_mean(image_fit, digits):
    X = digits[0][1000:] / 255.0
    mean = digits[0][:1000].mean(axis=0) / 255.0

    back = image_fit.inverse_transform(image_fit.transform(digits[0][1000:])) / 255.0

    assert np.mean((X - back) ** 2) < 0.25 * np.mean((X - mean) ** 2)


def test_training_gets_better_and_is_recorded(image_fit):
    losses = [record["validation_loss"] for record in image_fit.history_]

    assert len(losses) == 20
    assert losses[-1] < 0.7 * losses[0]
    assert image_fit.best_epoch_ == 1 + int(np.argmin(losses))


def test_the_kept_weights_are_those_of_the_best_epoch(float_images):
    # Half of the rows are held out; which, only the fingerprint of their loss tells.
    encoder = quick(
        8, objective="reconstruction", validation_fraction=0.5, max_epochs=6, lr=0.05
    ).fit(float_images)
    order = np.random.default_rng([encoder.training_["seed"], 0]).permutation(len(float_images))

    held_out = float_images[order[:150]]

    best = min(record["validation_loss"] for record in encoder.history_)
    assert encoder.reconstruction_error(held_out).mean() == pytest.approx(best, rel=1e-2)


@pytest.mark.parametrize("kind", ["images", "table"])
def test_the_seed_decides_the_weights(kind, images, table):
    X = images if kind == "images" else table

    first, again, other = (quick(random_state=seed).fit(X) for seed in (0, 0, 1))

    assert first.digest_ == again.digest_ != other.digest_
    assert digest(first.decoder_) == digest(again.decoder_) != digest(other.decoder_)
    np.testing.assert_array_equal(first.transform(X), again.transform(X))
    assert quick(random_state=None).fit(X).digest_ != quick(random_state=None).fit(X).digest_


def test_a_fitted_encoder_is_frozen(image_fit, images):
    before = image_fit.digest_

    image_fit.transform(images), image_fit.reconstruction_error(images)

    for network in (image_fit.encoder_, image_fit.decoder_):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert digest(image_fit.encoder_) == before == image_fit.digest_


# --- shapes, dtypes and units ------------------------------------------------------------


def test_uint8_images_come_back_in_0_to_255(image_fit, images):
    codes = image_fit.transform(images)
    back = image_fit.inverse_transform(codes)

    assert codes.shape == (300, 32)
    assert codes.dtype == back.dtype == np.float32
    assert back.shape == images.shape
    assert 0 <= back.min() < 10
    assert 245 < back.max() <= 255
    assert np.abs(back - images).mean() < 25


def test_float_images_come_back_in_0_to_1(float_image_fit, float_images):
    back = float_image_fit.inverse_transform(float_image_fit.transform(float_images))

    assert back.shape == float_images.shape
    assert 0 <= back.min() < 0.1
    assert 0.9 < back.max() <= 1


@pytest.mark.parametrize("architecture", ["conv", "dense", "reference"])
def test_colour_images_keep_their_shape(colour_images, architecture):
    encoder = quick("auto", architecture=architecture).fit(colour_images)

    back = encoder.inverse_transform(encoder.transform(colour_images))

    assert back.shape == (60, 9, 7, 3)
    assert encoder.n_features_in_ == 9 * 7 * 3


def test_colours_are_not_mixed_up():
    # Each image has one plain colour; red, green and blue must come back where they were.
    X = np.zeros((90, 6, 6, 3), dtype=np.uint8)
    X[np.arange(90), :, :, np.arange(90) % 3] = 255
    encoder = quick(4, max_epochs=60).fit(X)

    back = encoder.inverse_transform(encoder.transform(X[:3])).mean(axis=(1, 2))

    np.testing.assert_allclose(back, 255 * np.eye(3), atol=50)


def test_a_table_comes_back_in_its_own_units(frame_fit, frame):
    codes = frame_fit.transform(frame)
    back = frame_fit.inverse_transform(codes)

    assert codes.shape == (178, 4)
    assert codes.dtype == back.dtype == np.float32
    # Proline is in the hundreds, hue around one: each within its own spread.
    error = np.sqrt(np.mean((back - frame) ** 2, axis=0))
    assert (error < frame.std()).all()
    assert np.mean(error / frame.std()) < 0.8


def test_the_same_images_as_floats_have_the_same_codes(image_fit, images):
    np.testing.assert_allclose(
        image_fit.transform(images / 255), image_fit.transform(images), rtol=1e-5, atol=1e-5
    )


def test_images_fitted_as_floats_take_bytes(float_image_fit, float_images, images):
    np.testing.assert_allclose(
        float_image_fit.transform(images),
        float_image_fit.transform(float_images),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("layout", ["float32", "fortran", "strided", "read-only"])
def test_the_layout_of_an_array_does_not_matter(image_fit, images, layout):
    X = images / 255
    other = {
        "float32": lambda: X.astype(np.float32),
        "fortran": lambda: np.asfortranarray(X),
        "strided": lambda: np.repeat(X, 2, axis=0)[::2],
        "read-only": lambda: np.frombuffer(X.tobytes()).reshape(X.shape),
    }[layout]()

    np.testing.assert_allclose(
        image_fit.transform(other), image_fit.transform(X), rtol=1e-5, atol=1e-5
    )


def test_codes_do_not_depend_on_the_other_instances(image_fit, images):
    whole = image_fit.transform(images)
    parts = np.concatenate([image_fit.transform(part) for part in np.split(images, [1, 10, 150])])

    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)


def test_scores_do_not_depend_on_the_other_instances(table_fit, table):
    parts = [table_fit.score_samples(row[None]) for row in table[:20]]

    np.testing.assert_allclose(np.concatenate(parts), table_fit.score_samples(table[:20]), 1e-5)


def test_input_arrays_are_left_as_they_were(images, table):
    for X in (images, table):
        before = X.copy()
        quick().fit(X).transform(X)
        np.testing.assert_array_equal(X, before)


# --- error and score ---------------------------------------------------------------------


def test_the_error_of_images_is_the_cross_entropy_of_their_reconstruction(
    float_image_fit, float_images
):
    p = float_image_fit.inverse_transform(float_image_fit.transform(float_images))
    p = np.clip(p.astype(np.float64), 1e-12, 1 - 1e-7)
    x = float_images
    expected = np.mean(-x * np.log(p) - (1 - x) * np.log1p(-p), axis=(1, 2))

    found = float_image_fit.reconstruction_error(float_images)

    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found.dtype == np.float64


def test_the_error_of_a_table_is_the_squared_error_of_standardised_columns(table_fit, table):
    back = table_fit.inverse_transform(table_fit.transform(table))
    scaler = StandardScaler().fit(table)
    apart = tamed(scaler.transform(table)) - tamed(scaler.transform(back))
    expected = np.mean(apart**2, axis=1)

    np.testing.assert_allclose(table_fit.reconstruction_error(table), expected, rtol=1e-4)


def test_squared_error_can_be_asked_for_with_images(float_images):
    encoder = quick(loss="mse").fit(float_images)
    back = encoder.inverse_transform(encoder.transform(float_images))

    expected = np.mean((float_images - back) ** 2, axis=(1, 2))
    np.testing.assert_allclose(encoder.reconstruction_error(float_images), expected, rtol=1e-4)


def test_higher_scores_are_more_normal(image_fit, images):
    noise = np.random.default_rng(0).permuted(images.reshape(300, -1), axis=1).reshape(-1, 8, 8)

    np.testing.assert_array_equal(
        image_fit.score_samples(images), -image_fit.reconstruction_error(images)
    )
    assert image_fit.score_samples(images).min() > np.median(image_fit.score_samples(noise))


# --- scikit-learn and pandas -------------------------------------------------------------


def test_codes_have_names(table_fit):
    assert list(table_fit.get_feature_names_out()) == [f"autoencoder{i}" for i in range(4)]


def test_codes_can_come_as_a_dataframe(frame_fit, frame):
    encoder = copy.deepcopy(frame_fit).set_output(transform="pandas")
    shuffled = frame.sample(frac=1, random_state=0)

    codes = encoder.transform(shuffled)

    assert list(codes.columns) == [f"autoencoder{i}" for i in range(4)]
    assert codes.index.equals(shuffled.index)
    np.testing.assert_array_equal(codes, frame_fit.transform(shuffled))
    np.testing.assert_array_equal(
        encoder.inverse_transform(codes), frame_fit.inverse_transform(codes.to_numpy())
    )


def test_column_names_are_remembered(frame_fit, frame):
    assert list(frame_fit.feature_names_in_) == list(frame.columns)
    assert frame_fit.n_features_in_ == 13


def test_columns_may_be_named_by_numbers_and_by_text():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=[0, "hue", 1])
    encoder = Autoencoder(max_epochs=1, random_state=0).fit(X)
    assert encoder.feature_names_in_.tolist() == ["0", "hue", "1"]
    np.testing.assert_array_equal(encoder.transform(X[["hue", 1, 0]]), encoder.transform(X))


def test_columns_are_matched_by_name(frame_fit, frame):
    backwards = frame[frame.columns[::-1]]

    np.testing.assert_array_equal(frame_fit.transform(backwards), frame_fit.transform(frame))


def test_other_columns_are_named(frame_fit, frame):
    other = frame.rename(columns={"hue": "tint"})

    with pytest.raises(SchemaError, match=re.escape("missing ['hue'] and not known ['tint']")):
        frame_fit.transform(other)


def test_it_works_in_a_pipeline(table, digits):
    labels = (table[:, 0] > 13).astype(int)
    pipeline = make_pipeline(StandardScaler(), quick(6, max_epochs=20), LogisticRegression())

    assert pipeline.fit(table, labels).score(table, labels) > 0.8


def test_a_grid_search_can_choose_the_width(table):
    labels = (table[:, 0] > 13).astype(int)
    pipeline = make_pipeline(quick(max_epochs=10), LogisticRegression())

    search = GridSearchCV(
        pipeline, {"autoencoder__n_components": [1, 6]}, cv=2, error_score="raise"
    ).fit(table, labels)

    best = search.best_params_["autoencoder__n_components"]
    assert search.best_estimator_[0].n_components_ == best
    assert len(set(search.cv_results_["mean_test_score"])) == 2


def test_pca_can_take_its_place(table):
    for reducer in (quick(3), PCA(3)):
        codes = reducer.fit_transform(table)
        assert codes.shape == (178, 3)
        assert reducer.inverse_transform(codes).shape == table.shape


@pytest.mark.parametrize("way", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_a_copy_of_a_fitted_encoder_is_its_equal(image_fit, images, way):
    twin = way(image_fit)

    assert twin.digest_ == digest(twin.encoder_) == image_fit.digest_
    assert twin.encoder_ is not image_fit.encoder_
    np.testing.assert_array_equal(twin.transform(images), image_fit.transform(images))


def test_a_refit_leaves_nothing_of_the_earlier_fit(images, frame):
    encoder = quick()
    encoder.fit(frame)
    assert hasattr(encoder, "feature_names_in_")

    encoder.fit(images)
    assert not hasattr(encoder, "feature_names_in_")
    assert encoder.loss_ == "bce"
    assert encoder.digest_ == quick().fit(images).digest_

    encoder.fit(frame.to_numpy())
    assert encoder.n_features_in_ == 13
    assert encoder.loss_ == "mse"
    assert not hasattr(encoder, "feature_names_in_")
    assert encoder.digest_ == quick().fit(frame.to_numpy()).digest_


# --- networks of a person's own ----------------------------------------------------------


def test_own_modules_are_trained_and_left_as_they_came(images):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16))
    decoder = nn.Sequential(nn.Linear(16, 64), nn.Unflatten(1, (1, 8, 8)))
    before = digest(encoder)

    fitted = quick("auto", architecture=(encoder, decoder)).fit(images)

    assert fitted.transform(images).shape == (300, 16)
    assert digest(encoder) == before != fitted.digest_
    assert fitted.encoder_[2].num_batches_tracked > 0


def test_instances_to_validate_on_are_measured_and_decide_nothing(images):
    new = np.random.default_rng(5).random((12, *images.shape[1:]))
    choices = {"recipe": "reference", "max_epochs": 3}
    plain = quick("auto", **choices).fit(images)
    watched = quick("auto", **choices).fit(images, X_validation=new)
    assert watched.digest_ == plain.digest_
    assert watched.best_epoch_ == 3
    losses = [record["validation_loss"] for record in watched.history_]
    assert losses[-1] == pytest.approx(watched.reconstruction_error(new).mean(), rel=1e-5)
    assert [record["train_loss"] for record in watched.history_] == [
        record["train_loss"] for record in plain.history_
    ]
    with pytest.raises(TrainingError, match="held out, which choose the epoch"):
        quick("auto", validation_fraction=0.2).fit(images, X_validation=new)


def test_the_reference_recipe_is_the_tutorials(images):
    encoder = quick("auto", recipe="reference", max_epochs=1).fit(images)

    assert encoder.spec_["architecture"] == "reference"
    (record,) = encoder.history_
    assert record["lr"] == 1.0
    assert "validation_loss" not in record  # all images are trained on


def test_the_summary_adds_up(image_fit):
    lines = image_fit.summary().splitlines()
    layers = [line for line in lines if line.startswith("  ")]

    total = sum(int(line.split()[-1].replace(",", "")) for line in layers)
    assert total == image_fit.n_parameters_
    assert lines[-1].split() == ["all", f"{total:,}"]
    assert "encoder, input (1, 8, 8)" in lines
    assert "decoder, input (32,)" in lines


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((8, 8), {}),
        ((20, 24, 3), {"architecture": "conv"}),
        ((7,), {"n_components": 2}),
        ((64, 4), {"kind": "series", "architecture": "conv1d"}),
    ],
)
def test_the_summary_before_fit_is_that_after(shape, options):
    X = np.random.default_rng(1).random((40, *shape), dtype=np.float32)
    encoder = quick(max_epochs=1, **options)
    before = encoder.summary(shape)
    assert not hasattr(encoder, "schema_")
    assert before == encoder.fit(X).summary()


# --- what cannot be used -----------------------------------------------------------------


def spoiled(X, value, at):
    X = X.astype(np.float64).copy()
    X.flat[at] = value
    return X


BAD_IMAGES = {
    "nan": (lambda X: spoiled(X / 255, np.nan, 64 * 7), DataError, "the first is image 7"),
    "infinite": (lambda X: spoiled(X / 255, np.inf, 64 * 7), DataError, "the first is image 7"),
    "int64": (lambda X: X.astype(np.int64), DataError, re.escape("X.astype('uint8')")),
    "bool": (lambda X: X > 100, DataError, re.escape("X.astype('uint8') * 255")),
    "floats to 255": (lambda X: X.astype(float), DataError, re.escape("X / 255 for 8 bits")),
    "negative": (lambda X: X / 255 - 0.5, DataError, r"from -0.5 to 0.5, expected \[0, 1\]"),
    "channels first": (
        lambda X: np.repeat(X[:, None], 3, axis=1),
        DataError,
        re.escape("X.transpose(0, 2, 3, 1)"),
    ),
    "none": (lambda X: X[:0], DataError, "got no images"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_images_that_cannot_be_used_are_refused_with_the_fix(case, images, image_fit):
    spoil, error, message = BAD_IMAGES[case]

    with pytest.raises(error, match=message):
        quick().fit(spoil(images))
    if case != "channels first":
        with pytest.raises(error, match=message):
            image_fit.transform(spoil(images))


def test_tables_with_infinite_values_are_refused(table, table_fit):
    for method in (quick().fit, table_fit.transform, table_fit.score_samples):
        with pytest.raises(ValueError, match="infinity"):
            method(spoiled(table, np.inf, 30))


def test_an_infinite_value_in_a_dataframe_is_named(frame, frame_fit):
    spoiled = frame.copy()
    spoiled.loc[5, "hue"] = np.inf

    for method in (quick().fit, frame_fit.transform):
        with pytest.raises(DataError, match="column 'hue', row 5"):
            method(spoiled)


def test_text_where_a_number_was_is_named(frame, frame_fit):
    with pytest.raises(SchemaError, match=r"column 'hue' .*'red' in row 0.*expected a number"):
        frame_fit.transform(frame.assign(hue="red"))


@pytest.mark.parametrize("kind", ["images", "table"])
def test_one_instance_is_too_few(kind, images, table):
    with pytest.raises(ValueError, match=r"at least two|minimum of 2"):
        quick().fit(images[:1] if kind == "images" else table[:1])


def test_one_column_is_enough():
    X = np.random.default_rng(0).normal(size=(300, 1))
    detector = AnomalyDetector(quick("auto"), false_alarm_rate=0.05).fit(X)
    assert detector.encoder_.n_components_ == 1
    assert detector.predict([[0.1], [8.0], [-9.0]]).tolist() == [1, -1, -1]
    assert (detector.predict(np.random.default_rng(1).normal(size=(500, 1))) == -1).mean() < 0.12


@pytest.mark.parametrize("width", [13, 14, 0, 2.5, "wide", None])
def test_a_code_must_be_narrower_than_an_instance(table, width):
    with pytest.raises(ArchitectureError, match=f"got n_components={width!r}.*expected|pass 1 to"):
        quick(width).fit(table)


@pytest.mark.parametrize(
    "method", ["transform", "inverse_transform", "reconstruction_error", "score_samples"]
)
def test_nothing_works_before_fit(method, table):
    with pytest.raises(NotFittedError, match="Autoencoder"):
        getattr(quick(), method)(table)


def test_nothing_can_be_said_or_saved_before_fit(tmp_path):
    with pytest.raises(NotFittedError):
        quick().summary()
    with pytest.raises(NotFittedError):
        quick().save(tmp_path / "press")
    assert not (tmp_path / "press").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X[:, :7], "resize the images"),
        (lambda X: X.reshape(-1, 64), re.escape("X.reshape((-1, 8, 8))")),
        (lambda X: X[0], re.escape("X[None]")),
        (lambda X: X[..., None], re.escape("X.reshape((-1, 8, 8))")),
    ],
)
def test_images_of_another_shape_are_refused_with_the_fix(image_fit, images, change, message):
    with pytest.raises(SchemaError, match=message):
        image_fit.transform(change(images))


def test_a_table_of_another_width_is_refused(table_fit, table):
    with pytest.raises(ValueError, match="12 features, but Autoencoder is expecting 13"):
        table_fit.transform(table[:, 1:])


@pytest.mark.parametrize("layout", ["reversed", "read-only", "float64", "list"])
def test_the_layout_of_codes_does_not_matter(table_fit, layout):
    codes = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    fixed = codes.copy()
    fixed.flags.writeable = False
    other = {
        "reversed": codes[::-1].copy()[::-1],
        "read-only": fixed,
        "float64": codes.astype(float),
        "list": codes.tolist(),
    }[layout]

    np.testing.assert_array_equal(
        table_fit.inverse_transform(other), table_fit.inverse_transform(codes)
    )


@pytest.mark.parametrize("shape", [(5, 3), (5,), (5, 4, 1)])
def test_codes_of_another_width_are_refused(table_fit, shape):
    with pytest.raises(ValueError, match=re.escape(f"got codes of shape {shape}, expected (n, 4)")):
        table_fit.inverse_transform(np.zeros(shape))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"architecture": "transformer"},
            ArchitectureError,
            "dense, conv, strided, patches, conv1d, random_kernels, reference",
        ),
        ({"architecture": "conv"}, ArchitectureError, "architecture='dense'"),
        ({"hidden_layer_sizes": (0,)}, ArchitectureError, "hidden_layer_sizes"),
        ({"optimizer": "sgd"}, TrainingError, "expected 'adamw' or 'adadelta'"),
        ({"loss": "mae"}, TrainingError, "expected 'auto', 'bce' or 'mse'"),
        ({"loss": "bce"}, TrainingError, "for a table, expected 'mse'"),
        (
            {"recipe": "grandmother's"},
            TrainingError,
            "default, fast, thorough, detection, reference",
        ),
        ({"lr": 0}, TrainingError, "got lr=0, expected a number above 0"),
        ({"lr": -1.0}, TrainingError, "got lr=-1.0"),
        ({"lr": float("nan")}, TrainingError, "got lr=nan"),
        ({"lr": "fast"}, TrainingError, "got lr='fast'"),
        ({"max_epochs": 0}, TrainingError, "got max_epochs=0, expected a whole number"),
        ({"max_epochs": 2.5}, TrainingError, "got max_epochs=2.5"),
        ({"batch_size": -8}, TrainingError, "got batch_size=-8"),
        ({"patience": 0}, TrainingError, "got patience=0"),
        ({"validation_fraction": 1}, TrainingError, "got validation_fraction=1, .*0.9 at most"),
        ({"validation_fraction": -0.1}, TrainingError, "got validation_fraction=-0.1"),
        ({"device": "abacus"}, TrainingError, "use 'auto' or 'cpu'"),
        ({"precision": "int4"}, TrainingError, "'auto', 'float32' or 'bfloat16'"),
        ({"resume": True}, TrainingError, "checkpoint_dir"),
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused_with_what_is_expected(
    table, parameters, error, message
):
    with pytest.raises(error, match=message):
        quick(**parameters).fit(table)


def test_what_went_wrong_in_fit_leaves_no_half_fitted_estimator(table):
    encoder = quick(lr=-1.0)

    with pytest.raises(TrainingError):
        encoder.fit(table)
    with pytest.raises(NotFittedError):
        encoder.transform(table)


def test_a_refit_that_fails_leaves_no_mixture_of_two_fits(table, images):
    encoder = quick().fit(table)

    with pytest.raises(TrainingError):
        encoder.set_params(lr=-1.0).fit(images)
    with pytest.raises(NotFittedError):
        encoder.transform(table)


# --- odd but fine ------------------------------------------------------------------------


def test_constant_columns_are_kept_as_they_are(table):
    X = np.column_stack([table, np.full(len(table), 7e6), np.zeros(len(table))])
    encoder = quick(max_epochs=20).fit(X)

    back = encoder.inverse_transform(encoder.transform(X))

    np.testing.assert_allclose(back[:, 13], 7e6, rtol=1e-6)
    np.testing.assert_allclose(back[:, 14], 0, atol=1)
    assert np.isfinite(encoder.score_samples(X)).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_images_are_learned(value):
    X = np.full((40, 8, 8), value, dtype=np.uint8)
    with pytest.warns(DataWarning, match="all 40 images are the same"):
        encoder = quick(max_epochs=40).fit(X)

    back = encoder.inverse_transform(encoder.transform(X))

    assert np.abs(back - value).max() < 30
    assert np.isfinite(encoder.score_samples(X)).all()


@pytest.mark.parametrize("n_rows", [2, 3, 9, 33])
def test_very_few_instances_are_enough_to_run(table, n_rows):
    encoder = quick().fit(table[:n_rows])

    assert np.isfinite(encoder.transform(table)).all()


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool", "uint8"])
def test_tables_of_any_number_type_are_taken(dtype):
    X = np.random.default_rng(0).integers(0, 2, (50, 6)).astype(dtype)

    assert quick().fit(X).transform(X).shape == (50, 3)


def test_a_mixed_dataframe_of_numbers_is_taken(frame):
    mixed = frame.assign(
        dry=frame["hue"] > 1,
        count=pd.array(range(len(frame)), dtype="Int64"),
        short=frame["ash"].astype("float32"),
    )
    encoder = quick().fit(mixed)

    assert encoder.transform(mixed).shape == (178, 3)
    assert encoder.n_features_in_ == 16


# --- progress and curves -----------------------------------------------------------------


def test_progress_is_printed_on_standard_error_only_when_asked(table, capsys):
    quick().fit(table)
    assert capsys.readouterr() == ("", "")

    quick(verbose=True).fit(table)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.findall(r"training: epoch (\d)/2  loss \d", err) == ["1", "2"]


def test_curves_without_tensorboard_name_the_extra(table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)

    with pytest.raises(MissingExtraError, match=re.escape("pip install 'isthmus[tensorboard]'")):
        quick(log_dir=tmp_path).fit(table)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_and_pictures_can_be_read_by_tensorboard(images, tmp_path):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", exc_type=ImportError
    )
    encoder = quick(log_dir=tmp_path).fit(images)

    events = accumulators.EventAccumulator(str(tmp_path)).Reload()
    for tag, name in (("train/loss", "train_loss"), ("validation/loss", "validation_loss")):
        written = [(event.step, event.value) for event in events.Scalars(tag)]
        expected = [(record["epoch"], record[name]) for record in encoder.history_]
        assert np.allclose(written, expected)
    pictures = events.Images("originals over reconstructions")
    assert [picture.step for picture in pictures] == [1, 2]
    assert (pictures[0].width, pictures[0].height) == (10 * 8, 2 * 8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_table_has_curves_too(table, tmp_path):
    pytest.importorskip("tensorboard", exc_type=ImportError)

    quick(log_dir=tmp_path).fit(table)

    assert list(tmp_path.iterdir())
