"""A page in a real browser that a test waits for: Debian's chromium over its debugging protocol."""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import browser
from websockets.sync.client import ClientConnection, connect

OPTIONS = [option for option in browser.OPTIONS if "virtual-time" not in option]
PATIENCE = 120.0  # seconds


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.calls = socket, 0
        self.errors: list[str] = []
        self.call("Page.enable")
        self.call("Runtime.enable")

    def open(self, url: str) -> None:
        """Go there; what it loads later is waited for with :meth:`wait`."""
        self.call("Page.navigate", url="about:blank")  # a change after # alone loads nothing
        self.call("Page.navigate", url=url)

    def wait(self, expression: str) -> Any:  # noqa: ANN401
        """The value of a JavaScript expression, once it is there and true."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
            if value := told["result"].get("value"):
                return value
            time.sleep(0.2)
        text = self.call("Runtime.evaluate", expression="document.body.innerText.slice(0, 2000)")
        raise AssertionError(f"not there: {expression}\n{text['result'].get('value')}")

    def call(self, method: str, **parameters: object) -> dict[str, dict[str, object]]:
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv(timeout=PATIENCE))
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"])[:500])
            if answer.get("id") == self.calls:
                found: dict[str, dict[str, object]] = answer["result"]
                return found


def has(text: str) -> str:
    """Whether the page shows it, in JavaScript."""
    return f"document.body.innerText.includes({text!r})"


@contextmanager
def opened(path: str) -> Iterator[Page]:
    """A tab of a browser of its own, at ``path``."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [path, *OPTIONS, f"--user-data-dir={folder}/profile", "--window-size=1500,1000"]
        command += ["--disable-quic", "--remote-debugging-port=0", "about:blank"]
        log = Path(folder) / "log"
        with log.open("w") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as process:
            try:
                with connect(_tab(log), max_size=2**26) as socket:
                    yield Page(socket)
            finally:
                process.kill()


def _tab(log: Path) -> str:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := re.search(r"DevTools listening on ws://([^/]+)/", log.read_text()):
            with urlopen(f"http://{found[1]}/json/list") as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError(f"the browser did not start: {log.read_text()[-2000:]}")
