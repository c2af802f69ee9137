"""What corruptions do to instances, and that the clean one is what is asked for."""

import pytest
import torch
from torch import nn

from isthmus.errors import TrainingError
from isthmus.objectives import Denoising, Reconstruction, Task
from isthmus.objectives.corruptions import CORRUPTIONS

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

    spoilt = CORRUPTIONS["masking"](x, torch.tensor(0.3))

    hidden = spoilt == 0
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=CLOSE)
    assert torch.equal(spoilt[~hidden], x[~hidden])


def test_salt_and_pepper_are_equally_frequent():
    x = numbered()

    spoilt = CORRUPTIONS["salt_and_pepper"](x, torch.tensor(0.3))

    for value in (0, 1):
        assert (spoilt == value).float().mean().item() == pytest.approx(0.15, abs=CLOSE)
    rest = spoilt > 1
    assert torch.equal(spoilt[rest], x[rest])


def test_swapped_values_come_from_their_own_column():
    x = numbered()

    spoilt = CORRUPTIONS["swapping"](x, torch.tensor(0.3))

    assert torch.equal(spoilt // 1000, x // 1000)
    # One in N is swapped for itself.
    changed = (spoilt != x).float().mean().item()
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

    spoilt = CORRUPTIONS["swapping"](x, torch.tensor(0.5))

    assert torch.equal(spoilt % 100, x % 100)


def test_each_instance_gets_a_level_of_its_own_between_the_two():
    deviations = table("gaussian", level=(0.5, 2.0)).corrupt(torch.zeros(N, M)).std(dim=1)

    assert deviations.min() > 0.5 * 0.85
    assert deviations.max() < 2.0 * 1.15
    # Drawn evenly: mean and standard deviation of the uniform distribution.
    assert deviations.mean().item() == pytest.approx(1.25, abs=4 * 0.433 / N**0.5)
    assert deviations.std().item() == pytest.approx(1.5 / 12**0.5, rel=0.12)


def test_each_instance_gets_one_of_the_corruptions_as_often():
    x = numbered()
    spoilt = table("masking", "swapping", level=(0.5, 0.5)).corrupt(x)

    zeros, changed = (spoilt == 0).any(dim=1), (spoilt != x).any(dim=1)
    assert changed.all()
    swapped = (spoilt[~zeros] // 1000 == x[~zeros] // 1000).all()
    assert swapped
    masked = (spoilt[zeros] == 0) | (spoilt[zeros] == x[zeros])
    assert masked.all()
    assert zeros.float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / N**0.5)


def test_the_network_gets_a_spoilt_instance_and_is_asked_for_the_clean_one():
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

    x, spoilt = numbered(), []
    for objective in both:
        torch.manual_seed(1)
        spoilt.append(objective.prepare(Task("table", (M,), 2, "mse")).corrupt(x))
    assert torch.equal(*spoilt)


@pytest.mark.parametrize(
    ("options", "said"),
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
def test_what_it_cannot_use_is_refused(options, said, task):
    with pytest.raises(TrainingError, match=said):
        Denoising(**options).prepare(task)
