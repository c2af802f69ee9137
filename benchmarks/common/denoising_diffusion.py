"""DDAE: an autoencoder that removes noise of a stated level (Sattarov et al., KDD 2025).

Written from the published description, for rows that are standardised by the training rows alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

#: Levels of noise, their variances, units of a hidden layer, and how it is trained.
N_LEVELS, FIRST, LAST = 50, 1e-4, 0.02
WIDTH, EPOCHS, BATCH, LR = 512, 100, 128, 1e-3
#: Of small tables 100 epochs are few steps.
MIN_STEPS = 2000
#: Rows that are scored at a time.
ROWS = 4096


class Denoiser(nn.Module):
    """Predict clean rows from noised ones and the level: two layers of 512, LeakyReLU.

    The level is given as sines and cosines of two frequencies.
    """

    def __init__(self, n_columns: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(n_columns + 4, WIDTH), nn.LeakyReLU()),
            *(nn.Linear(WIDTH, WIDTH), nn.LeakyReLU()),
            nn.Linear(WIDTH, n_columns),
        )

    def forward(self, rows: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        angles = levels[:, None] * torch.tensor([1.0, 1e-4])
        return self.layers(torch.cat([rows, angles.sin(), angles.cos()], dim=1))


class DDAE:
    """Fit a denoiser; an instance's score is the length of its residual, summed over levels.

    Parameters
    ----------
    train : float array of shape (n, m)
        Standardised, normal rows.
    seed : int
    """

    def __init__(self, train: np.ndarray, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        variances = torch.linspace(FIRST, LAST, N_LEVELS, dtype=torch.float64)
        kept = torch.cumprod(1 - variances, dim=0)
        self.signal, self.noise = kept.sqrt().float(), (1 - kept).sqrt().float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Denoiser(train.shape[1])
        self._fit(torch.from_numpy(np.asarray(train, dtype=np.float32)))

    def _fit(self, rows: torch.Tensor) -> None:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=LR)
        n = len(rows)
        steps = math.ceil(n / BATCH)
        for _ in range(max(EPOCHS, math.ceil(MIN_STEPS / steps))):
            for part in torch.randperm(n, generator=self.generator).split(BATCH):
                levels = torch.randint(N_LEVELS, (len(part),), generator=self.generator)
                restored = self.network(self._noised(rows[part], levels), levels.float())
                loss = nn.functional.mse_loss(restored, rows[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def _noised(self, rows: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(rows.shape, generator=self.generator)
        return self.signal[levels, None] * rows + self.noise[levels, None] * drawn

    @torch.no_grad()
    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the scores of rows (k, m), higher for more abnormal, shape (k,)."""
        scores = np.zeros(len(rows))
        given = torch.from_numpy(np.asarray(rows, dtype=np.float32))
        for first in range(0, len(rows), ROWS):
            part = given[first : first + ROWS]
            for level in range(N_LEVELS):
                levels = torch.full((len(part),), level)
                restored = self.network(self._noised(part, levels), levels.float())
                scores[first : first + ROWS] += (restored - part).norm(dim=1).double().numpy()
        return scores
