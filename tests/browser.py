"""A headless Chromium that is spoken to over two pipes: no driver, no network port."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
    *("--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking"),
)
LAUNCH = """
import fcntl, os, sys
files = [fcntl.fcntl(int(file), fcntl.F_DUPFD, 10) for file in sys.argv[1:3]]
for file, wanted in zip(files, (3, 4)):  # which Chromium reads and writes
    os.dup2(file, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""
TIMEOUT = 120  # seconds that any answer may take


def find_browser():
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One open page.

    Attributes:
        problems: list of what went to the console or failed to load.
        requests: list of the addresses that the page asked for.
    """

    def __init__(self, to_browser, from_browser):
        self.to_browser, self.from_browser = to_browser, from_browser
        self.rest, self.number, self.session = b"", 0, None
        self.problems, self.requests, self.events = [], [], []
        targets = self.ask("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        options = {"targetId": target, "flatten": True}
        self.session = self.ask("Target.attachToTarget", **options)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **options):
        """Calls a method of the DevTools protocol."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": options}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            self._event(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, address, width, height=900):
        """Loads an address in a window of so many pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.ask("Emulation.setDeviceMetricsOverride", **size, mobile=width < 600)
        self.events.clear()
        self.ask("Page.navigate", url=address)
        while "Page.loadEventFired" not in self.events:
            self._event(self._next())

    def value(self, expression):
        """What an expression in the page gives; promises are waited for."""
        options = {"returnByValue": True, "awaitPromise": True}
        found = self.ask("Runtime.evaluate", expression=expression, **options)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def screenshot(self):
        """The whole page as PNG, base64."""
        options = {"format": "png", "captureBeyondViewport": True}
        return self.ask("Page.captureScreenshot", **options)["data"]

    def _next(self):
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.from_browser], [], [], TIMEOUT)
            piece = os.read(self.from_browser, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("Chromium has stopped, or answers no more")
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def _event(self, message):
        method, options = message.get("method"), message.get("params", {})
        self.events.append(method)
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.problems.append(options)
        elif method == "Log.entryAdded":
            self.problems.append(options["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(options["request"]["url"])


@contextlib.contextmanager
def browser_page(browser, profile):
    """A `Page` of a new Chromium, which ends with it.

    Args:
        browser: path of Chromium.
        profile: an empty folder.
    """
    to_read, to_write = os.pipe()  # what the browser reads
    from_read, from_write = os.pipe()

    words = [browser, *ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(to_read), str(from_write), *words],
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    try:
        yield Page(to_write, from_read)
    finally:
        process.kill()
        process.wait()
        os.close(to_write)
        os.close(from_read)
