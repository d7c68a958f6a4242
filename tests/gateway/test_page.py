"""The web page in a real Chromium: nothing may violate its Content Security Policy, fail in its
scripts, or be requested from elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from fault_server import FaultServer
from test_gateway import ANSWER, key_of, spend

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
expect.set_options(timeout=30_000)

Start = Callable[..., Gateway]
PROMPT = "Who wrote Faust?"
HARD = (
    "Prove that there are infinitely many primes, and that the sum of their reciprocals diverges."
)
# Where screenshots go, for people to look at.
SCREENSHOTS = os.environ.get("R2ROUTER_SCREENSHOTS")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    with sync_api.sync_playwright() as playwright:
        if program is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("Chromium is not installed")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A tab, and what went wrong in it."""

    def __init__(self, browser: Any, url: str, **settings: Any) -> None:
        self.context = browser.new_context(
            **({"viewport": {"width": 1100, "height": 900}} | settings)
        )
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.url = url
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.on("request", self._on_request)
        self.page.on("dialog", lambda dialog: (self.faults.append("dialog"), dialog.dismiss()))
        self.page.goto(url + "/")

    def _on_console(self, message: Any) -> None:
        # Violations of the policy are among them, and so is every status of 400 or more.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith(self.url + "/"):
            self.faults.append("a request of " + request.url)

    def next_fault(self) -> str:
        """Waits for it: the browser reports what goes wrong later than it answers."""
        for _ in range(3000):
            if self.faults:
                return self.faults.pop()
            self.page.wait_for_timeout(10)
        raise AssertionError("nothing went wrong")

    def fact(self, name: str) -> str:
        return self.page.locator(f"#choice dt:text-is('{name}') + dd").inner_text()

    def expect_fact(self, name: str, value: str | re.Pattern[str]) -> None:
        expect(self.page.locator(f"#choice dt:text-is('{name}') + dd")).to_have_text(value)

    def type(self, prompt: str) -> None:
        self.page.fill("#prompt", prompt)
        expect(self.page.locator("#choice dt").first).to_be_visible()

    def set(self, slider: str, position: int) -> None:
        """As a pointer does."""
        self.page.locator(f"#{slider}").evaluate(
            "(e, value) => { e.value = value; e.dispatchEvent(new Event('input')); }", position
        )

    def scrolls_sideways(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")

    def screenshot(self, name: str) -> None:
        if SCREENSHOTS:
            self.page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)


@pytest.fixture
def open_tab(chromium: Any) -> Iterator[Callable[..., Tab]]:
    tabs: list[Tab] = []

    def make(gateway: Gateway, **settings: Any) -> Tab:
        tabs.append(Tab(chromium, gateway.url, **settings))
        return tabs[-1]

    yield make
    for tab in tabs:
        tab.page.wait_for_timeout(50)  # for late reports
        tab.context.close()
        assert tab.faults == []


OpenTab = Callable[..., Tab]


