"""Pure torch modules: encoders and their mirrored decoders."""

from isthmus.networks.build import Networks, build, choose_n_components
from isthmus.networks.digest import digest
from isthmus.networks.dropout import Dropout
from isthmus.networks.summary import Layer, count_parameters, summarise

__all__ = [
    "Dropout",
    "Layer",
    "Networks",
    "build",
    "choose_n_components",
    "count_parameters",
    "digest",
    "summarise",
]
