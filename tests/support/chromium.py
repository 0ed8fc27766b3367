"""Debian's Chromium without a window, driven over its debugging pipe (Chrome DevTools Protocol): no driver, no socket.

    with Chromium(directory) as browser:
        tab = browser.open("http://127.0.0.1:8817/")
        tab.until("document.querySelector('h1')")

Every wait has an end and says what it waited for. What the page writes to its console is kept in `tab.complaints`.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.debian_packages import install, why_no_packages
from tests.support.processes import SupportError

PACKAGES = ("chromium", "fonts-dejavu-core")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    *("--remote-debugging-pipe", "--force-color-profile=srgb"),
)
PIPES = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execvp(a[3], a[3:])"
"""Chromium reads from descriptor 3 and writes to 4."""
TIMEOUT_S = 60.0
LOOK_S = 5.0
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
"""Another test made or removed a network of this machine, upon which Chromium drops what it is loading."""


def why_no_chromium() -> str:
    """One line that says what is missing; empty if nothing is."""
    return why_no_packages("Chromium", PACKAGES)


class Chromium:
    """A context manager. `directory` takes its profile."""

    def __init__(self, directory: Path) -> None:
        install(PACKAGES)
        self._profile = directory / "chromium"
        self._number = 0
        self._rest = b""
        self._traces: list[str] = []
        """Handles of those that are complete."""
        self.tabs: dict[str, Tab] = {}

    def __enter__(self) -> Self:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = ["chromium", *FLAGS, f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", PIPES, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(self._profile)},
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)
        self._process.kill()
        self._process.wait(TIMEOUT_S)
        os.close(self._in)

    def frame_of(self, tab: Tab) -> Tab:
        """The frame in a page, if it is one with a process of its own: it has no origin, or another one."""
        end_s = time.monotonic() + TIMEOUT_S
        while True:
            targets = self.call("Target.getTargets")["targetInfos"]
            found = [each["targetId"] for each in targets if each.get("parentId") == tab.target]
            if found:
                options = {"targetId": found[0], "flatten": True}
                return Tab(self, self.call("Target.attachToTarget", options)["sessionId"], found[0])
            if time.monotonic() > end_s:
                raise SupportError(f"the page had no frame of its own process within {TIMEOUT_S:g} s")

    def open(self, url: str, width: int = 1280, height: int = 900, is_dark: bool = False) -> Tab:
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        tab = self.tabs[session] = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        is_phone = width < 600
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        tab.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        tab.call("Page.navigate", {"url": url})
        return tab

    def call(self, method: str, parameters: Mapping[str, Any] | None = None, session: str = "") -> Any:
        """The result of one command. Raises SupportError with Chromium's own words."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        os.write(self._out, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        end_s = time.monotonic() + TIMEOUT_S
        while True:
            answer = self._read(end_s, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise SupportError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def trace(self, work: Callable[[], object]) -> list[Any]:
        """What Chromium's threads did meanwhile: events of the Trace Event Format, times in microseconds."""
        self._traces = []
        options = {"includedCategories": ["toplevel", "blink.user_timing", "devtools.timeline"]}
        self.call("Tracing.start", {"transferMode": "ReturnAsStream", "traceConfig": options})
        work()
        self.call("Tracing.end")
        end_s = time.monotonic() + TIMEOUT_S
        while not self._traces:
            self._note(self._read(end_s, "Tracing.end"))
        text, is_over = "", False
        while not is_over:
            piece = self.call("IO.read", {"handle": self._traces[0], "size": 1 << 20})
            text, is_over = text + piece["data"], piece["eof"]
        events: list[Any] = json.loads(text)["traceEvents"]
        return events

    def _read(self, end_s: float, what: str) -> Any:
        while b"\0" not in self._rest:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not select.select([self._in], [], [], left_s)[0]:
                raise SupportError(f"Chromium did not answer {what} within {TIMEOUT_S:g} s")
            piece = os.read(self._in, 1 << 20)
            if not piece:
                raise SupportError(f"Chromium ended while {what} was awaited")
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def _note(self, event: Mapping[str, Any]) -> None:
        tab, parameters = self.tabs.get(event.get("sessionId", "")), event.get("params", {})
        if event["method"] == "Tracing.tracingComplete":
            self._traces.append(parameters["stream"])
        if tab is None:
            return
        if event["method"] == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            tab.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif event["method"] == "Log.entryAdded" and NETWORK_CHANGED in parameters["entry"]["text"]:
            tab.is_disturbed = True
        elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            tab.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            tab.complaints.append(str([each.get("value") for each in parameters["args"]]))


class Tab:
    """One page."""

    def __init__(self, browser: Chromium, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self.target = target
        self.complaints: list[str] = []
        """Exceptions, and what was written to the console as an error or a warning."""
        self.is_disturbed = False
        """Something was not loaded, and it is not the page's fault."""

    def call(self, method: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return self._browser.call(method, parameters, self._session)

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        done = self.call("Runtime.evaluate", options)
        if "exceptionDetails" in done:
            details = done["exceptionDetails"]
            raise SupportError(f"{expression}: {details.get('exception', {}).get('description', details['text'])}")
        return done["result"].get("value")

    def until(self, condition: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until an expression is true. A page that was disturbed while it was loaded is loaded again."""
        end_s = time.monotonic() + timeout_s
        while not self._is_soon(condition, min(LOOK_S, timeout_s)):
            if time.monotonic() > end_s:
                text = self.run("document.body.innerText")
                told = f"{self.complaints}; the page says:\n{text}"
                raise SupportError(f"not so within {timeout_s:g} s: {condition}; {told}")
            if self.is_disturbed:
                self.is_disturbed = False
                self.call("Page.reload")

    def _is_soon(self, condition: str, within_s: float) -> bool:
        """The page looks again with every frame it could draw."""
        return bool(
            self.run(f"""new Promise((resolve) => {{
            const end = performance.now() + {within_s * 1000};
            const look = () => {{
                let found = false;
                try {{ found = Boolean({condition}); }} catch {{ }}
                if (found || performance.now() > end) resolve(found); else setTimeout(look, 20);
            }};
            look();
        }})""")
        )

    def click(self, selector: str) -> None:
        """As a person would: where it is, if it is there to be seen."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.until(f"{found}?.getClientRects().length")
        box = self.run(
            f"(() => {{ const found = {found}; found.scrollIntoView({{block: 'center'}});"
            " const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", at | {"type": kind})

    def press(self, *keys: str) -> None:
        """Keys by their names: `Tab`, `Enter`, `ArrowDown`."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        for key in keys:
            code = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            self.call("Input.dispatchKeyEvent", code | {"type": "keyDown"} | ({"text": "\r"} if key == "Enter" else {}))
            self.call("Input.dispatchKeyEvent", code | {"type": "keyUp"})

    def type(self, text: str) -> None:
        self.call("Input.insertText", {"text": text})

    def text(self) -> str:
        return str(self.run("document.body.innerText"))

    def screenshot(self, path: Path) -> None:
        picture = self.call("Page.captureScreenshot", {"format": "png"})["data"]
        path.write_bytes(base64.b64decode(picture))
