"""Stretches of series in requests: time points and alarms are the library's, errors are named."""

import gzip
import io
import re

import hypothesis
import numpy as np
import pandas as pd
import pytest
import schemathesis
from _served import machines, running
from schemathesis import GenerationMode

from isthmus import load_bundle
from isthmus.serve import Limits

CSV = {"Content-Type": "text/csv"}


@pytest.fixture(scope="module")
def client(machines_folder, parts_folder):
    """A client of a service of a detector on series, and of one on a table."""
    with running([machines_folder / "machines", f"parts={parts_folder}"]) as client:
        yield client


@pytest.fixture(scope="module")
def new():
    """Readings of both machines with an anomaly in each, and one missing."""
    table = machines(seed=1)
    table.loc[100, "flow"] = np.nan
    return table


@pytest.fixture(scope="module")
def detector(machines_folder):
    return load_bundle(machines_folder / "bundle").head("normal")


def asked(client, table, query="key=order"):
    answer = client.post(f"/points?{query}", content=table.to_csv(index=False), headers=CSV)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.filterwarnings("ignore:.*filled")
def test_time_points_and_alarms_are_those_of_the_detector(client, new, detector):
    found = asked(client, new)
    expected = detector.score_points(new, keys=["order"])
    points = pd.DataFrame(found["points"])
    assert list(points) == [
        "machine", "at", "order", "anomaly_score", "p_value", "verdict", "n_filled",
    ]  # fmt: skip
    for name in ("machine", "at", "verdict"):
        assert points[name].tolist() == expected[name].tolist()
    assert points["order"].astype(int).tolist() == expected["order"].tolist()
    np.testing.assert_allclose(points["anomaly_score"], expected["anomaly_score"], atol=1e-4)
    for name in ("pressure", "flow"):
        np.testing.assert_allclose(found["shares"][name], expected[f"share_{name}"], atol=1e-4)
    alarms = detector.alarms(new)
    for name in ("machine", "first", "last", "peak", "known_at", "n_points", "channel"):
        assert [one[name] for one in found["alarms"]] == alarms[name].tolist()
    worst = {(one["machine"], one["channel"]) for one in found["alarms"]}
    assert {("drill", "pressure"), ("saw", "flow")} <= worst
    assert any("filled" in one for one in found["warnings"])
    assert (found["head"], len(found["digest"])) == ("normal", 64)


def test_every_form_of_a_series_gets_one_answer(client, new):
    new = new.drop(columns="order").fillna(0.5)
    file, lines = io.BytesIO(), new.to_json(orient="records", lines=True)
    new.to_parquet(file)
    form = {"file": ("new.csv", new.to_csv(index=False))}
    answers = [
        client.post("/points", json={"series": new.to_dict("list")}),
        client.post("/points", json={"series": new.to_dict("records")}),
        client.post("/points", content=new.to_csv(index=False), headers=CSV),
        client.post("/points", content=lines, headers={"Content-Type": "application/x-ndjson"}),
        client.post(
            "/points",
            content=file.getvalue(),
            headers={"Content-Type": "application/vnd.apache.parquet"},
        ),
        client.post("/bundles/machines/points", files=form),
        client.post(
            "/points",
            content=gzip.compress(new.to_csv(index=False).encode()),
            headers=CSV | {"Content-Encoding": "gzip"},
        ),
    ]
    assert [one.status_code for one in answers] == [200] * len(answers)
    first, *others = [one.json() for one in answers]
    begins = [one["first"] for one in first["alarms"]]
    for other in others:
        assert other["points"]["verdict"] == first["points"]["verdict"]
        assert other["points"]["at"] == first["points"]["at"]
        assert [one["first"] for one in other["alarms"]] == begins


def test_times_are_numbers_or_rows_or_bins_as_they_come(client, new):
    one = new[new["machine"] == "drill"].fillna(0.5)
    rows = asked(client, one[["pressure", "flow"]], "")
    assert rows["points"]["row"] == list(range(len(one)))
    assert "no column 'at', the time at fit" in rows["warnings"][0]
    seconds = one.assign(order=60 * one["order"])
    numbers = asked(client, seconds[["order", "pressure", "flow"]], "time=order")
    assert numbers["points"]["order"] == seconds["order"].tolist()
    assert numbers["points"]["anomaly_score"] == pytest.approx(
        rows["points"]["anomaly_score"], abs=1e-4, nan_ok=True
    )
    fast = pd.DataFrame({name: np.repeat(one[name].to_numpy(), 2) for name in ("pressure", "flow")})
    fast.insert(0, "at", pd.date_range("2026-03-02", periods=len(fast), freq="30s").astype(str))
    refused = client.post("/points", content=fast.to_csv(index=False), headers=CSV).json()
    assert "step of 30" in refused["got"]
    assert "?resample=" in refused["fix"]
    found = asked(client, fast, "resample=60s")
    assert len(found["points"]["at"]) == len(fast)
    assert [a["n_points"] for a in found["alarms"]] == [a["n_points"] for a in rows["alarms"]]


