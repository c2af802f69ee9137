"""The page at `/` in a browser: drawing, dropping, typing, sliding, correcting."""

import csv
import io
import json

import numpy as np
import pytest
from _served import running
from PIL import Image

from _layout import WINDOWS, faults, violations
from isthmus import Dataset, export_bundle
from isthmus.data.formats.images import resize_pixels
from isthmus.serve import read_labels

pytestmark = pytest.mark.first

#: Gives the page a file as the person drops it.
DROP = """([name, type, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name, {type}));
    const options = {dataTransfer: data, bubbles: true, cancelable: true};
    for (const kind of ['dragover', 'drop']) document.dispatchEvent(new DragEvent(kind, options));
}"""


@pytest.fixture(scope="module")
def client(digits_folder, digits, parts_folder, tmp_path_factory):
    """A client of a service whose digits come with reference instances, with a queue of labels."""
    folder = tmp_path_factory.mktemp("page")
    X, y = digits
    rows = Dataset(X[1000:1300], y[1000:1300])
    export_bundle(digits_folder / "bundle", folder / "digits", rows, residual=True, known=100)
    queue = folder / "labels.jsonl"
    with running([folder / "digits", f"parts={parts_folder}"], labels=queue) as client:
        client.queue = queue
        yield client


@pytest.fixture
def opened(window, client, request):
    """The page, in a window of the width given."""
    page = window(*getattr(request, "param", (1440, "light")))
    page.goto(f"{client.base_url}/")
    page.locator("#work").wait_for()
    return page


def choose(page, name):
    page.select_option("#bundle", name)
    page.locator("h1", has_text=name).wait_for()


def draw(page, *points):
    """Draw a line through points, in shares of the paper."""
    box = page.locator("#paper").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def circle(n=24):
    angles = np.linspace(0, 2 * np.pi, n)
    return [(0.5 + 0.2 * np.sin(a), 0.5 - 0.32 * np.cos(a)) for a in angles]


def sent(page, word="predict"):
    """Return the last instances that the page sent."""
    bodies = [r.post_data_json for r in page.asked if r.url.split("?")[0].endswith(f"/{word}")]
    return bodies[-1]["instances"]


def decided(page):
    page.locator("#answer[aria-busy=false]").wait_for()
    return page.locator(".decision .big").all_inner_texts()


@pytest.mark.parametrize("opened", WINDOWS, indirect=True)
def test_the_page_is_accessible_and_requests_only_its_service(opened, client, parts):
    draw(opened, *circle())
    decided(opened)
    assert violations(opened) == []
    assert faults(opened) == []
    choose(opened, "parts")
    opened.evaluate(DROP, ["parts.csv", "text/csv", parts[:150].to_csv(index=False)])
    opened.locator("#rows tbody tr").first.wait_for()
    assert violations(opened) == []
    assert faults(opened) == []
    assert opened.complaints == []
    assert {
        r.url.split("/")[2] for r in opened.asked if not r.url.startswith(("data:", "blob:"))
    } == {str(client.base_url).split("/")[2]}


def test_a_digit_drawn_with_the_mouse_gets_its_class(opened, client):
    draw(opened, *circle())

    output, verdict = decided(opened)

    (image,) = sent(opened)
    (expected,) = client.post("/predict", json={"instances": [image]}).json()["predictions"]
    assert output == str(expected["class"]) == "0"
    assert verdict == {"normal": "Normal", "abnormal": "Not normal"}[expected["verdict"]]
    shown = opened.locator(".bars tbody tr").first.inner_text().split()
    assert shown[0] == output
    assert float(shown[1]) / 100 == pytest.approx(max(expected["probabilities"].values()), rel=0.05)


