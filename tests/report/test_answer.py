"""The first screen of a report and its flagged cases, on a bank's table with few labels."""

import numpy as np
import pandas as pd
import pytest

from _layout import WINDOWS, faults, violations
from isthmus import AnomalyDetector, Autoencoder, Dataset, load_bundle, save_bundle
from isthmus.plots import plot_reliability
from isthmus.report import code_chapter, report_facts, write_report
from isthmus.report.answer_chapter import answer_facts
from isthmus.report.data_chapter import column_facts

N, N_FRAUDS = 400, 8


def payments(n=N, seed=0):
    """Payments: amounts, dates and categories; the first eight are unlike the others."""
    rng = np.random.default_rng(seed)
    minutes = pd.to_timedelta(rng.integers(0, 500_000, n), unit="min")
    table = pd.DataFrame(
        {
            "amount": np.round(np.exp(rng.normal(3, 0.8, n)), 2),
            "date": (pd.Timestamp("2025-01-01") + minutes).strftime("%Y-%m-%d %H:%M"),
            "merchant_category": rng.choice(["groceries", "fuel", "restaurant"], n),
            "card_present": rng.random(n) < 0.8,
            "number_of_transactions_in_24_hours": rng.poisson(2, n),
        }
    )
    table.loc[: N_FRAUDS - 1, "amount"] *= 400
    table.loc[: N_FRAUDS - 1, "number_of_transactions_in_24_hours"] += 40
    return table


def as_data(table, y=None):
    names = pd.DataFrame({"transaction_id": [f"T{at:05d}" for at in range(len(table))]})
    return Dataset(table, y, keys=names, name="payments.csv")


@pytest.fixture(scope="module")
def labels():
    """Of three frauds and thirty others; the rest have none."""
    y = np.full(N, None, dtype=object)
    y[:3], y[20:50] = "fraud", "ok"
    return y


@pytest.fixture(scope="module")
def bank(labels, tmp_path_factory):
    """A bundle fitted on the whole file, with its few labels."""
    detector = AnomalyDetector(
        Autoencoder(4, max_epochs=4, random_state=0),
        false_alarm_rate=0.02,
        calibration="split",
        normal="ok",
        random_state=0,
    ).fit(payments(), labels)
    path = tmp_path_factory.mktemp("bank") / "bank"
    save_bundle(path, detector.encoder_, {"normal": detector})
    return load_bundle(path)


@pytest.fixture(scope="module")
def report(bank, labels, tmp_path_factory):
    """The page on the file that was fitted on, and its facts."""
    path = tmp_path_factory.mktemp("answer") / "report.html"
    return path, write_report(bank, path, as_data(payments(), labels))


def test_labels_that_were_not_used_in_the_fit_are_not_said_to_be(bank, labels, monkeypatch):
    monkeypatch.setattr(code_chapter, "MAX_ON_MAP", 25)
    y = labels.copy()
    y[3:N_FRAUDS] = "fraud"  # known since
    facts = report_facts(bank, as_data(payments(), y))
    (found,) = facts["flagged"]
    words = card(facts, "Labelled abnormal")["words"]
    assert found["n_labels_known"] == 3 + found["n_normal"]
    assert found["n_labels_new"] == found["n_abnormal"] - 3 > 0
    assert f"; {found['n_labels_known']} of these labels were used in the fit" in words
    assert f"; {found['n_labels_new']} are of rows that it was fitted on without" in words
    # None of them was known, as where labels came later.
    y[:3], y[21:50] = None, None
    facts = report_facts(bank, as_data(payments(), y))
    assert facts["flagged"][0]["n_labels_known"] == 0
    assert "though not on these labels" in card(facts, "Labelled abnormal")["words"]
    # New rows that are all normal: how many are flagged says another card.
    new = payments(seed=1)[N_FRAUDS:].reset_index(drop=True)
    facts = report_facts(bank, as_data(new, np.full(len(new), "ok", dtype=object)))
    assert [one["title"] for one in facts["answer"]["cards"]][:2] == ["Flagged", "False alarms"]
    # What chance flags is said of instances that may be normal.
    facts["verdicts"][0]["found"] = None
    (sentence,) = answer_facts(facts)["sentences"]
    assert (
        "Were all of them normal, about 8 would be flagged at the rate asked, 2.00 %." in sentence
    )
    known = {
        "n_normal": 0,
        "n_abnormal": 3,
        "power": {"count": 1, "share": 0.3, "interval": [0, 1]},
    }
    facts["verdicts"][0]["found"] = known
    assert "Were all" not in answer_facts(facts)["sentences"][0]


def card(facts, title):
    (found,) = [one for one in facts["answer"]["cards"] if one["title"] == title]
    return found


