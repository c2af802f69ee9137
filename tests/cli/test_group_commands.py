"""`--group` of tables: fit, predict, evaluate, suggest, label and info by group."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from isthmus import load_bundle
from isthmus.cli import main
from isthmus.data.groups import as_groups

SCALES = {"p1": 1.0, "p2": 2.0, "p3": 5.0}


def parts(n, seed):
    rng = np.random.default_rng(seed)
    machine = rng.choice(list(SCALES), n)
    values = rng.normal(size=(n, 4)) * np.array([SCALES[one] for one in machine])[:, None]
    return pd.DataFrame(values, columns=list("abcd")).assign(machine=machine)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of a detector by machine, and the folder that it and its data lie in."""
    folder = tmp_path_factory.mktemp("groups")
    parts(300, 0).to_csv(folder / "parts.csv", index=False)
    new = parts(120, 1).assign(ok=1)
    new.loc[:9, list("abcd")] += 40
    new.loc[:9, "ok"] = -1
    new.to_csv(folder / "new.csv", index=False)
    new.to_parquet(folder / "new.parquet", index=False)
    words = "fit parts.csv -o press --detector --group machine --false-alarm-rate 0.05"
    fast = "--architecture dense --max-epochs 1 --json facts.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["isthmus", *words.split(), *fast.split()])
        with pytest.raises(SystemExit) as leaving:
            main()
    assert not leaving.value.code
    return folder


def facts_of(out):
    return json.loads(out)


def test_fit_says_which_groups_hold_the_rate(bundle):
    found = facts_of((bundle / "facts.json").read_text())["detector"]["groups"]
    assert [one["name"] for one in found["groups"]] == list(SCALES)
    assert (found["n_own"], found["rows_needed"]) == (3, 19)
    assert load_bundle(bundle / "press").detector().group_columns_ == ("machine",)


def test_predict_finds_the_column_of_the_fit_and_writes_it(isthmus, bundle):
    status, out, error = isthmus(
        "predict", bundle / "press", bundle / "new.csv", "--label", "ok", "-o", "out.csv",
        "--json", "-",
    )  # fmt: skip
    assert (status, "warning" in error) == (0, False)
    facts = facts_of(out)
    assert (facts["groups"]["n_own"], facts["threshold"]) == (120, None)
    assert facts["groups"]["thresholds"].keys() == SCALES.keys()
    found, new = pd.read_csv("out.csv"), pd.read_csv(bundle / "new.csv")
    detector = load_bundle(bundle / "press").detector()
    groups = as_groups(new["machine"], 120)
    np.testing.assert_allclose(found["p_value"], detector.p_values(new, groups=groups))
    assert found["machine"].tolist() == new["machine"].tolist()


def test_a_group_that_is_not_of_the_fit_is_warned_of_once(isthmus, bundle):
    pd.read_csv(bundle / "new.csv").assign(machine="p9").to_csv("other.csv", index=False)
    status, _, error = isthmus("predict", bundle / "press", "other.csv", "--label", "ok")
    assert (status, error.count("groups that were not there at fit")) == (0, 1)


def test_a_monitor_reads_groups_in_memory_and_in_chunks_alike(isthmus, bundle):
    found = []
    for name in ("new.csv", "new.parquet"):
        lazy = ["--lazy"] * name.endswith("parquet")
        words = ["monitor", bundle / "press", bundle / name, "--label", "ok", "--json", "-"]
        status, out, error = isthmus(*words, *lazy)
        assert status in (0, 3), error
        found.append(facts_of(out)["alarms"])
    assert found[0] == found[1] > 0


def test_groups_without_a_detector_by_group_are_warned_of_in_memory_and_in_chunks(isthmus, bundle):
    words = "--detector --drop machine --false-alarm-rate 0.05 --architecture dense --max-epochs 1"
    status, _, error = isthmus("fit", bundle / "parts.csv", "-o", "pooled", *words.split())
    assert status == 0, error
    for lazy in ([], ["--lazy"]):
        status, _, error = isthmus(
            "predict", "pooled", bundle / "new.parquet", "--group", "machine", "--drop", "ok",
            "-o", f"out{len(lazy)}.parquet", *lazy,
        )  # fmt: skip
        assert (status, error.count("decide nothing")) == (0, 1), error


def test_data_without_the_column_is_refused(isthmus, bundle):
    pd.read_csv(bundle / "new.csv").drop(columns="machine").to_csv("bare.csv", index=False)
    status, _, error = isthmus("predict", bundle / "press", "bare.csv", "--label", "ok")
    assert status == 1
    assert "at fit the column 'machine'), and got no groups" in error


@pytest.mark.parametrize("options", [(), ("--lazy",)])
def test_evaluate_measures_each_group(isthmus, bundle, options):
    data = bundle / ("new.parquet" if options else "new.csv")
    status, out, _ = isthmus(
        "evaluate", bundle / "press", data, "--label", "ok", "--json", "-", *options
    )
    assert status == 0
    found = facts_of(out)["by_group"]
    assert [one["name"] for one in found["groups"]] == list(SCALES)
    assert sum(one["n_normal"] for one in found["groups"]) == 110
    assert found["worst"] in SCALES


def test_info_lists_the_groups(isthmus, bundle):
    status, out, _ = isthmus("info", bundle / "press")
    assert status == 0
    assert "3 groups (by machine); a rate of 0.05 needs 19 calibration rows of each" in out
    for one in facts_of((bundle / "facts.json").read_text())["detector"]["groups"]["groups"]:
        assert (
            f"{one['name']}: {one['n']} rows, threshold {one['threshold']:.4g}, of its own" in out
        )


def test_suggest_and_label_take_the_groups_too(isthmus, bundle):
    status, out, _ = isthmus(
        "suggest", bundle / "press", bundle / "new.csv", "--drop", "ok", "-n", 2
    )
    assert status == 0
    assert "machine  row" in out
    # Of some rows they have their number beside the group, once.
    words = ("suggest", bundle / "press", bundle / "new.csv", "--drop", "ok", "-n", 2)
    status, out, error = isthmus(*words, "--rows", "5:", "-o", "some.csv")
    assert (status, error) == (0, "")
    assert list(pd.read_csv("some.csv"))[:3] == ["machine", "row", "anomaly_score"]
    assert pd.read_csv("some.csv")["row"].min() >= 5
    new = pd.read_csv(bundle / "new.csv")[:12]
    new.to_csv("labels.csv", index=False)
    shutil.copytree(bundle / "press", "press")
    status, out, error = isthmus("label", "press", "labels.csv", "--label", "ok")
    assert (status, error) == (0, "")
    assert load_bundle("press").detector().group_calibration_.names == tuple(SCALES)
