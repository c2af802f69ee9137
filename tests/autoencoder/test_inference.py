"""Frozen networks, codes and errors of held-out instances, and hashes of those trained on."""

import copy
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus.autoencoder import TrainingRowHashes, row_hashes, training_rows
from isthmus.autoencoder.training_rows import split_rows
from isthmus.bundle import add_head
from isthmus.data import Schema
from isthmus.data.preprocessing import read_preprocessor
from isthmus.errors import BundleError, FrozenError
from isthmus.export.network_graph import export_networks
from isthmus.networks import digest


def fit(X, **choices):
    choices = {"max_epochs": 3, "validation_fraction": 0.2, "random_state": 5} | choices
    return Autoencoder(4, **choices).fit(X)


def validation_rows(encoder, n):
    return split_rows(n, 0.2, encoder.training_["seed"])[0]


def same(one, other):
    for name in ("codes", "errors", "repeated"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


@pytest.mark.parametrize("architecture", ["dense", "conv", "strided", "patches"])
def test_codes_and_errors_are_those_of_the_validation_part(images, architecture):
    encoder = fit(images, architecture=architecture)

    rows = np.sort(validation_rows(encoder, len(images)))
    held_out = encoder.held_out_
    assert len(held_out) == 60
    np.testing.assert_array_equal(held_out.codes, encoder.transform(images[rows]))
    np.testing.assert_array_equal(held_out.errors, encoder.reconstruction_error(images[rows]))


def test_a_table_of_mixed_columns_needs_no_second_check(frame):
    mixed = frame.assign(kind=pd.Series(["red", "white"] * 89))
    for X in (frame, mixed):
        encoder = fit(X)
        rows = np.sort(validation_rows(encoder, len(X)))
        np.testing.assert_array_equal(encoder.held_out_.codes, encoder.transform(X.iloc[rows]))


def test_held_out_rows_are_bounded_and_drawn_at_random(table, monkeypatch):
    monkeypatch.setattr(training_rows, "MAX_HELD_OUT", 10)
    encoder = fit(table)

    drawn = validation_rows(encoder, len(table))[:10]
    np.testing.assert_array_equal(encoder.held_out_.codes, encoder.transform(table[np.sort(drawn)]))
    assert len(set(drawn)) == 10


def test_rows_with_an_equal_among_all_others_are_marked():
    X = np.random.default_rng(0).normal(size=(100, 5))
    X[50:] = X[:50]
    assert fit(X).held_out_.repeated.all()
    X[1:] = np.random.default_rng(1).normal(size=(99, 5))
    assert not fit(X).held_out_.repeated.any()


def test_global_randomness_is_left_alone_and_the_same_seed_holds_out_the_same(table):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one = fit(table)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    same(one.held_out_, fit(table).held_out_)


def test_without_a_validation_part_nothing_is_held_out(table, tmp_path):
    encoder = fit(table, validation_fraction=0)
    assert encoder.held_out_.codes.shape == (0, 4)
    assert len(encoder.held_out_) == 0

    encoder.save(tmp_path / "press")

    same(load_bundle(tmp_path / "press").encoder.held_out_, encoder.held_out_)


def test_an_untrained_twin_holds_out_nothing(table):
    encoder = fit(table)
    assert len(encoder.untrained(0).held_out_) == 0
    assert len(encoder.held_out_) == 35


def test_a_resumed_run_holds_out_what_an_uninterrupted_one_does(table, tmp_path):
    class Interrupted(Exception):
        pass

    def stop(network, batch):
        stop.steps += 1
        if stop.steps > 20:
            raise Interrupted
        return plain(network, batch)

    def plain(network, batch):
        return ((network.decoder(network.encoder(batch[0])) - batch[0]) ** 2).mean()

    stop.steps = 0
    stop.__qualname__ = plain.__qualname__ = "squared"
    choices = {"max_epochs": 6, "batch_size": 32, "checkpoint_dir": tmp_path}
    with pytest.raises(Interrupted):
        fit(table, objective=stop, **choices)
    resumed = fit(table, objective=plain, resume=True, **choices)

    assert stop.steps > 20
    same(
        resumed.held_out_,
        fit(table, objective=plain, **choices | {"checkpoint_dir": None}).held_out_,
    )


def test_a_bundle_stores_what_was_held_out(image_fit, tmp_path):
    image_fit.save(tmp_path / "press")

    loaded = load_bundle(tmp_path / "press").encoder

    same(loaded.held_out_, image_fit.held_out_)
    assert len(loaded.held_out_) == 100


def test_a_bundle_without_held_out_codes_loads(image_fit, images, tmp_path):
    image_fit.save(tmp_path / "press")
    (tmp_path / "press" / "held_out.safetensors").unlink()
    manifest = json.loads((tmp_path / "press" / "manifest.json").read_text())
    assert manifest["files"].pop("held_out.safetensors")
    (tmp_path / "press" / "manifest.json").write_text(json.dumps(manifest))

    loaded = load_bundle(tmp_path / "press").encoder

    assert loaded.held_out_.codes.shape == (0, 32)
    np.testing.assert_array_equal(loaded.transform(images), image_fit.transform(images))
    loaded.save(tmp_path / "again")
    assert len(load_bundle(tmp_path / "again").encoder.held_out_) == 0


def test_a_file_that_was_lost_or_damaged_is_named(image_fit, tmp_path):
    for spoil in (lambda file: file.unlink(), lambda file: file.write_bytes(b"0")):
        image_fit.save(tmp_path / "press")
        spoil(tmp_path / "press" / "held_out.safetensors")
        with pytest.raises(BundleError, match=r"held_out\.safetensors"):
            load_bundle(tmp_path / "press")
        shutil.rmtree(tmp_path / "press")


def hashes(rows):
    return row_hashes(np.asarray(rows, dtype=np.float32))


def test_equal_rows_have_equal_hashes_and_others_do_not():
    rows = np.random.default_rng(0).integers(0, 4, size=(500, 3)).astype(np.float32)

    same = hashes(rows)[:, None] == hashes(rows)[None, :]

    np.testing.assert_array_equal(same, (rows[:, None] == rows[None, :]).all(axis=-1))
    assert hashes(rows).dtype == np.uint64


def test_zero_has_one_hash_and_memory_layout_none():
    assert hashes([[-0.0, 1.0]]) == hashes([[0.0, 1.0]])
    images = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    turned = np.asfortranarray(images)[::-1]
    np.testing.assert_array_equal(row_hashes(turned), row_hashes(images)[::-1])


def test_repeats_are_the_share_of_rows_with_an_equal():
    trained = TrainingRowHashes.from_hashes(hashes([[1], [2], [2], [3], [3], [3], [4], [5]]))

    assert trained.repeated == 5 / 8
    assert len(trained.hashes) == 5
    assert trained.overlap(hashes([[3], [9], [1]])).tolist() == [True, False, True]


@pytest.mark.parametrize("values", [30, 300, 3000])
@pytest.mark.parametrize(("n_trained", "n_new"), [(300, 300), (300, 3000), (1000, 5000)])
def test_equals_by_chance_are_tolerated(values, n_trained, n_new):
    # New rows from the source of the training rows: whatever they share is no overlap.
    rng = np.random.default_rng(values)
    refused = 0
    for _ in range(100):
        trained = TrainingRowHashes.from_hashes(
            rng.integers(0, values, n_trained).astype(np.uint64)
        )
        new = rng.integers(0, values, n_new).astype(np.uint64)
        refused += trained.overlap(new).sum() > trained.max_overlap_by_chance(n_new)
    assert refused <= 3


def test_none_is_tolerated_where_no_training_row_has_an_equal():
    trained = TrainingRowHashes.from_hashes(np.arange(100, dtype=np.uint64))
    assert [trained.max_overlap_by_chance(n) for n in (1, 100, 10_000)] == [0, 0, 0]


def test_few_repeats_do_not_let_the_training_rows_through():
    rows = np.append(np.arange(300, dtype=np.uint64), np.uint64([0, 1]))  # two pairs among them
    assert TrainingRowHashes.from_hashes(rows).max_overlap_by_chance(300) < 60


def test_where_all_rows_are_repeated_nothing_is_refused():
    trained = TrainingRowHashes.from_hashes(np.repeat(np.arange(3, dtype=np.uint64), 50))
    assert trained.max_overlap_by_chance(40) == 40


def test_training_rows_are_found_in_any_dtype():
    counts = np.random.default_rng(0).integers(0, 1000, size=(120, 5))
    encoder = Autoencoder(n_components=2, max_epochs=1, random_state=0).fit(counts[:60])
    for dtype in (np.int64, np.uint16, np.float32, np.float64):
        trained = encoder.training_row_hashes_.overlap(encoder.row_hashes(counts.astype(dtype)))
        assert trained[:60].all()
        assert not trained[60:].any()


def test_training_rows_are_found_in_any_column_order(frame):
    encoder = Autoencoder(n_components=2, max_epochs=1, random_state=0).fit(frame[:100])

    trained = encoder.training_row_hashes_.overlap(encoder.row_hashes(frame[frame.columns[::-1]]))

    assert trained[:100].all()
    assert not trained[100:].any()


HASHED = {
    "table": (
        {
            "columns": [
                {"fill": 2.5, "mean": 2.1, "scale": 0.7, "missing_share": 0.1, "constant": False},
                {"levels": [0, 1], "shares": [0.5, 0.5], "scale": 0.7, "missing_level": 0},
            ]
        },
        pd.DataFrame({"width": [1.25, None, 1e200, -1.3], "kind": ["nut", "bolt", None, "nut"]}),
        [11123321448032463139, 18234581980249919650, 3976769257487968827, 10455073813287646198],
    ),
    "series": (
        {"mean": [0.3, -2.0], "scale": [0.9, 1e-3], "usual": [None, [-2.1, -1.9]]},
        np.linspace(-3, 3, 16).reshape(2, 4, 2),
        [18401284542671595995, 16130069762689953313],
    ),
}


@pytest.mark.parametrize("kind", HASHED)
def test_hashes_of_rows_are_the_same_on_every_machine(kind):
    learned, X, expected = HASHED[kind]
    schema = Schema.learn(X, kind)
    checked = schema.check(X)
    prepare = read_preprocessor(learned | {"hashed": "standardised"}, schema)

    assert row_hashes(prepare.to_hash(checked)).tolist() == expected
    assert read_preprocessor(prepare.to_dict(), schema).to_dict() == prepare.to_dict()

    first = read_preprocessor(learned, schema)  # of the first bundles
    np.testing.assert_array_equal(first.to_hash(checked), first.to_network(checked))
    assert "hashed" not in first.to_dict()


# --- frozen ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def normalised(images):
    """An encoder with batch normalisation and dropout. Do not change."""
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 4)
    )
    decoder = nn.Sequential(
        nn.Linear(4, 64), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Unflatten(1, (1, 8, 8))
    )
    return fit(images, architecture=(encoder, decoder), max_epochs=1)


