"""What is chosen when nothing is said, by kind of instance and number of rows."""

import pytest

from isthmus import AnomalyDetector, Autoencoder
from isthmus.recipes import settle


def chosen(recipe="default", n_rows=1000, n_features=784, kind="images", **given):
    return settle(recipe, given, n_rows, n_features, kind)


@pytest.mark.parametrize(("n_rows", "kind"), [(80, "table"), (600_000, "table"), (60, "series")])
def test_training_is_sensible_on_few_rows_and_on_many(n_rows, kind):
    choices = chosen(n_rows=n_rows, n_features=19, kind=kind)
    steps = choices.max_epochs * n_rows * (1 - choices.validation_fraction) / choices.batch_size
    assert 200 <= steps <= 50_000
    assert 10 <= choices.max_epochs <= 1000
    assert choices.batch_size < n_rows


def test_tables_learn_to_take_noise_off_and_images_do_not():
    assert chosen(kind="table").noise > 0
    assert chosen(kind="images").noise == chosen(kind="series").noise == 0
    assert chosen("reference", kind="images").noise == 0


def test_for_detection_images_get_a_narrow_dense_network_and_noise():
    choices = chosen("detection")
    assert (choices.architecture, choices.n_components, choices.noise) == ("dense", 16, 1.0)
    large = chosen("detection", n_features=256 * 256)
    assert (large.architecture, large.n_components) == ("auto", "auto")


def test_for_detection_tables_learn_from_every_row_and_from_more_noise():
    choices = chosen("detection", n_rows=50, n_features=9, kind="table")
    assert (choices.validation_fraction, choices.batch_size) == (0, 50)
    assert choices.noise > chosen(kind="table").noise
    held_out = chosen("detection", kind="table", validation_fraction=0.2)
    assert held_out.validation_fraction == 0.2


def test_what_is_given_wins_over_the_recipe():
    choices = chosen("detection", architecture="conv", n_components=5, noise=0.2)
    assert (choices.architecture, choices.n_components, choices.noise) == ("conv", 5, 0.2)


def test_a_detector_trains_its_own_encoder_for_detection(images):
    detector = AnomalyDetector(
        Autoencoder(max_epochs=1, random_state=0), calibration="split", random_state=0
    )
    spec = detector.set_params(false_alarm_rate=0.1).fit(images[:60]).encoder_.spec_
    assert (spec["architecture"], spec["n_components"]) == ("dense", 8)
    assert detector.encoder.recipe == "default"  # the person's own stays as it was
