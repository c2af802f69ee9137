"""The autoencoder as a scikit-learn transformer."""

from isthmus.autoencoder.estimator import Autoencoder

__all__ = ["Autoencoder"]