def test_shows_the_decision_and_every_option(start: Start, open_tab: OpenTab) -> None:
    gateway = start()
    tab = open_tab(gateway)
    expect(tab.page.locator("#send")).to_be_disabled()
    tab.type(PROMPT)
    decision, every = gateway.request(
        "POST",
        "/v1/decisions",
        [{"query": PROMPT, "explain": True}, {"query": PROMPT, "all_options": True}],
    ).json()
    tab.expect_fact("Model", decision["model"])
    tab.expect_fact("Cap", f"{decision['max_tokens']:,} tokens")
    assert float(tab.fact("Predicted quality").rstrip("%")) == pytest.approx(
        decision["predicted_quality"] * 100, rel=5e-3
    )
    for name, key in (
        ("Predicted cost", "predicted_cost_usd"),
        ("Worst case", "worst_case_cost_usd"),
    ):
        assert float(tab.fact(name).lstrip("$")) == pytest.approx(decision[key], rel=5e-3)
    task = next(iter(decision["explanation"]["tasks"])).replace("_", " ")
    assert task in tab.fact("Tasks")
    assert decision["explanation"]["runner_up"]["model"] in tab.fact("Runner-up")
    options = every["all_options"]
    expect(tab.page.locator("#chart .point")).to_have_count(len(options))
    expect(tab.page.locator("#chart .curve")).to_have_count(len({o["model"] for o in options}))
    expect(tab.page.locator("#chart text.name")).to_contain_text(decision["model"])
    expect(tab.page.locator("#options tr")).to_have_count(len(options))
    # The mark is on the chosen option: more cost is further right, more quality higher.
    centres = tab.page.evaluate(
        "['.mark', '.chosen .point'].map(s => [...document.querySelectorAll('#chart ' + s)]"
        ".map(e => [+e.getAttribute('cx'), +e.getAttribute('cy')]))"
    )
    assert centres[0][0] in centres[1]
    curve = sorted(
        (o for o in options if o["model"] == decision["model"]),
        key=lambda o: float(str(o["budget"]).replace("unlimited", "inf")),
    )
    for (x1, y1), (x2, y2), a, b in zip(centres[1], centres[1][1:], curve, curve[1:], strict=False):
        assert (x1 < x2) == (a["predicted_cost_usd"] < b["predicted_cost_usd"])
        assert (y1 > y2) == (a["predicted_quality"] < b["predicted_quality"])
    tab.screenshot("light")


def test_sliders_change_the_choice_at_once(start: Start, open_tab: OpenTab) -> None:
    tab = open_tab(start())
    tab.type(HARD)
    before, cost = tab.fact("Model"), float(tab.fact("Predicted cost").lstrip("$"))
    tab.set("willingness_to_pay", 95)
    expect(tab.page.locator("#choice .main")).not_to_have_text(before)
    assert float(tab.fact("Predicted cost").lstrip("$")) > cost
    tab.set("max_cost_usd", 45)
    expect(tab.page.locator("#choice dt:text-is('Left out')")).to_be_visible()
    assert float(tab.fact("Worst case").lstrip("$")) <= float(
        tab.page.locator("output[for=max_cost_usd]").inner_text().lstrip("$")
    )
    expect(tab.page.locator("#chart .point.left-out").first).to_be_attached()
    tab.screenshot("limits")
    tab.set("max_cost_usd", 1)
    expect(tab.page.locator("#error")).to_contain_text("no pair fits")
    tab.expect_fact("Model", "none")
    tab.page.click("#reset")
    tab.expect_fact("Model", before)
    expect(tab.page.locator("#error")).to_be_hidden()
    expect(tab.page.locator("#chart .point.left-out")).to_have_count(0)


def test_streams_the_answer_with_model_and_cost(
    start: Start, open_tab: OpenTab, server: FaultServer
) -> None:
    gateway = start([[{"service": {"pause": 0.05}}]])
    tab = open_tab(gateway)
    tab.type(PROMPT)
    tab.set("max_output_tokens", 60)
    limit = int(
        tab.page.locator("output[for=max_output_tokens]").inner_text().split()[0].replace(",", "")
    )
    model = tab.fact("Model")
    tab.page.click("#send")
    expect(tab.page.locator("#answer")).to_have_text(ANSWER)
    facts = tab.page.locator("#answer-facts")
    expect(facts).to_contain_text("7 out")
    expect(facts).to_contain_text(model)
    sent = json.loads(server.requests(gateway.path)[0].body)
    assert sent["max_tokens"] <= limit
    assert sent["stream"] is True
    settled = spend(gateway, "by=model")["rows"][0]
    shown = float(re.search(r"\$([\d.]+)", facts.inner_text())[1])
    assert shown == pytest.approx(settled["settled_usd"], rel=5e-3)
    expect(tab.page.locator("#spend tr").first).to_contain_text(settled["model"])
    expect(tab.page.locator("#spend tr.total")).to_contain_text("Total")


def test_stops_an_answer(start: Start, open_tab: OpenTab) -> None:
    tab = open_tab(start([[{"service": {"pause": 0.2, "text": "word " * 200, "tokens": 200}}]]))
    tab.type(PROMPT)
    tab.page.click("#send")
    expect(tab.page.locator("#answer")).to_contain_text("word")
    tab.page.click("#stop")
    expect(tab.page.locator("#answer-facts")).to_contain_text("stopped")
    expect(tab.page.locator("#send")).to_be_enabled()


