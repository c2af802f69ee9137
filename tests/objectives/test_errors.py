"""The reconstruction error, against its formulas."""

import math

import numpy as np
import pytest
import torch

from isthmus.objectives import errors_per_instance


def test_cross_entropy_is_the_formula_on_probabilities():
    rng = np.random.default_rng(0)
    logits, x = rng.normal(size=(5, 1, 3, 4)), rng.uniform(size=(5, 1, 3, 4))
    p = 1 / (1 + np.exp(-logits))
    expected = (-x * np.log(p) - (1 - x) * np.log1p(-p)).reshape(5, -1).mean(axis=1)

    found = errors_per_instance(torch.tensor(logits), torch.tensor(x), "bce")

    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_squared_error_is_the_mean_square_of_an_instance():
    output, x = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 4.0]])

    assert errors_per_instance(output, x, "mse").tolist() == [2.5, 8.0]


@pytest.mark.parametrize("pixel", [0.0, 0.25, 1.0])
def test_a_perfect_reconstruction_costs_the_entropy_of_the_pixel(pixel):
    logit = torch.logit(torch.full((1, 2, 2), pixel), eps=1e-7)
    entropy = -sum(q * math.log(q) for q in (pixel, 1 - pixel) if q)

    found = errors_per_instance(logit, torch.full((1, 2, 2), pixel), "bce")

    assert found.item() == pytest.approx(entropy, abs=1e-6)


def test_extreme_logits_cost_a_finite_amount():
    found = errors_per_instance(torch.full((1, 3), 500.0), torch.zeros(1, 3), "bce")

    assert found.item() == pytest.approx(500)
