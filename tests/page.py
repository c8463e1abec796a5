"""A page in a real browser that a test waits for: Debian's chromium over its debugging protocol."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import browser
from websockets.sync.client import ClientConnection, connect

from tests.waiting import ProcessTree, deadline, wait_until

OPTIONS = [option for option in browser.OPTIONS if "virtual-time" not in option]


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
        try:
            wait_until(lambda: self.value(expression), expression)
        except AssertionError as error:
            text = self.value("document.body.innerText.slice(0, 2000)")
            raise AssertionError(f"{error}\n{text}") from None
        return self.value(expression)

    def value(self, expression: str) -> Any:  # noqa: ANN401
        """Of a JavaScript expression now; None of one that fails."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return told["result"].get("value")

    def call(self, method: str, **parameters: object) -> dict[str, dict[str, object]]:
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv(timeout=deadline()))
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
        with log.open("w") as sink, ProcessTree(command, stdout=sink, stderr=sink):
            wait_until(lambda: _tabs(log), "a tab of the browser")
            with connect(_tabs(log)[0], max_size=2**26) as socket:
                yield Page(socket)


def _tabs(log: Path) -> list[str]:
    """The addresses of the browser's tabs, once it has told its own."""
    told = re.search(r"DevTools listening on ws://([^/]+)/", log.read_text())
    if not told:
        return []
    with urlopen(f"http://{told[1]}/json/list") as answer:
        tabs = json.load(answer)
    return [str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page"]
