"""Chromium without a window, spoken to through a pipe by its DevTools protocol, by Python alone."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_PATIENCE = 60.0
# Chromium reads its orders from descriptor 3, and answers on 4.
_STARTER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


class NoBrowser(Exception):
    """There is no Chromium, or it does not start."""


def found_browser() -> str:
    """Chromium's path: the variable CHROMIUM says it, or it lies on the PATH."""
    given = os.environ.get("CHROMIUM")
    path = given or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None or shutil.which(path) is None:
        raise NoBrowser(
            "The pages are tested in a real browser, and there is no Chromium here. Install the package "
            "chromium (apt-get install chromium), or say where it is: CHROMIUM=/path/to/it make test-peers."
        )
    return path


class Browser:
    """A browser with one page."""

    def __init__(self, profile: str) -> None:
        path = found_browser()
        read_orders, self._orders = os.pipe()
        self._answers, write_answers = os.pipe()
        flags = [*_FLAGS, f"--user-data-dir={profile}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        # Beyond 3 and 4, which they become.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read_orders, write_answers)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _STARTER, *map(str, ends), path, *flags, "about:blank"],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (read_orders, write_answers, *ends):
            os.close(end)
        self._numbers = itertools.count(1)
        self._left = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def start(self) -> None:
        """Make the page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._session = None
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._orders)
        os.close(self._answers)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers."""
        number = next(self._numbers)
        order: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            order["sessionId"] = self._session
        try:
            os.write(self._orders, json.dumps(order).encode() + b"\0")
        except BrokenPipeError as error:
            raise NoBrowser(f"Chromium ended with {self._process.wait()}.") from error
        while True:
            message = self._next()
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self.events.append(message)

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - time.monotonic()))
            part = os.read(self._answers, 1 << 20) if ready else b""
            if not part:
                raise NoBrowser(f"Chromium says nothing more; it ended with {self._process.poll()}.")
            self._left += part
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path | str, *, width: int = 1200, dark: bool = False, media: str = "screen") -> None:
        """Load a file or an address, as wide and as light as is asked for."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while not any(each.get("method") == "Page.loadEventFired" for each in self.events):
            self.events.append(self._next())

    def value(self, expression: str) -> Any:
        """What an expression comes to in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def key(self, name: str) -> None:
        """Press a key and let it go."""
        code = {"Tab": 9, "Enter": 13}[name]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def complaints(self, home: str | None = None) -> list[str]:
        """What the console says, and what was asked of the network besides the page itself and its home."""
        self.value("1")
        said: list[str] = []
        for each in self.events:
            method, rest = each.get("method"), each.get("params", {})
            if method == "Runtime.exceptionThrown":
                said.append(str(rest["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and rest["type"] in ("error", "warning", "assert"):
                said.append(str(rest["args"]))
            elif method == "Log.entryAdded" and rest["entry"]["level"] in ("error", "warning"):
                said.append(rest["entry"]["text"])
            elif method == "Network.requestWillBeSent" and rest["type"] != "Document":
                url = rest["request"]["url"]
                if home is None or not url.startswith((home, "data:", "blob:")):
                    said.append(f"asks for {url[:80]}")
        return said

    def picture(self, path: Path, height: int = 6000) -> None:
        """A screenshot of the page from its top."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height), "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)[
            "data"
        ]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path: Path) -> None:
        """The page on paper."""
        data = self.call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser that leaves nothing behind."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        made = Browser(profile)
        try:
            made.start()
            yield made
        finally:
            made.close()
