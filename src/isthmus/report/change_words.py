"""What changed, in sentences."""

from __future__ import annotations

from typing import Any

from isthmus.evaluation.drift import FEWEST


def drift_in_words(facts: dict[str, Any], n_new: int) -> str:
    """Say what the drift tests found, or why there is none.

    Parameters
    ----------
    facts : dict
        `found`, `n_kept` and `dependent`, see `change_facts`.
    n_new : int
        Instances that the encoder was not trained on.
    """
    found = facts["found"]
    if found is None:
        if facts["n_kept"] < FEWEST:
            return (
                f"The encoder kept {facts['n_kept']:,} instances that it was not trained on, and a "
                f"test for drift needs {FEWEST}: train with more instances, or with a larger "
                "validation_fraction."
            )
        return (
            f"New to the encoder: {n_new:,} of these instances; a test for drift needs {FEWEST}: "
            "look at more."
        )
    against = f"{found['n_reference']:,} that the encoder was not trained on"
    codes, errors = (_p(found[name]["adjusted"]) for name in ("codes", "errors"))
    chance = f"{found['level']:.0%}" if found["level"] >= 0.01 else f"{found['level']:.2%}"
    if not found["drifted"]:
        said = (
            f"No change is to be seen: codes ({codes}) and reconstruction errors ({errors}) of "
            f"{found['n']:,} new instances are like those of {against}."
        )
    else:
        what = [
            f"{words} ({p})"
            for name, words, p in (
                ("codes", "the codes", codes),
                ("errors", "the reconstruction errors", errors),
            )
            if found[name]["changed"]
        ]
        said = (
            f"Something has changed: {' and '.join(what)} of {found['n']:,} new instances are "
            f"not like those of {against}."
        )
    said += f" {_how_much(found)} Where nothing has changed, a change is seen with a chance of "
    said += f"{chance} at most."
    if facts["dependent"]:
        said += " That is for independent instances: windows that overlap raise it."
    return said


def errors_in_words(
    found: dict[str, Any] | None, *, same: bool, comparable: bool, level: float
) -> str:
    """Say whether one of two encoders rebuilds the same instances better."""
    if same:
        return "The encoder is the same."
    if not comparable:
        return (
            "The encoder is another one, and so are the units of its errors: they cannot be "
            "compared."
        )
    if found is None:
        return "The encoder is another one; there is no instance here that is new to both."
    errors = found["median_error"]
    said = (
        f"The encoder is another one: the typical error of {found['n']:,} instances that are new "
        f"to both was {errors['then']:.3g} and is {errors['now']:.3g}, and {found['better']:.0%} "
        "are rebuilt better than before"
    )
    return f"{said} ({_p(found['adjusted'])}{_or_chance(found, level)})."


def head_in_words(head: dict[str, Any], level: float) -> str:
    """Say what a head decides otherwise, and whether that is better."""
    changed, n = head["changed"], head["n"]
    said = (
        f"{head['name']!r} decides otherwise on {changed['count']:,} of {n:,} instances "
        f"({changed['share']:.1%})"
    )
    if head["kind"] == "classifier":
        if head["test"] is None:
            return f"{said}; without labels nobody can say which is right."
        accuracy, test = head["accuracy"], head["test"]
        return (
            f"{said}: {accuracy['then']:.1%} were right before, {accuracy['now']:.1%} are now "
            f"({_p(test['adjusted'])}{_or_chance(test, level)})."
        )
    flagged = head["flagged"]
    said += f": it flagged {flagged['then']:,} before and flags {flagged['now']:,} now"
    for name, words in (("false_alarms", "of the normal"), ("found", "of the abnormal")):
        group = head[name]
        if group is not None:
            test = group["test"]
            said += (
                f"; {words} {group['then']:.1%} before, {group['now']:.1%} now "
                f"({_p(test['adjusted'])}{_or_chance(test, level)})"
            )
    return f"{said}."


def _how_much(found: dict[str, Any]) -> str:
    error, high = found["median_error"], found["high"]
    said = f"{high['share']:.1%} have an error so high that {high['expected']:.1%} were expected to"
    if error["ratio"] is None:
        return f"{said}."
    between = ""
    if error["interval"] is not None:
        low, top = error["interval"]
        between = f" (95 % interval {low:.2f} to {top:.2f})"
    return f"The typical error is {error['ratio']:.2f} times what it was{between}, and {said}."


def _or_chance(test: dict[str, Any], level: float) -> str:
    return "" if test["adjusted"] <= level else ", which may be chance"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