def test_a_point_that_no_window_covers_has_no_verdict(client, new):
    one = new[new["machine"] == "drill"].reset_index(drop=True).drop(index=range(10, 30))
    found = asked(client, one)
    points = pd.DataFrame(found["points"])
    unknown = points[points["verdict"].isna()]
    assert len(unknown) == 10
    assert unknown[["anomaly_score", "p_value"]].isna().all(axis=None)
    assert found["shares"]["flow"][0] is None
    said = "1 gap in time, .*; no window crosses one, and 10 rows in stretches shorter than one"
    assert any(re.match(said, one) for one in found["warnings"])


REFUSED = {
    "windows": (b'{"instances": []}', "json", 400, "JSON without a series"),
    "not JSON": (b"{", "json", 400, "not JSON"),
    "a number": (b'{"series": {"pressure": 3}}', "json", 422, "neither lists by column"),
    "lengths": (
        b'{"series": {"pressure": [1, 2], "flow": [1]}}',
        "json",
        422,
        "1 values in 'flow' and 2 in 'pressure'",
    ),
    "a list": (b'{"series": {"pressure": [[1]], "flow": [1]}}', "json", 422, "a list, an object"),
    "nothing": (b'{"series": []}', "json", 422, "no time points"),
    "a channel lacks": (b"pressure\n1\n", "csv", 422, "a table of the columns ['pressure']"),
    "words": (b"pressure,flow\n" + b"1,high\n" * 20, "csv", 422, "no numbers"),
    "short": (b"pressure,flow\n1,2\n3,4\n", "csv", 422, "has 2 time points"),
    "no CSV": (b"", "csv", 400, "an empty body"),
    "another type": (b"x", "png", 415, "the content type 'image/png'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_series_is_refused_with_the_fix(client, name):
    content, kind, status, got = REFUSED[name]
    types = {"json": "application/json", "csv": "text/csv", "png": "image/png"}
    answer = client.post("/points", content=content, headers={"Content-Type": types[kind]})
    plain = answer.json()
    assert (answer.status_code, set(plain)) == (status, {"digest", "got", "expected", "fix"})
    assert got in plain["got"]
    assert plain["fix"]
    assert "--" not in plain["fix"]
    assert "load(" not in plain["fix"]


def test_times_that_go_back_and_columns_that_lack_are_named(client, new):
    back = new.iloc[::-1].to_csv(index=False)
    plain = client.post("/points", content=back, headers=CSV).json()
    assert "the time in" in plain["got"]
    plain = client.post("/points?time=when", content=back, headers=CSV).json()
    assert "when" in plain["got"] + plain["expected"]
    plain = client.post("/points?head=other", content=back, headers=CSV).json()
    assert (plain["got"], plain["fix"]) == ("head=other", "name it in the query: ?head=NAME")
    answer = client.post("/bundles/parts/points", content=back, headers=CSV)
    assert answer.status_code == 404
    assert answer.json()["got"] == "a bundle that does not decide on time points"
    answer = client.post("/predict", json={"series": {"pressure": [1]}})
    assert "to /points" in answer.json()["fix"]


def test_limits_of_time_points_are_held(machines_folder, new):
    content = new.drop(columns="order").to_csv(index=False)
    for limits, got in (
        (Limits(points=500), "1400 time points"),
        (Limits(values=5000), "an answer of 8400 values"),
    ):
        with running([machines_folder / "machines"], limits) as client:
            answer = client.post("/points", content=content, headers=CSV)
            assert answer.status_code == 413
            assert answer.json()["got"] == got
            rows = {"series": new.drop(columns="order").fillna(0).to_dict("records")}
            assert client.post("/points", json=rows).status_code == 413


def test_the_schema_describes_time_points_without_the_calibration_scores(client, detector):
    points = client.get("/schema").json()["points"]["normal"]
    assert points["channels"] == ["pressure", "flow"]
    assert (points["time_column"], points["group_columns"]) == ("at", ["machine"])
    assert points["threshold"] == detector.point_threshold_
    assert points["n_scores"] == detector.point_calibration_.blocks.n_independent
    assert points["scores"] is None
    assert client.get("/bundles/parts/schema").json()["points"] == {}


def test_the_description_is_of_bundles_that_decide_on_time_points(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {path for path in paths if path.endswith("/points")} == {
        "/points",
        "/bundles/machines/points",
    }


def test_valid_series_by_the_description_are_accepted(client):
    plain = client.get("/openapi.json").json()
    plain["paths"] = {"/points": plain["paths"]["/points"]}
    operation = plain["paths"]["/points"]["post"]
    content = operation["requestBody"]["content"]
    operation["requestBody"]["content"] = {"application/json": content["application/json"]}
    # OpenAPI cannot say that columns are of one length, nor that stretches of null are gaps.
    rows = content["application/json"]["schema"]["properties"]["series"]["anyOf"][1]
    rows["maxItems"], rows["items"]["additionalProperties"] = rows["minItems"], False
    for channel in rows["items"]["properties"].values():
        channel["type"] = "number"
    content["application/json"]["schema"]["properties"]["series"] = rows
    operation["parameters"] = []
    (found,) = schemathesis.openapi.from_dict(plain).get_all_operations()

    @hypothesis.settings(
        max_examples=5,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=found.ok().as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case):
        case.call_and_validate(base_url=str(client.base_url))

    ask()
