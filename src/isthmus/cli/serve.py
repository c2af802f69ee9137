"""`isthmus serve` and `isthmus mcp`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    bundles: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE...",
            help="Folders that isthmus export or isthmus fit wrote, or NAME=FOLDER. The first is "
            "served at /predict, each at /bundles/NAME/predict.",
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the loopback needs --token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="ISTHMUS_TOKEN",
            help="Token that every request must have: Authorization: Bearer TOKEN. Better set in "
            "the environment, where other users of the machine do not see it.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="File of JSON Lines that POST /labels appends to.")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of one prediction; 0 is one per core.")
    ] = 0,
    root_path: Annotated[
        str,
        typer.Option(
            metavar="<path>",
            help="Path that a proxy serves this service under, such as /models. The proxy may "
            "remove it from requests or not.",
        ),
    ] = "",
    monitors: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the states of the detectors' monitors, which then survive a restart; "
            "by default one in the user's cache."
        ),
    ] = None,
    body_mb: Annotated[
        int, typer.Option(min=1, help="Maximum size of a request body, in MiB.")
    ] = 16,
    rows: Annotated[
        int, typer.Option(min=1, help="Maximum number of instances in a request.")
    ] = 10_000,
    points: Annotated[
        int, typer.Option(min=1, help="Maximum number of time points of a series in a request.")
    ] = 100_000,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Maximum time for a response, in seconds.")
    ] = 30.0,
    body_seconds: Annotated[
        float, typer.Option(min=0.1, help="Maximum time for a body to arrive, in seconds.")
    ] = 10.0,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Maximum number of requests at a time.")
    ] = 64,
    connections: Annotated[
        int, typer.Option(min=1, help="Maximum number of open connections.")
    ] = 1000,
) -> None:
    """Serve predictions over HTTP, without torch, with a web page at / to try them.

    Programs use /predict, /points, /encode, /explain, /nearest and /labels, which /openapi.json
    describes.

    Every row that /predict answers counts for the monitor of its detectors: /monitor, /metrics and
    the page say whether the promise of the false-alarm rate still holds. ?monitor=false leaves the
    rows of a request out, as the page does.

    A new version of a bundle is loaded when it is written to disk, and no request is dropped. A
    bundle that is not an export is exported first, in a process of its own.

    Ctrl-C or SIGTERM stops the service when the requests in flight are answered: exit status 0
    after SIGTERM, 130 after Ctrl-C.
    """
    from isthmus._core import require
    from isthmus.cli.commands import exit_cleanly_on_sigterm

    for module in ("fastapi", "uvicorn", "onnxruntime", "prometheus_client"):
        require(module, extra="serve", purpose="serving over HTTP")
    from isthmus.serve import Limits
    from isthmus.serve import serve as run

    limits = Limits(
        body_bytes=body_mb * 2**20,
        bodies_bytes=16 * body_mb * 2**20,
        rows=rows,
        points=points,
        seconds=seconds,
        body_seconds=body_seconds,
        in_flight=in_flight,
        connections=connections,
    )
    with exit_cleanly_on_sigterm():
        run(
            bundles,
            host,
            port,
            token=token,
            limits=limits,
            labels=labels,
            threads=threads,
            root_path=root_path,
            monitors=monitors,
            ready=lambda address: print(
                f"serving at {address}, open it in a browser; for programs see "
                f"{address}/openapi.json",
                flush=True,
            ),
        )


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
