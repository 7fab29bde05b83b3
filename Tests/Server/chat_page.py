"""Uses the chat page in a real browser: python chat_page.py http://127.0.0.1:8000 [FOLDER for screenshots]

Needs playwright (PyPI) and a Chromium: $CHROMIUM, or chromium on PATH.
"""
import os
import shutil
import sys

from playwright.sync_api import expect, sync_playwright

BASE = sys.argv[1]
FOLDER = sys.argv[2] if len(sys.argv) > 2 else None
BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

# What a model might write. Served by the test itself, as events, so that it is the same each time.
MARKDOWN = """# Title

Some **bold**, *soft* and `inline <b>code</b>` text.
A second line with <img src=x onerror="window.hacked = true"> and <script>window.hacked = true</script>.

- one
- two

3. three
4. four

```swift
let answer = "<b>42</b>"
```

Done."""


def shot(page, name):
    if FOLDER:
        os.makedirs(FOLDER, exist_ok=True)
        page.screenshot(path=f"{FOLDER}/{name}.png")


def ask(page, text):
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")


def real_answers(page):
    expect(page.get_by_role("status")).to_contain_text("tokens of context")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Most tokens").fill("24")
    page.get_by_label("Temperature").fill("0.2")
    shot(page, "settings")
    page.keyboard.press("Escape")
    expect(page.get_by_label("System prompt")).to_be_hidden()
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "What is the capital of France?")
    body = sent.value.post_data_json
    assert [m["role"] for m in body["messages"]] == ["system", "user"], body
    assert body["max_tokens"] == 24 and body["temperature"] == 0.2 and body["stream"] is True, body
    expect(page.locator(".assistant .note")).to_contain_text("tokens · first after", timeout=60_000)
    expect(page.locator(".assistant .text")).not_to_be_empty()
    shot(page, "answer")
    # Another turn brings the earlier ones along.
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "And of Italy?")
    assert len(sent.value.post_data_json["messages"]) == 4
    expect(page.locator(".assistant .note").nth(1)).to_contain_text("first after", timeout=60_000)


def stopping(page):
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Most tokens").fill("2000")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".turn")).to_have_count(0)
    ask(page, "Write a very long story about a lighthouse.")
    expect(page.locator(".assistant .text")).to_contain_text(" ", timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".assistant .note")).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    shot(page, "stopped")


def markdown(page):
    import json
    chunk = lambda text: "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + "\n\n"
    events = "".join(chunk(MARKDOWN[i:i + 7]) for i in range(0, len(MARKDOWN), 7)) + "data: [DONE]\n\n"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(
        status=200, content_type="text/event-stream", body=events))
    page.get_by_role("button", name="New chat").click()
    ask(page, "<b>Show</b> me")
    text = page.locator(".assistant .text")
    expect(text.locator("p").last).to_have_text("Done.")
    expect(page.locator(".user")).to_have_text("<b>Show</b> me")
    expect(text.locator("pre code")).to_have_text('let answer = "<b>42</b>"')
    expect(text.locator("p code")).to_have_text("inline <b>code</b>")
    expect(text.locator("ul li")).to_have_text(["one", "two"])
    expect(text.locator("ol")).to_have_attribute("start", "3")
    expect(text.locator("h3")).to_have_text("Title")
    expect(text.locator("strong")).to_have_text("bold")
    assert text.locator("img, script, b").count() == 0
    assert page.evaluate("window.hacked") is None
    shot(page, "markdown")
    page.unroute("**/v1/chat/completions")


def failures(page):
    page.route("**/v1/chat/completions", lambda route: route.fulfill(
        status=503, content_type="application/json", body='{"error": {"message": "Too busy."}}'))
    page.get_by_role("button", name="New chat").click()
    ask(page, "Hello?")
    expect(page.locator(".error")).to_have_text("Too busy.")
    # What could not be asked can be asked again.
    expect(page.get_by_label("Message")).to_have_value("Hello?")
    shot(page, "failure")
    page.unroute("**/v1/chat/completions")


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
    for scheme, width in (("light", 1100), ("dark", 390)):
        problems, strangers = [], []
        page = browser.new_page(viewport={"width": width, "height": 780}, color_scheme=scheme)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith((BASE, "data:")) else strangers.append(request.url))
        page.goto(BASE)
        global_folder, FOLDER = FOLDER, FOLDER and f"{FOLDER}/{scheme}"
        assert page.evaluate("document.activeElement.id") == "ask"
        real_answers(page)
        stopping(page)
        markdown(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
        assert not problems and not strangers, (problems, strangers)
        failures(page)
        FOLDER = global_folder
        page.close()
    browser.close()
print("the page works, light and dark, wide and narrow")
