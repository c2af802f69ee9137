"""The description as a page: all that is answered, and nothing from anywhere else."""

import html
import re
import shlex
import shutil

import pytest
from PIL import Image

from isthmus.serve.docs_page import docs_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: The other groups are the same once more.
FIRST = "section:first-of-type details"


def test_every_path_is_on_the_page_and_no_other_address(client):
    answer = client.get("/docs")
    assert answer.status_code == 200
    described = client.get("/openapi.json").json()["paths"]
    shown = re.findall(r"<b>(\w+)</b> ([^<]+)</code>", answer.text)
    assert sorted(shown) == sorted(
        (method.upper(), path) for path, operations in described.items() for method in operations
    )
    own = str(client.base_url).rstrip("/")
    addresses = re.findall(r"https?://[^/\s<]*", answer.text)
    assert set(addresses) == {own}
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "too much is asked at one time" in answer.text


def test_examples_are_answered(client, digits, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(digits[0][0]).save("new.png")
    parts[:5].to_csv("new.csv", index=False)
    label = {"instances": digits[0][:1].tolist(), "labels": [1], "head": "normal"}
    page = client.get("/docs").text
    examples = [html.unescape(one) for one in re.findall(r"<pre><code>(.*?)</code>", page, re.S)]
    asked = set()
    for example in examples:
        curl, address, flag, header, option, file = shlex.split(example.replace("\\\n", ""))
        assert (curl, flag, option) == ("curl", "-H", "--data-binary")
        if "parts/explain" in address or "parts/labels" in address:
            continue  # it has no residual; labels of digits are enough
        if file == "@request.json":
            answer = client.post(address, json=label)
        else:
            content = (tmp_path / file[1:]).read_bytes()
            kind = header.removeprefix("Content-Type: ")
            answer = client.post(address, content=content, headers={"Content-Type": kind})
        assert answer.is_success, answer.text
        asked.add(address.removeprefix(str(client.base_url).rstrip("/")))
    assert {"/predict", "/labels", "/bundles/parts/predict", "/bundles/parts/encode"} <= asked


def test_what_others_wrote_stays_text_and_many_columns_are_counted():
    cells = {f"<i>{at}</i>": {"type": ["number", "null"]} for at in range(20)}
    body = {"schema": {"type": "object", "properties": cells}}
    operation = {
        "summary": "<script>alert(1)</script>",
        "requestBody": {"content": {"application/json": body}},
        "responses": {"200": {"description": "the answer"}},
        "security": [{"token": []}],
    }
    info = {"title": "isthmus", "version": "1", "description": "Decisions."}
    plain = {"info": info, "paths": {"/predict": {"post": operation}}}

    page = docs_page(plain, "http://press.example/; rm -r x")

    assert "<script" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;11&lt;/i&gt;: number or null, and 8 more}" in page
    example = html.unescape(re.search("<pre><code>(.*?)</code>", page, re.S)[1])
    words = shlex.split(example.replace("\\\n", ""))
    assert words[1] == "http://press.example/; rm -r x/predict"
    assert words[3] == "Authorization: Bearer $ISTHMUS_TOKEN"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page with")
def test_it_opens_without_a_complaint_and_bars_nobody(client):
    sync_api = pytest.importorskip("playwright.sync_api")
    from axe_playwright_python.sync_playwright import Axe

    asked_for, complaints = [], []
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark")
        page.on("request", lambda request: asked_for.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"{client.base_url}/docs")
        page.locator("#post-encode > summary").press("Enter")
        assert page.locator("#post-encode pre").is_visible()
        page.evaluate(f"document.querySelectorAll({FIRST!r}).forEach(one => {{ one.open = true }})")
        for width, scheme in [(390, "dark"), (1000, "light")]:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page).response["violations"]
            assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
            assert page.evaluate(too_wide) == 0
        browser.close()
    others = [url for url in asked_for if not url.startswith("data:")]
    assert others == [f"{str(client.base_url).rstrip('/')}/docs"]
    assert complaints == []
