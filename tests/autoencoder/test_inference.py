"""Codes and errors of held-out instances, and hashes of those trained on."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from isthmus import Autoencoder, load_bundle
from isthmus.autoencoder import TrainingRowHashes, row_hashes, training_rows
from isthmus.autoencoder.training_rows import split_rows
from isthmus.errors import BundleError


def fit(X, **choices):
    choices = {"max_epochs": 3, "validation_fraction": 0.2, "random_state": 5} | choices
    return Autoencoder(4, **choices).fit(X)


def validation_rows(encoder, n):
    return split_rows(n, 0.2, encoder.training_["seed"])[0]


def same(one, other):
    for name in ("codes", "errors", "repeated"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


@pytest.mark.parametrize("architecture", ["dense", "conv", "strided"])
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