def test_a_drawing_is_adapted_to_the_reference_instances(opened, digits):
    images = digits[0].astype(float)
    rows = images.sum(axis=2) @ np.arange(8) / images.sum(axis=(1, 2))

    draw(opened, (0.1, 0.1), (0.1, 0.3))  # a small line in a corner
    decided(opened)

    image = np.array(sent(opened)[0], dtype=float)
    assert image.sum(axis=1) @ np.arange(8) / image.sum() == pytest.approx(np.median(rows), abs=0.5)
    assert (image.max(axis=1) > 128).sum() >= 6
    opened.locator("#fit").uncheck()
    with opened.expect_response("**/predict?monitor=false"):
        opened.locator("#clear").click()
        draw(opened, (0.1, 0.1), (0.1, 0.3))
    image = np.array(sent(opened)[0], dtype=float)
    assert image[:4, :3].sum() == pytest.approx(image.sum(), rel=1e-6)


def test_the_keyboard_draws_what_the_mouse_draws(opened):
    draw(opened, (0.5, 0.5), (0.5, 0.5 - 20 / 56))
    decided(opened)
    by_mouse = sent(opened)
    opened.locator("#paper").press("Delete")
    opened.locator("#answer").wait_for(state="hidden")

    opened.keyboard.press("Space")
    for _ in range(5):
        opened.keyboard.press("Shift+ArrowUp")
    opened.keyboard.press("Space")

    decided(opened)
    assert np.abs(np.subtract(sent(opened), by_mouse)).max() <= 2


def test_an_image_file_of_another_size_is_resized_as_the_library_does(opened, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (45, 36), dtype=np.uint8)
    large[:, :18] //= 4
    Image.fromarray(large).save(tmp_path / "large.png")

    opened.set_input_files("#file", tmp_path / "large.png")

    decided(opened)
    expected = resize_pixels(large, (8, 8)).astype(float)
    assert np.abs(np.subtract(sent(opened)[0], expected)).max() <= 1
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    opened.set_input_files("#file", tmp_path / "damaged.png")
    opened.locator("#problem", has_text="damaged.png").wait_for()


def test_reconstruction_and_nearest_instances_are_shown(opened, client):
    opened.locator(".reference").nth(5).click()
    decided(opened)

    (image,) = sent(opened)
    (near,) = client.post("/nearest?k=6", json={"instances": [image]}).json()["neighbours"]
    captions = opened.locator("#nearest figcaption").all_inner_texts()
    assert [caption.split(" · ")[0] for caption in captions] == [one["label"] for one in near]
    assert opened.locator("#why figure").count() == 3
    pixels = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    first = opened.locator("#why canvas").first.evaluate(pixels)
    assert np.reshape(first, (8, 8, 4))[..., 0].tolist() == image


def test_the_slider_moves_the_verdict(opened, client):
    draw(opened, (0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8))
    decided(opened)
    (image,) = sent(opened)
    p = client.post("/predict", json={"instances": [image]}).json()["predictions"][0]["p_value"]
    slider, verdict = opened.locator(".slider input"), opened.locator(".verdict")

    seen = set()
    for key in ("Home", "End"):
        slider.press(key)
        rate = float(slider.get_attribute("aria-valuetext").split()[0]) / 100
        seen.add(rate)
        assert verdict.inner_text() == ("Normal" if p > rate else "Not normal")

    assert len(seen) == 2
    opened.locator(".slider button").click()
    assert "as the detector was set" in opened.locator(".slider output").inner_text()


