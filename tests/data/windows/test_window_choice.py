"""Length and stride of windows that are chosen from the data."""

import numpy as np
import pandas as pd
import pytest

from isthmus.data import load
from isthmus.data.windows import choose_windows, dominant_period
from isthmus.errors import DataError

AT = np.arange(5000.0)


def period(values, longest=256):
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    found = dominant_period(values, np.array([[0, len(values)]]), longest)
    return None if found is None else found[0]


def choose(values, window="auto", stride=None, segments=None):
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    return choose_windows(
        values, np.array([[0, len(values)]] if segments is None else segments), window, stride
    )


@pytest.mark.parametrize("of", [4, 7, 24, 50, 96, 144, 200, 250])
class TestPeriods:
    """Signals of a known period, within half a time point and two percent, in noise four."""

    def near(self, found, of, share=0.02):
        return found is not None and abs(found - of) <= 0.5 + share * of

    def test_sine(self, of):
        assert self.near(period(np.sin(2 * np.pi * AT / of)), of)

    def test_sine_in_noise_of_more_power(self, of):
        noise = np.random.default_rng(0).normal(size=len(AT))
        assert self.near(period(np.sin(2 * np.pi * AT / of) + noise), of, 0.04)

    def test_square_wave(self, of):
        assert self.near(period((AT % of) < of / 3), of)

    @pytest.mark.parametrize("trend", [AT * 0.01, (AT * 1e-3) ** 2, (AT > 2000) * 5.0])
    def test_sine_on_a_trend_or_step(self, of, trend):
        assert self.near(period(np.sin(2 * np.pi * AT / of) + trend), of)

    def test_sine_on_a_random_walk(self, of):
        walk = np.random.default_rng(0).normal(size=len(AT)).cumsum()
        assert self.near(period(2 * np.sin(2 * np.pi * AT / of) + 0.1 * walk), of)

    def test_a_few_huge_values_do_not_matter(self, of):
        values = np.sin(2 * np.pi * AT / of)
        values[[700, 2900]] = 1e6
        assert self.near(period(values), of)


def test_the_stronger_of_two_rhythms():
    slow = np.sin(2 * np.pi * AT / 100)
    assert period(slow + 0.5 * np.sin(2 * np.pi * AT / 5)) == 100
    assert period(0.3 * slow + np.sin(2 * np.pi * AT / 5)) == 5