def test_a_file_that_was_fitted_on_has_its_flagged_cases(report, bank):
    _, facts = report
    (found,) = facts["flagged"]
    detector = bank.heads["normal"]
    flagged = np.flatnonzero(detector.predict(payments()) == -1)
    cases = [one for one in found["cases"] if one["flagged"]]

    assert facts["verdicts"] == []
    assert {one["row"] for one in cases} == set(flagged)
    assert set(range(N_FRAUDS)) <= set(flagged)
    assert found["n_flagged"] == found["n_known"] == len(flagged)
    assert [one["ids"] for one in cases] == [[f"T{one['row']:05d}"] for one in cases]
    scores = -detector.score_samples(payments())
    assert [one["score"] for one in cases] == pytest.approx(sorted(scores[flagged])[::-1])
    assert [one["given"] for one in cases if one["row"] < 3] == ["fraud"] * 3
    (reasons,) = [one["reasons"] for one in cases if one["row"] == 0]
    assert {"amount", "number_of_transactions_in_24_hours"} <= {one["name"] for one in reasons}
    values = {one["name"]: one["value"] for one in reasons}
    assert float(values["amount"]) == pytest.approx(payments()["amount"][0], rel=1e-4)
    assert card(facts, "Flagged")["value"] == f"{len(flagged)} of {N}"
    assert "not known" in card(facts, "False alarms")["words"]


def test_new_rows_are_compared_with_those_that_calibrated(bank):
    new = payments(seed=1)[N_FRAUDS:]
    facts = report_facts(bank, as_data(new))
    found = facts["changes"]["drift"]["found"]
    assert facts["changes"]["drift"]["drift_reference"] == "calibration"
    assert found["n"] == len(new)
    assert found["n_reference"] == bank.heads["normal"].n_calibration_
    # The errors that the reference has are those of the encoder.
    held_out = payments().iloc[
        np.isin(
            bank.encoder.row_hashes(payments()),
            bank.heads["normal"].reference_set_.hashes[
                bank.heads["normal"].reference_set_.folds[0].held_out
            ],
        )
    ]
    errors = bank.encoder.reconstruction_error(held_out)
    assert found["median_error"]["then"] == pytest.approx(np.median(errors), rel=0.05)

    other = new.assign(amount=new["amount"] * 1000, date="2031-01-01 00:00")
    facts = report_facts(bank, as_data(other))
    assert card(facts, "Drift") == card(facts, "Drift") | {"value": "found", "tone": "warning"}
    assert any("the same source, in the same units?" in one for one in facts["answer"]["sentences"])


def test_where_there_is_no_drift_to_tell_a_sentence_says_why(report):
    _, facts = report
    assert card(facts, "Drift")["value"] == "not tested"
    assert facts["changes"]["drift"]["verdict"].startswith("There is no drift to tell: ")


def test_dates_are_called_dates(report):
    _, facts = report
    of = {one["name"]: one for one in facts["data"]["columns"]}
    assert [one["holds"] for one in of.values()] == [
        "number", "date", "category", "yes or no", "number",
    ]  # fmt: skip
    dates = pd.to_datetime(payments()["date"])
    assert of["date"]["dates"]["minimum"] == str(dates.min())
    assert of["date"]["dates"]["maximum"] == str(dates.max())
    assert sum(of["date"]["dates"]["counts"]) == N
    with_gap = pd.DataFrame({"day": pd.to_datetime(["2024-05-01", None, "2024-05-03"])})
    (day,) = column_facts(with_gap)
    assert day["missing"] == pytest.approx(1 / 3)
    assert day["dates"]["maximum"] == "2024-05-03 00:00:00"


def test_the_points_of_a_reliability_curve_have_enough_instances():
    bins = [
        {"n": n, "confidence": (at + 0.5) / 10, "accuracy": accuracy}
        for at, (n, accuracy) in enumerate([(1, 1.0), (2, 0.0), (90, 0.3), (3, 1.0), (104, 0.6)])
    ]
    (_, curve) = plot_reliability(bins).axes[0].lines
    x, y = curve.get_data()
    n = [93, 107]
    assert y == pytest.approx([(1 + 27) / 93, (3 + 62.4) / 107])
    assert np.dot(n, y) == pytest.approx(sum(one["n"] * one["accuracy"] for one in bins))
    assert np.dot(n, x) == pytest.approx(sum(one["n"] * one["confidence"] for one in bins))


# in a browser


@pytest.fixture
def opened(window, report, request):
    """The page, in a window of the width given."""
    page = window(*getattr(request, "param", (1440, "light")))
    page.goto(report[0].as_uri())
    return page


@pytest.mark.first
@pytest.mark.parametrize("opened", WINDOWS, indirect=True)
def test_no_word_of_a_table_is_cut_or_broken(opened):
    assert violations(opened) == []
    assert faults(opened) == []
    assert opened.complaints == []


@pytest.mark.first
def test_cases_are_sorted_by_a_column_and_unfolded(opened, report):
    (found,) = report[1]["flagged"]
    table = opened.get_by_role("table").first
    names = table.locator("tbody tr td:nth-child(2)")
    assert names.all_inner_texts()[0] == found["cases"][0]["ids"][0]

    table.get_by_role("button", name="transaction_id").click()

    assert names.all_text_contents() == sorted(one["ids"][0] for one in found["cases"])
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    table.get_by_role("button", name="score").click()
    assert names.all_text_contents() == [one["ids"][0] for one in found["cases"]]
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_the_measure_of_faults_finds_them(tab):
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.set_content(
        "<p style='width:5em;overflow-wrap:anywhere'>merchant_category</p>"
        "<div style='width:4em;white-space:nowrap'>text beyond its card</div>"
        "<div class='scroll' style='overflow:auto'><p style='width:900px'>wide</p></div>"
        "<p style='width:500px'>page</p>"
    )
    found = faults(tab)
    assert [one.split(":")[0].split(" ")[0] for one in found] == [
        "page", "cut", "broken", "beyond",
    ]  # fmt: skip