def test_a_file_is_decided_row_by_row_sorted_and_downloaded(opened, client, parts):
    choose(opened, "parts")
    content = parts.to_csv(index=False)
    answer = client.post(
        "/bundles/parts/predict", content=content, headers={"Content-Type": "text/csv"}
    )
    p = np.array([one["p_value"] for one in answer.json()["predictions"]])
    scores = [one["anomaly_score"] for one in answer.json()["predictions"]]

    opened.evaluate(DROP, ["parts.csv", "text/csv", content])

    opened.locator("#batch-status", has_text="300 rows").wait_for()
    rows = opened.locator("#rows tbody tr td:first-child")
    most_unusual = np.argsort(scores)[::-1] + 1
    assert [int(row) for row in rows.all_inner_texts()[:5]] == most_unusual[:5].tolist()
    opened.locator("#alarms-only").check()
    assert {int(row) for row in rows.all_inner_texts()} == set(np.flatnonzero(p <= 0.1) + 1)
    opened.locator("#alarms-only").uncheck()
    assert f"{(p <= 0.1).sum()} not normal at 10 %" in opened.locator("#batch-status").inner_text()
    opened.locator("#batch .slider input").press("End")
    assert f"{(p <= 0.5).sum()} not normal at 50 %" in opened.locator("#batch-status").inner_text()
    assert opened.locator("#rows tbody tr").count() == 100
    opened.locator("#rows button", has_text="p-value").click()
    first = opened.locator("#rows tbody tr").first.locator("td").first.inner_text()
    assert int(first) == int(p.argmin()) + 1
    with opened.expect_download() as download:
        opened.locator("#download").click()
    lines = list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8"))))
    assert [float(line["p-value"]) for line in lines] == p.tolist()
    assert [line["hue"] for line in lines] == parts["hue"].fillna("").tolist()
    assert [line["verdict"] == "abnormal" for line in lines] == (p <= 0.5).tolist()


def test_class_and_verdict_are_large_once_and_other_heads_are_folded(opened):
    script = """async () => {
        const { showDecisions } = await import('./page/answer.js');
        const detector = { n_calibration: 99, false_alarm_rate: 0.05 };
        const heads = ['linear', 'near'].map((name) => ({
            name, facts: { classes: [0, 1] },
            keys: { class: `${name}.class`, probabilities: `${name}.p` },
        }));
        for (const name of ['normal', 'strict']) heads.unshift({
            name, facts: {}, detector, rate: 0.05,
            keys: { p_value: `${name}.p_value`, anomaly_score: `${name}.score` },
        });
        showDecisions(document.getElementById('decisions'), heads, {
            'linear.class': 1, 'linear.p': { 0: 0.2, 1: 0.8 }, 'near.class': 0,
            'near.p': { 0: 1, 1: 0 }, 'normal.p_value': 0.5, 'normal.score': 1,
            'strict.p_value': 0.01, 'strict.score': 9,
        });
        document.getElementById('answer').hidden = false;
    }"""
    opened.evaluate(script)
    assert opened.locator("#decisions .big").all_inner_texts() == ["1", "Not normal"]
    folded = opened.locator("#decisions details")
    assert folded.locator("summary").inner_text() == "Other heads: normal: normal; near: 0"
    assert folded.get_attribute("open") is None


def test_messages_of_an_earlier_input_go_when_an_error_comes(opened, parts):
    choose(opened, "parts")
    opened.evaluate(DROP, ["parts.csv", "text/csv", parts[:50].to_csv(index=False)])
    opened.locator("#batch-status", has_text="50 rows").wait_for()
    assert opened.locator("#answer").is_visible()

    opened.evaluate(DROP, ["parts.csv", "text/csv", "width,hue\n1,red\n2,red\n"])

    opened.locator("#problem", has_text="missing ['ok', 'day']").wait_for()
    for name in ("answer", "batch", "notes"):
        assert opened.locator(f"#{name}").is_hidden()
    opened.get_by_label("width", exact=True).fill("1.5")
    opened.locator("#answer").wait_for()
    assert opened.locator("#problem").is_hidden()


def test_a_row_is_typed_into_a_form(opened, client):
    choose(opened, "parts")
    opened.get_by_label("hue").select_option("blue")
    opened.get_by_label("width").fill("1.5")
    opened.get_by_label("ok", exact=True).select_option("true")
    opened.get_by_label("day").fill("2024-05-17")

    decided(opened)
    assert sent(opened) == [{"width": 1.5, "hue": "blue", "ok": True, "day": "2024-05-17"}]
    opened.get_by_label("width").fill("wide")
    opened.locator("#problem", has_text="Got wide in width, expected a number").wait_for()