def modes(encoder):
    networks = (encoder.encoder_, encoder.decoder_)
    return [module.training for network in networks for module in network.modules()]


def answers(encoder, X):
    codes = encoder.transform(X)
    batch = next(encoder.reconstruct(X))
    return codes, encoder.inverse_transform(codes), encoder.reconstruction_error(X), batch.codes


def test_networks_run_in_evaluation_mode_and_the_mode_set_stays(normalised, images):
    expected = answers(normalised, images)
    encoder = copy.deepcopy(normalised)
    encoder.encoder_.train()
    encoder.decoder_[1].train()
    set_by_caller = modes(encoder)

    for found, before in zip(answers(encoder, images), expected, strict=True):
        np.testing.assert_array_equal(found, before)
    encoder.summary()
    assert modes(encoder) == set_by_caller
    assert digest(encoder.encoder_) == normalised.digest_
    assert digest(encoder.decoder_) == normalised.decoder_digest_
    encoder.check_frozen()


def test_threads_do_not_see_the_mode_of_each_other(normalised, images):
    expected = normalised.transform(images)
    encoder = copy.deepcopy(normalised)
    encoder.encoder_.train()
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: encoder.transform(images), range(16)):
            np.testing.assert_array_equal(found, expected)
    encoder.check_frozen()


