"""The server for assistants, by the SDK's client in this process."""

import re
import sys

import numpy as np
import pandas as pd
import pytest

from isthmus.errors import DataError, MissingExtraError
from isthmus.integrations import build_mcp_server, mcp_server

anyio = pytest.importorskip("anyio", reason="comes with the extra mcp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table of normal rows, and one of new rows of which the first is abnormal."""
    folder = tmp_path_factory.mktemp("assistant")
    rng = np.random.default_rng(0)
    for name, n in (("normal.csv", 200), ("new.csv", 20)):
        a = rng.normal(size=n)
        table = pd.DataFrame({"a": a, "b": a + rng.normal(0, 0.1, n), "c": rng.normal(size=n)})
        if name == "new.csv":
            table.loc[0, "b"] = 30.0
        table.to_csv(folder / name, index=False)
    return folder


def call(folder, *calls):
    """Call tools one after the other; return each result."""
    mcp = pytest.importorskip("mcp")

    async def ask():
        async with mcp.Client(build_mcp_server(folder)) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(ask)


def text_of(result):
    return "\n".join(part.text for part in result.content)


def test_tools_are_described_and_say_what_they_need(folder):
    mcp = pytest.importorskip("mcp")

    async def ask():
        async with mcp.Client(build_mcp_server(folder)) as client:
            return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in anyio.run(ask)}
    assert set(tools) == {"fit", "predict", "explain", "report", "info"}
    assert all(tool.description for tool in tools.values())
    assert set(tools["fit"].input_schema["required"]) == {"data", "bundle"}


@pytest.mark.slow
def test_an_assistant_fits_predicts_explains_and_reports(folder):
    files = {"bundle": "press", "data": "new.csv"}
    results = call(
        folder,
        ("fit", {"data": "normal.csv", "bundle": "press", "false_alarm_rate": 0.02}),
        ("predict", files | {"output": "decided.csv"}),
        ("explain", files | {"rows": 2}),
        ("report", files | {"output": "press.html"}),
        ("info", {"bundle": "press"}),
    )
    assert [one.is_error for one in results] == [False] * 5, [text_of(r) for r in results]
    fitted, predicted, explained, reported, info = (one.structured_content for one in results)
    decided = pd.read_csv(folder / "decided.csv")
    assert predicted["n"] == len(decided) == 20
    assert predicted["false_alarm_rate"] == 0.02
    assert decided["prediction"][0] == -1
    assert explained["rows"][0]["row"] == 0
    assert explained["rows"][0]["reason_1"] == "b"
    assert len(explained["rows"]) == 2
    assert (folder / "press.html").read_text("utf-8").startswith("<!")
    assert reported["summary"]
    assert fitted["digest"] == predicted["digest"]
    assert "heads" in info


def test_a_column_called_row_stays_beside_the_numbers_of_rows(folder, monkeypatch):
    table = pd.DataFrame({"row": ["u", "v", "w"], "anomaly_score": [1.0, 3.0, 2.0]})

    async def predicts(_, arguments):
        table.to_csv(arguments[arguments.index("-o") + 1], index=False)
        return {"n": 3}

    monkeypatch.setattr(mcp_server, "run_command", predicts)
    (result,) = call(folder, ("explain", {"bundle": "b", "data": "new.csv", "key": "row"}))
    rows = result.structured_content["rows"]
    assert [(one["row_number"], one["row"]) for one in rows] == [(1, "v"), (2, "w"), (0, "u")]


def test_files_elsewhere_are_refused(folder, tmp_path):
    (folder / "link").symlink_to(tmp_path)
    (folder / "parts").mkdir()
    (tmp_path / "outside.csv").write_text("a,b,c\n1,2,3\n")
    (folder / "parts" / "one.csv").symlink_to(tmp_path / "outside.csv")
    given = ["../normal.csv", str(tmp_path / "x.csv"), "link/x.csv", "s3://bucket/../../../x.csv"]
    given += ["parts", "parts/*.csv"]
    for result in call(folder, *(("fit", {"data": one, "bundle": "b"}) for one in given)):
        assert result.is_error
        assert "expected one in" in text_of(result)


def test_an_error_of_a_command_is_the_answer(folder):
    (result,) = call(folder, ("info", {"bundle": "nothing-here"}))
    assert result.is_error
    assert "nothing-here" in text_of(result)


def test_no_server_without_its_folder_or_the_extra(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="expected a folder that exists"):
        build_mcp_server(tmp_path / "none")
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'isthmus[mcp]'")):
        build_mcp_server(tmp_path)