def test_typing_replaces_the_answer_before(opened, client):
    opened.route(
        "**/bundles/parts/predict?monitor=false", lambda _: None
    )  # the known row's has no answer
    with opened.expect_request("**/bundles/parts/predict?monitor=false"):
        choose(opened, "parts")
    opened.clock.install()
    opened.clock.pause_at(9_999_999_999)  # so that nothing is asked after the last key
    with opened.expect_event("requestfailed"):
        opened.get_by_label("width").fill("1.5")
    assert opened.locator("#answer").get_attribute("aria-busy") == "true"

    opened.unroute("**/bundles/parts/predict?monitor=false")
    opened.clock.run_for(1000)

    decided(opened)
    assert sent(opened)[0]["width"] == 1.5


def test_a_file_that_does_not_fit_is_refused_with_the_services_error(opened):
    choose(opened, "parts")
    opened.evaluate(DROP, ["parts.csv", "text/csv", "width,hue\n1,red\n2,red\n"])
    opened.locator("#problem", has_text="missing ['ok', 'day']").wait_for()


def test_a_correction_reaches_the_queue(opened, client):
    opened.locator(".reference").first.click()
    decided(opened)
    opened.locator("#right").select_option(label="7")
    opened.locator("#wrong button").click()
    opened.locator("#wrong-status", has_text="Queued as 7").wait_for()

    line = json.loads(client.queue.read_text("utf-8"))
    assert (line["head"], line["label"], line["instance"]) == ("kind", 7, sent(opened)[0])
    schema = client.service.models.get("digits").schema
    X, y = read_labels(client.queue, schema, bundle="digits", head="kind")
    assert (X[-1].tolist(), y[-1]) == (line["instance"], 7)


def test_a_head_that_takes_no_labels_is_not_offered_for_correction(window, client, monkeypatch):
    heads = client.service.models.get("digits").heads
    monkeypatch.setitem(heads["kind"], "takes_labels", False)
    page = window(1440, "light")
    page.goto(f"{client.base_url}/")
    page.locator("#work").wait_for()
    assert page.locator("#right option").all_text_contents() == ["normal", "not normal"]
    monkeypatch.setitem(heads["normal"], "takes_labels", False)
    page.reload()
    page.locator("#work").wait_for()
    assert page.locator("#wrong").is_hidden()


def test_nothing_is_requested_twice_at_the_start(opened):
    asked = [one.url for one in opened.asked]
    assert len([url for url in asked if url.endswith("/schema")]) == 1
    assert len(set(asked)) == len(asked)


def test_a_token_is_asked_for_once(browser, digits_folder):
    token = "0123456789abcdef"
    with running([digits_folder / "digits"], token=token) as client:
        page = browser.new_page()
        page.goto(f"{client.base_url}/")
        page.locator("#token").fill("0123456789abcdeg")
        page.locator("#token-form button").click()
        page.locator("#problem", has_text="wrong token").wait_for()
        page.locator("#token").fill(token)
        page.locator("#token-form button").click()
        page.locator("h1", has_text="digits").wait_for()
        page.reload()
        page.locator("h1", has_text="digits").wait_for()
        assert page.locator("#token-form").is_hidden()
        page.close()


def test_the_page_stays_under_the_path_of_a_proxy(window, digits_folder):
    with running([digits_folder / "digits"], root_path="/models") as client:
        page = window(1440, "light")
        page.goto(f"{client.base_url}/models/")
        page.locator(".reference").first.click()
        decided(page)
        paths = [one.url.split("/", 3)[3] for one in page.asked if one.url.startswith("http")]
        assert "models/bundles/digits/predict?monitor=false" in paths
        assert all(path.startswith("models/") for path in paths)
