"""The page at `/` with a bundle that decides on time points: a CSV file of a series, its alarms."""

import csv
import io

import pytest
from _served import machines, running
from test_page_at_root import DROP, choose, decided

from _layout import WINDOWS, faults, violations

pytestmark = pytest.mark.first


@pytest.fixture(scope="module")
def client(machines_folder, parts_folder):
    """A client of a service of a detector on series, and of one on a table."""
    with running([machines_folder / "machines", f"parts={parts_folder}"]) as client:
        yield client


@pytest.fixture(scope="module")
def new():
    """Readings of two machines, with an anomaly in each."""
    return machines(seed=1)


@pytest.fixture
def opened(window, client, request):
    """The page, in a window of the width given."""
    page = window(*getattr(request, "param", (1440, "light")))
    page.goto(f"{client.base_url}/")
    page.locator("#work").wait_for()
    return page


def drop(page, table, name="new.csv"):
    page.evaluate(DROP, [name, "text/csv", table.to_csv(index=False)])


def drawn(page):
    page.locator("#series-chart svg").wait_for()
    return page.locator("#series-chart .name").all_text_contents()


def rows_of(page):
    return [row.split("\t") for row in page.locator("#alarms tbody tr").all_inner_texts()]


@pytest.mark.parametrize("opened", WINDOWS, indirect=True)
def test_a_series_is_drawn_with_its_alarms_and_is_accessible(opened, client, new):
    assert "a series of pressure, flow" in opened.locator("#about").inner_text()
    assert opened.locator("#answer").is_hidden()
    drop(opened, new)
    panels = drawn(opened)
    assert panels[:2] == ["pressure", "flow"]
    assert panels[2].startswith("anomaly score, threshold ")
    assert violations(opened) == []
    assert faults(opened) == []
    assert opened.complaints == []
    urls = [r.url for r in opened.asked if not r.url.startswith(("data:", "blob:"))]
    assert {url.split("/")[2] for url in urls} == {str(client.base_url).split("/")[2]}


def test_the_table_of_alarms_is_the_services(opened, client, new):
    drop(opened, new)
    drawn(opened)
    content, kind = new.to_csv(index=False), {"Content-Type": "text/csv"}
    expected = client.post("/points", content=content, headers=kind).json()["alarms"]
    found = rows_of(opened)
    assert [row[1:4] for row in found] == [[a["machine"], a["first"], a["last"]] for a in expected]
    assert [row[6] for row in found] == [a["channel"] for a in expected]
    status = opened.locator("#series-status").inner_text()
    assert status.startswith(f"1,400 time points of 2 channels: {len(expected)} alarms, ")
    assert "false-alarm" not in opened.locator("#series-how").inner_text()
    assert "asked for at fit: 5 %; measured:" in opened.locator("#series-how").inner_text()


def test_each_group_has_its_chart_and_an_alarm_is_enlarged(opened, new):
    drop(opened, new)
    drawn(opened)
    options = opened.locator("#series-group option").all_text_contents()
    assert options == ["drill", "saw"]
    found = rows_of(opened)
    for name in options:
        opened.select_option("#series-group", label=name)
        own = [row for row in found if row[1] == name]
        assert opened.locator("#series-chart .alarm").count() == 3 * len(own)
        assert opened.locator("#series-chart .worst").count() == len(own)
    at = max(range(len(found)), key=lambda i: float(found[i][8]))
    axis = opened.locator("#series-chart text[text-anchor=start]").last
    assert axis.text_content() == "2026-03-02 00:00:00"
    opened.locator("#alarms button").nth(at).click()
    begin = axis.text_content()
    assert "2026-03-02 00:00:00" < begin <= found[at][2]
    assert opened.locator("#series-group option:checked").inner_text() == found[at][1]
    opened.locator("#series-whole").click()
    assert axis.text_content() == "2026-03-02 00:00:00"


def test_both_tables_are_downloaded(opened, new):
    drop(opened, new)
    drawn(opened)
    for button, names, n in (
        ("#points-csv", ["machine", "at", "anomaly_score", "p_value", "verdict"], len(new)),
        ("#alarms-csv", ["machine", "first", "last", "peak", "n_points"], len(rows_of(opened))),
    ):
        with opened.expect_download() as download:
            opened.locator(button).click()
        content = download.value.path().read_text(encoding="utf-8")
        first, *rows = csv.reader(io.StringIO(content))
        assert first[:5] == names
        assert len(rows) == n


