"""The speed benchmark: what counts as met, who takes part, and that each side runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

from isthmus import Autoencoder
from isthmus.errors import DataError
from isthmus.recipes import resolve_choices

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

import speed  # noqa: E402
from common.records import Journal  # noqa: E402
from common.speed_measures import (  # noqa: E402
    MEASURES,
    linear_head,
    matmul_limit,
    peak_memory,
    reference_encode,
    reference_fit,
    small_table,
)
from common.speed_measures.inputs import numbers  # noqa: E402
from common.speed_measures.measure import OURS, Measure, Row, Side, paired  # noqa: E402


def facts(*values, **others):
    return [{"value": value} | others for value in values]


def rows_of(name, **found):
    return MEASURES[name].rows({OURS if side == "ours" else side: f for side, f in found.items()})


@pytest.fixture
def tiny(tmp_path):
    """Options for images that take no time."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (48, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", train=images[:32], test=images[32:])
    return {"images": str(tmp_path / "images.npz"), "round": 0, "epochs": 1, "matmul": 64}


def test_the_layers_are_those_of_4969_parameters():
    counts = [
        9 * before * after + after
        for _, before, after in matmul_limit.ENCODER + matmul_limit.DECODER
    ]
    assert (sum(counts[:3]), sum(counts)) == (1904, 4969)


def test_operations_are_two_for_each_multiply_add():
    assert matmul_limit.operations(((5, 2, 3),)) == 2 * 5 * 5 * 2 * 3 * 9


def test_a_ratio_is_taken_round_by_round():
    assert paired([2.0, 9.0, 4.0], [1.0, 3.0]) == [2.0, 3.0]


def test_the_log_loss_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, y = rng.dirichlet([1, 1, 1], 50), rng.integers(0, 3, 50)
    expected = sklearn.metrics.log_loss(y, probabilities, labels=[0, 1, 2])
    assert linear_head.log_loss(probabilities, y) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "found", "met"),
    [
        ("reference", {"ours": facts(2.0, 3.0, share=0.5), "Keras": facts(4.0, 6.0)}, [True]),
        ("reference", {"ours": facts(2.0, 3.0, share=0.5), "Keras": facts(3.9, 5.9)}, [False]),
        ("reference", {"ours": facts(2.0, share=0.5)}, [None]),
        (
            "encode",
            {"ours": facts(50.0, share=0.44), "Keras": facts(20.0, batch_size=128)},
            [True, False],
        ),
        (
            "neighbours",
            {
                "ours": [
                    *facts(
                        11.0, graph=5.0, off=1e-7, differ=0, library=2e5, decision=4.0, networks=9.0
                    )
                ],
                "faiss IndexFlatL2": facts(10.0),
            },
            [True, None, True, False, True],
        ),
        ("small", {"ours": facts(1.3), "loop by hand": facts(1.0)}, [True]),
        ("small", {"ours": facts(1.4), "loop by hand": facts(1.0)}, [False]),
        ("large", {"ours": facts(1.0), "PyOD AutoEncoder": facts(1.9)}, [False, None]),
        (
            "startup",
            {"ours": [{"help": 0.2, "import": 0.2}], "Python alone": facts(0.01)},
            [True, False],
        ),
        (
            "memory",
            {"ours": facts(500.0, data=200.0, what="it"), "import torch": facts(200.0)},
            [True],
        ),
        (
            "memory",
            {"ours": facts(501.0, data=200.0, what="it"), "import torch": facts(200.0)},
            [False],
        ),
    ],
)
def test_met_is_what_the_table_says_it_must_show(name, found, met):
    assert [row.met for row in rows_of(name, **found)] == met


def test_the_target_needs_the_error_as_well_as_the_time():
    keras = facts(760.0, bce=0.13, epochs=3)
    [row] = rows_of("target", ours=facts(5.0, bce=0.09), Keras=keras)
    assert row.met
    assert any("scaled from 3 epochs to 50" in note for note in row.notes)
    [row] = rows_of("target", ours=facts(5.0, bce=0.097), Keras=keras)
    assert row.met is False
    whole = facts(760.0, bce=0.098, epochs=50)
    [row] = rows_of("target", ours=facts(5.0, bce=0.097), Keras=whole)
    assert row.met


def test_a_solver_that_stopped_farther_off_is_not_the_faster():
    found = {
        "ours": facts(0.8, log_loss=0.3),
        "lbfgs": facts(1.0, log_loss=0.3),
        "saga": facts(0.5, log_loss=0.31),
    }
    [row] = rows_of("linear", **found)
    assert (row.peer, row.ratio, row.met) == ("scikit-learn lbfgs", [0.8], True)
    [row] = rows_of("linear", **(found | {"ours": facts(0.8, log_loss=0.31)}))
    assert (row.peer, row.met) == ("scikit-learn saga", False)


def test_each_linear_solver_is_compared_with_a_head_that_ends_as_low():
    found = {
        "ours": facts(0.7, log_loss=0.249),
        "isthmus, tol=1e-5": facts(2.0, log_loss=0.248),
        "lbfgs": facts(2.1, log_loss=0.2602),
        "newton-cg": facts(1.4, log_loss=0.2601),
        "newton-cholesky": facts(10.0, log_loss=0.248),
        "saga": facts(0.5, log_loss=0.27),
    }
    as_it_is, close = rows_of("linear", **found)
    assert (as_it_is.peer, as_it_is.ratio, as_it_is.met) == ("scikit-learn newton-cg", [0.5], True)
    assert (close.peer, close.ratio, close.met) == ("scikit-learn newton-cholesky", [0.2], True)
    assert any("saga: log-loss on the training codes 0.27" in note for note in close.notes)
    higher = found | {"isthmus, tol=1e-5": facts(2.0, log_loss=0.249)}
    assert rows_of("linear", **higher)[1].met is False


