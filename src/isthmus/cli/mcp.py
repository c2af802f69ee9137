"""`isthmus mcp`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mcp(
    folder: Annotated[
        Path,
        typer.Option(help="The only folder in which files are read and written."),
    ] = Path(),
) -> None:
    """Serve fit, predict, explain, report and info to an assistant, by the Model Context Protocol.

    An assistant's program starts this command, and speaks with it by standard input and output;
    nothing listens on the network. Files are read and written in --folder alone.
    """
    from isthmus.integrations import build_mcp_server

    build_mcp_server(folder).run()
