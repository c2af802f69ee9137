"""Augmentations: displaced images against scipy's interpolation, shapes and strengths."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from isthmus import augmentations as images_module
from isthmus.augmentations import build_augmentation
from isthmus.errors import TrainingError

SHAPES = [(4, 1, 8, 8), (4, 3, 12, 7), (4, 1, 1, 9), (4, 2, 9, 1), (4, 1, 1, 1), (1, 1, 5, 5)]
# Rotation, stretch along x and y, shear, shift along x and y: as shares of their ranges.
STILL = dict.fromkeys(("rotation", "wide", "high", "shear", "right", "down"), 0.0)


@pytest.fixture(autouse=True)
def generator():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def fixed(monkeypatch):
    """Have every image displaced in the same, given way."""

    def fix(**draws):
        draw = torch.tensor(list((STILL | draws).values()))

        def rand(rows, n, **_):
            assert rows == 6
            return ((draw + 1) / 2)[:, None].expand(6, n)

        monkeypatch.setattr(images_module.torch, "rand", rand)
        return build_augmentation(("affine",), "images")

    return fix


def smooth(height, width):
    """An image (1, 1, h, w) without sharp edges, dark towards its border."""
    y, x = np.mgrid[:height, :width]
    spot = np.exp(-((y - 0.45 * height) ** 2 / height + (x - 0.6 * width) ** 2 / width))
    return torch.tensor(spot, dtype=torch.float32)[None, None]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chosen", ["auto", ("affine",), ("elastic",)])
def test_views_have_shape_dtype_and_range_of_the_images(shape, chosen):
    x = torch.rand(shape)

    view = build_augmentation(chosen, "images")(x)

    assert view.shape == x.shape
    assert view.dtype == x.dtype
    assert view.isfinite().all()
    assert view.min() >= x.min() - 1e-5  # values are interpolated, never made up
    assert view.max() <= x.max() + 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_strengths_of_zero_change_nothing(shape):
    x = torch.rand(shape)

    view = build_augmentation({"affine": 0.0, "elastic": 0.0}, "images")(x)

    torch.testing.assert_close(view, x, atol=1e-5, rtol=0)


def test_double_precision_stays():
    x = torch.rand(2, 1, 6, 6, dtype=torch.float64)

    assert build_augmentation("auto", "images")(x).dtype == torch.float64


@pytest.mark.parametrize(("height", "width"), [(20, 20), (12, 30)])
def test_a_shift_is_that_of_scipy(fixed, height, width):
    x = smooth(height, width)

    view = fixed(right=1.0, down=-0.5)(x)

    by = (0.5 * 0.09 * height, -0.09 * width)
    expected = ndimage.shift(x[0, 0].numpy(), by, order=1, mode="nearest")
    np.testing.assert_allclose(view[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(20, 20), (12, 30), (30, 12)])
@pytest.mark.parametrize("share", [1.0, -0.4])
def test_a_rotation_is_one_in_pixels_of_oblong_images_too(fixed, height, width, share):
    x = smooth(height, width)

    view = fixed(rotation=share)(x)

    angle = math.radians(15 * share)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    expected = ndimage.affine_transform(
        x[0, 0].numpy(), turn, centre - turn @ centre, order=1, mode="nearest"
    )
    np.testing.assert_allclose(view[0, 0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("draws", "matrix"),
    [
        ({"wide": 1.0}, [[1, 0], [0, math.exp(0.15)]]),
        ({"high": -1.0}, [[math.exp(-0.15), 0], [0, 1]]),
        ({"shear": 1.0}, [[1, 0], [0.15, 1]]),
    ],
)
def test_stretch_and_shear_are_those_of_scipy(fixed, draws, matrix):
    x = smooth(14, 24)

    view = fixed(**draws)(x)

    centre = np.array([6.5, 11.5])
    expected = ndimage.affine_transform(
        x[0, 0].numpy(), matrix, centre - matrix @ centre, order=1, mode="nearest"
    )
    np.testing.assert_allclose(view[0, 0], expected, atol=1e-4)


def columns_and_rows(n, side):
    """Images whose two channels say in which column and row a pixel is, from 0 to 1."""
    at = torch.linspace(0, 1, side)
    both = torch.stack([at.expand(side, side), at[:, None].expand(side, side)])
    return both.expand(n, 2, side, side).contiguous()


def test_an_elastic_displacement_has_the_size_stated_and_is_smooth():
    side, inner = 60, slice(15, 45)
    x = columns_and_rows(200, side)

    view = build_augmentation(("elastic",), "images")(x)

    displacement = (view - x)[:, :, inner, inner] * (side - 1) / side  # in sides
    # Between the points bicubic interpolation averages, so a little is lost.
    assert 0.6 * 0.035 < displacement.std() < 0.035 * 1.1
    step = displacement.diff(dim=-1).std()
    assert step < 0.25 * displacement.std()


@pytest.mark.parametrize("name", ["affine", "elastic"])
def test_a_strength_scales_the_displacement(name):
    x = columns_and_rows(200, 40)

    sizes = []
    for strength in (0.25, 0.5):
        torch.manual_seed(0)
        view = build_augmentation({name: strength}, "images")(x)
        sizes.append((view - x)[:, :, 12:28, 12:28].std().item())

    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.05)


@pytest.mark.parametrize("name", ["affine", "elastic"])
def test_each_image_is_displaced_in_its_own_way_and_its_channels_alike(name):
    x = torch.rand(1, 1, 9, 9).expand(6, 2, 9, 9).contiguous()

    view = build_augmentation((name,), "images")(x)

    assert len(view[:, 0].flatten(1).unique(dim=0)) == 6
    assert torch.equal(view[:, 0], view[:, 1])


@pytest.mark.parametrize(
    ("chosen", "kind", "message"),
    [
        ("flip", "images", "got augmentations='flip', expected some of affine, elastic for images"),
        (("affine", "flip"), "images", "expected some of affine, elastic"),
        (("affine",), "series", "expected some of jitter, scaling, crop for series"),
        ({"affine": 1.0}, "table", "expected some of corruption for table"),
        ({"affine": -1.0}, "images", "with strengths of 0 or more"),
        ({"affine": float("nan")}, "images", "with strengths of 0 or more"),
        ({"affine": None}, "images", "with strengths of 0 or more"),
        ("auto", "pictures", "got kind='pictures', expected one of images, series, table"),
    ],
)
def test_what_is_no_augmentation_is_refused(chosen, kind, message):
    with pytest.raises(TrainingError, match=message):
        build_augmentation(chosen, kind)


def test_a_name_alone_is_a_sequence_of_one():
    x, views = torch.rand(3, 1, 6, 6), []
    for chosen in ("affine", ["affine"], {"affine": 1}):
        torch.manual_seed(0)
        views.append(build_augmentation(chosen, "images")(x))

    assert torch.equal(views[0], views[1])
    assert torch.equal(views[0], views[2])


@pytest.mark.parametrize("kind", ["images", "series", "table"])
def test_none_is_none_and_a_callable_is_itself(kind):
    x = torch.rand(3, 4)

    assert build_augmentation(None, kind)(x) is x
    assert build_augmentation(torch.neg, kind) is torch.neg


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
    first, span = view[:, 0, 0], view[:, 0, -1] - view[:, 0, 0]
    assert first.min() >= 0
    assert view.max() <= 1 + 1e-6
    assert span.min() >= 0.8 - 1e-5
    assert span.mean().item() == pytest.approx(0.9, abs=4 * 0.058 / 300**0.5)
    assert len(span.unique()) > 250


def test_a_strong_crop_leaves_half():
    ramp = torch.linspace(0, 1, 40).expand(300, 1, 40)

    view = build_augmentation({"crop": 100.0}, "series")(ramp)

    span = view[:, 0, -1] - view[:, 0, 0]
    assert 0.5 - 1e-5 <= span.min() < 0.53


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
