"""Pure torch modules: encoders and their mirrored decoders."""

from isthmus.networks.build import Networks, build, choose_n_components
from isthmus.networks.digest import digest
from isthmus.networks.summary import Layer, count_parameters, summarise

__all__ = [
    "Layer",
    "Networks",
    "build",
    "choose_n_components",
    "count_parameters",
    "digest",
    "summarise",
]
