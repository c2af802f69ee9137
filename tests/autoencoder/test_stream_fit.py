"""An autoencoder and heads on a stream: what the same data in memory gives, in bounded memory."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load
from isthmus.autoencoder import sources
from isthmus.cli import main
from isthmus.data.streaming import parquet
from isthmus.detection import reference_set as samples
from isthmus.errors import (
    CalibrationError,
    DataError,
    DataWarning,
    SchemaError,
    TrainingError,
)
from isthmus.training import StreamBatches, checkpoint, stream_batches

N, M = 2400, 8


@pytest.fixture(scope="module")
def frame():
    """Rows near a plane of three dimensions, sorted by their class."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(N, 3))
    X = Z @ rng.normal(size=(3, M)) + 0.2 * rng.normal(size=(N, M))
    frame = pd.DataFrame(X.astype(np.float32), columns=[f"v{at}" for at in range(M)])
    frame["class"] = np.where(Z[:, 0] > 0, "right", "left")
    return frame.sort_values("class", ignore_index=True).assign(id=np.arange(N))


@pytest.fixture(scope="module")
def X(frame):
    return frame.drop(columns=["class", "id"])


@pytest.fixture(scope="module")
def folder(frame, tmp_path_factory):
    """Eight files of 300 rows in row groups of 100."""
    folder = tmp_path_factory.mktemp("events")
    for at in range(8):
        part = frame.iloc[at * 300 : (at + 1) * 300]
        part.to_parquet(folder / f"{at}.parquet", index=False, row_group_size=100)
    return folder


