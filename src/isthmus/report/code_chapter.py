"""Chapter "the code": the network, its training, reconstructions and a map of the codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from isthmus.autoencoder import Autoencoder, InstanceEncoder
from isthmus.data import Dataset
from isthmus.encoding import standardised_codes
from isthmus.networks import count_parameters, summarise
from isthmus.report.wording import draw_rows, label_or_none

#: Instances on the map: enough to see clusters, few enough to point at and to compute.
MAX_ON_MAP = 1500
#: Steps of t-SNE: 500 more lower its divergence by 0.3 to 2 %, and the nearest on the map stay.
MAX_ITERATIONS = 500
#: Instances shown with their reconstructions, for each of best, typical and worst.
N_SHOWN = 4


def code_facts(
    encoder: InstanceEncoder, part: Dataset | None, errors: np.ndarray | None, seed: int
) -> dict[str, Any]:
    """Describe the network, its training, and its errors and codes on a part of the data.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    part : Dataset of n instances, or None
    errors : array of shape (n,), or None without a part or a decoder
        Their reconstruction errors.
    seed : int
        Of the map.

    Returns
    -------
    dict
        `layers`, `parameters`, `n_values` and `n_components`, `compression`; `history` and
        `best_epoch`; with a part `error`, its mean and quantiles; `shown`, rows with the best,
        typical and worst error; `map`, a plane of codes with rows, places and labels. Rows are
        numbered as `Dataset.row_numbers` does.
    """
    schema = encoder.schema_
    facts: dict[str, Any] = {
        "n_values": schema.n_features,
        "n_components": encoder.n_components_,
        "compression": schema.n_features / encoder.n_components_,
        **(_network_facts(encoder) if isinstance(encoder, Autoencoder) else NO_NETWORK),
    }
    if part is None:
        return facts
    if errors is None:
        return facts | {"map": code_map(encoder, part, seed)}
    order = np.argsort(errors, kind="stable")
    middle = max(0, (len(order) - N_SHOWN) // 2)
    shown = {
        "best": order[:N_SHOWN],
        "typical": order[middle : middle + N_SHOWN],
        "worst": order[::-1][:N_SHOWN],
    }
    numbers = part.row_numbers()
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    return facts | {
        "error": {
            "n": len(errors),
            "mean": float(errors.mean()),
            "quantiles": [
                [q, float(value)]
                for q, value in zip(quantiles, np.quantile(errors, quantiles), strict=True)
            ],
        },
        "shown": {
            name: [{"row": int(numbers[row]), "error": float(errors[row])} for row in rows]
            for name, rows in shown.items()
        },
        "map": code_map(encoder, part, seed),
    }


def code_map(encoder: InstanceEncoder, part: Dataset, seed: int) -> dict[str, Any]:
    """Project codes onto a plane in which similar ones are neighbours.

    t-SNE (van der Maaten and Hinton, 2008) of up to 1,500 instances, drawn at random; of fewer
    than 30 the first two principal components. Distances between clusters have
    no meaning.
    """
    rows = draw_rows(len(part), MAX_ON_MAP, seed)
    sample = part.take(rows)
    codes = standardised_codes(encoder.transform(sample.X))
    if len(codes) < 30 or not codes.any():
        width = min(2, len(codes) - 1, codes.shape[1]) if codes.any() else 0
        places, method = np.zeros((len(codes), 2)), "principal components"
        if width:
            places[:, :width] = PCA(width, random_state=seed).fit_transform(codes)
    else:
        start = PCA(min(50, *codes.shape), random_state=seed).fit_transform(codes)
        planar = start.shape[1] >= 2
        tsne = TSNE(
            2,
            init="pca" if planar else "random",
            random_state=seed,
            perplexity=9.0 if len(codes) < 100 else 30.0,
            max_iter=MAX_ITERATIONS,
        )
        # Its threads wait for each other in each step: where another program has a core, 30 times
        # as long as one thread takes.
        with threadpool_limits(1, user_api="openmp"):
            places, method = tsne.fit_transform(start), "t-SNE"
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - low) / np.maximum(high - low, 1e-12)
    return {
        "method": method,
        "n": len(rows),
        "of": len(part),
        "rows": part.row_numbers()[rows].tolist(),
        "places": np.round(places, 4).tolist(),
        "labels": None if sample.y is None else [label_or_none(label) for label in sample.y],
    }


#: Of an encoder that was trained elsewhere: it has no decoder, and its layers are not known.
NO_NETWORK: dict[str, Any] = {
    "layers": [],
    "parameters": None,
    "loss": None,
    "history": [],
    "best_epoch": None,
}


def _network_facts(encoder: Autoencoder) -> dict[str, Any]:
    return {
        "layers": _layers(encoder),
        "parameters": {
            "encoder": count_parameters(encoder.encoder_),
            "decoder": count_parameters(encoder.decoder_),
            "n_trained": sum(
                count_parameters(network, trained=True)
                for network in (encoder.encoder_, encoder.decoder_)
            ),
        },
        "loss": encoder.loss_,
        "history": encoder.history_,
        "best_epoch": encoder.best_epoch_,
    }


def _layers(encoder: Autoencoder) -> list[dict[str, Any]]:
    shape = encoder.preprocessor_.network_shape
    halves = (
        ("encoder", encoder.encoder_, shape),
        ("decoder", encoder.decoder_, (encoder.n_components_,)),
    )
    return [
        {
            "half": half,
            "name": layer.name,
            "output_shape": list(layer.output_shape),
            "parameters": layer.parameters,
            "n_trained": layer.n_trained,
            "part": layer.part,
        }
        for half, network, inputs in halves
        for layer in summarise(network, inputs)
    ]