def test_markup_of_models_and_prompts_is_text(start: Start, open_tab: OpenTab) -> None:
    markup = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    tab = open_tab(start([[{"service": {"text": markup}}]]))
    tab.type(markup)
    tab.page.click("#send")
    expect(tab.page.locator("#answer")).to_have_text(markup)
    assert tab.page.locator("#answer *").count() == 0
    failing = open_tab(
        start([[{"answer": {"status": 400, "json": {"error": {"message": markup}}}}]])
    )
    failing.type(PROMPT)
    failing.page.click("#send")
    expect(failing.page.locator("#error")).to_contain_text(markup)
    assert failing.page.locator("#error *").count() == 0


def test_shows_failures(start: Start, open_tab: OpenTab) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "half"}}]}
    broken = f"data: {json.dumps(chunk)}\n\n"
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    gateway = start([[{"send": head + broken}, {"close": True}]], max_fallbacks=0)
    tab = open_tab(gateway)
    tab.type(PROMPT)
    tab.page.click("#send")
    expect(tab.page.locator("#answer")).to_have_text("half")
    expect(tab.page.locator("#error")).to_be_visible()
    expect(tab.page.locator("#answer-facts")).to_contain_text("not complete")
    gateway.stop()
    tab.page.click("#send")
    expect(tab.page.locator("#error")).to_contain_text("cannot be reached")


def test_asks_for_a_key_and_keeps_it_in_the_session(start: Start, open_tab: OpenTab) -> None:
    gateway = start(keys=[key_of("secret-1")], policies={"frugal": {"objective": "cheapest"}})
    tab = open_tab(gateway)
    expect(tab.page.locator("#key-form")).to_be_visible()
    expect(tab.page.locator("#error")).to_contain_text("A key is required")
    tab.screenshot("key")
    tab.page.fill("#key", "wrong")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#error")).to_contain_text("not valid")
    tab.page.fill("#key", "secret-1")
    tab.page.click("#key-form button")
    expect(tab.page.locator("#key-form")).to_be_hidden()
    expect(tab.page.locator("#policy")).to_be_visible()
    tab.type(HARD)
    usual = tab.fact("Model"), tab.fact("Predicted cost")
    tab.page.select_option("#policy", "frugal")
    expect(tab.page.locator("#choice")).not_to_contain_text(usual[1])
    tab.page.click("#send")
    expect(tab.page.locator("#answer-facts")).to_contain_text("$")
    expect(tab.page.locator("#spend tr").first).to_contain_text("secret-1")
    assert tab.page.evaluate("localStorage.length") == 0
    assert tab.page.evaluate("document.cookie") == ""
    tab.page.reload()
    expect(tab.page.locator("#spend tr").first).to_contain_text("secret-1")
    tab.page.click("#forget-key")
    expect(tab.page.locator("#key-form")).to_be_visible()
    assert tab.page.evaluate("sessionStorage.length") == 0


def test_works_without_a_server_to_send_to(start: Start, open_tab: OpenTab) -> None:
    tab = open_tab(start(endpoints=None))
    expect(tab.page.locator("#problem")).to_contain_text("OPENROUTER_API_KEY")
    tab.type(PROMPT)
    assert tab.fact("Model") != "none"
    tab.page.click("#send")
    expect(tab.page.locator("#error")).to_contain_text("OPENROUTER_API_KEY")
    tab.screenshot("no-server")


