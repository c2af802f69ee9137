"""Windows in time: scores of time points from those of windows, and blocks that are held out."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from isthmus.data.windows import TimePoints
from isthmus.detection import Timeline, WindowPlaces
from isthmus.detection.timeline import hold_out_blocks, lay_out
from isthmus.errors import CalibrationError


def spread_one_by_one(places, scores, causal):
    """Return the score of each time point, window after window."""
    found = np.full(places.n_points, np.nan)
    for begin, end in places.segments:
        for point in range(begin, end):
            inside = [
                at
                for at, first in enumerate(places.first)
                if begin <= first and first + places.window <= end
            ]
            if causal:
                ended = [at for at in inside if places.first[at] + places.window - 1 <= point]
                found[point] = scores[ended[-1]] if ended else np.nan
                continue
            covering = [
                at for at in inside if places.first[at] <= point < places.first[at] + places.window
            ]
            found[point] = np.mean([scores[at] for at in covering]) if covering else np.nan
    return found


@hypothesis.given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    window=st.integers(1, 9),
    stride=st.integers(1, 9),
    causal=st.booleans(),
    seed=st.integers(0, 99),
)
def test_scores_of_points_equal_those_of_a_loop(lengths, window, stride, causal, seed):
    ends = np.cumsum(lengths)
    segments = np.column_stack([ends - lengths, ends])
    places = WindowPlaces.cut(segments, window, min(stride, window))
    scores = np.random.default_rng(seed).normal(size=len(places))
    np.testing.assert_allclose(
        places.spread(scores, causal=causal), spread_one_by_one(places, scores, causal)
    )


def test_each_column_is_spread_by_itself():
    places = WindowPlaces.cut(np.array([[0, 40], [40, 43], [43, 70]]), 5, 3)
    scores = np.random.default_rng(0).normal(size=(len(places), 3))
    together = places.spread(scores)
    for column in range(3):
        np.testing.assert_array_equal(together[:, column], places.spread(scores[:, column]))
    assert np.isnan(together[40:43]).all()
    assert np.isfinite(np.delete(together, np.s_[40:43], axis=0)).all()


def test_a_very_high_score_leaves_points_far_from_it_as_they_are():
    places = WindowPlaces.cut(np.array([[0, 40_000]]), 64, 1)
    scores = np.random.default_rng(0).normal(size=len(places))
    spread = places.spread(scores)
    scores[5000] = 1e17
    changed = places.spread(scores)
    far = np.r_[0:5000, 5064:40_000]
    np.testing.assert_array_equal(changed[far], spread[far])


@hypothesis.given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    window=st.integers(2, 40),
    stride=st.integers(1, 40),
    n_blocks=st.integers(2, 7),
)
def test_blocks_share_no_time_point_with_what_is_fitted_on(lengths, window, stride, n_blocks):
    ends = np.cumsum(lengths)
    segments = np.column_stack([ends - lengths, ends])
    places = WindowPlaces.cut(segments, window, min(stride, window))
    try:
        blocks = hold_out_blocks(places, n_blocks)
    except CalibrationError:
        return
    everything = np.arange(len(places))
    held_out = np.concatenate([block.windows for block in blocks])
    assert len(np.unique(held_out)) == len(held_out)
    steps = np.arange(window)
    for block in blocks:
        inside = np.unique(places.first[block.windows][:, None] + steps)
        others = block.others(everything)
        assert len(others) >= 2
        assert not np.isin(places.first[others][:, None] + steps, inside).any()
        assert len(block.windows) + len(block.purged) + len(others) == len(places)


def timeline_of(lengths, window=8, stride=1):
    """Return the timeline of stretches of these lengths."""
    ends = np.cumsum(lengths)
    segments = np.column_stack([ends - lengths, ends])
    first = WindowPlaces.cut(segments, window, stride).first
    return Timeline(first, window, stride, segments, tuple("abcdef"[: len(lengths)]), 1.0, "t")


def test_a_single_block_is_a_fifth_of_the_time_with_its_end():
    timeline = timeline_of([4000])
    (block,) = timeline.blocks(split=True)
    inside = np.unique(timeline.first[block.windows][:, None] + np.arange(8))
    assert 0.19 < len(inside) / 4000 <= 0.2
    assert inside.max() == 3999
    assert (np.diff(inside) > 1).sum() == 4  # five stretches
    rest = block.others(np.arange(len(timeline.first)))
    assert not np.isin(timeline.first[rest][:, None] + np.arange(8), inside).any()


def test_series_too_short_for_blocks_are_refused_with_what_is_needed():
    with pytest.raises(CalibrationError, match="got series of 20 time points .* at least 40") as e:
        hold_out_blocks(WindowPlaces.cut(np.array([[0, 20], [20, 25]]), 10, 1))
    assert "at most 5 time points" in str(e.value)


def test_stretches_of_windows_end_where_windows_are_left_out():
    timeline = timeline_of([50, 30])
    rows = np.r_[0:10, 25:30, 45:50]
    places, segment = timeline.stretches(rows)
    first = timeline.first[rows]
    np.testing.assert_array_equal(places.first, first)
    covered = np.unique(first[:, None] + np.arange(8))
    inside = np.concatenate([np.arange(*span) for span in places.segments])
    np.testing.assert_array_equal(inside, covered)
    np.testing.assert_array_equal(segment, [0, 0, 1])


def test_timelines_follow_each_other():
    one, other = timeline_of([50, 30]), timeline_of([40])
    joined = one.with_unplaced(2).followed_by(other)
    np.testing.assert_array_equal(joined.first[len(one.first) :][:2], [-1, -1])
    np.testing.assert_array_equal(joined.first[len(one.first) + 2 :], other.first + 80)
    np.testing.assert_array_equal(joined.segments, [[0, 50], [50, 80], [80, 120]])
    assert joined.groups == ("a", "b", "a")
    again = Timeline.from_state(joined.state())
    np.testing.assert_array_equal(again.first, joined.first)
    assert (again.groups, again.step, again.time_column) == (joined.groups, 1.0, "t")


def test_windows_that_are_not_all_of_those_cut_have_no_timeline():
    points = TimePoints.of(np.arange(50.0), window=8)
    n = len(WindowPlaces.cut(points.segments, 8, points.stride))
    assert lay_out(points, n - 1) is None
    np.testing.assert_array_equal(lay_out(points, n).first, np.arange(n))