@pytest.fixture
def stream(folder, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_CHUNK_ROWS", 100)
    return load(folder, label="class", keys=["id"])


def make(**options):
    chosen = {"max_epochs": 5, "batch_size": 32, "random_state": 0, "device": "cpu"} | options
    return Autoencoder(3, **chosen)


@pytest.fixture(scope="module")
def stream_fit(folder):
    """Do not refit."""
    return make().fit(load(folder, label="class", keys=["id"]))


def rows_of(stream, held_out=()):
    """Training rows whose only value is the row's number."""
    held_out = np.array(held_out, dtype=np.int64)

    def as_is(values):
        return np.asarray(values, np.float32)

    return StreamBatches(stream, held_out, as_is, as_is, np.zeros((1, 1), np.float32))


@pytest.fixture
def numbers(folder, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_CHUNK_ROWS", 100)
    return load(folder, columns=["id"])


@pytest.fixture
def small_buffers(monkeypatch):
    """Shuffle buffers of 600 rows of a single value."""
    monkeypatch.setattr(stream_batches, "BUFFER_BYTES", 600 * 4)


def epoch(rows, seed=0, batch_size=64):
    torch.manual_seed(seed)
    return [x[:, 0].int().tolist() for (x,) in rows.shuffled(batch_size, torch.device("cpu"))]


def flat(batches):
    return [row for batch in batches for row in batch]


def test_an_epoch_has_every_row_once_but_those_held_out(numbers, small_buffers):
    rows = rows_of(numbers, range(0, N, 10))
    batches = epoch(rows)
    assert len(rows) == N - N // 10
    assert len(batches) == rows.steps(64)
    assert {len(batch) for batch in batches[:-1]} == {64}
    assert sorted(flat(batches)) == [row for row in range(N) if row % 10]


def test_a_batch_mixes_rows_of_several_files(numbers, small_buffers):
    files = [{row // 300 for row in batch} for batch in epoch(rows_of(numbers))]
    assert np.mean([len(found) for found in files]) > 3


def test_the_order_is_the_seeds(numbers, small_buffers):
    rows = rows_of(numbers)
    assert epoch(rows, seed=1) == epoch(rows, seed=1)
    assert epoch(rows, seed=1) != epoch(rows, seed=2)
    before = torch.get_rng_state()
    batches = rows.shuffled(64, torch.device("cpu"))
    next(batches)
    after_one = torch.get_rng_state()
    list(batches)
    # One number is drawn at the beginning: the loop's own draws are not disturbed later.
    assert torch.equal(after_one, torch.get_rng_state())
    assert not torch.equal(before, after_one)


@pytest.mark.parametrize("held_out", [range(0), range(64 * 9 + 1, N)])
def test_an_epoch_goes_on_from_any_step(numbers, small_buffers, held_out):
    rows = rows_of(numbers, held_out)
    whole = epoch(rows)
    for first in (1, len(whole) // 2, len(whole) - 1):
        torch.manual_seed(0)
        batches = rows.shuffled(64, torch.device("cpu"), first_step=first)
        assert [x[:, 0].int().tolist() for (x,) in batches] == whole[first:]


def test_a_last_row_alone_is_no_batch(numbers):
    rows = rows_of(numbers, range(64 * 3 + 1, N))
    assert [len(batch) for batch in epoch(rows)] == [64, 64, 64]


def test_it_learns_as_well_as_in_memory(stream_fit, folder, X):
    stream = load(folder, label="class", keys=["id"])
    in_memory = make().fit(X)

    assert stream_fit.schema_ == in_memory.schema_
    assert stream_fit.data_fingerprint_ == in_memory.data_fingerprint_
    np.testing.assert_array_equal(
        stream_fit.training_row_hashes_.hashes, in_memory.training_row_hashes_.hashes
    )
    errors = [encoder.reconstruction_error(X).mean() for encoder in (stream_fit, in_memory)]
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
    assert stream_fit.feature_names_in_.tolist() == list(X.columns)
    assert len(stream_fit.held_out_) == N // 10
    # The last bits of a product depend on how many rows are in it.
    np.testing.assert_allclose(stream_fit.transform(stream), stream_fit.transform(X), atol=1e-5)
    scores = [stream_fit.score_samples(data) for data in (stream, X)]
    np.testing.assert_allclose(*scores, rtol=1e-5)
    np.testing.assert_array_equal(stream_fit.row_hashes(stream), stream_fit.row_hashes(X))


def test_parts_decide_the_order_and_nothing_else(stream, stream_fit):
    cut = make().fit(stream)
    assert cut.data_fingerprint_ == stream_fit.data_fingerprint_
    np.testing.assert_array_equal(
        cut.training_row_hashes_.hashes, stream_fit.training_row_hashes_.hashes
    )
    assert cut.preprocessor_.network_shape == stream_fit.preprocessor_.network_shape


@pytest.mark.parametrize("every", [0.0, 600.0])
def test_a_broken_run_resumes_to_the_same_weights(
    stream, tmp_path, monkeypatch, small_buffers, every
):
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", every)
    options = {"checkpoint_dir": tmp_path, "max_epochs": 4}
    whole = make(max_epochs=4).fit(stream)
    read, parts_read = StreamBatches._read, []

    def dies(rows, part):
        parts_read.append(part.n_rows)
        if sum(parts_read) > 2.5 * len(rows):
            raise OSError("the machine went away")
        return read(rows, part)

    def dies_not(rows, part):
        parts_read.append(part.n_rows)
        return read(rows, part)

    with monkeypatch.context() as broken:
        broken.setattr(StreamBatches, "_read", dies)
        with pytest.raises(OSError, match="went away"):
            make(**options).fit(stream)
    with monkeypatch.context() as watched:
        parts_read.clear()
        watched.setattr(StreamBatches, "_read", dies_not)
        resumed = make(**options, resume=True).fit(stream)

    # Of the third epoch only what had not been trained on is read again.
    assert (sum(parts_read) < 2 * N) == (every == 0)
    assert resumed.digest_ == whole.digest_
    losses = [[record["train_loss"] for record in fit.history_] for fit in (resumed, whole)]
    assert losses[0] == losses[1]
    with pytest.raises(TrainingError, match="differs in data"):
        make(**options, resume=True).fit(stream.without(np.array([0])))


def test_a_store_lost_while_training_costs_nothing_that_was_learned(
    folder, tmp_path, far_store, small_buffers
):
    source = far_store.fill(folder)

    def fit(**options):
        stream = load(source, label="class", keys=["id"], on_bad_shard="skip")
        return make(max_epochs=4, **options).fit(stream)

    whole = fit()
    kept = {"checkpoint_dir": tmp_path}
    # Of footers, two first passes and four epochs: in the middle of an epoch that is not the first.
    far_store.lose(TimeoutError("no answer in 60 s"), answers=far_store.opened - 12)
    with pytest.raises(DataError, match=r"cannot be reached \(no answer in 60 s\).*--resume"):
        fit(**kept)
    assert (tmp_path / "last.safetensors").exists()
    far_store.mend()
    resumed = fit(**kept, resume=True)

    assert resumed.digest_ == whole.digest_
    assert len(resumed.history_) == 4


def test_images_of_bytes_stay_bytes(images, tmp_path):
    for at in range(3):
        np.save(tmp_path / f"{at}.npy", images[at * 100 : (at + 1) * 100])
    stream = load(tmp_path)
    encoder = make(recipe="fast", max_epochs=2).fit(stream)

    rows = encoder_rows(encoder, stream)
    assert rows._read(stream.chunk_ranges[0]).dtype == np.uint8
    (batch,) = next(rows.shuffled(32, torch.device("cpu")))
    assert batch.dtype == torch.float32
    assert float(batch.max()) <= 1
    np.testing.assert_allclose(encoder.transform(stream), encoder.transform(images), atol=1e-5)


def encoder_rows(encoder, stream):
    return sources.StreamSource(encoder, stream, 0.1, 0).training


def test_what_is_kept_in_memory_is_bounded(stream, monkeypatch):
    monkeypatch.setattr(sources, "MAX_HASHES", 500)
    monkeypatch.setattr(sources, "MAX_VALIDATION", 50)
    encoder = make(max_epochs=1, validation_fraction=0.5).fit(stream)
    assert len(encoder.held_out_) == 50
    assert 500 <= len(encoder.training_row_hashes_.hashes) <= 550
    # A sample of a fifth of the rows is enough to find that the encoder was trained on them.
    with pytest.raises(CalibrationError, match="were among those the encoder was trained on"):
        AnomalyDetector(encoder).fit(stream)


def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch, small_buffers):
    import tracemalloc

    monkeypatch.setattr(parquet, "MAX_CHUNK_ROWS", 500)
    monkeypatch.setattr(stream_batches, "BUFFER_BYTES", 2**16)
    monkeypatch.setattr(sources, "MAX_HASHES", 100)
    monkeypatch.setattr(sources, "MAX_VALIDATION", 100)
    monkeypatch.setattr("isthmus.data.streaming.statistics.MEDIAN_ROWS", 100)
    rng = np.random.default_rng(0)
    names = [f"v{at}" for at in range(20)]
    peaks = []
    for n_files in (4, 40):
        folder = tmp_path / str(n_files)
        folder.mkdir()
        for at in range(n_files):
            part = pd.DataFrame(rng.normal(size=(500, 20)), columns=names)
            part.to_parquet(folder / f"{at}.parquet", index=False)
        stream = load(folder)
        tracemalloc.start()
        encoder = make(max_epochs=1, batch_size=256).fit(stream)
        encoder.reconstruction_error(stream)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Ten times the rows: 2.9 MB more, were they all read.
    assert peaks[1] - peaks[0] < 600_000


def test_partial_fit_goes_on_with_new_rows(stream, X):
    first, second = X.iloc[:1200], stream.without(np.arange(1200))
    encoder = make(max_epochs=3).fit(first)
    known = {name: getattr(encoder, name) for name in ("schema_", "preprocessor_", "digest_")}
    before = encoder.reconstruction_error(X.iloc[1200:]).mean()
    for _ in range(3):
        assert encoder.partial_fit(second) is encoder

    assert encoder.schema_ is known["schema_"]
    assert encoder.preprocessor_ is known["preprocessor_"]
    assert encoder.digest_ != known["digest_"]
    assert [record["epoch"] for record in encoder.history_] == [1, 2, 3, 4, 5, 6]
    assert encoder.best_epoch_ == 6
    assert encoder.reconstruction_error(X.iloc[1200:]).mean() < before
    assert encoder.training_row_hashes_.overlap(encoder.row_hashes(X)).all()
    assert not any(p.requires_grad for p in encoder.encoder_.parameters())


def test_partial_fit_draws_anew_each_time_and_the_same_in_each_run(X):
    runs = [make(max_epochs=1).partial_fit(X).partial_fit(X) for _ in range(2)]
    assert runs[0].digest_ == runs[1].digest_
    losses = [record["train_loss"] for record in runs[0].history_]
    assert losses[1] < losses[0]


def test_more_rows_must_be_like_the_first(stream_fit, X):
    with pytest.raises(SchemaError, match="not those the model was fitted on"):
        make(max_epochs=1).fit(X).partial_fit(X.rename(columns={"v0": "w"}))
    with pytest.raises(DataError, match="at least two"):
        make(max_epochs=1).fit(X).partial_fit(X[:1])


def test_warm_start_begins_where_the_last_fit_ended(X):
    warm = make(max_epochs=4, warm_start=True).fit(X)
    last = warm.history_[-1]["validation_loss"]
    assert warm.fit(X).history_[0]["validation_loss"] < 1.2 * last
    assert len(warm.history_) == 4
    cold = make(max_epochs=4).fit(X)
    assert cold.fit(X).history_[0]["validation_loss"] > 1.2 * last


def test_a_detector_calibrates_on_rows_that_its_encoder_never_saw(stream, frame, monkeypatch):
    monkeypatch.setattr(samples, "MAX_SAMPLED", 2200)
    detector = AnomalyDetector(make(max_epochs=2), random_state=0).fit(stream)
    reference_set = detector.reference_set_

    assert len(reference_set.y) == N // 5
    assert not detector.encoder_.training_row_hashes_.overlap(reference_set.hashes).any()
    assert len(detector.encoder_.training_row_hashes_.hashes) == N - N // 5
    X = frame.drop(columns=["class", "id"])
    scores = [detector.score_samples(data) for data in (stream, X)]
    np.testing.assert_allclose(*scores, rtol=1e-5)
    np.testing.assert_array_equal(detector.predict(stream), detector.predict(X))


def test_a_short_stream_is_what_it_is_in_memory(stream, X):
    fits = [AnomalyDetector(make(max_epochs=1), random_state=0).fit(x) for x in (stream, X)]
    assert fits[0].encoder_.digest_ == fits[1].encoder_.digest_
    assert fits[0].offset_ == fits[1].offset_


def test_a_classifier_takes_labels_from_the_files(stream, stream_fit, frame, X):
    fitted = CodeClassifier(stream_fit, random_state=0).fit(stream)
    assert fitted.classes_.tolist() == ["left", "right"]
    assert np.mean(fitted.predict(stream) == frame["class"]) > 0.9
    np.testing.assert_allclose(fitted.predict_proba(stream), fitted.predict_proba(X), atol=1e-6)
    with pytest.raises(DataError, match="labels are in its files"):
        CodeClassifier(stream_fit).fit(stream, frame["class"])
    with pytest.raises(DataError, match=r"has no labels; name their column"):
        CodeClassifier(stream_fit).fit(load(stream.name))


def test_the_command_line_reads_a_pattern(folder, tmp_path, monkeypatch, capsys):
    facts = tmp_path / "facts.json"
    words = ["fit", f"{folder}/*.parquet", "-o", str(tmp_path / "press"), "--label", "class"]
    words += ["--max-epochs", "1", "--json", str(facts)]

    def run(*more):
        monkeypatch.setattr("sys.argv", ["isthmus", *words, *more])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, capsys.readouterr()

    (folder / "x.parquet").write_bytes(b"PAR1 and then nothing")
    try:
        failed, captured = run()
        assert failed == 1
        assert "x.parquet" in captured.err
        done, captured = run("--on-bad-shard", "skip")
    finally:
        (folder / "x.parquet").unlink()

    assert done == 0, captured.err
    found = json.loads(facts.read_text())
    assert found["n_train"] == N
    assert found["skipped"][0]["source"].endswith("x.parquet")
    assert "skipped " in captured.out


def test_instances_to_validate_on_are_refused_before_files_are_read(stream, X, monkeypatch):
    def read(*_, **__):
        raise AssertionError("a file was read")

    monkeypatch.setattr(type(stream.reader), "read", read)
    with pytest.raises(TrainingError, match="240 of the training instances are held out"):
        make().fit(stream, X_validation=X)


def test_of_a_stream_to_validate_on_it_is_said_how_many_are_measured(stream, X, monkeypatch):
    monkeypatch.setattr(sources, "MAX_VALIDATION", 50)
    encoder = make(validation_fraction=0.0, max_epochs=1)
    with pytest.warns(DataWarning, match=r"X_validation holds 2,400 instances, and 50 of them"):
        encoder.fit(X, X_validation=stream)
    assert encoder.training_["X_validation"] == {"n": 50, "of": 2400}
    drawn = stream.take(stream.draw(50, 0), label=False).X
    measured = encoder.history_[0]["validation_loss"]
    assert measured == pytest.approx(encoder.reconstruction_error(drawn).mean(), rel=1e-5)


def test_files_that_were_read_twice_are_warned_of(tmp_path):
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(1000, 3)), columns=["a", "b", "c"])
    for name in ("1", "2", "3", "4"):
        rows.to_parquet(tmp_path / f"{name}.parquet")
    encoder = Autoencoder(max_epochs=1, random_state=0)
    with pytest.warns(DataWarning, match="of 400 instances drawn from 4,000 equal another one"):
        encoder.fit(load(tmp_path, lazy=True))
