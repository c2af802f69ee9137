"""What is shown while a network trains: on a terminal, in a notebook, in a log."""

import warnings

import numpy as np
import pytest
from torch import nn

from isthmus import Autoencoder
from isthmus._core import NotebookBar, quiet
from isthmus.training import BusyCores, ProgressBar
from isthmus.training.callbacks import Usage

RECORD = {"train_loss": 0.5, "validation_loss": 0.25, "instances_per_second": 1000.0}


def run(bar, epochs, n_instances=100):
    with bar:
        for epoch in epochs:
            for _ in range(4):
                bar.on_step_end(n_instances // 4)
            bar.on_epoch_end(RECORD | {"epoch": epoch}, nn.Identity(), True)


def epochs_in(text):
    return [int(line.split()[2].split("/")[0]) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("max_epochs", "expected"),
    [(3, [1, 2, 3]), (10, [*range(1, 11)]), (50, [1, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50])],
)
def test_a_log_has_a_line_for_each_tenth(capsys, max_epochs, expected):
    run(ProgressBar("training", 100, max_epochs), range(1, max_epochs + 1))

    assert epochs_in(capsys.readouterr().err) == expected


def test_the_epoch_in_which_training_stops_early_is_printed(capsys):
    run(ProgressBar("training", 100, 50), range(1, 8))

    found = capsys.readouterr().err
    assert epochs_in(found) == [1, 5, 7]
    assert "epoch 7/50  loss 0.5000  validation loss 0.2500  1,000 instances/s" in found


def test_a_resumed_run_goes_on_where_it_was(capsys):
    run(ProgressBar("training", 100, 50, start_epoch=20), range(21, 31))

    assert epochs_in(capsys.readouterr().err) == [25, 30]


def test_a_notebook_has_one_bar_that_is_replaced(monkeypatch, capsys):
    shown = []

    class Handle:
        def update(self, bundle, raw):
            shown.append(bundle["text/plain"])

    bar = ProgressBar("training", 100, 2)
    bar.console.is_jupyter = True
    monkeypatch.setattr(
        "isthmus.training.callbacks.NotebookBar",
        lambda title: NotebookBar(title, lambda bundle, **_: Handle()),
    )
    run(bar, (1, 2))

    assert capsys.readouterr().err == ""
    assert [text.split("  ")[1] for text in shown] == [
        f"{percent} %" for percent in (12, 25, 38, 50, 50, 62, 75, 88, 100, 100)
    ]
    assert shown[-1] == (
        "training  100 %  epoch 2/2  loss 0.5000  validation loss 0.2500  1,000 instances/s"
    )


def test_nothing_is_shown_where_nothing_is_wanted(capsys):
    X = np.random.default_rng(0).normal(size=(60, 4))
    with quiet():
        Autoencoder(2, max_epochs=2, verbose=True, random_state=0).fit(X)
    silent = capsys.readouterr()
    Autoencoder(2, max_epochs=2, verbose=True, random_state=0).fit(X)

    assert (silent.out, silent.err) == ("", "")
    assert epochs_in(capsys.readouterr().err) == [1, 2]


def warned_after(usages, n_threads=2):
    """Return the steps after which there was a warning."""
    read = iter(usages)
    callback = BusyCores(n_threads, lambda: next(read))
    found = []
    for step in range(len(usages)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            callback.on_step_end(8)
        found += [(step, str(warning.message)) for warning in caught]
    return found


def used(of_cores, made_way):
    """Return usages at each second: of so many cores, and so many times a second made way."""
    return [Usage(100.0 + s, 7.0 + of_cores * s, 40 + int(made_way * s)) for s in range(20)]


def test_a_training_whose_threads_wait_for_cores_says_so_once():
    (found,) = warned_after(used(0.9, 180))

    step, message = found
    assert step == 5
    assert "training has 2 threads" in message
    assert "had 0.9 cores in the last 5 seconds" in message
    assert "OMP_NUM_THREADS=1" in message


@pytest.mark.parametrize(
    "usages",
    [
        used(1.9, 180),  # has its cores
        used(0.9, 3),  # waits for a disk, or in turn for its own threads, and not for others
        [None] * 20,  # is not told
    ],
)
def test_a_training_that_waits_for_no_other_program_says_nothing(usages):
    assert warned_after(usages) == []


def test_that_other_programs_begin_later_is_seen_too():
    free = used(2.0, 0)[:10]
    busy = [
        Usage(free[-1].passed + s, free[-1].of_cores + 0.5 * s, 40 + 200 * s) for s in range(1, 11)
    ]
    assert len(warned_after(free + busy)) == 1
