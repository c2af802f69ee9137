"""The same facts as Markdown, for a repository or a ticket."""

from __future__ import annotations

from typing import Any


def to_markdown(facts: dict[str, Any]) -> str:
    """Return a report's facts as Markdown.

    Values from the data are written so that they stay text: no markup in a class name has any
    effect.
    """
    lines = ["# isthmus report", "", _text(facts["summary"]), ""]
    about = facts["about"]
    lines += [f"- {name}: `{about[name]}`" for name in ("created", "version", "recipe", "digest")]
    if facts["command"]:
        lines.append(f"- written by `{facts['command'].replace('`', '')}`")
    lines.append("")
    if facts["data"]:
        lines += ["## Data", ""]
        lines += [f"- **Be wary.** {_text(warning)}." for warning in facts["data"]["warnings"]]
        for name, part in facts["data"]["parts"].items():
            lines.append(f"- {name}: {part['n']:,} instances, {part['n_labelled']:,} labelled")
        drawn = facts["data"]["drawn"]
        if drawn:
            lines.append(f"- {drawn['n']:,} of {drawn['of']:,} instances, drawn at random")
        lines.append("")
    if facts["worth"]:
        lines += ["## Does the code earn its keep?", "", _text(facts["worth"]["verdict"]), ""]
        lines += _worth(facts["worth"]["curves"])
    for found in facts["classes"]:
        low, high = found["interval"]
        lines += [f"## Which class: {_text(found['name'])}", ""]
        lines += [
            f"{found['accuracy']:.2%} of {found['n']:,} test instances right "
            f"({low:.2%} to {high:.2%}).",
            "",
        ]
        rows = [
            [_text(one["label"]), *(f"{one[key]:.1%}" for key in ("precision", "recall", "f1"))]
            for one in found["per_class"]
        ]
        lines += _table(["class", "precision", "recall", "F1"], rows)
    for found in facts["verdicts"]:
        lines += [f"## Normal or not: {_text(found['name'])}", ""]
        lines.append(
            f"Asked to call at most {found['asked']:.2%} of normal instances abnormal; calls "
            f"{found['flagged']:,} of {found['n']:,} so."
        )
        lines.append("")
        if found["found"] and found["found"]["auroc"] is not None:
            known = found["found"]
            lines += [
                f"False alarms {known['false_alarms']['share']:.2%}, caught "
                f"{known['power']['share']:.1%}, AUROC {known['auroc']:.4f}.",
                "",
            ]
    if facts["changes"]:
        lines += ["## What changed", "", _text(facts["changes"]["drift"]["verdict"]), ""]
        earlier = facts["changes"]["earlier"]
        if earlier:
            said = [earlier["verdict"], *(head["verdict"] for head in earlier["heads"])]
            lines += [f"Since {_text(earlier['name'])}: {_text(' '.join(said))}", ""]
    return "\n".join(lines)


def _worth(curves: dict[str, list[dict[str, Any]]]) -> list[str]:
    counts = sorted({point["n_labels"] for points in curves.values() for point in points})
    rows = []
    for n in counts:
        found = [
            next((f"{p['accuracy']:.1%}" for p in points if p["n_labels"] == n), "")
            for points in curves.values()
        ]
        rows.append([f"{n:,}", *found])
    return _table(["labels", *curves], rows)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def _text(value: Any) -> str:
    """Escape what Markdown, and the HTML in it, would take for markup."""
    text = str(value).replace("\n", " ")
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#" else sign for sign in text)
