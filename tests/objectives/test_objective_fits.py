"""Autoencoders with every objective: fitted, resumed, saved, cloned and searched."""

import random

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from isthmus import Autoencoder, load_bundle
from isthmus.errors import TrainingError
from isthmus.networks import digest
from isthmus.objectives import Invariant
from isthmus.objectives.denoising import Denoising, Masked
from isthmus.training import checkpoint as checkpoint_module


def half(network, batch):
    """Reconstruction with half of the weight."""
    return 0.5 * (network(batch[0]) - batch[0]).square().mean()


EVERY = {
    "reconstruction": "reconstruction",
    "denoising": "denoising",
    "masked": "masked",
    "variational": "variational",
    "invariant": "invariant",
    "composed": {"masked": 1.0, "invariant": 0.5, "variational": 0.1},
    "own": half,
}
SMALL = {"max_epochs": 2, "batch_size": 32, "random_state": 0, "precision": "float32"}


@pytest.fixture(scope="module")
def data(images, table):
    seconds = np.arange(0, 60, 0.05).reshape(50, 24, 1)
    series = np.concatenate([np.sin(seconds), np.cos(3 * seconds)], axis=2)
    return {"images": images[:60], "table": table, "series": series}


def make(kind, objective, n_components=4, **changes):
    architecture = {"architecture": "conv"} if kind == "images" else {}
    return Autoencoder(
        n_components, kind=kind, objective=objective, **SMALL | architecture | changes
    )


def both_digests(encoder):
    return digest(encoder.encoder_), digest(encoder.decoder_)


def states():
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


@pytest.mark.parametrize("kind", ["images", "table", "series"])
@pytest.mark.parametrize("name", EVERY)
def test_every_objective_fits_every_kind_and_leaves_no_trace(name, kind, data):
    X, before = data[kind], states()
    first = make(kind, EVERY[name]).fit(X)
    second = make(kind, EVERY[name]).fit(X)

    assert states() == before
    assert both_digests(first) == both_digests(second)
    for record in first.history_:
        assert np.isfinite([record["train_loss"], record["validation_loss"]]).all()
    codes = first.transform(X)
    assert codes.shape == (len(X), 4)
    assert np.array_equal(first.transform(X), codes)
    alone = np.concatenate([first.transform(X[[row]]) for row in range(3)])
    np.testing.assert_allclose(alone, codes[:3], atol=1e-5)
    assert np.isfinite(first.reconstruction_error(X)).all()


@pytest.mark.parametrize("name", EVERY)
def test_what_an_objective_adds_is_trained_and_dropped(name, data, tmp_path):
    plain = make("table", "reconstruction").fit(data["table"])

    fits = [
        make("table", EVERY[name], max_epochs=n, checkpoint_dir=tmp_path / str(n), lr=0.01)
        for n in (1, 2)
    ]
    encoder = [fit.fit(data["table"]) for fit in fits][1]

    assert list(encoder.encoder_.state_dict()) == list(plain.encoder_.state_dict())
    assert encoder.n_parameters_ == plain.n_parameters_
    earlier, later = (load_file(tmp_path / n / "last.safetensors") for n in ("1", "2"))
    added = [key for key in later if key.startswith("network.objective.")]
    assert bool(added) == (name in ("variational", "invariant", "composed"))
    assert all((earlier[key] != later[key]).any() for key in added)


def test_the_history_has_every_part_by_name(data):
    record = make("table", EVERY["composed"]).fit(data["table"]).history_[-1]

    for half_ in ("train", "validation"):
        parts = {name: record[f"{half_}_{name}"] for name in EVERY["composed"]}
        total = sum(EVERY["composed"][name] * value for name, value in parts.items())
        assert record[f"{half_}_loss"] == pytest.approx(total, rel=1e-5)


def test_one_objective_has_its_terms_in_the_history(data):
    record = make("table", "invariant").fit(data["table"]).history_[-1]

    assert {"train_reconstruction", "train_invariance", "train_variance", "train_covariance"} < set(
        record
    )


# --- own objectives ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["images", "table"])
def test_an_own_reconstruction_gives_the_weights_of_the_named_one_bit_for_bit(kind, data):
    error = nn.functional.binary_cross_entropy_with_logits
    error = error if kind == "images" else nn.functional.mse_loss

    own = make(kind, lambda network, batch: error(network(batch[0]), batch[0])).fit(data[kind])

    assert both_digests(own) == both_digests(make(kind, "reconstruction").fit(data[kind]))


