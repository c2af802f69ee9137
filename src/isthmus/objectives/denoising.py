"""The output should equal the input as it was before it was spoilt."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from isthmus.errors import TrainingError
from isthmus.objectives.base import Batch, Network, Objective, Task, Values, check_weight
from isthmus.objectives.corruptions import CORRUPTIONS, OF_KIND
from isthmus.objectives.errors import mean_error
from isthmus.workers import drawn


class Denoising(Objective):
    """Minimise the error of the reconstruction of the clean instance from a spoilt one.

    E over c of error(decoder(encoder(c(x))), x): the residual then points towards where
    instances are more frequent (Vincent et al., 2010; Alain and Bengio, 2014). Each instance
    gets one of the corruptions, drawn evenly, at a level drawn evenly between the two given,
    so that the network serves every level between them. In evaluation mode nothing is spoilt.

    Parameters
    ----------
    corruptions : str or sequence of str, default="auto"
        `"gaussian"`, `"masking"`, `"salt_and_pepper"`, `"swapping"`, see
        `isthmus.objectives.corruptions`. `"auto"` is all that suit the kind: swapping for
        tables, salt and pepper for images.
    level : (float, float), default=(0.0, 0.5)
        Lowest and highest: standard deviation in the network's units for `"gaussian"`, share
        of the values for the others (at most 1 is meaningful).

    Raises
    ------
    TrainingError
        When a corruption is unknown or a level out of range.

    Examples
    --------
    >>> Denoising(["gaussian"], level=(0.6, 0.6))
    Denoising(corruptions=['gaussian'], level=(0.6, 0.6))
    """

    options = ("corruptions", "level")

    def __init__(
        self,
        corruptions: str | Sequence[str] = "auto",
        level: tuple[float, float] = (0.0, 0.5),
    ) -> None:
        super().__init__()
        self.corruptions, self.level = corruptions, level

    def _prepare(self, task: Task) -> None:
        names = OF_KIND[task.kind] if self.corruptions == "auto" else self.corruptions
        chosen = (names,) if isinstance(names, str) else tuple(names)
        unknown = [name for name in chosen if name not in CORRUPTIONS]
        if unknown or not chosen:
            raise TrainingError(
                f"got corruptions={self.corruptions!r}, expected some of {', '.join(CORRUPTIONS)}"
            )
        if not isinstance(self.level, Sequence) or len(self.level) != 2:
            raise TrainingError(f"got level={self.level!r}, expected the lowest and the highest")
        low, high = (check_weight("level", bound) for bound in self.level)
        if low > high:
            raise TrainingError(f"got level={self.level!r}, expected the lowest first")
        self.chosen, self.low, self.high = chosen, low, high

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `{"loss": mean error}` for a batch `(x,)`."""
        (x,) = batch
        output = network(self.corrupt(x) if self.training else x)
        return {"loss": mean_error(output, x, self.task.loss)}

    def corrupt(self, x: torch.Tensor) -> torch.Tensor:
        """Spoil each instance of a batch in its own way."""
        ones = (1,) * (x.ndim - 1)
        level = torch.full((), self.low, device=x.device)
        if self.low < self.high:
            level = drawn(
                lambda n: torch.empty(n, *ones, device=x.device).uniform_(self.low, self.high),
                len(x),
            )
        if len(self.chosen) == 1:
            return CORRUPTIONS[self.chosen[0]](x, level)
        n_chosen = len(self.chosen)
        which = drawn(lambda n: torch.randint(n_chosen, (n, *ones), device=x.device), len(x))
        spoilt = x
        for index, name in enumerate(self.chosen):
            spoilt = torch.where(which == index, CORRUPTIONS[name](x, level), spoilt)
        return spoilt
