"""The description as one page: no script, and nothing that is not in it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from isthmus._templates import templates_in

ASSETS = Path(__file__).parent / "assets"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
#: What an example sends, the easiest to have at hand first.
EXAMPLES = {
    "text/csv": "new.csv",
    "image/png": "new.png",
    "application/x-npy": "new.npy",
    "application/json": "request.json",
}
#: More keys of an object than this are counted, not named.
MOST_KEYS = 12


def add_docs(app: FastAPI) -> None:
    """Serve the page at `/docs`, of the description as it is when asked for."""

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        page = docs_page(app.openapi(), str(request.base_url))
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})


def docs_page(description: dict[str, Any], address: str) -> str:
    """Return the page.

    Parameters
    ----------
    description : dict
        Of OpenAPI.
    address : str
        Of the service, for the examples.

    Returns
    -------
    str
        HTML.
    """
    return (
        templates_in(ASSETS)
        .get_template("docs.html.j2")
        .render(info=description["info"], groups=_groups(description, address.rstrip("/")))
    )


def in_words(schema: dict[str, Any], known: dict[str, Any]) -> str:
    """Return what a JSON Schema allows, in short.

    Parameters
    ----------
    schema : dict
    known : dict
        The schemas that others refer to, by name.

    Examples
    --------
    >>> pixels = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    >>> in_words({"type": "array", "items": pixels, "minItems": 1, "maxItems": 9}, {})
    '[1 to 9 × [2 × integer]]'
    >>> in_words({"type": "object", "properties": {"head": {"const": "kind"}}}, {})
    '{head: "kind"}'
    """
    if "$ref" in schema:
        schema = known[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(in_words(one, known) for one in schema["anyOf"]))
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"[{_count(schema)}{in_words(schema['items'], known)}]"
    if "properties" in schema:
        parts = [f"{key}: {in_words(one, known)}" for key, one in schema["properties"].items()]
        more = [f"and {len(parts) - MOST_KEYS} more"] if len(parts) > MOST_KEYS else []
        return "{" + ", ".join(parts[:MOST_KEYS] + more) + "}"
    if schema.get("format") == "binary":
        return "file"
    kinds = schema.get("type", "any value")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _count(schema: dict[str, Any]) -> str:
    least, most = schema.get("minItems"), schema.get("maxItems")
    if most is None:
        return ""
    return f"{most:,} × " if least == most else f"{least or 0:,} to {most:,} × "


def _groups(description: dict[str, Any], address: str) -> list[dict[str, Any]]:
    """Return operations by tag: the first bundle's, the others', those of the service itself."""
    known = description.get("components", {}).get("schemas", {})
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", [""])[0]
            told = _told(method.upper(), path, operation, known)
            if method == "post":
                told["example"] = _example(address + path, operation)
            groups.setdefault(tag, []).append(told)
    order = sorted(groups, key=lambda tag: (not tag, groups[tag][0]["path"].count("/")))
    return [{"name": tag or "the service", "operations": groups[tag]} for tag in order]


def _told(
    method: str, path: str, operation: dict[str, Any], known: dict[str, Any]
) -> dict[str, Any]:
    return {
        "method": method,
        "path": path,
        "id": f"{method.lower()}{path.replace('/', '-')}",
        "summary": operation["summary"],
        "parameters": [
            (one["name"], one["in"], in_words(one["schema"], known), one["schema"].get("default"))
            for one in operation.get("parameters", [])
        ],
        "bodies": _contents(operation.get("requestBody", {}), known),
        "responses": [
            (status, answer["description"], _contents(answer, known))
            for status, answer in sorted(operation["responses"].items())
        ],
        "example": "",
    }


def _contents(holder: dict[str, Any], known: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (kind, in_words(content["schema"], known) if "schema" in content else "text")
        for kind, content in holder.get("content", {}).items()
    ]


def _example(address: str, operation: dict[str, Any]) -> str:
    kinds = operation.get("requestBody", {}).get("content", {})
    parts = [f"curl {shlex.quote(address)}"]
    if operation.get("security"):
        parts.append('-H "Authorization: Bearer $ISTHMUS_TOKEN"')
    for kind in [kind for kind in EXAMPLES if kind in kinds][:1]:
        parts += [f"-H 'Content-Type: {kind}'", f"--data-binary @{EXAMPLES[kind]}"]
    return " \\\n  ".join(parts)
