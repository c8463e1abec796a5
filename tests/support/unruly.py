"""A server in front of another one, which answers badly on demand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from urllib.parse import urlsplit

from tests.support.loopback import Quiet, serving

DROPPED = {"host", "connection", "transfer-encoding", "content-length", "content-encoding"}


@dataclass
class Unruly:
    """How requests are answered from now on; ``requests`` counts them."""

    behind: str  # URL of the server that does the work
    url: str = ""
    manner: str = "behave"  # or one of MANNERS
    spare: int = 0  # so many requests are answered well before
    requests: int = 0
    lost: set[str] = field(default_factory=set)  # requests whose first answer was lost
    over: threading.Event = field(default_factory=threading.Event)

    def be(self, manner: str, spare: int = 0) -> None:
        """Answer so from now on; whoever still waits for an answer is hung up on."""
        self.manner, self.spare = manner, spare
        self.lost.clear()
        self.over.set()
        self.over = threading.Event()


MANNERS = (
    "fail",  # 500, nothing done
    "forget",  # each request is done, and its first answer is 500
    "later",  # 503, to be tried again in an hour
    "babble",  # 200 and HTML
    "hang",  # no answer
    "trickle",  # an answer without an end
    "hang up",  # the connection ends
)


@contextmanager
def unruly(behind: str) -> Iterator[Unruly]:
    """Serve until the block ends."""
    state = Unruly(behind)
    with serving(_handler(state)) as state.url:
        try:
            yield state
        finally:
            state.over.set()


def _handler(state: Unruly) -> type[Quiet]:
    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            state.requests += 1
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            manner = "behave" if state.spare > 0 else state.manner
            state.spare -= 1
            with suppress(ConnectionError):  # the client may have had enough
                self._answer(manner, body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

        def _answer(self, manner: str, body: bytes) -> None:
            if manner in ("behave", "forget"):
                status, kind, content = self._ask(body)
                request = f"{self.command} {self.path} {body!r}"
                if manner == "behave" or request in state.lost:
                    return self._send(status, content, kind)
                state.lost.add(request)
                return self._send(500, b"{}")
            over = state.over
            if manner == "hang":
                over.wait()
            elif manner == "trickle":
                self.send_response(200)
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                while not over.wait(0.5):
                    self.wfile.write(b" ")
            elif manner == "later":
                self._send(503, b"{}", later=True)
            elif manner == "babble":
                self._send(200, b"<html>log in first</html>", "text/html")
            elif manner == "fail":
                self._send(500, b"{}")
            self.close_connection = True

        def _ask(self, body: bytes) -> tuple[int, str, bytes]:
            behind = urlsplit(state.behind)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in DROPPED}
            connection = HTTPConnection(str(behind.hostname), behind.port, timeout=60)
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer.status, answer.headers.get("Content-Type", ""), content

        def _send(
            self, status: int, content: bytes, kind: str = "application/json", later: bool = False
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if later:
                self.send_header("Retry-After", "3600")
            self.end_headers()
            self.wfile.write(content)

    return Handler
