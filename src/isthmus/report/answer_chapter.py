"""The answer, first on the page: a sentence for each head, figures as cards, and one picture."""

from __future__ import annotations

from typing import Any

from isthmus.detection import as_duration
from isthmus.evaluation import BASELINE_TITLES
from isthmus.report.comparison_chapter import CODE
from isthmus.report.flagged_cases import NEARLY_ALL
from isthmus.report.wording import describe_code, percent, times

#: Whether to trust that the data is of the source that the detector knows, by kind.
SAME_SOURCE = {
    "series": "is this the same machine, in the same setting?",
    "images": "are these of the same camera, in the same setting?",
    "table": "is this of the same source, in the same units?",
}
#: Columns that moved which a card names.
N_COLUMNS = 4
#: Classes up to which a confusion matrix is the picture.
MAX_CLASSES = 20


def answer_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what a report says first.

    Parameters
    ----------
    facts : dict
        All other chapters, see `report_facts`.

    Returns
    -------
    dict
        `sentences`; `cards`, each with `title`, `value` (a few characters), `words` that say what
        it means, and `tone`, "plain" or "warning"; `picture`, the `kind`, "alarms", "scores",
        "confusion", "history" or None, and the `name` of the head that it is of.

    Examples
    --------
    >>> facts = {"classes": [], "verdicts": [], "flagged": [], "alarms": [], "changes": None}
    >>> facts |= {"about": {"kind": "table"}, "data": None, "baseline_comparison": None}
    >>> facts["code"] = {"n_values": 6, "n_components": 2, "history": []}
    >>> answer_facts(facts)["sentences"]
    ['Each row of 6 columns becomes a code of 2 numbers, 3 times fewer.']
    """
    answer: dict[str, Any] = {"sentences": [], "cards": [], "picture": _picture(facts)}
    for found in facts["alarms"]:
        _add_alarms(answer, found, SAME_SOURCE[facts["about"]["kind"]])
    if facts["classes"]:
        _add_classes(answer, ranked(facts["classes"]), facts["baseline_comparison"])
    tested = {found["name"]: found for found in facts["verdicts"]}
    for flagged in facts["flagged"]:
        several, same = len(facts["flagged"]) > 1, SAME_SOURCE[facts["about"]["kind"]]
        _add_detector(answer, flagged, tested.get(flagged["name"]), several, same)
    if not answer["cards"]:
        _add_code(answer, facts)
    if facts["changes"] is not None:
        _add_drift(answer, facts["changes"]["drift"], facts["changes"]["moved_columns"])
    return answer


def ranked(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return heads by their accuracy, or detectors by their AUROC, the best first."""

    def worth(one: dict[str, Any]) -> float:
        if "accuracy" in one:
            return float(one["accuracy"])
        return float((one["found"] or {}).get("auroc") or -1)

    return sorted(found, key=worth, reverse=True)


def _card(title: str, value: str, words: str, tone: str = "plain") -> dict[str, str]:
    return {"title": title, "value": value, "words": words, "tone": tone}


def _picture(facts: dict[str, Any]) -> dict[str, Any]:
    charted = [found["name"] for found in facts["alarms"] if found["charts"]]
    if charted:
        return {"kind": "alarms", "name": charted[0]}
    if facts["classes"]:
        best = ranked(facts["classes"])[0]
        if 2 <= len(best["classes"]) <= MAX_CLASSES:
            return {"kind": "confusion", "name": best["name"]}
    if facts["verdicts"]:
        return {"kind": "scores", "name": ranked(facts["verdicts"])[0]["name"]}
    if facts["code"]["history"] and not facts["classes"] and not facts["flagged"]:
        return {"kind": "history", "name": None}
    return {"kind": None, "name": None}


