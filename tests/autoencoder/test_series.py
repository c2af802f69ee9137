"""Time series from end to end: windows in, codes, reconstructions and decisions out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus import (
    AnomalyDetector,
    Autoencoder,
    CodeClassifier,
    evaluate,
    load,
    load_bundle,
    save_bundle,
)
from isthmus.errors import DataWarning, SchemaError

SERIES = Path(__file__).parents[3] / "shared" / "series"


def sines(n, seed, steps=51):
    """Waves (n, steps, 2) of any phase, slow or fast, and which they are."""
    rng = np.random.default_rng(seed)
    fast = np.arange(n) % 2
    turns = (np.array([2.0, 3.0])[fast] + rng.uniform(-0.2, 0.2, n))[:, None]
    phase = rng.uniform(0, 2 * np.pi, n)[:, None]
    angle = 2 * np.pi * turns * np.linspace(0, 1, steps) + phase
    X = np.stack([100 + 5 * np.sin(angle), np.cos(angle)], axis=-1)
    return X + rng.normal(scale=0.05, size=X.shape) * [5, 1], np.array(["slow", "fast"])[fast]


@pytest.fixture(scope="module")
def encoder():
    """An encoder of 300 waves. Do not refit."""
    return Autoencoder(8, kind="series", max_epochs=30, lr=3e-3, random_state=0).fit(
        sines(300, 0)[0]
    )


def test_channels_have_the_names_that_fit_is_given():
    X = sines(60, 2)[0]
    fitted = Autoencoder(4, kind="series", max_epochs=1).fit(X, channel_names=["flow", "pressure"])
    assert fitted.schema_.columns == ("flow", "pressure")
    assert fitted.schema_.check(X) is X
    for names in (["flow"], ["flow", "flow"]):
        with pytest.raises(SchemaError, match="expected 2 different ones, one for each channel"):
            Autoencoder(4, kind="series", max_epochs=1).fit(X, channel_names=names)
    with pytest.raises(SchemaError, match="which are for series"):
        Autoencoder(max_epochs=1).fit(X[:, :, 0], channel_names=["flow"])


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_a_detector_hands_channel_names_to_all_its_encoders(calibration):
    encoder = Autoencoder(4, kind="series", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, calibration=calibration, false_alarm_rate=0.1)
    names = ("flow", "pressure")
    detector.fit(sines(60, 2)[0], channel_names=names)
    folds = [fold.encoder for fold in detector.reference_set_.folds if fold.encoder is not None]
    assert {one.schema_.columns for one in [detector.encoder_, *folds]} == {names}


def test_warnings_about_later_windows_name_the_channel():
    X = sines(40, 1)[0]
    encoder = Autoencoder(4, kind="series", max_epochs=1, random_state=0)
    encoder.fit(X, channel_names=["flow", "pressure"])
    with pytest.warns(DataWarning, match="most values of channel 'pressure' are more than"):
        encoder.transform(X * [1, 1000])


def test_waves_of_any_phase_are_reconstructed(encoder):
    X = sines(200, 1)[0]
    assert encoder.spec_["architecture"] == "random_kernels"
    codes = encoder.transform(X)
    assert codes.shape == (200, 8)
    back = encoder.inverse_transform(codes)
    assert back.shape == X.shape  # an odd number of steps
    # Beside the mean window, channel by channel, in the windows' own units.
    unexplained = ((X - back) ** 2).mean(axis=(0, 1)) / X.var(axis=0).mean(axis=0)
    assert (unexplained < 0.1).all()
    errors = encoder.reconstruction_error(X)
    scaled = (X - back) / sines(300, 0)[0].std(axis=(0, 1))
    np.testing.assert_allclose(errors, (scaled**2).mean(axis=(1, 2)), rtol=1e-3)


def test_the_architectures_name_says_that_these_are_series():
    X = sines(40, 0, steps=12)[0]
    fitted = [Autoencoder(3, max_epochs=2, random_state=0, **options).fit(X)
              for options in ({"kind": "series"}, {"architecture": "random_kernels"})]  # fmt: skip
    assert fitted[0].digest_ == fitted[1].digest_
    assert fitted[0].schema_.kind == "series"


def test_a_bundle_of_series_gives_the_same_codes_and_decisions(encoder, tmp_path):
    X, y = sines(100, 2)
    classifier = CodeClassifier(encoder).fit(X, y)
    save_bundle(tmp_path / "waves", encoder, heads={"linear": classifier})
    again = load_bundle(tmp_path / "waves")
    np.testing.assert_array_equal(again.encoder.transform(X), encoder.transform(X))
    np.testing.assert_array_equal(again.head("linear").predict(X), classifier.predict(X))
    np.testing.assert_array_equal(
        again.encoder.inverse_transform(encoder.transform(X)),
        encoder.inverse_transform(encoder.transform(X)),
    )


def test_codes_of_series_stand_beside_their_baselines(encoder):
    X, y = sines(120, 3)
    classifier = CodeClassifier(encoder).fit(X, y)
    found = evaluate(classifier, *sines(200, 4), X_train=X, y_train=y, baselines="all",
                     random_state=0)  # fmt: skip
    assert set(found["baselines"]) == {"raw", "pca", "untrained", "supervised"}
    assert found["code"]["accuracy"] > 0.5


def test_from_a_long_table_to_decisions_about_rows_never_seen():
    X, y = sines(20, 5, steps=200)
    table = pd.DataFrame(X.reshape(-1, 2), columns=["load", "heat"]).assign(
        t=np.tile(np.arange(200), 20), run=np.repeat(np.arange(20), 200), kind=np.repeat(y, 200)
    )
    data = load(table, kind="series", time="t", group="run", label="kind", window=120, stride=10)
    parts = data.split(0.3, random_state=0)
    encoder = Autoencoder(8, kind="series", max_epochs=20, random_state=0).fit(parts.train.X)
    classifier = CodeClassifier(encoder).fit(parts.train.X, parts.train.y)
    assert classifier.predict(parts.test.X).shape == (6 * 9,)


@pytest.mark.skipif(not SERIES.is_dir(), reason="the public series are not on this machine")
def test_days_of_power_demand_are_told_apart_by_their_codes():
    train, test = (load(SERIES / f"ItalyPowerDemand_{part}.ts") for part in ("TRAIN", "TEST"))
    encoder = Autoencoder(kind=train.kind, max_epochs=50, random_state=0).fit(train.X)
    classifier = CodeClassifier(encoder).fit(train.X, train.y)
    assert classifier.score(test.X, test.y) > 0.9


def shapes(n, seed, steps=100):
    """Windows (n, steps, 1) with one of four shapes at a random place, and which it is."""
    rng = np.random.default_rng(seed)
    rising = np.linspace(0, 1, 24)
    forms = [1 - abs(2 * rising - 1), rising, 1 - rising, (abs(2 * rising - 1) < 0.5) * 1.0]
    X, y = rng.normal(scale=0.3, size=(n, steps, 1)), rng.integers(0, 4, n)
    for window, form, at in zip(X, y, rng.integers(0, steps - 24, n), strict=True):
        window[at : at + 24, 0] += 2 * forms[form]
    return X, y


@pytest.fixture(scope="module")
def kernels():
    """An encoder of 80 windows with shapes. Do not refit."""
    return Autoencoder(kind="series", random_state=0).fit(shapes(80, 0)[0])


def test_kernels_separate_shapes_wherever_they_lie(kernels):
    (X, y), (T, u) = shapes(80, 0), shapes(300, 1)
    trained = Autoencoder(architecture="conv1d", max_epochs=60, random_state=0).fit(X)
    accuracy, of_trained = (
        CodeClassifier(encoder).fit(X, y).score(T, u) for encoder in (kernels, trained)
    )
    assert accuracy > 0.93
    assert accuracy > of_trained + 0.3


def test_partial_fit_leaves_an_encoder_in_closed_form_as_it_is(kernels):
    again = Autoencoder(kind="series", max_epochs=2, random_state=0).partial_fit(shapes(80, 0)[0])
    before, decoder = again.digest_, again.decoder_digest_
    again.partial_fit(shapes(80, 2)[0])
    assert (again.digest_, again.decoder_digest_ == decoder) == (before, False)
    assert len(again.history_) == 2


def test_the_untrained_twin_has_other_kernels_and_codes_that_say_something(kernels):
    (X, y), (T, u) = shapes(80, 0), shapes(300, 1)
    twin = kernels.untrained(random_state=1)
    assert twin.digest_ != kernels.digest_
    assert (twin.transform(X).std(0) > 0.01).all()
    of_twin, of_fitted = (CodeClassifier(one).fit(X, y).score(T, u) for one in (twin, kernels))
    assert 0.5 < of_twin < of_fitted


def test_a_resumed_fit_of_kernels_ends_with_the_same_weights(tmp_path):
    X = shapes(60, 3)[0]
    settings = {"kind": "series", "random_state": 0, "batch_size": 20}
    whole = Autoencoder(**settings, max_epochs=4).fit(X)
    broken = {"checkpoint_dir": tmp_path, "resume": True}
    Autoencoder(**settings, **broken, max_epochs=2).fit(X)
    resumed = Autoencoder(**settings, **broken, max_epochs=4).fit(X)
    assert resumed.digest_ == whole.digest_
    assert len(resumed.history_) == 4


def test_a_bundle_of_kernels_is_read_and_refused_when_a_weight_changes(kernels, tmp_path):
    from isthmus.errors import IsthmusError

    kernels.save(tmp_path / "shapes")
    again = load_bundle(tmp_path / "shapes").encoder
    T = shapes(30, 4)[0]
    np.testing.assert_array_equal(again.transform(T), kernels.transform(T))
    np.testing.assert_array_equal(again.reconstruction_error(T), kernels.reconstruction_error(T))
    assert (again.digest_, again.spec_) == (kernels.digest_, kernels.spec_)
    assert "RandomKernels" in again.summary()
    path = tmp_path / "shapes" / "encoder.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IsthmusError, match="digest|SHA"):
        load_bundle(tmp_path / "shapes")


def test_kernels_of_a_stream_are_those_of_the_same_windows_in_memory(tmp_path):
    X = shapes(70, 5)[0].astype(np.float32)
    for at, part in enumerate(np.split(X, [20, 45])):
        np.save(tmp_path / f"{at}.npy", part)
    settings = {"kind": "series", "random_state": 0, "max_epochs": 1, "validation_fraction": 0}
    stream = load(str(tmp_path), kind="series")
    streamed, held = (Autoencoder(**settings).fit(one) for one in (stream, X))
    T = shapes(40, 6)[0]
    np.testing.assert_allclose(streamed.transform(T), held.transform(T), atol=1e-3)


def test_kernels_are_fitted_on_some_windows_of_many_and_say_how_many(tmp_path, monkeypatch):
    X = shapes(90, 7)[0].astype(np.float32)
    np.save(tmp_path / "a.npy", X[:50])
    np.save(tmp_path / "b.npy", X[50:])
    monkeypatch.setattr("isthmus.autoencoder.fitting.MAX_WINDOWS", 16)
    fitted_on = []
    monkeypatch.setattr(
        "isthmus.autoencoder.fitting.fit_kernels", lambda *given: fitted_on.append(given[2])
    )
    for windows in (X, load(str(tmp_path), kind="series")):
        encoder = Autoencoder(kind="series", random_state=0, max_epochs=1).fit(windows)
        assert encoder.training_["max_windows_of_encoder"] == 16
    in_memory, streamed = fitted_on
    assert len(in_memory) == 16
    assert 8 <= len(streamed) <= 16  # those of the validation part are left out


def test_windows_that_were_read_twice_are_warned_of():
    windows = np.random.default_rng(0).normal(size=(60, 12, 1))
    with pytest.warns(DataWarning, match="120 of 120 instances equal another one"):
        Autoencoder(1, kind="series", max_epochs=1).fit(np.concatenate([windows, windows]))
