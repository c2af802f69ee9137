"""Views of an instance that mean the same, for training; never applied at `transform`."""

from isthmus.augment.build import AUGMENTATIONS, Augmentations, build_augmentation

__all__ = ["AUGMENTATIONS", "Augmentations", "build_augmentation"]
