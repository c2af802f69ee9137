"""Which instances to look at next: in doubt, and unlike each other."""

import numpy as np
import pytest

from isthmus.heads.suggest import most_informative


def test_suggestions_are_distinct_rows_and_the_most_doubtful_comes_first():
    rng = np.random.default_rng(0)
    doubt, codes = rng.normal(size=300), rng.normal(size=(300, 3))

    rows = most_informative(doubt, codes, 20)

    assert len(set(rows.tolist())) == 20
    assert rows[0] == doubt.argmax()
    candidates = np.argsort(-doubt)[:200]
    assert set(rows) <= set(candidates)


def test_the_next_is_the_farthest_from_those_chosen_by_its_share_of_doubt():
    rng = np.random.default_rng(1)
    doubt, codes = rng.normal(size=12), rng.normal(size=(12, 2))
    order = np.argsort(-doubt)
    share = dict(zip(order.tolist(), np.linspace(1, 0.5, 12), strict=True))

    chosen = [int(order[0])]
    while len(chosen) < 6:
        gains = {
            row: share[row] * min(np.linalg.norm(codes[row] - codes[c]) for c in chosen)
            for row in range(12)
            if row not in chosen
        }
        chosen.append(max(gains, key=gains.get))

    assert most_informative(doubt, codes, 6).tolist() == chosen


def test_copies_of_one_doubtful_row_are_not_all_chosen():
    codes = np.vstack([np.zeros((15, 2)), np.random.default_rng(0).normal(size=(30, 2))])
    doubt = np.r_[np.full(15, 9.0), np.linspace(8, 1, 30)]

    rows = most_informative(doubt, codes, 10)

    assert (rows < 15).sum() == 1


@pytest.mark.parametrize("n", [5, 6, 1000])
def test_no_more_rows_are_suggested_than_there_are(n):
    codes = np.zeros((5, 2))  # all alike, too
    assert sorted(most_informative(np.arange(5.0), codes, n)) == [0, 1, 2, 3, 4]


def test_none_is_not_a_number_of_suggestions():
    with pytest.raises(ValueError, match="got n=0, expected 1 or more"):
        most_informative(np.zeros(3), np.zeros((3, 2)), 0)


def test_a_detector_suggests_what_could_go_either_way(detector_fit, gaussians):
    X = gaussians(200, 5)
    rows = detector_fit.suggest(X, n=10)

    assert len(set(rows.tolist())) == 10
    doubt = np.abs(np.log(detector_fit.p_values(X) / detector_fit.false_alarm_rate_))
    assert doubt[rows[0]] == doubt.min()
    assert doubt[rows].max() <= np.sort(doubt)[99]  # the hundred in most doubt
    assert sorted(detector_fit.suggest(X[:4])) == [0, 1, 2, 3]
