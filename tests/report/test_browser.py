"""The page in a browser, as a person has it: pointing, pressing, sliding, printing."""

import json

import pytest

from _layout import WINDOWS, faults, violations

pytestmark = pytest.mark.first


@pytest.fixture
def opened(window, written, request):
    """The page, in a window of the width given."""
    page = window(*getattr(request, "param", (1440, "light")))
    page.goto((written / "report.html").as_uri())
    return page


@pytest.fixture(scope="module")
def facts(written):
    return json.loads((written / "report.json").read_text("utf-8"))


@pytest.mark.parametrize("opened", WINDOWS, indirect=True)
def test_it_opens_without_a_complaint_and_bars_nobody(opened, written):
    assert violations(opened) == []
    assert faults(opened) == []
    assert opened.complaints == []
    others = [one.url for one in opened.asked if not one.url.startswith("data:")]
    assert others == [(written / "report.html").as_uri()]


def test_the_slider_tells_what_a_threshold_does_and_moves_its_line(opened, facts):
    (verdict,) = facts["verdicts"]
    output, slider = opened.locator(".slider output"), opened.locator(".slider input")
    line = opened.locator(f"#scores-{verdict['name']}-threshold")
    asked = f"{verdict['flagged']} of {verdict['n']} classified as abnormal"
    assert asked in output.inner_text()
    assert "the detector's threshold" in output.inner_text()
    before = line.bounding_box()["x"]

    slider.press("Home")

    step = verdict["steps"][0]
    assert f"{step['all']} of {verdict['n']} classified as abnormal" in output.inner_text()
    assert f"false alarms {step['normal']} of {verdict['found']['n_normal']}" in output.inner_text()
    # The axis says how many pixels a score of one is.
    ticks = opened.locator(f"#scores-{verdict['name']}-matplotlib\\.axis_1 text").all()
    (low, left), (high, right) = [
        (float(tick.text_content()), tick.bounding_box()["x"] + tick.bounding_box()["width"] / 2)
        for tick in (ticks[0], ticks[-2])
    ]
    moved = (step["threshold"] - verdict["threshold"]) * (right - left) / (high - low)
    assert line.bounding_box()["x"] - before == pytest.approx(moved, abs=2)


def test_pointing_at_the_map_shows_an_instance(opened, facts):
    map_ = facts["code"]["map"]
    canvas = opened.locator("#map > canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = map_["places"][7]

    opened.mouse.move(
        box["x"] + 8 + x * (box["width"] - 16), box["y"] + 8 + (1 - y) * (box["height"] - 16)
    )

    shown = opened.locator("#map-shown")
    assert shown.is_visible()
    assert f"row {map_['rows'][7]}: {map_['labels'][7]}" in shown.inner_text()
    opened.locator("#map").press("Escape")
    assert not shown.is_visible()
    opened.locator("#map").press("ArrowRight")
    assert f"row {map_['rows'][0]}: {map_['labels'][0]}" in shown.inner_text()


def test_pressing_a_confusion_shows_its_instances(opened, facts):
    (found,) = facts["classes"]
    cell = found["cells"][0]
    button = opened.get_by_role(
        "button",
        name=f"{cell['label']} predicted as {cell['predicted']}: {cell['count']}",
        exact=True,
    )

    button.press("Enter")

    shown = opened.locator(".cell[open]")
    assert shown.count() == 1
    assert shown.locator("img").count() == len(cell["rows"])
    assert f"row {cell['rows'][0]}" in shown.inner_text()


def test_print_shows_what_is_folded_and_leaves_out_what_needs_a_pointer(opened):
    opened.emulate_media(media="print")

    assert not opened.locator(".slider").is_visible()
    assert opened.get_by_role("cell", name="encoder").first.is_visible()
