"""Which instances a classifier asks labels for: typical ones first, then doubtful ones too."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from isthmus import Autoencoder, CodeClassifier
from isthmus.encoding import first_suggestions, most_typical, suggested_classes
from isthmus.errors import FrozenError

SIZES = (60, 30, 20, 10)


@pytest.fixture(scope="module")
def groups():
    """Return codes of four groups far from each other, and the group of each row, shuffled."""
    rng = np.random.default_rng(0)
    of_row = rng.permutation(np.repeat(np.arange(4), SIZES))
    centres = 50 * np.eye(4)
    return centres[of_row] + rng.normal(size=(len(of_row), 4)), of_row


def nearest_to_mean(codes, rows, weights=None):
    mean = np.average(codes[rows], axis=0, weights=weights)
    return rows[np.linalg.norm(codes[rows] - mean, axis=1).argmin()]


def test_the_most_typical_are_nearest_to_the_means_of_groups_the_largest_first(groups):
    codes, of_row = groups
    rows, shares = most_typical(codes, 4)
    assert rows.tolist() == [
        nearest_to_mean(codes, np.flatnonzero(of_row == group)) for group in range(4)
    ]
    np.testing.assert_allclose(shares, np.array(SIZES) / sum(SIZES))


def test_with_weights_heavy_groups_count(groups):
    codes, of_row = groups
    weights = np.where(of_row == 3, 1.0, 0.0)
    rows, shares = most_typical(codes, 1, weights)
    assert rows[0] == nearest_to_mean(codes, np.flatnonzero(of_row == 3))
    assert shares[0] == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 7, 30, 40])
def test_copies_are_chosen_last_and_no_row_twice(n):
    codes = np.vstack([np.zeros((20, 2)), np.random.default_rng(0).normal(size=(10, 2))])
    rows, shares = most_typical(codes, n)
    assert len(set(rows.tolist())) == len(rows) == len(shares) == min(n, 30)
    assert (rows[:11] < 20).sum() <= 1
    assert shares.sum() == pytest.approx(1)


def test_of_many_rows_some_are_looked_at_and_as_many_as_asked_for_are_chosen():
    codes = np.random.default_rng(0).normal(size=(30_000, 1)).astype(np.float32)
    rows, shares = most_typical(codes, 3)
    assert sorted(codes[rows, 0].round()) == [-1, 0, 1]
    assert shares.sum() == pytest.approx(1)
    assert most_typical(codes, 3)[0].tolist() == rows.tolist()


def test_half_of_later_rows_are_of_the_doubtful_and_half_of_all(groups):
    codes, of_row = groups
    shares = np.where(of_row[:, None] == 3, [0.5, 0.5], [0.6, 0.4])  # doubt 1 and 0.8
    head = SimpleNamespace(
        classes_=np.array(["a", "b"]),
        head_=SimpleNamespace(predict_proba=None),
        predict_proba=lambda _: shares,
    )
    table = suggested_classes(head, codes, 2)
    assert table.columns.tolist() == ["row", "doubt", "reason"]
    assert of_row[table["row"][0]] == 3  # of the ten in most doubt
    assert table["reason"][0] == "a (50%) or b (50%)"
    assert of_row[table["row"][1]] != 3
    everything = suggested_classes(head, codes, 500)["row"]
    assert sorted(everything) == list(range(len(codes)))


def test_first_labels_that_are_suggested_teach_more_than_random_ones(image_fit, digits):
    X, y = digits[0][:1000], digits[1][:1000]
    unseen = digits[0][1000:], digits[1][1000:]

    def accuracy(rows):
        return CodeClassifier(image_fit).fit(X[rows], y[rows]).score(*unseen)

    table = CodeClassifier(image_fit).suggestions(X, 20)
    assert table.columns.tolist() == ["row", "share", "reason"]
    assert table["share"].sum() == pytest.approx(1)
    at_random = [accuracy(np.random.default_rng(draw).permutation(1000)[:20]) for draw in range(10)]
    assert accuracy(table["row"]) > max(at_random)


def test_labels_that_are_suggested_later_teach_more_than_random_ones(image_fit, digits):
    X, y = digits[0][:1000], digits[1][:1000]
    unseen = digits[0][1000:], digits[1][1000:]
    rows = np.random.default_rng(0).permutation(1000)
    few = CodeClassifier(image_fit).fit(X[rows[:30]], y[rows[:30]])
    asked = rows[30:][few.suggest(X[rows[30:]], 30)]
    suggested = few.add_labels(X[asked], y[asked]).score(*unseen)
    at_random = CodeClassifier(image_fit).fit(X[rows[:60]], y[rows[:60]]).score(*unseen)
    assert suggested > at_random


def test_what_to_label_first_needs_a_fitted_encoder_that_has_not_changed(digits):
    X = digits[0][:60]
    encoder = Autoencoder(max_epochs=1, n_components=2, random_state=0)
    with pytest.raises(NotFittedError, match="CodeClassifier"):
        CodeClassifier(encoder).suggest(X)
    encoder.fit(X)
    next(encoder.encoder_.parameters()).data.add_(1)
    with pytest.raises(FrozenError):
        CodeClassifier(encoder).suggest(X)


def test_none_is_not_a_number_of_first_labels():
    with pytest.raises(ValueError, match="got n=0, expected 1 or more"):
        first_suggestions(np.zeros((3, 2)), 0)
