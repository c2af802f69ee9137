"""Corruptions and masks of instances, and losses against the clean instance."""

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.errors import TrainingError
from isthmus.objectives import Task
from isthmus.objectives.denoising import CORRUPTIONS, Denoising, Masked
from isthmus.objectives.objective import Reconstruction

N, M = 400, 500
# Four standard errors of a share of N x M values.
CLOSE = 4 * 0.5 / (N * M) ** 0.5


def table(*corruptions, level, m=M):
    names = corruptions or "auto"
    return Denoising(names, level).prepare(Task("table", (m,), 2, "mse"))


def numbered():
    """Whole numbers that say which row and column they are of."""
    rows, columns = torch.meshgrid(torch.arange(N), torch.arange(M), indexing="ij")
    return (rows + 1000 * columns + 2).float()


def test_gaussian_noise_has_the_standard_deviation_asked_for():
    noise = CORRUPTIONS["gaussian"](torch.full((N, M), 7.0), torch.tensor(0.6)) - 7

    assert noise.mean().item() == pytest.approx(0, abs=0.6 * 2 * CLOSE)
    assert noise.std().item() == pytest.approx(0.6, rel=0.01)


def test_masking_sets_the_share_to_zero_and_leaves_the_rest():
    x = numbered()

    corrupted = CORRUPTIONS["masking"](x, torch.tensor(0.3))

    hidden = corrupted == 0
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=CLOSE)
    assert torch.equal(corrupted[~hidden], x[~hidden])


def test_salt_and_pepper_are_equally_frequent():
    x = numbered()

    corrupted = CORRUPTIONS["salt_and_pepper"](x, torch.tensor(0.3))

    for value in (0, 1):
        assert (corrupted == value).float().mean().item() == pytest.approx(0.15, abs=CLOSE)
    rest = corrupted > 1
    assert torch.equal(corrupted[rest], x[rest])


def test_swapped_values_come_from_their_own_column():
    x = numbered()

    corrupted = CORRUPTIONS["swapping"](x, torch.tensor(0.3))

    assert torch.equal(corrupted // 1000, x // 1000)
    # One in N is swapped for itself.
    changed = (corrupted != x).float().mean().item()
    assert changed == pytest.approx(0.3 * (1 - 1 / N), abs=CLOSE)


@pytest.mark.parametrize("shape", [(20, 3, 4, 5), (20, 2, 9), (20, 7)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_keep_the_shape_and_do_nothing_at_level_zero(name, shape):
    x = torch.rand(shape)

    assert torch.equal(CORRUPTIONS[name](x, torch.tensor(0.0)), x)
    assert CORRUPTIONS[name](x, torch.tensor(0.9)).shape == shape


def test_swapping_keeps_the_place_in_an_image():
    x = torch.arange(12.0).view(1, 1, 3, 4) + 100 * torch.arange(30.0).view(30, 1, 1, 1)
    x = x.contiguous(memory_format=torch.channels_last)

    corrupted = CORRUPTIONS["swapping"](x, torch.tensor(0.5))

    assert torch.equal(corrupted % 100, x % 100)


def test_each_instance_gets_a_level_of_its_own_between_the_two():
    deviations = table("gaussian", level=(0.5, 2.0)).corrupt(torch.zeros(N, M)).std(dim=1)

    assert deviations.min() > 0.5 * 0.85
    assert deviations.max() < 2.0 * 1.15
    # Drawn evenly: mean and standard deviation of the uniform distribution.
    assert deviations.mean().item() == pytest.approx(1.25, abs=4 * 0.433 / N**0.5)
    assert deviations.std().item() == pytest.approx(1.5 / 12**0.5, rel=0.12)


def test_each_instance_gets_one_of_the_corruptions_as_often():
    x = numbered()
    corrupted = table("masking", "swapping", level=(0.5, 0.5)).corrupt(x)

    zeros, changed = (corrupted == 0).any(dim=1), (corrupted != x).any(dim=1)
    assert changed.all()
    swapped = (corrupted[~zeros] // 1000 == x[~zeros] // 1000).all()
    assert swapped
    masked = (corrupted[zeros] == 0) | (corrupted[zeros] == x[zeros])
    assert masked.all()
    assert zeros.float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / N**0.5)


def test_the_network_gets_a_corrupted_instance_and_the_loss_is_against_the_clean_one():
    x = torch.randn(N, M)

    value = table("gaussian", level=(0.3, 0.3))(nn.Identity(), (x,))["loss"]

    assert value.item() == pytest.approx(0.09, rel=0.02)  # what is left is the noise's variance


def test_in_evaluation_mode_it_is_reconstruction(network, task, rows):
    objective = Denoising(level=(1.0, 1.0)).prepare(task)

    trained = objective(network, (rows,))["loss"]
    measured = objective.eval()(network, (rows,))["loss"]

    expected = Reconstruction().prepare(task)(network, (rows,))["loss"]
    assert torch.equal(measured, expected)
    assert not torch.equal(trained, expected)


def test_a_single_name_is_enough():
    both = [Denoising(given, (0.5, 0.5)) for given in ("masking", ["masking"])]

    x, corrupted = numbered(), []
    for objective in both:
        torch.manual_seed(1)
        corrupted.append(objective.prepare(Task("table", (M,), 2, "mse")).corrupt(x))
    assert torch.equal(*corrupted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"corruptions": ["blur"]},
            "expected some of gaussian, masking, salt_and_pepper, swapping",
        ),
        ({"corruptions": []}, "expected some of"),
        ({"level": (0.5, 0.1)}, "expected the lowest first"),
        ({"level": (-0.1, 0.1)}, "expected a number of 0 or more"),
        ({"level": (0.1, float("inf"))}, "expected a number of 0 or more"),
        ({"level": 0.5}, "got level=0.5, expected the lowest and the highest"),
    ],
)
def test_what_it_cannot_use_is_refused(options, message, task):
    with pytest.raises(TrainingError, match=message):
        Denoising(**options).prepare(task)