def test_the_loop_by_hand_learns_what_fit_learns():
    X = numbers(400, 20)
    choices = resolve_choices("default", {"max_epochs": 8}, *X.shape, "table")
    by_hand = small_table.train_by_hand(X, [20, 128, 10], choices)
    fitted = Autoencoder(max_epochs=8, random_state=0).fit(X)
    assert fitted.spec_["hidden_layer_sizes"] == [128]
    assert fitted.n_components_ == 10
    ours = [(one["train_loss"], one["validation_loss"]) for one in fitted.history_]
    # Other weights to start from, other noise: losses agree as far as two seeds do.
    assert np.array(by_hand) == pytest.approx(np.array(ours), rel=0.25)


def test_the_reference_network_is_timed_and_encodes(tiny):
    for measure in (reference_fit, reference_encode):
        found = measure.ours(tiny)
        assert found["value"] > 0
        assert found["share"] > 0


def test_peak_memory_is_that_of_the_process_started():
    assert peak_memory.peak(["-c", "b'x' * 300_000_000"]) > 300


def test_what_peers_run_imports_nothing_that_they_lack():
    script = (
        "import common.speed_measures, sys\n"
        "print([m for m in ('isthmus', 'torch', 'sklearn', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=BENCHMARKS, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_peer_has_one_version():
    lines = (BENCHMARKS / "peers.txt").read_text().splitlines()
    assert all(line.startswith("#") or line.count("==") == 1 for line in lines)


@pytest.fixture
def measure():
    return Measure("fast", {OURS: Side(None, peer=False), "slow": Side(None)}, lambda found: [])


def options(**changes):
    return {"rounds": 2, "tuned": "both"} | changes


def test_sides_take_turns_and_a_journal_spares_those_done(measure, tmp_path, monkeypatch):
    turns = []

    def one_turn(measure, name, python, options):
        turns.append((options["round"], name, python))
        return {"value": 1.0}

    monkeypatch.setattr(speed, "one_turn", one_turn)
    pythons = {False: "mine", True: "theirs"}
    journal = Journal(tmp_path / "turns.jsonl", {})
    found = speed.take_turns(measure, options(), journal, pythons)
    sides = [(OURS, "mine"), ("slow", "theirs")]
    assert turns == [(round_, *side) for round_ in (0, 1) for side in sides]
    assert found == {OURS: facts(1.0, 1.0), "slow": facts(1.0, 1.0)}
    again = Journal(tmp_path / "turns.jsonl", {})
    assert speed.take_turns(measure, options(rounds=3), again, pythons)["slow"] == facts(1, 1, 1)
    assert len(turns) == 6


def test_a_side_that_cannot_run_is_named_and_left_out(measure, monkeypatch, capsys):
    def one_turn(measure, name, python, options):
        return {"value": 1.0} if name == OURS else "did not run (no memory)"

    monkeypatch.setattr(speed, "one_turn", one_turn)
    found = speed.take_turns(measure, options(), Journal(None, {}), {False: "", True: ""})
    assert list(found) == [OURS]
    assert capsys.readouterr().err.count("fast, slow: did not run (no memory)") == 1


def test_a_line_of_the_table_holds_median_spread_and_verdict(capsys):
    row = Row("fit, s", [1.0, 3.0, 2.0], "≤ 2", "loop", [1.0], [1.5], False, ["a note"], digits=1)
    speed.show(speed.tables_console(None), [row])
    captured = capsys.readouterr().out
    for part in ("fit, s", "2.0 (1.0 to 3.0)", "loop", "1.50", "≤ 2", "no", "a note"):
        assert part in captured


@pytest.mark.slow
def test_without_peers_isthmus_is_measured_alone(tmp_path, monkeypatch, capsys):
    out = tmp_path / "facts.json"
    words = "--only startup,large --rounds 1 --starts 1 --epochs 1 --large-rows 300"
    words = [*words.split(), "--peers-python", "nowhere/python", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["speed.py", *words])
    speed.main()
    captured = capsys.readouterr()
    assert "no Python with the peers at nowhere/python" in captured.err
    assert "not compared" in captured.out
    found = json.loads(out.read_text())
    assert [one["side"] for one in found["runs"]] == [OURS, "Python alone", OURS]
    assert found["rows"]["large"][0]["met"] is None


def test_a_measure_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="got --only fsat, expected some of target"):
        speed.choose("startup,fsat")


def test_help_names_every_measure(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["speed.py", "--help"])
    with pytest.raises(SystemExit):
        speed.main()
    captured = capsys.readouterr().out
    assert all(f"\n{name} " in captured for name in MEASURES)


def test_images_and_codes_are_written_for_every_side(tmp_path, monkeypatch):
    words = ["--data", "digits", "--recipe", "default", "--fast-epochs", "1", "--width", "16"]
    monkeypatch.setattr(sys, "argv", ["speed.py", *words])
    given = speed.arguments()
    paths = speed.prepare(given, [MEASURES["linear"]], tmp_path)
    X, y, X_test, y_test = linear_head.read_codes(paths)
    assert (X.shape[1], len(y), len(y_test)) == (16, len(X), len(X_test))
    assert set(y) == set(y_test) == set(range(10))
    found = linear_head.ours(paths)
    assert 0 < found["log_loss"] < 2.3  # that of knowing nothing is log 10
