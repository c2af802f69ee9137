"""What "tried to reconstruct" means: what training minimises, and an instance's error."""

from isthmus.objectives.base import Network, Objective, Task
from isthmus.objectives.build import OBJECTIVES, build_objective
from isthmus.objectives.composed import Composed, Own
from isthmus.objectives.denoising import Denoising
from isthmus.objectives.errors import Loss, errors_per_instance
from isthmus.objectives.invariant import Invariant
from isthmus.objectives.masked import Masked
from isthmus.objectives.reconstruction import Reconstruction
from isthmus.objectives.variational import Variational

__all__ = [
    "OBJECTIVES",
    "Composed",
    "Denoising",
    "Invariant",
    "Loss",
    "Masked",
    "Network",
    "Objective",
    "Own",
    "Reconstruction",
    "Task",
    "Variational",
    "build_objective",
    "errors_per_instance",
]