SHAPES = {"images": (1, 8, 12), "series": (2, 20), "table": (6,)}


def masked(kind="table", loss="mse", **options):
    return Masked(**options).prepare(Task(kind, SHAPES[kind], 3, loss))


def drawn(objective, x):
    """The mask that the next forward pass draws from seed 1."""
    torch.manual_seed(1)
    mask = objective.draw(x).expand_as(x)
    torch.manual_seed(1)
    return mask


@pytest.mark.parametrize("visible", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("kind", SHAPES)
def test_it_is_the_formula(kind, visible):
    objective = masked(kind, visible=visible)
    x = torch.randn(5, *SHAPES[kind])
    mask = drawn(objective, x).numpy()

    value = objective(nn.Tanh(), (x,))["loss"].item()

    errors = (np.tanh(x.numpy() * mask) - x.numpy()) ** 2
    hidden = mask == 0
    assert 0 < hidden.sum() < hidden.size
    above = errors[hidden].sum() + visible * errors[~hidden].sum()
    assert value == pytest.approx(above / (hidden.sum() + visible * (~hidden).sum()), rel=1e-5)


def test_the_errors_are_cross_entropy_where_that_is_the_loss():
    objective = masked("images", "bce", visible=0.0)
    x = torch.rand(5, *SHAPES["images"])
    mask = drawn(objective, x).numpy()

    value = objective(nn.Identity(), (x,))["loss"].item()

    assert value == pytest.approx(np.log(2), rel=1e-5)  # a logit of zero where it was hidden
    assert (mask == 0).any()


def test_a_visible_weight_of_one_counts_every_value_alike():
    objective = masked(visible=1.0)
    x = torch.randn(9, 6)
    mask = drawn(objective, x)

    value = objective(nn.Tanh(), (x,))["loss"]

    torch.testing.assert_close(value, nn.functional.mse_loss(torch.tanh(x * mask), x))


def test_few_values_are_weighed_by_the_formula_too():
    x = torch.full((1, 6), 2.0)

    # Nothing is hidden, and all weights together are below one.
    value = masked(share=1e-9, visible=0.01)(nn.Tanh(), (x,))["loss"]

    assert value.item() == pytest.approx((np.tanh(2) - 2) ** 2, rel=1e-5)


def test_nothing_hidden_and_nothing_visible_costs_nothing():
    value = masked(share=1e-9, visible=0.0)(nn.Tanh(), (torch.ones(2, 6),))["loss"]

    assert value.item() == 0


def test_a_share_of_one_hides_everything():
    assert not masked("images", share=1.0).draw(torch.ones(3, 1, 8, 12)).any()


@pytest.mark.parametrize("kind", SHAPES)
def test_each_instance_has_a_mask_of_its_own_with_the_share_asked_for(kind):
    mask = masked(kind, share=0.3, size=1).draw(torch.ones(2000, *SHAPES[kind]))

    hidden = 1 - mask.flatten(1)
    assert hidden.mean().item() == pytest.approx(0.3, abs=4 * 0.46 / hidden.numel() ** 0.5)
    assert len(hidden.unique(dim=0)) > 40


def test_hidden_are_patches_of_images():
    mask = masked("images", size=3).draw(torch.ones(50, 1, 8, 12))

    for top in range(0, 8, 3):
        for left in range(0, 12, 3):
            patch = mask[:, 0, top : top + 3, left : left + 3].flatten(1)
            assert torch.equal(patch.min(dim=1).values, patch.max(dim=1).values)
    assert len(mask[:, 0, ::3, ::3].flatten(1).unique(dim=0)) > 40


def test_hidden_are_spans_of_all_channels_of_a_series():
    objective = masked("series", size=5)
    x = torch.ones(50, 2, 20)

    mask = objective.draw(x).expand_as(x)

    assert torch.equal(mask[:, 0], mask[:, 1])
    spans = mask[:, 0].view(50, 4, 5)
    assert torch.equal(spans.min(dim=2).values, spans.max(dim=2).values)


@pytest.mark.parametrize(
    ("kind", "shape", "side"),
    [
        ("images", (1, 28, 28), 4),
        ("images", (3, 8, 20), 2),
        ("images", (1, 1, 9), 1),
        ("series", (2, 64), 4),
        ("series", (1, 3), 1),
        ("table", (9,), 1),
    ],
)
def test_the_usual_patch_is_a_seventh_of_a_side_and_a_span_a_sixteenth(kind, shape, side):
    objective = Masked().prepare(Task(kind, shape, 2, "mse"))

    assert objective.side == side
    x = torch.ones(3, *shape)
    assert (x * objective.draw(x)).shape == x.shape


def test_masking_in_evaluation_mode_is_reconstruction(network, task, rows):
    value = Masked().prepare(task).eval()(network, (rows,))["loss"]

    assert torch.equal(value, Reconstruction().prepare(task)(network, (rows,))["loss"])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("table", {"share": 0}, "got share=0, expected a number above 0 to 1"),
        ("table", {"share": "half"}, "got share='half'"),
        ("table", {"visible": 1.5}, "got visible=1.5, expected a number from 0 to 1"),
        ("table", {"size": 2}, "got size=2, expected 1 to 1"),
        ("images", {"size": 9}, r"expected 1 to 8 for instances of shape \(1, 8, 12\), or 'auto'"),
        ("series", {"size": 2.5}, "got size=2.5, expected 1 to 20"),
    ],
)
def test_what_masking_cannot_use_is_refused(kind, options, message):
    with pytest.raises(TrainingError, match=message):
        masked(kind, **options)


def test_numbers_of_numpy_are_numbers():
    objective = masked("images", share=np.float32(0.25), size=np.int64(2), visible=np.float64(0.5))

    assert objective.describe() == {
        "objective": "Masked", "share": 0.25, "size": 2, "visible": 0.5,
    }  # fmt: skip