def _add_classes(
    answer: dict[str, Any], found: list[dict[str, Any]], comparison: dict[str, Any] | None
) -> None:
    best = found[0]
    low, high = best["interval"]
    answer["sentences"].append(
        f"The head '{best['name']}' gives {percent(best['accuracy'])} of {best['n']:,} test "
        "instances the right class."
    )
    several = f", the best of {len(found)} heads" if len(found) > 1 else ""
    answer["cards"].append(
        _card(
            "Accuracy",
            percent(best["accuracy"]),
            f"of the head '{best['name']}'{several}; 95 % interval {percent(low)} to "
            f"{percent(high)}, on {best['n']:,} test instances",
        )
    )
    wrong = round((1 - best["accuracy"]) * best["n"])
    if best["cells"]:
        cell = best["cells"][0]
        answer["cards"].append(
            _card(
                "Mistakes",
                f"{wrong:,} of {best['n']:,}",
                f"most often {cell['label']} predicted as {cell['predicted']} ({cell['count']:,})",
            )
        )
    if comparison is not None:
        at_most = {
            name: points[-1]["accuracy"]
            for name, points in comparison["curves"].items()
            if name not in (CODE, BASELINE_TITLES["supervised"])
        }
        name = max(at_most, key=at_most.__getitem__)
        code = comparison["curves"][CODE][-1]["accuracy"]
        words = (
            f"the best accuracy without the code, of a {comparison['head']} head on {name}; on the "
            f"code the same head has {percent(code)}"
        )
        answer["cards"].append(_card("Baseline", percent(at_most[name]), words))


def _add_detector(
    answer: dict[str, Any],
    flagged: dict[str, Any],
    tested: dict[str, Any] | None,
    several: bool,
    same_source: str,
) -> None:
    n, n_flagged, asked = flagged["n"], flagged["n_flagged"], flagged["asked"]
    of = f" ({flagged['name']})" if several else ""
    share = percent(n_flagged / n, 2)
    nearly_all = flagged["nearly_all"]
    found = None if tested is None else tested["found"]
    sentence = (
        f"The detector '{flagged['name']}' flags {n_flagged:,} of {n:,} instances as abnormal "
        f"({share})."
    )
    if nearly_all:
        sentence += f" That is nearly all: {same_source}"
    elif found is None or not (found["n_normal"] or found["n_abnormal"]):
        chance = f"about {asked * n:,.0f}" if asked * n >= 1 else "less than one"
        sentence += (
            f" Were all of them normal, {chance} would be flagged at the rate asked, "
            f"{percent(asked, 2)}."
        )
    answer["sentences"].append(sentence)
    reasons = any(one["reasons"] for one in flagged["cases"])
    words = f"{share} of the instances, listed below{' with reasons' if reasons else ''}"
    if nearly_all:
        words = f"nearly all: {same_source}"
    tone = "warning" if nearly_all else "plain"
    answer["cards"].append(_card(f"Flagged{of}", f"{n_flagged:,} of {n:,}", words, tone))
    if found is not None and found["n_abnormal"]:
        low, high = found["power"]["interval"]
        words = (
            f"labelled abnormal and flagged: {percent(found['power']['share'])}, 95 % interval "
            f"{percent(low)} to {percent(high)}"
        )
        value = f"{found['power']['count']:,} of {found['n_abnormal']:,}"
        answer["cards"].append(_card(f"Found{of}", value, words))
    elif flagged["n_labels_known"] or flagged["n_labels_new"]:
        value, words = f"{flagged['n_abnormal']:,}", _labels_without_test(flagged)
        answer["cards"].append(_card(f"Labelled abnormal{of}", value, words))
    if found is not None and found["n_normal"]:
        false = found["false_alarms"]
        low, high = false["interval"]
        words = (
            f"of {found['n_normal']:,} normal instances; asked {percent(asked, 2)}; 95 % interval "
            f"{percent(low, 2)} to {percent(high, 2)}"
        )
        tone = "warning" if low > asked else "plain"
        answer["cards"].append(_card(f"False alarms{of}", percent(false["share"], 2), words, tone))
    else:
        words = (
            "asked, at most; what is realised is not known: no instance here is labelled normal "
            "and new to the detector"
        )
        answer["cards"].append(_card(f"False alarms{of}", percent(asked, 2), words))


def _labels_without_test(flagged: dict[str, Any]) -> str:
    """Return what labels of flagged instances say where they are no test of the detector."""
    words = f"of the flagged are labelled abnormal, {flagged['n_normal']:,} normal"
    n = flagged["n_abnormal"] + flagged["n_normal"]
    known, new = flagged["n_labels_known"], flagged["n_labels_new"]
    if known == n:
        return f"{words}; these labels were used in the fit, so they test nothing"
    if new == n:
        return (
            f"{words}; the detector was fitted on these rows, though not on these labels: of new "
            "rows it may find another share"
        )
    if known:
        words += f"; {known:,} of these labels were used in the fit, so they test nothing"
    if new:
        words += f"; {new:,} are of rows that it was fitted on without these labels"
    return words