class Scaled(nn.Module):
    """Reconstruction after a scale that is learned."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, network, batch):
        output = network(batch[0]) * self.scale
        return {"loss": (output - batch[0]).square().mean(), "scale": self.scale}


def test_parameters_of_an_own_module_are_trained_and_the_given_ones_left(data):
    own = Scaled()

    history = make("table", own, lr=0.05).fit(data["table"]).history_

    assert history[0]["validation_scale"] != history[1]["validation_scale"]
    assert own.scale.item() == 1


def test_a_wrong_return_is_an_error_of_training(data):
    with pytest.raises(TrainingError, match=r"returned a tensor of shape \(32,\)"):
        make("table", lambda network, batch: network(batch[0]).mean(dim=1)).fit(data["table"])


def test_an_unknown_name_is_an_error_of_training(data):
    with pytest.raises(TrainingError, match="got objective='maskd', expected 'auto', one of"):
        make("table", "maskd").fit(data["table"])


# --- short cuts --------------------------------------------------------------------------


def test_noise_is_short_for_denoising(data):
    short = make("table", "auto", noise=0.3).fit(data["table"])
    long = make("table", Denoising(["gaussian"], (0.3, 0.3))).fit(data["table"])

    assert both_digests(short) == both_digests(long)
    assert both_digests(make("table", "auto", noise=0).fit(data["table"])) == both_digests(
        make("table", "reconstruction").fit(data["table"])
    )


def test_augmentations_reach_the_objective(data):
    calls = []

    def counted(x):
        calls.append(x.shape)
        return x

    make("images", "invariant", augmentations=counted).fit(data["images"])
    # Two views of each of 32 + 22 instances, and of the six that validate; two epochs.
    assert [shape[0] for shape in calls] == [64, 44, 12] * 2
    affine = make("images", "invariant", augmentations=("affine",)).fit(data["images"])
    same = make("images", Invariant(augmentations=("affine",))).fit(data["images"])
    assert both_digests(affine) == both_digests(same)
    assert digest(affine.encoder_) != digest(
        make("images", "invariant").fit(data["images"]).encoder_
    )
    none = make("images", "invariant", augmentations=None).fit(data["images"])
    assert none.history_[0]["train_invariance"] < 1e-10

    with pytest.raises(TrainingError, match="expected some of affine, elastic for images"):
        make("images", "invariant", augmentations=("jitter",)).fit(data["images"])


# --- checkpoints -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["denoising", "variational", "invariant", "composed"])
def test_a_run_that_died_goes_on_to_the_same_weights(name, data, tmp_path, monkeypatch):
    def fit(folder, **changes):
        encoder = make("table", EVERY[name], max_epochs=5, checkpoint_dir=folder, **changes)
        return encoder.fit(data["table"])

    whole = fit(tmp_path / "whole")
    write, lasts = checkpoint_module.write_bytes, []

    def dies(path, content):
        lasts.append(path.name)
        if lasts.count("last.safetensors") == 4:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint_module, "write_bytes", dies)
        fit(tmp_path / "cut")
    resumed = fit(tmp_path / "cut", resume=True)

    assert both_digests(resumed) == both_digests(whole)
    timed = ("seconds", "instances_per_second")
    for found, expected in zip(resumed.history_, whole.history_, strict=True):
        assert {k: v for k, v in found.items() if k not in timed} == {
            k: v for k, v in expected.items() if k not in timed
        }
    last = [load_file(tmp_path / run / "last.safetensors") for run in ("cut", "whole")]
    assert all(np.array_equal(last[0][key], last[1][key]) for key in last[1])


def test_a_checkpoint_of_another_objective_is_refused(data, tmp_path):
    make("table", Masked(0.3), checkpoint_dir=tmp_path).fit(data["table"])

    with pytest.raises(TrainingError, match="share"):
        make("table", Masked(0.4), checkpoint_dir=tmp_path, resume=True).fit(data["table"])


# --- as a scikit-learn estimator, and on disk --------------------------------------------


@pytest.mark.parametrize(
    ("objective", "augmentations", "read"),
    [
        ("masked", "auto", ("masked", "auto")),
        ({"masked": 1.0, "invariant": 0.5}, {"corruption": 0.5}, "as it was"),
        ("invariant", ["corruption"], "as it was"),
        ("invariant", None, "as it was"),
        (half, torch.clone, ("auto", "auto")),
        (Masked(0.3), "auto", ("auto", "auto")),
        ({Masked(0.3): 1.0}, "auto", ("auto", "auto")),
    ],
)
def test_a_saved_encoder_comes_back(objective, augmentations, read, data, tmp_path):
    encoder = make("table", objective, augmentations=augmentations).fit(data["table"])
    encoder.save(tmp_path / "bundle")

    back = load_bundle(tmp_path / "bundle").encoder

    assert np.array_equal(back.transform(data["table"]), encoder.transform(data["table"]))
    assert back.training_ == encoder.training_
    found = (back.objective, back.augmentations)
    assert found == ((objective, augmentations) if read == "as it was" else read)


@pytest.mark.parametrize("objective", ["masked", Masked(0.3), half, {Masked(0.3): 1.0}])
def test_clones_and_parameters(objective, data):
    encoder = make("table", objective)
    twin = clone(encoder)

    assert encoder.get_params()["objective"] is objective
    assert repr(twin) == repr(encoder)
    fits = [each.fit(data["table"]) for each in (encoder, twin)]
    assert both_digests(fits[0]) == both_digests(fits[1])
    assert encoder.get_params()["objective"] is objective
    assert encoder.set_params(objective="variational").objective == "variational"


def test_a_search_over_objectives(data):
    y = data["table"][:, 0] > 13
    search = GridSearchCV(
        make_pipeline(make("table", "auto"), LogisticRegression()),
        {"autoencoder__objective": ["reconstruction", {"masked": 1.0}, Denoising("masking")]},
        cv=2,
    ).fit(data["table"], y)

    assert len(search.cv_results_["params"]) == 3
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
