"""Passes connections on and counts what goes through."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CountingProxy:
    """Bytes towards the server and back, of all connections."""

    def __init__(self, host: str, port: int) -> None:
        self.target, self.up, self.down = (host, port), 0, 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed, or the server is gone
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(self.target)
                self._sockets.append(server)
                for ends in ((client, server, "up"), (server, client, "down")):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                with self._lock:
                    setattr(self, name, getattr(self, name) + len(data))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def counting_proxy(address: str) -> Iterator[CountingProxy]:
    """In front of ``address``, while the block lasts."""
    host, port = address.split(":")
    proxy = CountingProxy(host, int(port))
    try:
        yield proxy
    finally:
        proxy.close()
