"""A short run on real MNIST, where its files are at hand."""

import os
from pathlib import Path

import pytest

from isthmus import Autoencoder, CodeClassifier, export_bundle, load, save_bundle

PLACES = [Path(__file__).parents[2] / "shared" / "mnist"]
if os.environ.get("ISTHMUS_DATA"):
    PLACES.append(Path(os.environ["ISTHMUS_DATA"]) / "mnist")
FOUND = next((place for place in PLACES if place.is_dir()), None)

pytestmark = [
    pytest.mark.mnist,
    pytest.mark.skipif(FOUND is None, reason="MNIST is not on this machine"),
]


@pytest.fixture(scope="module")
def mnist():
    return load("mnist", data_dir=FOUND)


@pytest.fixture(scope="module")
def encoder(mnist):
    """Fitted on a sixtieth of the training images for two epochs. Do not refit."""
    return Autoencoder(max_epochs=2, random_state=0).fit(mnist.train.X[:1000])


def test_the_code_of_mnist_has_128_numbers(encoder):
    assert encoder.n_components_ == 128


@pytest.mark.slow  # quality needs its epochs: a minute
def test_a_few_epochs_on_a_twentieth_pass_fifty_epochs_of_the_reference_network(mnist):
    encoder = Autoencoder(max_epochs=20, random_state=0).fit(mnist.train.X[:3000])
    # 0.0962 is what a Keras run of the reference ended at, on all 60,000 images.
    assert encoder.reconstruction_error(mnist.test.X[:2000]).mean() < 0.0962


def test_a_linear_head_on_a_thousand_labels_beats_chance_by_far(encoder, mnist):
    classifier = CodeClassifier(encoder).fit(mnist.train.X[:1000], mnist.train.y[:1000])
    assert classifier.score(mnist.test.X[:2000], mnist.test.y[:2000]) > 0.8


def test_its_export_decides_as_the_library(encoder, mnist, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    classifier = CodeClassifier(encoder).fit(mnist.train.X[:1000], mnist.train.y[:1000])
    save_bundle(tmp_path / "mnist", encoder, {"digit": classifier})
    facts = export_bundle(tmp_path / "mnist", tmp_path / "out", mnist.test.X[:2000])
    assert facts["parity"]["worst"]["probabilities"]["deviation"] < 1e-5
    assert facts["parity"]["decisions"]["class"]["differ"] == 0