def _add_alarms(answer: dict[str, Any], found: dict[str, Any], same_source: str) -> None:
    n, step = found["n_alarms"], found["step"]
    share = found["n_abnormal"] / max(1, found["n_scored"])
    nearly_all = share >= NEARLY_ALL
    answer["sentences"].append(f"The detector '{found['name']}' gave {found['words']}")
    if nearly_all:
        answer["sentences"].append(f"Nearly all time points are abnormal: {same_source}")
    over = f"{found['n_points']:,} time points"
    if step is not None:
        over = as_duration(found["n_points"], step)
    worst = f", most often by {found['channels'][0]['name']}" if found["channels"] else ""
    tone = "warning" if nearly_all else "plain"
    answer["cards"].append(_card("Alarms", f"{n:,}", f"in {over}{worst}", tone))
    measures = found["measures"]
    if measures is not None and measures["events"]["n"]:
        events, delay = measures["events"], measures["delay"]["mean"]
        words = "abnormal by label"
        if delay is not None:
            words += f"; found {as_duration(delay, step)} after they began, on average"
        value = f"{events['n_found']:,} of {events['n']:,}"
        answer["cards"].append(_card("Events found", value, words))
    realised = found["calibration"]["realised"]
    by_rate = "false_alarm_rate" in found["calibration"]
    held = (
        f"{percent(realised['realised'], 2)} of normal time points held out at fit"
        if by_rate
        else f"{found['calibration']['n_alarms_held_out']:,} on "
        f"{found['calibration']['n_held_out']:,} normal time points held out at fit"
    )
    words = f"asked: {found['asked']}; realised: {held}"
    value = percent(realised["realised"], 2) if by_rate else "–"
    if measures is not None:
        value = f"{measures['false_alarms']['count']:,}"
        words = f"by the labels; {words}"
    answer["cards"].append(_card("False alarms", value, words))


def _add_drift(
    answer: dict[str, Any], drift: dict[str, Any], columns: dict[str, Any] | None
) -> None:
    found = drift["found"]
    names = [one["name"] for one in columns["moved"]] if columns else []
    more = f" and {len(names) - N_COLUMNS:,} more" * (len(names) > N_COLUMNS)
    moved = f"columns that moved: {', '.join(names[:N_COLUMNS])}{more}" if names else ""
    if found is None:
        if moved:
            answer["cards"].append(_card("Drift", "found", moved, "warning"))
        else:
            value = "not tested" if columns is None else "no column moved"
            answer["cards"].append(_card("Drift", value, drift["untested"]))
        return
    against = {"calibration": "rows that calibrated", "held out": "instances held out at fit"}
    words = f"{found['n']:,} new instances against {found['n_reference']:,} "
    words += against[drift["drift_reference"]]
    ratio = found["median_error"]["ratio"]
    if ratio is not None:
        words += f"; their median error is {times(ratio)} times as large"
    words += f"; {moved}" if moved else ""
    value, tone = ("found", "warning") if found["drifted"] or moved else ("none found", "plain")
    answer["cards"].append(_card("Drift", value, words, tone))


def _add_code(answer: dict[str, Any], facts: dict[str, Any]) -> None:
    code = facts["code"]
    words = describe_code(facts["about"]["kind"], code["n_values"], code["n_components"])
    answer["sentences"].append(words)
    answer["cards"].append(
        _card("Code", f"{code['n_values']:,} → {code['n_components']:,}", "values, and numbers")
    )
    if "error" in code:
        worst = code["error"]["quantiles"][-1][1]
        words = f"mean of {code['error']['n']:,} instances; 95 % are below {worst:.4g}"
        answer["cards"].append(_card("Reconstruction error", f"{code['error']['mean']:.4g}", words))
    if facts["data"] is not None:
        answer["sentences"].append(
            "The bundle has no head that these instances test: it describes them, and decides "
            "nothing on them yet."
        )
