"""Views of series and of rows of tables."""

import pytest
import torch

from isthmus.augment import build_augmentation


@pytest.fixture(autouse=True)
def generator():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("length", [1, 2, 3, 50])
@pytest.mark.parametrize("name", ["jitter", "scaling", "crop"])
def test_views_of_series_keep_the_shape_and_differ(name, length):
    x = torch.randn(5, 2, length)

    view = build_augmentation((name,), "series")(x)

    assert view.shape == x.shape
    assert view.isfinite().all()
    assert torch.equal(view, x) == (name == "crop" and length == 1)


@pytest.mark.parametrize("name", ["jitter", "scaling", "crop"])
def test_a_strength_of_zero_changes_nothing(name):
    x = torch.randn(5, 2, 30)

    view = build_augmentation({name: 0.0}, "series")(x)

    torch.testing.assert_close(view, x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_jitter_has_the_standard_deviation_stated(strength):
    view = build_augmentation({"jitter": strength}, "series")(torch.ones(100, 3, 400))

    assert view.mean().item() == pytest.approx(1, abs=0.005)
    assert view.std().item() == pytest.approx(0.1 * strength, rel=0.02)


def test_scaling_multiplies_each_channel_by_one_factor():
    x = torch.rand(500, 3, 20) + 1

    factors = build_augmentation(("scaling",), "series")(x) / x

    torch.testing.assert_close(factors, factors[:, :, :1].expand_as(x))
    each = factors[:, :, 0]
    assert each.mean().item() == pytest.approx(1, abs=4 * 0.1 / 1500**0.5)
    assert each.std().item() == pytest.approx(0.1, rel=0.1)
    assert len(each.unique()) > 1400


def test_a_crop_of_a_straight_line_is_a_straight_line():
    ramp = torch.linspace(0, 1, 40).expand(300, 2, 40)

    view = build_augmentation(("crop",), "series")(ramp)

    steps = view.diff(dim=2)
    torch.testing.assert_close(steps, steps[:, :, :1].expand_as(steps), atol=1e-5, rtol=0)
    assert torch.equal(view[:, 0], view[:, 1])  # channels stay together in time
    first, kept = view[:, 0, 0], view[:, 0, -1] - view[:, 0, 0]
    assert first.min() >= 0
    assert view.max() <= 1 + 1e-6
    assert kept.min() >= 0.8 - 1e-5
    assert kept.mean().item() == pytest.approx(0.9, abs=4 * 0.058 / 300**0.5)
    assert len(kept.unique()) > 250


def test_a_strong_crop_leaves_half():
    ramp = torch.linspace(0, 1, 40).expand(300, 1, 40)

    view = build_augmentation({"crop": 100.0}, "series")(ramp)

    kept = view[:, 0, -1] - view[:, 0, 0]
    assert 0.5 - 1e-5 <= kept.min() < 0.53


@pytest.mark.parametrize(("strength", "share"), [(0.0, 0.0), (1.0, 0.3), (2.0, 0.6), (9.0, 1.0)])
def test_corrupted_values_come_from_their_own_column(strength, share):
    n, m = 400, 50
    x = torch.arange(n)[:, None] + 1000.0 * torch.arange(m)

    view = build_augmentation({"corruption": strength}, "table")(x)

    assert torch.equal(view // 1000, x // 1000)
    changed = (view != x).float()
    # One in n comes from the row itself.
    expected = share * (1 - 1 / n)
    assert changed.mean().item() == pytest.approx(expected, abs=4 * 0.5 / (n * m) ** 0.5)
    if share == 0.3:
        assert changed.sum(dim=1).unique().numel() > 5  # rows differ in which, and how many


def test_a_single_row_has_no_other_to_take_from():
    x = torch.randn(1, 6)

    assert torch.equal(build_augmentation("auto", "table")(x), x)


def test_every_augmentation_of_a_kind_is_applied_in_turn():
    x = torch.ones(4, 2, 10)

    torch.manual_seed(1)
    both = build_augmentation(("jitter", "scaling"), "series")(x)
    torch.manual_seed(1)
    one = build_augmentation(("jitter",), "series")(x)
    other = build_augmentation(("scaling",), "series")(one)

    assert torch.equal(both, other)
