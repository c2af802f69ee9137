"""The reference network in Keras 3 on TensorFlow, as the Keras tutorial writes it."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np


def build() -> tuple[Any, Any]:
    """Return the compiled autoencoder and its encoder: 4,969 parameters, a code of (4, 4, 8)."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow

    if "OMP_NUM_THREADS" in os.environ:  # which TensorFlow would not heed
        tensorflow.config.threading.set_intra_op_parallelism_threads(
            int(os.environ["OMP_NUM_THREADS"])
        )
    import keras
    from keras import layers

    def conv(channels: int, x: Any, padding: str = "same", activation: str = "relu") -> Any:
        return layers.Conv2D(channels, 3, padding=padding, activation=activation)(x)

    image = keras.Input((28, 28, 1))
    x = layers.MaxPooling2D(2, padding="same")(conv(16, image))
    x = layers.MaxPooling2D(2, padding="same")(conv(8, x))
    code = layers.MaxPooling2D(2, padding="same")(conv(8, x))
    x = conv(8, conv(8, code))
    x = conv(8, layers.UpSampling2D(2)(x))
    x = conv(16, layers.UpSampling2D(2)(x), padding="valid")
    x = conv(1, layers.UpSampling2D(2)(x), activation="sigmoid")
    autoencoder = keras.Model(image, x)
    adadelta = keras.optimizers.Adadelta(learning_rate=1.0, rho=0.95, epsilon=1e-7)
    autoencoder.compile(optimizer=adadelta, loss="binary_crossentropy")
    return autoencoder, keras.Model(image, code)


def clock() -> Any:
    """Return a Keras callback whose `seconds` are those of each epoch's training steps."""
    import keras

    class Clock(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds.append(time.perf_counter() - self.started)

    return Clock()


def floats(images: np.ndarray) -> np.ndarray:
    """Turn uint8 images into what the tutorial trains on."""
    return np.float32(images)[..., None] / 255