def test_a_loop_over_reconstructions_is_not_in_inference_mode(table_fit, table):
    for _ in table_fit.reconstruct(table):
        assert not torch.is_inference_mode_enabled()
    for _ in table_fit.decode(table_fit.transform(table)):
        assert not torch.is_inference_mode_enabled()


def fine_tune(network):
    network.requires_grad_(True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()
    weights = [parameter.square().sum() for parameter in network.parameters()]
    torch.stack(weights).sum().backward()
    optimizer.step()


CHANGES = {
    "fine-tuned": fine_tune,
    "load_state_dict": lambda network: network.load_state_dict(
        {name: value * 0 for name, value in network.state_dict().items()}
    ),
    "half": lambda network: network.half(),
    "by .data": lambda network: next(network.parameters()).data.add_(1),
}


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_refused_until_they_are_adopted(table, change, part, tmp_path):
    encoder = Autoencoder(4, max_epochs=1, random_state=0).fit(table[:100])
    labels = table[:, 0] > 13
    detector = AnomalyDetector(encoder, "combined", 0.1, random_state=0).fit(table[100:])
    classifier = CodeClassifier(encoder).fit(table, labels)
    heads = {"normal": detector, "kind": classifier}
    save_bundle(tmp_path / "press", encoder, heads)
    digests = [encoder.digest_, encoder.decoder_digest_]
    CHANGES[change](getattr(encoder, f"{part}_"))

    message = rf"weights of the {part} changed after .*adopt_weights\(\).*isthmus.load_bundle"
    for refused in (
        lambda: encoder.save(tmp_path / "again"),
        lambda: save_bundle(tmp_path / "again", encoder, heads),
        lambda: add_head(tmp_path / "press", "normal", detector),
        lambda: CodeClassifier(encoder).fit(table, labels),
        lambda: AnomalyDetector(encoder, "combined", 0.1).fit(table[100:]),
        lambda: classifier.add_labels(table[:2], labels[:2]),
        lambda: detector.set_false_alarm_rate(0.2).add_labels(table[:2], [1, -1]),
        lambda: export_networks(encoder),
        encoder.check_frozen,
    ):
        with pytest.raises(FrozenError, match=message):
            refused()
    assert not (tmp_path / "again").exists()
    if change != "by .data":
        with pytest.raises(FrozenError, match=message):
            detector.predict(table)

    encoder.adopt_weights()
    now = [encoder.digest_, encoder.decoder_digest_]
    assert [new != old for new, old in zip(now, digests, strict=True)] == [
        part == "encoder",
        part == "decoder",
    ]
    assert next(encoder.encoder_.parameters()).dtype == torch.float32
    encoder.save(tmp_path / "adopted")
    np.testing.assert_array_equal(
        load_bundle(tmp_path / "adopted").encoder.transform(table), encoder.transform(table)
    )
    with pytest.raises(FrozenError, match=f"the {part} has other weights than when this head"):
        detector.predict(table)
    AnomalyDetector(encoder, "combined", 0.1, random_state=0).fit(table[100:]).predict(table)
    if part == "encoder":
        assert encoder.training_["adopted_from"] == digests[:1]
        assert len(encoder.held_out_) == 0
        with pytest.raises(FrozenError, match="the encoder has other weights"):
            classifier.predict(table)


def test_half_weights_are_named_before_torch_fails(table):
    encoder = Autoencoder(4, max_epochs=1, random_state=0).fit(table)
    encoder.encoder_.half()
    with pytest.raises(FrozenError, match=r"weights of a network are torch.float16, expected"):
        encoder.transform(table)


def test_weights_that_are_not_the_architectures_are_not_adopted(table):
    encoder = Autoencoder(4, max_epochs=1, random_state=0).fit(table)
    last = encoder.encoder_[-1]
    encoder.encoder_[-1] = nn.Linear(last.in_features, 5)
    with pytest.raises(FrozenError, match="layers of the encoder are not those of the archi"):
        encoder.adopt_weights()
    encoder.encoder_[-1] = last
    encoder.check_frozen()
    with torch.no_grad():
        last.weight[0, 0] = torch.nan
    with pytest.raises(FrozenError, match="weight of the encoder holds values that are not fin"):
        encoder.adopt_weights()


def test_heads_of_an_encoder_that_was_trained_further_are_refused(table):
    encoder = Autoencoder(4, max_epochs=1, random_state=0).fit(table[:100])
    classifier = CodeClassifier(encoder).fit(table, table[:, 0] > 13)
    encoder.partial_fit(table[100:])
    with pytest.raises(FrozenError, match="trained further.*fit the head again"):
        classifier.predict_proba(table)


def test_moving_or_reading_weights_is_no_change(table_fit, table):
    encoder = copy.deepcopy(table_fit)
    encoder.encoder_.to(memory_format=torch.contiguous_format).requires_grad_(True)
    encoder.encoder_.load_state_dict(table_fit.encoder_.state_dict())
    encoder.check_frozen(quick=True)
    encoder.check_frozen()
    pickle.loads(pickle.dumps(encoder)).check_frozen(quick=True)