def test_what_is_missing_in_a_series_is_named(opened, new):
    drop(opened, new.drop(columns="flow"))
    opened.locator("#problem", has_text="send 'flow' too").wait_for()
    assert opened.locator("#series").is_hidden()
    short = new[new["machine"] == "saw"].reset_index(drop=True).drop(index=range(10, 30))
    drop(opened, short)
    assert drawn(opened)
    assert opened.locator("#problem").is_hidden()
    status = opened.locator("#series-status").inner_text()
    assert "10 time points could not be scored, because no window covers them" in status


def test_a_table_without_names_is_cut_into_windows_with_reasons(opened, client, new):
    one = new.loc[new["machine"] == "saw", ["pressure", "flow"]][296:336]
    opened.evaluate(DROP, ["saw.csv", "text/csv", one.to_csv(index=False, header=False)])
    opened.locator("#batch-status", has_text="3 rows").wait_for()

    windows = [one.to_numpy()[at : at + 16].tolist() for at in (0, 16, 24)]
    expected = client.post("/predict?monitor=false", json={"instances": windows}).json()
    scores = {
        name: f"{found['anomaly_score']:.3g}"
        for name, found in zip(
            ("rows 0 to 15", "rows 16 to 31", "rows 24 to 39"),
            expected["predictions"],
            strict=True,
        )
    }
    table = opened.locator("#rows")
    table.get_by_text("flow (").first.wait_for()
    found = [row.split("\t") for row in table.locator("tbody tr").all_inner_texts()]
    assert {row[0]: row[3] for row in found} == scores
    assert [float(row[3]) for row in found] == sorted(float(row[3]) for row in found)[::-1]
    assert found[0][4].startswith("flow (")


def test_a_window_has_a_panel_for_each_channel(opened, new):
    one = new.loc[new["machine"] == "saw", ["pressure", "flow"]]
    drop(opened, one[:16])
    decided(opened)
    words = opened.locator("#why-pictures svg text").all_text_contents()
    low, high = (f"{end:.3g}" for end in (one["pressure"][:16].min(), one["pressure"][:16].max()))
    assert [text.split(", ")[0] for text in words] == ["pressure", "flow"]
    ends = [float(end) for end in words[0].split(", ")[1].split(" to ")]
    assert ends[0] <= float(low)
    assert ends[1] >= float(high)


def test_a_rebuilt_reference_instance_says_that_it_is(opened, client, new):
    assert client.get("/known?n=1").json()["rebuilt"]
    assert "rebuilt from a code" in opened.locator("#references-how").inner_text()
    opened.locator(".reference").first.click()
    decided(opened)
    assert "rebuilt from a code" in opened.locator("#of-rebuilt").inner_text()
    drop(opened, new.loc[new["machine"] == "saw", ["pressure", "flow"]][:16])
    opened.locator("#of-rebuilt").wait_for(state="hidden")
    choose(opened, "parts")
    assert opened.locator("#references-how").is_hidden()


def test_a_group_has_the_line_of_its_own_threshold(opened, client, new):
    thresholds = {"drill": 1.25, "saw": 2.5}

    def with_groups(route):
        answer = route.fetch()
        schema = answer.json()
        (head,) = schema["points"].values()
        head["groups"] = [
            {"name": name, "threshold": value, "calibration": "group"}
            for name, value in thresholds.items()
        ]
        route.fulfill(response=answer, json=schema)

    opened.route("**/schema", with_groups)
    opened.goto(f"{client.base_url}/")
    opened.locator("#work").wait_for()
    drop(opened, new)
    for name, value in thresholds.items():
        drawn(opened)
        opened.select_option("#series-group", label=name)
        assert drawn(opened)[-1].startswith(f"anomaly score, threshold {value}")
    opened.unroute("**/schema")


def test_windows_are_decided_on_as_before(opened, new):
    one = new.loc[new["machine"] == "saw", ["pressure", "flow"]]
    drop(opened, one[:16])
    assert len(decided(opened)) == 1
    drop(opened, one)
    drawn(opened)
    assert opened.locator("#answer").is_hidden()
    assert opened.locator("#series-chart text[text-anchor=end]").last.text_content() == "row 699"
    choose(opened, "parts")
    assert opened.locator("#series").is_hidden()
