"""Default choices by recipe, kind of data and number of rows."""

from dataclasses import replace

import pytest

from isthmus import AnomalyDetector, Autoencoder
from isthmus.errors import TrainingError
from isthmus.recipes import RECIPES, default_lr, lr_with_batch_norm, resolve_choices


def chosen(recipe="default", n_rows=1000, n_features=784, kind="images", **given):
    return resolve_choices(recipe, given, n_rows, n_features, kind)


def test_every_recipe_has_a_row_for_every_kind_of_data():
    for rows in RECIPES.values():
        assert list(rows) == ["small images", "large images", "series", "table"]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("data", "kind", "n_features"),
    [
        ("small images", "images", 64 * 64),
        ("large images", "images", 64 * 64 + 1),
        ("series", "series", 96),
        ("table", "table", 9),
    ],
)
def test_what_is_chosen_is_the_row_of_the_table(recipe, data, kind, n_features):
    row, choices = RECIPES[recipe][data], chosen(recipe, n_features=n_features, kind=kind)
    for name in ("architecture", "optimizer", "schedule", "weight_decay", "validation_fraction"):
        assert getattr(choices, name) == getattr(row, name)
    assert (choices.objective, noise_of(choices)) == (row.objective, row.noise)
    lr = row.lr(choices.batch_size) if callable(row.lr) else row.lr
    assert choices.lr == lr


def test_an_architecture_other_than_the_recipes_learns_at_the_default_rate():
    assert RECIPES["default"]["small images"].lr is lr_with_batch_norm
    choices = chosen(architecture="conv")
    assert choices.lr == default_lr(choices.batch_size)


def test_the_recipes_own_architecture_changes_nothing_when_it_is_given():
    assert chosen(architecture="patches") == chosen()


def test_images_without_patches_or_views_are_trained_with_the_same_choices():
    assert chosen().architecture == "patches"
    strided = chosen(architecture="strided")
    assert strided == replace(chosen(), architecture="strided")
    assert chosen(n_features=15 * 15) == chosen(n_features=15 * 15, architecture="strided")
    assert chosen(objective="denoising").architecture == "strided"
    assert chosen(objective={"invariant": 1.0, "masked": 1.0}).architecture == "patches"


@pytest.mark.parametrize(
    ("n_rows", "given"),
    [
        *((n_rows, {"kind": "table"}) for n_rows in (80, 600_000)),
        (60, {"kind": "series", "architecture": "conv1d"}),
    ],
)
def test_training_is_sensible_on_few_rows_and_on_many(n_rows, given):
    choices = chosen(n_rows=n_rows, n_features=19, **given)
    steps = choices.max_epochs * n_rows * (1 - choices.validation_fraction) / choices.batch_size
    assert 200 <= steps <= 50_000
    assert 10 <= choices.max_epochs <= 1000
    assert choices.batch_size < n_rows


@pytest.mark.parametrize(
    "given",
    [
        {"objective": "invariant"},
        {"noise": 0.1},
        {"augmentations": ["jitter"]},
        {"hidden_layer_sizes": (32,)},
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_shapes_an_encoder_of_series_takes_one_that_is_trained(given):
    trained = chosen(kind="series", **given)
    assert trained.architecture == "conv1d"
    named = chosen(kind="series", architecture="conv1d", **given)
    assert trained == named
    kernels = chosen(kind="series", architecture="random_kernels", **given)
    assert trained.max_epochs > 3 * kernels.max_epochs


@pytest.mark.parametrize("given", [{}, {"objective": "reconstruction"}, {"noise": 0}], ids=str)
def test_series_have_random_kernels_unless_something_else_is_asked_for(given):
    assert chosen(kind="series", **given).architecture == "random_kernels"
    assert chosen("detection", kind="series", **given).architecture == "dense"


def noise_of(choices):
    """Return the standard deviation of the noise that an encoder learns to take off."""
    if choices.objective != "denoising":
        return 0
    assert choices.objective_options["corruptions"] == ("gaussian",)
    low, high = choices.objective_options["level"]
    assert low == high
    return low


def test_tables_learn_to_take_noise_off_and_images_do_not():
    assert noise_of(chosen(kind="table")) > 0
    assert noise_of(chosen(kind="images")) == noise_of(chosen(kind="series")) == 0
    assert chosen("reference", kind="images").objective == "reconstruction"


@pytest.mark.parametrize("recipe", ["default", "detection", "reference"])
@pytest.mark.parametrize("kind", ["images", "table"])
def test_noise_is_short_for_denoising_in_every_recipe(recipe, kind):
    assert noise_of(chosen(recipe, kind=kind, noise=0.25)) == 0.25
    assert chosen(recipe, kind=kind, noise=0).objective == "reconstruction"


@pytest.mark.parametrize("recipe", ["default", "detection", "reference"])
@pytest.mark.parametrize("kind", ["images", "table"])
def test_an_objective_that_is_given_keeps_its_own_options(recipe, kind):
    choices = chosen(recipe, kind=kind, objective="denoising")
    assert (choices.objective, choices.objective_options) == ("denoising", {})
    choices = chosen(recipe, kind=kind, objective="invariant", augmentations=None)
    assert choices.objective_options == {"augmentations": None}


@pytest.mark.parametrize("noise", [-0.1, float("inf"), "loud", None])
def test_noise_that_is_no_number_is_refused(noise):
    with pytest.raises(TrainingError, match="got noise="):
        chosen(noise=noise)


def test_for_detection_images_get_a_narrow_dense_network_and_noise():
    choices = chosen("detection")
    assert (choices.architecture, choices.n_components, noise_of(choices)) == ("dense", 16, 1.0)
    large = chosen("detection", n_features=256 * 256)
    assert (large.architecture, large.n_components) == ("auto", "auto")


def test_for_detection_tables_learn_from_every_row_and_from_more_noise():
    choices = chosen("detection", n_rows=50, n_features=9, kind="table")
    assert (choices.validation_fraction, choices.batch_size) == (0, 50)
    assert noise_of(choices) > noise_of(chosen(kind="table"))
    held_out = chosen("detection", kind="table", validation_fraction=0.2)
    assert held_out.validation_fraction == 0.2


def test_what_is_given_wins_over_the_recipe():
    choices = chosen("detection", architecture="conv", n_components=5, noise=0.2)
    assert (choices.architecture, choices.n_components, noise_of(choices)) == ("conv", 5, 0.2)


def test_a_detector_trains_its_own_encoder_for_detection(images):
    detector = AnomalyDetector(
        Autoencoder(max_epochs=1, random_state=0), calibration="split", random_state=0
    )
    spec = detector.set_params(false_alarm_rate=0.1).fit(images[:60]).encoder_.spec_
    assert (spec["architecture"], spec["n_components"]) == ("dense", 8)
    assert detector.encoder.recipe == "default"  # the person's own stays as it was
