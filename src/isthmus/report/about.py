"""Chapter "what this is": the run in one paragraph of plain words."""

from __future__ import annotations

from typing import Any

UNITS = {"images": "pixels", "series": "values", "table": "columns"}
LOSSES = {"bce": "binary cross-entropy per value, nats", "mse": "squared error"}


def about_facts(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what a bundle's manifest says of the run, as plain values."""
    encoder = manifest["encoder"]
    schema, parameters = encoder["schema"], encoder["parameters"]
    return {
        "created": manifest["created"],
        "version": manifest["isthmus_version"],
        "libraries": manifest["libraries"],
        "digest": encoder["digest"],
        "kind": schema["kind"],
        "shape": list(schema["shape"]),
        "recipe": parameters.get("recipe", "default"),
        "architecture": encoder["architecture"]["architecture"],
        "n_components": encoder["architecture"]["n_components"],
        "loss": encoder["loss"],
        "heads": [
            {"name": name, "kind": head["kind"], "head": head.get("head", head.get("method"))}
            for name, head in manifest["heads"].items()
        ],
    }


def in_words(facts: dict[str, Any]) -> str:
    """Say in one paragraph what was done and what came out, from a report's facts."""
    about, code = facts["about"], facts["code"]
    parts = (facts["data"] or {}).get("parts", {})
    sizes = [f"{part['n']:,} {name}" for name, part in parts.items()]
    seen = f" This report looks at {' and '.join(sizes)} instances." if sizes else ""
    drawn = (facts["data"] or {}).get("drawn")
    if drawn is not None:
        seen = f"{seen[:-1]}, drawn at random from {drawn['of']:,}"
        seen += f"; heads are tested on all {drawn['of']:,}." if drawn["heads_on_all"] else "."
    shape = " x ".join(str(side) for side in about["shape"])
    text = (
        f"An autoencoder learned, without labels, to describe {_things(about['kind'], shape)} by "
        f"{code['n_components']:,} numbers in place of {code['n_values']:,} "
        f"{UNITS[about['kind']]}. Its encoder was then frozen: nothing that decides on these codes "
        f"has changed it.{seen}"
    )
    if facts["worth"]:
        text += " " + facts["worth"]["verdict"]
    for found in facts["classes"]:
        text += (
            f" The head {found['name']!r} names the right class of {found['accuracy']:.1%} of "
            f"{found['n']:,} test instances."
        )
    for found in facts["verdicts"]:
        text += (
            f" The detector {found['name']!r} was set to call at most {found['asked']:.2%} of "
            f"normal instances abnormal; it called {found['flagged']:,} of {found['n']:,} so."
        )
    return text


def _things(kind: str, shape: str) -> str:
    return {
        "images": f"images of {shape} pixels",
        "series": f"windows of {shape} (time steps x channels)",
        "table": f"rows of {shape} columns",
    }[kind]
