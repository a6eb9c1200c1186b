"""The report's page in a real browser: a headless Chromium, spoken to over its DevTools pipe.

Skipped where no Chromium is installed; nothing is downloaded.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time

import made
import pytest

CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH (apt-get install chromium)")

# Chromium reads commands from descriptor 3 and writes answers to descriptor 4.
_LAUNCH = (
    "import os, sys; r, w = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2])); "
    "r, w = (os.dup(r) if r in (3, 4) else r), (os.dup(w) if w in (3, 4) else w); "
    "os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
)


class Browser:
    """One page. ``call`` a DevTools method, ``evaluate`` JavaScript; ``events`` has what was reported."""

    def __init__(self, profile, timeout=60):
        self.timeout, self.events, self._number, self._rest = timeout, [], 0, b""
        read, self._to = os.pipe()
        self._from, write = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options += [
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--disable-background-networking",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(read), str(write), CHROMIUM, *options, "about:blank"],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        os.close(self._to)  # Chromium ends with its pipe
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _receive(self):
        until = time.monotonic() + self.timeout
        while b"\0" not in self._rest:
            left = until - time.monotonic()
            ready = left > 0 and select.select([self._from], [], [], left)[0]
            chunk = os.read(self._from, 1 << 20) if ready else b""
            assert chunk, "Chromium did not answer"
            self._rest += chunk
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(self, path, width=1200, height=900):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def press(self, key, text=None):
        codes = {"Escape": 27, "Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def reported(self, *methods):
        return [event for event in self.events if event.get("method") in methods]

    def screenshot(self, path, full=False):
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"]))


# The page -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def neuron(layer, unit, shift):
    """A neuron with three snapshots, in which 'high' moves up by ``shift`` bins."""

    def histogram(bin_):
        counts = [0] * 8
        counts[bin_] = 10 + unit
        return counts

    return {
        "layer": layer,
        "unit": unit,
        "edges": [i / 2 - 2 for i in range(9)],
        "moments": [
            {
                "recording": i,
                "step": 1388 * i,
                "epoch": i,
                "accuracy": 0.5 + i / 10,
                "low": histogram(2),
                "high": histogram(2 + i * shift),
                "top": [0] * 8,
            }
            for i in range(3)
        ],
        "undefined": 0 if unit < 40 else 1200,
        "low_share": 0.5,
        "average_sign": {"edges": [-1, -0.3, 0.3, 1], "counts": [500, 2000 + unit, 900], "undefined": 0},
    }


@pytest.fixture(scope="module")
def report_page(tmp_path_factory):
    """A page over two made-up networks, with long names, figures and neurons."""
    from matplotlib.figure import Figure

    from keras_neuronlevel import report
    from keras_neuronlevel.results import neurons

    root = tmp_path_factory.mktemp("figures")
    folder = root / "mnist_mlp"
    folder.mkdir()
    long = "a-very-long-layer-name-without-any-space-in-it-at-all-relu"
    numbers = made.layer(quantization={"ranks": list(range(0, 101, 5)), "accuracy": [0.5] * 21})
    layers = {"dense1-relu": {"derivatives": numbers["derivatives"]}}
    layers[long] = {"quantization": numbers["quantization"]}
    networks = {"mlp-relu": {"layers": layers}, "mlp-" + long: {"layers": layers}}
    metrics = made.metrics("mnist_mlp", networks, preset=made.preset("quick"))
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    figure = Figure(figsize=(4, 3))
    figure.subplots()
    figure.savefig(folder / "class_consistency.png")
    drawn = {
        "mlp-relu": {"dense1-relu": [neuron("dense1-relu", unit, 1) for unit in (3, 40)]},
        "mlp-" + long: {"dense1-relu": [neuron("dense1-relu", 7, 2)], long: [neuron(long, 8, 0)]},
    }
    neurons.write(folder / "neurons.json", drawn)
    written = report.write(root)[0]
    assert "Warning" not in written.read_text(encoding="utf-8")
    return written


def errors(browser):
    found = [event["params"] for event in browser.reported("Runtime.exceptionThrown", "Log.entryAdded")]
    calls = [event["params"] for event in browser.reported("Runtime.consoleAPICalled")]
    return found + [call for call in calls if call["type"] in ("error", "warning", "assert")]


def test_nothing_is_loaded_and_nothing_complains(browser, report_page):
    browser.open(report_page)
    browser.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    urls = [event["params"]["request"]["url"] for event in browser.reported("Network.requestWillBeSent")]
    assert urls[0] == report_page.as_uri()
    assert [url for url in urls[1:] if not url.startswith("data:")] == []
    assert errors(browser) == []
    assert browser.evaluate("[...document.images].every((i) => !i.src || i.naturalWidth > 0)")


def choose(browser, name, index):
    browser.evaluate(
        f"(() => {{ const select = document.getElementById('pick-{name}'); select.selectedIndex = {index}; "
        "select.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )


def shown(browser):
    ids = ("neuron-words", "chart-sign", "chart-moment", "chart-separation", "moment")
    return {name: browser.evaluate(f"document.getElementById('{name}').innerHTML") for name in ids}


def move(browser, moment):
    browser.evaluate(
        f"(() => {{ const slider = document.getElementById('pick-moment'); slider.value = '{moment}'; "
        "slider.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )


def options(browser, name):
    return browser.evaluate(f"[...document.getElementById('pick-{name}').options].map((o) => o.text)")


def test_the_neuron_browser_shows_what_is_chosen(browser, report_page):
    browser.open(report_page)
    untrained = shown(browser)["neuron-words"]
    assert "Snapshot 1 of 3, step 0, epoch 0" in untrained and "50.0 % of the recorded" in untrained
    assert "bins are too coarse to tell" in untrained  # one holds everything
    move(browser, 2)
    first = shown(browser)
    assert "Neuron 3 of dense1-relu, mlp-relu" in first["neuron-words"]
    assert "of its 3,403 recorded activations 50 % are ‘low’" in first["neuron-words"]
    assert "Snapshot 3 of 3, step 2,776, epoch 2" in first["neuron-words"]
    assert ">1388<" in first["chart-separation"]  # not rounded
    assert "chance of about 1.00" in first["neuron-words"]
    assert "70.0 % of the recorded samples" in first["neuron-words"]
    assert options(browser, "neuron") == ["neuron 3", "neuron 40"]
    choose(browser, "neuron", 1)
    second = shown(browser)
    assert "Neuron 40 of" in second["neuron-words"]
    assert (
        "3,440 recorded activations 1,200 have no category; of the others 50 % are" in second["neuron-words"]
    )
    assert second["chart-sign"] != first["chart-sign"]
    assert second["chart-moment"] != first["chart-moment"]  # other counts, so other ticks
    choose(browser, "network", 1)
    assert len(options(browser, "layer")) == 2
    assert options(browser, "neuron") == ["neuron 7"]
    choose(browser, "layer", 1)
    assert "Neuron 8 of a-very-long" in shown(browser)["neuron-words"]
    assert "bins are too coarse to tell" in shown(browser)["neuron-words"]
    choose(browser, "network", 0)
    assert options(browser, "layer") == ["dense1-relu"]
    assert errors(browser) == []


def test_the_slider_moves_through_training_by_keyboard(browser, report_page):
    browser.open(report_page)
    move(browser, 2)
    last = shown(browser)
    browser.evaluate("document.getElementById('pick-moment').focus()")
    browser.press("ArrowLeft")
    browser.press("ArrowLeft")
    first = shown(browser)
    assert first["moment"] == "1 of 3: step 0, epoch 0"
    assert first["chart-moment"] != last["chart-moment"]
    assert first["chart-separation"] != last["chart-separation"]
    assert first["chart-sign"] == last["chart-sign"]
    assert "bins are too coarse to tell" in first["neuron-words"]
    spoken = "document.getElementById('pick-moment').getAttribute('aria-valuetext')"
    assert browser.evaluate(spoken) == "1 of 3: step 0, epoch 0"
    browser.press("ArrowRight")
    assert shown(browser)["moment"] == "2 of 3: step 1,388, epoch 1"


def test_play_goes_to_the_end_and_stops(browser, report_page):
    browser.open(report_page)
    browser.evaluate("document.getElementById('play').click()")
    assert shown(browser)["moment"].startswith("1 of 3")
    assert browser.evaluate("document.getElementById('play').textContent") == "Pause"
    browser.evaluate("new Promise((done) => setTimeout(done, 2500))")
    assert shown(browser)["moment"].startswith("3 of 3")
    assert browser.evaluate("document.getElementById('play').textContent") == "Play"


def test_a_figure_opens_large_and_closes_by_keyboard(browser, report_page):
    browser.open(report_page)
    browser.evaluate("document.querySelectorAll('button.enlarge')[0].focus()")
    browser.press("Enter", text="\r")
    assert browser.evaluate("document.getElementById('large').open")
    assert browser.evaluate("document.getElementById('large-title').textContent").startswith("Average sign")
    same = (
        "document.getElementById('large-picture').src === document.querySelectorAll('.pictures img')[0].src"
    )
    assert browser.evaluate(same)
    assert browser.evaluate("document.activeElement.id") == "large-close"
    browser.press("Escape")
    assert not browser.evaluate("document.getElementById('large').open")
    assert browser.evaluate("document.activeElement === document.querySelectorAll('button.enlarge')[0]")
    assert errors(browser) == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_does_not_scroll_sideways(width, browser, report_page):
    browser.open(report_page, width, 800)
    browser.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('.scroll')].some((box) => box.scrollWidth > box.clientWidth)"
    assert browser.evaluate(wide) or width > 360  # the boxes scroll instead


def test_evidence_opens_and_closes_together(browser, report_page):
    browser.open(report_page)
    state = "[...document.querySelectorAll('details.evidence')].map((details) => details.open)"
    assert set(browser.evaluate(state)) == {False}
    browser.evaluate("document.getElementById('evidence-toggle').click()")
    assert set(browser.evaluate(state)) == {True}
    assert browser.evaluate("document.querySelectorAll('.evidence table tbody tr').length") > 0
    browser.evaluate("document.getElementById('evidence-toggle').click()")
    assert set(browser.evaluate(state)) == {False}


def test_print_opens_everything_and_leaves_it_as_it_was(browser, report_page, tmp_path):
    browser.open(report_page)
    browser.evaluate(
        "window.addEventListener('beforeprint', () => { window.opened = "
        "[...document.querySelectorAll('details')].every((details) => details.open); })"
    )
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert browser.evaluate("window.opened")
    assert not browser.evaluate("document.querySelector('details').open")
    browser.call("Emulation.setEmulatedMedia", media="print")
    hidden = "getComputedStyle(document.querySelector('.controls')).display"
    assert browser.evaluate(hidden) == "none"
    browser.call("Emulation.setEmulatedMedia", media="")


def test_what_is_printed_fits_the_page(browser, report_page):
    """On paper nothing scrolls: no table is wider than the page, and what decides nothing is left out."""
    browser.open(report_page, 690, 900)  # A4 without its margins
    browser.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    browser.call("Emulation.setEmulatedMedia", media="print")
    wide = "[...document.querySelectorAll('.scroll table')].filter((e) => e.scrollWidth > 700).length"
    shown = (
        "[...document.querySelectorAll('.evidence tbody tr')].map((e) => [e.className, e.checkVisibility()])"
    )
    empty = (
        "[...document.querySelectorAll('.evidence table')].filter((e) => e.checkVisibility() && "
        "![...e.querySelectorAll('tbody tr')].some((row) => row.checkVisibility())).length"
    )
    found = {tuple(row) for row in browser.evaluate(shown)}
    assert browser.evaluate(wide) == browser.evaluate(empty) == 0
    assert found <= {("aside", False), ("", True)} and found
    assert browser.evaluate("document.querySelector('.only-printed').checkVisibility()")
    browser.call("Emulation.setEmulatedMedia", media="")
    assert not browser.evaluate("document.querySelector('.only-printed').checkVisibility()")


CONTRASTS = """
(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest("script, svg, .enlarge, dialog") || !e.getClientRects().length) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(`${e.tagName}.${e.className}: ${(a + 0.05) / (b + 0.05)}`);
  }
  return bad;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out(scheme, browser, report_page):
    """WCAG's contrast for text, AA: at least 4.5 to 1."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(report_page)
    browser.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    dark = browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 25, 29)"
    assert dark == (scheme == "dark")
    assert browser.evaluate(CONTRASTS) == []
    browser.call("Emulation.setEmulatedMedia", features=[])
