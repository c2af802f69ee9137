"""Several fits carried out together: as each alone, or one after another."""

import numpy as np
import pandas as pd
import pytest
from torch import nn

from isthmus import Autoencoder
from isthmus.autoencoder import carry_out_together
from isthmus.data import as_instances
from isthmus.errors import TrainingError

EPOCHS = 12


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(60, 9)) @ rng.normal(size=(9, 9)) for _ in range(3)]


def encoders(n=3, **choices):
    fixed = {"n_components": 4, "recipe": "detection", "max_epochs": EPOCHS, "random_state": 5}
    return [Autoencoder(**(fixed | choices)) for _ in range(n)]


def together(tables, **choices):
    fitted = encoders(len(tables), **choices)
    carry_out_together(one.plan_fit(as_instances(X)) for one, X in zip(fitted, tables, strict=True))
    return fitted


@pytest.mark.parametrize("optimizer", ["adamw", "adadelta"])
def test_networks_that_are_trained_as_one_are_those_trained_alone(tables, optimizer):
    # Batches of all rows without noise: nothing is drawn, so that only rounding differs.
    # AdamW enlarges that where a gradient is nearly 0, by a share of the learning rate.
    choices = {"noise": 0.0, "batch_size": 60, "lr": 0.001, "optimizer": optimizer}
    for found, X in zip(together(tables, **choices), tables, strict=True):
        (alone,) = encoders(1, **choices)
        alone.fit(X)

        np.testing.assert_allclose(found.transform(X), alone.transform(X), atol=1e-3)
        assert found.training_ == alone.training_
        assert found.data_fingerprint_ == alone.data_fingerprint_
        losses = [[record["train_loss"] for record in one.history_] for one in (found, alone)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        assert [record["epoch"] for record in found.history_] == list(range(1, EPOCHS + 1))
        assert found.best_epoch_ == EPOCHS
        assert not len(found.held_out_)
        found.check_frozen()


def test_a_seed_gives_the_same_networks_again_and_another_one_others(tables):
    first, again, other = together(tables), together(tables), together(tables, random_state=6)

    assert [one.digest_ for one in first] == [one.digest_ for one in again]
    assert not {one.digest_ for one in first} & {one.digest_ for one in other}
    assert len({one.digest_ for one in first}) == 3


def test_fewer_rows_are_trained_on_for_as_many_steps(tables):
    X, *others = tables
    found = together(
        [X, *(other[:20] for other in others)], max_epochs="auto", lr=0.01, batch_size=16
    )

    (alone,) = encoders(1, max_epochs="auto", lr=0.01, batch_size=16)
    assert {len(one.history_) for one in found} == {len(alone.fit(X).history_)}
    for one in found:
        assert one.training_ == alone.training_
        assert one.history_[-1]["train_loss"] < one.history_[0]["train_loss"]


def test_networks_of_other_shapes_are_trained_for_as_many_steps(tables):
    frames = [pd.DataFrame(X).add_prefix("c") for X in tables]
    for frame, kinds in zip(frames, ("abc", "ab", "abc"), strict=True):
        frame["kind"] = [kinds[i % len(kinds)] for i in range(len(frame))]

    found = together(frames, max_epochs="auto", lr=0.01, batch_size=16)

    assert [one.spec_["input_shape"] for one in found] == [[12], [11], [12]]
    assert len({len(one.history_) for one in found}) == 1
    for one in found:
        assert one.history_[-1]["train_loss"] < one.history_[0]["train_loss"]


@pytest.mark.parametrize(
    "choices",
    [{"validation_fraction": 0.2}, {"objective": "masked"}, {"architecture": "own"}],
    ids=str,
)
def test_what_cannot_be_one_network_is_trained_one_after_another(tables, choices):
    if choices.get("architecture") == "own":
        choices = {"architecture": (nn.Linear(9, 4), nn.Linear(4, 9)), "n_components": "auto"}
    for found, X in zip(together(tables, **choices), tables, strict=True):
        (alone,) = encoders(1, **choices)
        assert found.digest_ == alone.fit(X).digest_


def test_one_progress_is_shown(tables, capsys):
    together(tables, verbose=True, max_epochs=2)

    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training")]
    assert [line.split("  ")[0] for line in lines] == [
        "training: epoch 1/2",
        "training: epoch 2/2",
    ]


def test_a_network_that_diverges_ends_all(tables):
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step .* smaller lr"):
        together([*tables[:2], 1e6 * tables[2]], lr=1e30)
