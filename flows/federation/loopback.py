"""A federation on this machine: a SuperLink and SuperNodes, with TLS and registered keys."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from flows.federation.certificates import issue_certificates, issue_node_key
from tasks.flower.submit import Connection

START_TIMEOUT = 120.0  # seconds


class NoFederation(RuntimeError):
    """It did not start, or ended by itself."""


@dataclass
class Loopback:
    """Processes of a federation whose files are all in one folder."""

    folder: Path
    flower: Path  # bin folder of the environment that has Flower
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def claim(self) -> None:
        """Take the folder for this process, as long as it lives.

        Raises:
            ValueError: no Flower in ``flower``, or a federation runs already.
        """
        if not (self.flower / "flower-superlink").exists():
            raise ValueError(f"no Flower in {str(self.flower)!r}: run `make flower`, or --flower")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"a federation runs in {str(self.folder)!r} already") from None

    def start(self, nodes: int, timeout: float) -> None:
        """Bring up a SuperLink and ``nodes`` SuperNodes, node k with the devices in ``node-k``."""
        self.start_link(nodes, timeout)
        self.start_nodes(self.address)

    def start_link(self, nodes: int, timeout: float) -> None:
        """The SuperLink, which ``nodes`` are to join.

        Raises:
            NoFederation: a process ended, or did not answer in time.
        """
        issue_certificates(self.folder)
        self.find(f"127.0.0.1:{free_port()}", nodes, timeout)
        host, port = self.address.split(":")
        self._spawn(
            "superlink",
            "flower-superlink",
            *("--ssl-ca-certfile", self.folder / "ca.crt"),
            *("--ssl-certfile", self.folder / "server.pem"),
            *("--ssl-keyfile", self.folder / "server.key", "--enable-supernode-auth"),
            *("--disable-runtime-dependency-installation", "--host", host, "--port", port),
        )
        self.wait_until(lambda: listens(int(port)), "superlink")

    def find(self, address: str, nodes: int, timeout: float) -> None:
        """Look for the SuperLink at ``address``, whose certificate ``ca.crt`` vouches for."""
        self.address, home = address, self.folder / "home"
        home.mkdir(exist_ok=True)
        self.connection = Connection(str(self.flower), str(home.resolve()), nodes, timeout)
        self.environment = {**os.environ, **self.connection.environment}
        certificate = (self.folder / "ca.crt").resolve()
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\n'
            f'address = "{self.address}"\nroot-certificates = "{certificate}"\n'
        )

    def start_nodes(self, entrance: str) -> None:
        """The nodes, each with a key of its own; they reach the SuperLink at ``entrance``."""
        for node in range(self.connection.nodes):
            key = self.folder / f"node-{node}.key"
            issue_node_key(key)
            self.register(key)
            self.start_node(node, key, entrance)
        self.connection.write(self.folder)

    def register(self, key: Path) -> None:
        """Admit the holder of this key; retried, as the SuperLink answers a little late."""
        command = [str(self.flower / "flwr"), "supernode", "register", f"{key}.pub", "loopback"]

        def registered() -> bool:
            done = subprocess.run(command, env=self.environment, capture_output=True)
            return done.returncode == 0

        self.wait_until(registered, "superlink")

    def start_node(self, node: int, key: Path, entrance: str) -> None:
        """One SuperNode."""
        devices = (self.folder / f"node-{node}").resolve()
        self._spawn(
            f"supernode-{node}",
            "flower-supernode",
            *("--root-certificates", self.folder / "ca.crt", "--superlink", entrance),
            *("--auth-supernode-private-key", key, "--host", "127.0.0.1"),
            *("--port", str(free_port()), "--node-config", f'devices="{devices}"'),
        )

    def wait_until(self, there: Callable[[], bool], *names: str) -> None:
        """Poll; raises if one of the named processes ends meanwhile."""
        end = time.monotonic() + START_TIMEOUT
        while not there():
            self.check(*names)
            if time.monotonic() > end:
                raise NoFederation(f"{', '.join(names)} did not answer in {START_TIMEOUT:g} s")
            time.sleep(0.3)

    def check(self, *names: str) -> None:
        """Raise if a process ended, with the last line of its log."""
        for name in names or self.processes:
            if (code := self.processes[name].poll()) is not None:
                log = self.folder / f"{name}.log"
                last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["(empty log)"]
                raise NoFederation(f"{name} ended with code {code}: {last[0]} (all in {log})")

    def stop(self) -> None:
        """End all of them."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        (self.folder / Connection.NAME).unlink(missing_ok=True)
        self._lock.close()

    def _spawn(self, name: str, program: str, *options: object) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [self.flower / program, *map(str, options)],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody answers on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def serve(loopback: Loopback) -> None:
    """Watch the processes forever.

    Raises:
        NoFederation: one of them ended.
    """
    while True:
        loopback.check()
        time.sleep(1)


def leave_on_signals() -> None:
    """Ctrl-C and SIGTERM unwind the stack, so that processes are ended on the way."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # once is enough
    sys.exit(128 + number)