def test_needs_only_the_keyboard(start: Start, open_tab: OpenTab) -> None:
    tab = open_tab(start())
    page = tab.page
    expect(page.locator("#limits input").first).to_be_visible()
    reached: list[str] = []

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
            if reached[-1] == name:
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"{name} does not show that it has the focus"
                return
        raise AssertionError(f"{name} cannot be reached: {reached}")

    tab_to("prompt")
    page.keyboard.type(HARD)
    expect(page.locator("#choice .main")).to_be_visible()
    before = tab.fact("Model")
    tab_to("send")
    page.keyboard.press("Enter")
    expect(page.locator("#answer-facts")).to_contain_text("$")
    assert page.evaluate("document.activeElement.id") == "send"
    tab_to("willingness_to_pay")
    page.keyboard.press("End")
    expect(page.locator("#choice .main")).not_to_have_text(before)
    assert page.locator("#willingness_to_pay").get_attribute("aria-valuetext") == "$10"
    tab_to("chart")
    page.keyboard.press("ArrowRight")
    first = page.locator("#readout").inner_text()
    assert "quality" in first
    page.keyboard.press("End")
    expect(page.locator("#readout")).not_to_have_text(first)
    tab.screenshot("keyboard")
    # Every control has a name.
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, textarea, select, button')]"
        ".filter(e => !e.labels?.length && !e.textContent.trim()).map(e => e.id)"
    )
    assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_telephone(start: Start, open_tab: OpenTab, scheme: str) -> None:
    gateway = start()
    tab = open_tab(
        gateway, viewport={"width": 375, "height": 740}, color_scheme=scheme, has_touch=True
    )
    tab.type(HARD)
    assert not tab.scrolls_sideways()
    tab.page.click("#send")
    expect(tab.page.locator("#spend tr.total")).to_be_visible()
    assert not tab.scrolls_sideways()
    tab.page.locator("#chart").tap(position={"x": 200, "y": 150})
    expect(tab.page.locator("#readout")).to_contain_text("quality")
    tab.page.click("summary")
    assert not tab.scrolls_sideways()
    # No text of the chart is outside of it.
    outside = tab.page.evaluate(
        "(() => { const c = document.querySelector('#chart').getBoundingClientRect();"
        "return [...document.querySelectorAll('#chart text')]"
        ".map(e => [e, e.getBoundingClientRect()])"
        ".filter(([, b]) => b.left < c.left - 1 || b.right > c.right + 1 || b.top < c.top - 1)"
        ".map(([e]) => e.textContent); })()"
    )
    assert outside == []
    tab.page.click("summary")
    tab.screenshot(f"375-{scheme}")


def test_dark_colours_are_readable(start: Start, open_tab: OpenTab) -> None:
    gateway = start()
    backgrounds = []
    for scheme in ("light", "dark"):
        tab = open_tab(gateway, color_scheme=scheme)
        tab.type(HARD)
        contrasts = tab.page.evaluate(
            """() => {
              const luminance = (colour) => {
                const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
                  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const back = luminance(getComputedStyle(document.body).backgroundColor);
              return ['body', '.quiet', 'dt', 'dd', 'summary'].map((s) => {
                const front = luminance(getComputedStyle(document.querySelector(s)).color);
                return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
              });
            }"""
        )
        assert min(contrasts) >= 4.5
        backgrounds.append(tab.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        if scheme == "dark":
            tab.screenshot("dark")
    assert backgrounds[0] != backgrounds[1]


def test_the_browser_enforces_and_reports_the_policy(start: Start, open_tab: OpenTab) -> None:
    tab = open_tab(start())
    tab.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "document.title = 'run'";
          document.body.append(script);
        }"""
    )
    assert tab.page.title() == "r2-router"
    assert "Content Security Policy" in tab.next_fault()


def test_files_are_served_without_a_key_and_with_a_strict_policy(start: Start) -> None:
    gateway = start(keys=[key_of("secret-1")])
    page = gateway.request("GET", "/")
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    names = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert "/page.js" in names
    for name in names:
        file = gateway.request("GET", name)
        assert file.status == 200, name
        assert file.headers["x-content-type-options"] == "nosniff"
    # No script, style or handler is in the page itself, and nothing has another origin.
    html = page.body.decode()
    assert not re.search(r"<style|\son\w+=|\sstyle=|<script[^>]*>[^<]|https?://", html)
    assert gateway.request("HEAD", "/").status == 200
    assert gateway.request("POST", "/").status == 405
    schema = gateway.request("GET", "/policy.schema.json").json()
    expected = Path(__file__).parents[2] / "config" / "policy.schema.json"
    assert schema == json.loads(expected.read_text())
