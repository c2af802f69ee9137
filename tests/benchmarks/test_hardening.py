"""The benchmark of what must never happen: its rows, and that a part runs."""

import json
import random
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.append(str(BENCHMARKS))  # scripts find the modules beside them in this way

import hardening  # noqa: E402
from common.hardening_parts import PARTS  # noqa: E402
from common.hardening_parts.mutations import mutated  # noqa: E402
from common.hardening_parts.rows import Row, Setting, counted  # noqa: E402
from isthmus.errors import DataError  # noqa: E402


def test_a_case_holds_when_it_was_tried_as_often_as_asked_and_nothing_happened():
    assert counted("c", 20, 0, "lost", "some", asked_n=20).holds
    assert not counted("c", 20, 1, "lost", "some", asked_n=20).holds
    assert not counted("c", 19, 0, "lost", "some", asked_n=20).holds
    assert not counted("c", 0, 0, "lost", "some").holds
    assert counted("c", 20, 1, "lost", "some", asked_n=20).now == "1 of 20 lost"


def test_an_unknown_part_is_refused_by_name():
    assert hardening.choose(None) == list(PARTS)
    with pytest.raises(DataError, match="got --only doors, expected some of writers"):
        hardening.choose("writers,doors")


def test_no_try_begins_once_the_time_is_up(tmp_path):
    assert Setting(tmp_path, seconds=1000).has_time()
    assert not Setting(tmp_path, seconds=0).has_time()


@pytest.mark.parametrize("holds", [True, False])
def test_the_exit_status_says_whether_all_cases_hold(monkeypatch, tmp_path, capsys, holds):
    def part(setting):
        assert list(setting.folder.iterdir()) == []
        return [Row("a case", 3, "1 of 3", "0 of 3", "so many", holds)]

    monkeypatch.setitem(PARTS, "writers", part)
    out = tmp_path / "facts.json"
    monkeypatch.setattr(sys, "argv", ["x.py", "--only", "writers", "--json", str(out)])
    with pytest.raises(SystemExit) as leaving:
        hardening.main()
    assert leaving.value.code == (not holds)
    assert "a case" in capsys.readouterr().out
    assert [row["case"] for row in json.loads(out.read_text())["rows"]["writers"]] == ["a case"]


def test_no_content_of_another_format_is_decoded_as_an_image(tmp_path):
    assert [row.holds for row in PARTS["formats"](Setting(tmp_path))] == [True, True]


def test_damage_is_drawn_from_the_seed_and_changes_the_content():
    content = bytes(range(256)) * 4
    drawn = [mutated(content, random.Random(seed)) for seed in range(50)]
    assert drawn == [mutated(content, random.Random(seed)) for seed in range(50)]
    assert sum(one != content for one in drawn) > 45
