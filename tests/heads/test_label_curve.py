"""How head and label-free score are compared on rows held out, with scores that are known."""

import numpy as np
import pytest

from isthmus.heads import label_curve
from isthmus.heads.label_curve import choose_weight, measure_curve
from isthmus.heads.views import Views


def known(free, head):
    """Views that carry a label-free score and a head's score for each row in their codes."""
    codes = np.stack([free, head], axis=1).astype(np.float32)
    return Views(codes, codes[:, :1], explained=1.0)


def read(train, abnormal, test, rng):
    """Score by what the rows carry, whatever the training rows are."""
    return test.codes[:, 0].astype(float), test.codes[:, 1].astype(float)


def generator():
    return np.random.default_rng(0)


@pytest.fixture
def abnormal():
    return np.arange(120) >= 100


@pytest.fixture
def noise():
    return np.random.default_rng(1).normal(size=120)


def test_the_better_of_two_scores_gets_all_the_weight(abnormal, noise):
    good = noise + 20 * abnormal

    assert choose_weight(read, known(noise[::-1] * 9, good), abnormal, generator()) > 0.5
    assert choose_weight(read, known(good, noise[::-1] * 9), abnormal, generator()) < 0.5


def test_half_stays_where_both_are_as_good(abnormal, noise):
    for score in (noise, noise + 20 * abnormal):
        assert choose_weight(read, known(score, score), abnormal, generator()) == 0.5


@pytest.mark.parametrize(("n_normal", "n_abnormal"), [(100, 1), (100, 4), (2, 10), (1, 1)])
def test_a_head_that_cannot_be_tried_counts_one_half(n_normal, n_abnormal):
    def refuse(*args):
        raise AssertionError("nothing is to be measured")

    abnormal = np.arange(n_normal + n_abnormal) >= n_normal
    views = known(*np.zeros((2, len(abnormal))))
    assert choose_weight(refuse, views, abnormal, generator()) == 0.5


@pytest.mark.parametrize(("n_normal", "n_abnormal"), [(3, 5), (3, 9), (5, 5), (50, 5), (700, 23)])
@pytest.mark.parametrize("measure", [choose_weight, measure_curve])
def test_rows_that_are_scored_were_not_learned_from(measure, n_normal, n_abnormal):
    truth = np.arange(n_normal + n_abnormal) >= n_normal
    scored = []

    def spy(train, abnormal, test, rng):
        learned = train.codes[:, 0].astype(int)
        held_out = test.codes[:, 0].astype(int)
        assert not set(learned) & set(held_out)
        np.testing.assert_array_equal(truth[learned], abnormal)
        assert abnormal.any()
        assert (~abnormal).sum() >= 2
        assert 0 < truth[held_out].sum() < len(held_out)
        scored.append(held_out)
        return read(train, abnormal, test, rng)

    rows = np.arange(len(truth))
    measure(spy, known(rows, rows[::-1]), truth, generator())

    assert len(scored) >= 3
    if measure is choose_weight:  # a cross-validation: each row once
        held_out = np.concatenate(scored)
        assert sorted(held_out[truth[held_out]]) == list(rows[truth])
        assert len(set(held_out)) == len(held_out)
        assert len(held_out) == n_abnormal + min(n_normal, label_curve.MOST_NORMAL)


def test_the_curve_says_what_the_scores_reach(abnormal, noise):
    perfect, reversed_ = noise + 20 * abnormal, noise - 20 * abnormal

    curve = measure_curve(read, known(reversed_, perfect), abnormal, generator())

    expected = [{"labels": n, "label_free": 0.0, "head": 1.0} for n in (1, 2, 3, 5, 10)]
    assert curve.points == expected  # fewer than the twenty: some are to be found
    assert curve.wins_from == 1


def test_a_head_that_is_never_better_wins_from_nowhere(abnormal, noise):
    perfect = noise + 20 * abnormal

    curve = measure_curve(read, known(perfect, noise), abnormal, generator())

    assert all(point["label_free"] == 1 > point["head"] for point in curve.points)
    assert curve.wins_from is None


def test_the_head_wins_from_where_it_is_never_behind_again(abnormal, noise):
    def learns(train, abnormal, test, rng):
        free, head = read(train, abnormal, test, rng)
        sign = 1 if abnormal.sum() in (1, 5, 10) else -1  # good, bad with 2 and 3, good again
        return free, sign * head

    curve = measure_curve(learns, known(noise, noise + 20 * abnormal), abnormal, generator())

    assert [point["head"] for point in curve.points] == [1, 0, 0, 1, 1]
    assert curve.wins_from == 5


@pytest.mark.parametrize(("n_normal", "n_abnormal"), [(100, 0), (100, 1), (2, 10)])
def test_there_is_no_curve_where_nothing_can_be_held_out(n_normal, n_abnormal):
    abnormal = np.arange(n_normal + n_abnormal) >= n_normal

    curve = measure_curve(read, known(*np.zeros((2, len(abnormal)))), abnormal, generator())

    assert curve.points == []
    assert curve.wins_from is None
