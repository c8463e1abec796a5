"""An HTTP server on this machine that serves files and misbehaves on demand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """How to answer one request; the default is to behave."""

    status: int = 0  # other than 0: this status, without a file
    stop_after: int | None = None  # close the connection after this many bytes of body
    ignore_range: bool = False
    ignore_if_range: bool = False
    body: bytes | None = None  # instead of the file
    etag: str | None = None  # instead of the file's; "" sends none
    location: str | None = None
    most: int | None = None  # answer ranges with at most this many bytes
    length: bool = True  # whether to send Content-Length


@dataclass
class Loopback:
    """``files`` by path; ``answers`` are used up in order, then the server behaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)  # their headers, and "path"

    def starts(self) -> list[int | None]:
        """Where every request so far begins in its file; None: it has no Range."""
        return [_start(request.get("Range")) for request in self.requests]


def _start(wanted: str | None) -> int | None:
    return None if wanted is None else int(wanted.removeprefix("bytes=").removesuffix("-"))


@contextmanager
def loopback() -> Iterator[Loopback]:
    """Serve until the block ends."""
    state = Loopback()
    with serving(_handler(state)) as state.url:
        yield state


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address at which the handler answers, until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Quiet(BaseHTTPRequestHandler):
    """A handler that says nothing of its requests."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def _handler(state: Loopback) -> type[Quiet]:
    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.requests.append({"path": self.path, **dict(self.headers.items())})
            answer = state.answers.pop(0) if state.answers else Answer()
            body = answer.body if answer.body is not None else state.files.get(self.path)
            if answer.status or body is None:
                self._refuse(answer.status or 404, answer.location)
            else:
                self._serve(body, answer)

        def _refuse(self, status: int, location: str | None = None) -> None:
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _serve(self, body: bytes, answer: Answer) -> None:
            etag = f'"{sha256(body).hexdigest()[:16]}"' if answer.etag is None else answer.etag
            start = self._start(etag, answer)
            if start is not None and start >= len(body):
                return self._refuse(416)
            rest = body if start is None else body[start:][: answer.most]
            self.send_response(200 if start is None else 206)
            if start is not None:
                end = start + len(rest) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(body)}")
            if etag:
                self.send_header("ETag", etag)
            if answer.length:
                self.send_header("Content-Length", str(len(rest)))
            else:
                self.send_header("Connection", "close")
            self.end_headers()
            with suppress(ConnectionError):  # the client may have had enough
                self.wfile.write(rest[: answer.stop_after])
            self.close_connection = answer.stop_after is not None or not answer.length

        def _start(self, etag: str, answer: Answer) -> int | None:
            same = self.headers.get("If-Range") in (None, etag) or answer.ignore_if_range
            return None if answer.ignore_range or not same else _start(self.headers.get("Range"))

    return Handler
