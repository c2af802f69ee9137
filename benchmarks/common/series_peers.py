"""Classify series by MiniRocket and ROCKET features with a ridge classifier, in this process.

    python series_peers.py ARRAYS.npz SEED

`series.py` runs this in the environment of the peers, which lacks isthmus. ARRAYS.npz holds
`X_train` and `X_test` of shape (n, t, c), `y_train` and `y_test`. The last line of the output is
JSON: accuracy by method. The ridge classifier is that of aeon's MiniRocketClassifier and
RocketClassifier, ten strengths chosen by leave-one-out on the training series.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

STRENGTHS = np.logspace(-3, 3, 10)


def accuracies(arrays: dict[str, np.ndarray], methods: dict[str, Callable[[], Any]]) -> Any:
    """Return the test accuracy by method, for functions that make a feature transformer."""
    train, test = (np.moveaxis(arrays[name], 1, 2) for name in ("X_train", "X_test"))
    found = {}
    for name, make in methods.items():
        transformer = make()
        features = np.asarray(transformer.fit_transform(train))
        ridge = make_pipeline(StandardScaler(with_mean=False), RidgeClassifierCV(alphas=STRENGTHS))
        ridge.fit(features, arrays["y_train"])
        found[name] = float(ridge.score(np.asarray(transformer.transform(test)), arrays["y_test"]))
    return found


if __name__ == "__main__":
    from aeon.transformations.collection.convolution_based import MiniRocket, Rocket

    path, seed = sys.argv[1], int(sys.argv[2])
    with np.load(path) as held:
        print(
            json.dumps(
                accuracies(
                    {name: held[name] for name in held.files},
                    {
                        "MiniRocket + ridge": lambda: MiniRocket(random_state=seed),
                        "ROCKET + ridge": lambda: Rocket(random_state=seed),
                    },
                )
            )
        )
