"""Bundles with a classifier and a detector, and what a report says of them."""

import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load, load_bundle, save_bundle
from isthmus.report import write_report


@pytest.fixture(scope="session")
def splits():
    return load("digits")


@pytest.fixture(scope="session")
def place_of(splits):
    """The place in the test part of each row number of digits."""
    return {row: at for at, row in enumerate(splits.test.row_numbers().tolist())}


@pytest.fixture(scope="session")
def press(tmp_path_factory, splits):
    """A bundle on digits: a linear head, and a detector to which the digit 0 is normal."""
    half = splits.train.take(range(0, len(splits.train), 2))
    rest = splits.train.take(range(1, len(splits.train), 2))
    encoder = Autoencoder(recipe="fast", max_epochs=8, random_state=0).fit(half.X)
    heads = {
        "kind": CodeClassifier(encoder, random_state=0, calibration="cross").fit(rest.X, rest.y),
        "normal": AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(
            rest.X[rest.y == 0]
        ),
    }
    path = tmp_path_factory.mktemp("report") / "press"
    save_bundle(path, encoder, heads)
    return load_bundle(path)


@pytest.fixture(scope="session")
def report(press, splits, tmp_path_factory):
    """The folder of a report on digits, with pictures, and its facts."""
    folder = tmp_path_factory.mktemp("written")
    facts = write_report(
        press,
        folder / "report.html",
        splits,
        normal="0",
        command="isthmus report press digits",
        plots=True,
    )
    return folder, facts


@pytest.fixture(scope="session")
def written(report):
    """The folder of the report."""
    return report[0]


@pytest.fixture(scope="session")
def facts(report):
    """All that the report says. Do not change."""
    return report[1]