@pytest.mark.parametrize("n", [60, 200, 1000, 5000])
@pytest.mark.parametrize("kind", ["noise", "walk", "step", "constant", "line", "many"])
def test_no_period_where_nothing_repeats(n, kind):
    rng = np.random.default_rng(7)
    values = {
        "noise": rng.normal(size=n),
        "walk": rng.normal(size=n).cumsum(),
        "step": (np.arange(n) > n / 3) + rng.normal(size=n) * 0.01,
        "constant": np.full(n, 0.1 + 0.2),
        "line": np.arange(n) * 0.1,
        "many": rng.normal(size=(n, 8)),
    }[kind]
    assert period(values, min(256, n // 5)) is None
    choice = choose(values)
    assert choice.window == min(64, n // 5)
    assert "no period" in choice.reasons["window"]


def test_channels_without_a_period_do_not_count():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3000, 6))
    values[:, 4] += 2 * np.sin(np.arange(3000) * 2 * np.pi / 30)
    values[:, 2] = 3.0
    values[:, 1] = np.nan
    assert dominant_period(values, np.array([[0, 3000]])) == (30, 4, 1)
    reason = choose(values).reasons["window"]
    assert reason == (
        "window 90: 1 of 6 channels repeat, channel 4, counting from 0, every 30 time points, and "
        "at least 64 are taken"
    )


def test_a_channel_that_dies_has_the_period_that_it_had():
    values = np.sin(2 * np.pi * AT / 40)
    values[3500:] = 0
    assert period(values) == 40


def test_missing_readings_and_gaps_do_not_hide_a_period():
    values = np.sin(2 * np.pi * AT / 40)[:, None]
    values[::7] = np.nan
    segments = np.array([[0, 400], [413, 900], [1001, 1500]])
    assert dominant_period(values, segments, 97)[0] == 40


def test_bounds_of_a_window():
    assert choose(np.sin(2 * np.pi * AT / 6)).window == 66  # 64 at least, in whole periods
    assert choose(np.sin(2 * np.pi * AT / 50)).window == 64  # and 96 at most
    assert choose(np.sin(2 * np.pi * AT / 400)).window == 64  # too long to be looked for
    assert choose(np.sin(2 * np.pi * AT[:150] / 12)).window == 30
    assert choose(np.sin(2 * np.pi * AT[:50] / 6)).window == 10  # a fifth of the series
    assert choose(np.zeros(6)).window == 2


def test_a_given_window_keeps_its_stride():
    values = np.zeros(300)
    for window, stride, expected in [
        (20, None, (20, 20)),
        (20, "auto", (20, 1)),
        (20, 5, (20, 5)),
        ("auto", None, (60, 1)),
        (None, None, (60, 1)),
        ("auto", 7, (60, 7)),
    ]:
        choice = choose(values, window, stride)
        assert (choice.window, choice.stride) == expected
        assert ("stride" in choice.reasons) == (choice.stride == 1)


@pytest.mark.parametrize(("m", "c", "stride"), [(20_063, 1, 1), (20_064, 1, 2), (100_000, 200, 39)])
def test_stride_is_the_least_that_holds_the_bounds(m, c, stride):
    values = np.broadcast_to(0.0, (m, c))
    choice = choose(values, 64, "auto")
    assert choice.stride == stride
    for one, within in ((stride, True), (stride - 1, False)):
        n = (m - 64) // one + 1 if one else np.inf
        assert (n <= 20_000 and n * 64 * c * 8 <= 256 * 2**20) == within


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "all"}, "got window='all', expected a whole number or 'auto'"),
        ({"stride": "none"}, "got stride='none', expected a whole number or 'auto'"),
        ({"window": 1}, "got window=1, expected a whole number of 2 or more"),
        ({"window": 8, "stride": 0}, "got stride=0"),
    ],
)
def test_what_is_no_choice(options, message):
    with pytest.raises(DataError, match=message):
        choose(np.zeros(100), **options)


class TestLoad:
    """`load` without a window."""

    frame = pd.DataFrame({"load": np.sin(2 * np.pi * AT / 48), "heat": 1.0})

    def test_chooses_and_says_why(self):
        data = load(self.frame, kind="series")
        assert data.X.shape == (4905, 96, 2)
        assert data.points.window == 96
        assert data.points.stride == 1
        choices = data.points.choices
        assert choices["window"] == {
            "value": 96,
            "reason": "window 96: 1 of 2 channels repeat, channel 'load' every 48 time points, and "
            "at least 64 are taken",
        }
        assert choices["stride"]["value"] == 1
        assert data.reading == choices
        assert load(self.frame, kind="series", window=48).reading is None

    def test_windows_as_at_fit(self):
        schema = load(self.frame, kind="series", window=24).schema
        for window in (None, "auto", 24):
            assert load(self.frame, kind="series", window=window, schema=schema).X.shape[1] == 24
        with pytest.raises(DataError, match="the encoder was fitted on windows of 24 rows"):
            load(self.frame, kind="series", window=48, schema=schema)

    def test_files_read_in_chunks_need_a_window(self, tmp_path):
        for at in range(2):
            self.frame.to_parquet(tmp_path / f"{at}.parquet")
        with pytest.raises(DataError, match=r"got window='auto', .* --window 64"):
            load(tmp_path, kind="series", window="auto")
        with pytest.raises(DataError, match=r"got stride='auto', .* --window 64 --stride 16"):
            load(tmp_path, kind="series", window=8, stride="auto")
