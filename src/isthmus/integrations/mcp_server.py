"""A server of the Model Context Protocol: fit, predict, explain and report, for assistants.

Each tool runs one `isthmus` command in a process of its own. So an assistant's work follows the
rules and messages of the command line, and what a library prints cannot come between the
messages of the protocol, which are on standard output.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from isthmus import __version__
from isthmus._core import require
from isthmus.errors import DataError, IsthmusError

#: Data sets that need neither file nor download.
NAMED = ("digits", "pump")
#: Rows that `explain` returns at most.
MAX_ROWS = 100


def path_within(folder: Path, given: str) -> str:
    """Return a path that an assistant named, made absolute, if it is in the folder.

    Raises
    ------
    DataError
        When it is elsewhere, also by way of a link.

    Examples
    --------
    >>> path_within(Path("/data"), "press/new.csv")
    '/data/press/new.csv'
    """
    root = folder.resolve()
    path = (root / given).resolve()
    if not path.is_relative_to(root):
        raise DataError(
            f"got the path {given!r}, expected one in {root}, which isthmus mcp was started for; "
            "copy the file there, or start it with another --folder"
        )
    return str(path)


async def run_command(folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Run an `isthmus` command in the folder, and return its JSON.

    Raises
    ------
    ToolError
        With the command's message, when it fails.
    """
    import anyio
    from mcp.server.mcpserver.exceptions import ToolError

    with tempfile.TemporaryDirectory() as temporary:
        facts = Path(temporary) / "facts.json"
        command = [sys.executable, "-m", "isthmus", *arguments, "--json", str(facts)]
        done = await anyio.run_process(command, cwd=folder, check=False)
        messages = done.stderr.decode(errors="replace").strip()
        if done.returncode != 0:
            raise ToolError(messages or f"isthmus ended with status {done.returncode}")
        found: dict[str, Any] = json.loads(facts.read_text("utf-8"))
    return found | ({"messages": messages.splitlines()} if messages else {})


def build_mcp_server(folder: str | Path = ".") -> Any:
    """Return a server whose tools work on files in one folder.

    Its tools are `fit`, `predict`, `explain`, `report` and `info`; `run()` serves them on
    standard input and output. Nothing listens on the network.

    Parameters
    ----------
    folder : path, default="."
        Data is read there, and bundles, predictions and reports are written there.

    Returns
    -------
    mcp.server.MCPServer

    Raises
    ------
    DataError
        When there is no such folder.
    MissingExtraError
        When mcp is not installed.

    References
    ----------
    Model Context Protocol, https://modelcontextprotocol.io

    Examples
    --------
    >>> from isthmus.integrations import build_mcp_server
    >>> build_mcp_server("models/").run()  # doctest: +SKIP
    """
    require("mcp", extra="mcp", purpose="isthmus mcp (a server for assistants)")
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"got --folder {folder}, expected a folder that exists; make it first")
    server = MCPServer("isthmus", version=__version__)

    def tool(function: Callable[..., Awaitable[dict[str, Any]]]) -> None:
        """Make a tool of a function; what isthmus refuses is the tool's answer."""

        @functools.wraps(function)
        async def answer(**given: Any) -> dict[str, Any]:
            try:
                return await function(**given)
            except IsthmusError as error:
                raise ToolError(str(error)) from None

        server.tool()(answer)

    def data_path(data: str) -> str:
        if data in NAMED:
            return data
        path = path_within(root, data)
        inside = Path(path).relative_to(root)
        pattern = str(inside / "**" / "*") if Path(path).is_dir() else str(inside)
        for one in root.glob(pattern):
            path_within(root, str(one))  # a link in a folder of files may lead elsewhere
        return path

    def options(**given: str | float | None) -> list[str]:
        """Return options with values, joined so that a value cannot be another option."""
        pairs = ((f"--{name.replace('_', '-')}", value) for name, value in given.items())
        return [f"{name}={value}" for name, value in pairs if value is not None]

    @tool
    async def fit(
        data: str,
        bundle: str,
        label: str | None = None,
        normal: str | None = None,
        key: str | None = None,
        kind: str | None = None,
        time: str | None = None,
        false_alarm_rate: float = 0.05,
    ) -> dict[str, Any]:
        """Learn what is normal from a file, and write a bundle: an encoder and a detector.

        `label` is a column of labels, `normal` the value in it that means normal, `key` a column
        that identifies rows. A long table of sensors has kind "series" and a `time` column.
        """
        arguments = ["fit", data_path(data), "-o", path_within(root, bundle), "--detector"]
        given = options(label=label, normal=normal, key=key, kind=kind, time=time)
        given += options(false_alarm_rate=false_alarm_rate)
        return await run_command(root, [*arguments, *given])

    @tool
    async def predict(
        bundle: str,
        data: str,
        output: str,
        label: str | None = None,
        key: str | None = None,
        time: str | None = None,
    ) -> dict[str, Any]:
        """Decide on each row of a file, write a CSV file, and return counts and the first rows."""
        arguments = ["predict", path_within(root, bundle), data_path(data)]
        arguments += ["-o", path_within(root, output), *options(label=label, key=key, time=time)]
        return await run_command(root, arguments)

    @tool
    async def explain(
        bundle: str, data: str, rows: int = 10, label: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """Return the most abnormal rows of a file, by number from 0, with the reasons for each."""
        if not 1 <= rows <= MAX_ROWS:
            raise DataError(f"got rows={rows}, expected 1 to {MAX_ROWS}")
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / "explained.csv"
            arguments = ["predict", path_within(root, bundle), data_path(data), "--explain"]
            arguments += ["-o", str(file), *options(label=label, key=key)]
            facts = await run_command(root, arguments)
            table = pd.read_csv(file)
        number = "row_number" if "row" in table.columns else "row"
        table = table.rename_axis(number).reset_index()
        table = table.sort_values("anomaly_score", ascending=False, kind="stable").head(rows)
        return facts | {"output": None, "rows": json.loads(table.to_json(orient="records"))}

    @tool
    async def report(
        bundle: str,
        data: str,
        output: str = "report.html",
        label: str | None = None,
        normal: str | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Write a report on a bundle and a file as one HTML page, and return its summary."""
        page = path_within(root, output)
        arguments = ["report", path_within(root, bundle), data_path(data), "-o", page]
        facts = await run_command(root, [*arguments, *options(label=label, normal=normal, key=key)])
        return {"output": page} | {k: facts[k] for k in ("summary", "messages") if k in facts}

    @tool
    async def info(bundle: str) -> dict[str, Any]:
        """Return what a bundle contains: the data it was fitted on, its encoder and its heads."""
        return await run_command(root, ["info", path_within(root, bundle)])

    return server
