"""Who a SuperLink lets in, and what a SuperNode takes for one: certificates, signatures, clocks.

Skipped where Flower is not installed.
"""

import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import create_server

import pytest

from flows.federation.certificates import issue_certificates, issue_node_key
from flows.federation.loopback import Loopback, free_port
from tests.faults.clock import can_be_wrong, wrong_clock
from tests.support.waiting import ProcessTree, deadline, wait_until

ROOT = Path(__file__).parents[2]
FLOWER = ROOT / ".venv-flower" / "bin"
HOUR, DAY = 3600, 86_400
JOINED = "SuperNode ID"  # says a node that was let in
ISSUE = (
    "import sys; from pathlib import Path;"
    "from flows.federation.certificates import issue_certificates;"
    "issue_certificates(Path(sys.argv[1]))"
)
FORGER = """
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.supernode import node_auth_http_interceptor as auth
from flwr.supernode.cli import flower_supernode

sign, own = auth.sign_message, ec.generate_private_key(ec.SECP384R1())
auth.sign_message = lambda key, message: sign(own, message)
flower_supernode()
"""

pytestmark = [
    pytest.mark.night,
    pytest.mark.skipif(not (FLOWER / "flwr").exists(), reason="run `make flower` first"),
    pytest.mark.skipif(not can_be_wrong(), reason="needs a C compiler"),
]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A SuperLink that knows ``known.key``."""
    loopback = Loopback(tmp_path_factory.mktemp("federation"), FLOWER)
    try:
        loopback.claim()
        loopback.start_link(1, timeout=deadline(90))
        issue_node_key(loopback.folder / "known.key")
        loopback.register(loopback.folder / "known.key")
        yield loopback
    finally:
        loopback.stop()


def log_of(federation: Loopback, *program: str, **changed: str) -> str:
    """What a SuperNode with the known key tells, until it ends or has joined."""
    words = program or (str(FLOWER / "flower-supernode"),)
    options = {
        "--root-certificates": federation.folder / "ca.crt",
        "--superlink": federation.address,
        "--auth-supernode-private-key": federation.folder / "known.key",
        "--port": free_port(),
    }
    command = [*words, *(str(part) for option in options.items() for part in option)]
    log = federation.folder / f"node-{options['--port']}.log"
    with log.open("wb") as file:
        environment = federation.environment | changed
        with ProcessTree(command, environment, stdout=file, stderr=file) as node:
            wait_until(lambda: node.poll() is not None or JOINED in log.read_text(), "a verdict")
    return log.read_text()


def refusals(federation: Loopback) -> int:
    """How often the SuperLink did not believe a node."""
    log = (federation.folder / "superlink.log").read_text()
    return log.count('"POST /v1/fleet/activate-node HTTP/1.1" 401')


def test_a_forged_signature_is_refused(federation: Loopback) -> None:
    """Of one who knows the public key of a node that is registered."""
    assert JOINED in log_of(federation)
    before = refusals(federation)
    assert JOINED not in log_of(federation, str(FLOWER / "python"), "-c", FORGER)
    assert refusals(federation) > before


@pytest.mark.parametrize(
    ("ahead", "what"),
    [
        (-120, JOINED),
        (60, "terminated gracefully"),  # only the SuperLink's log tells more
        (HOUR, "terminated gracefully"),
        (-HOUR, "certificate is not yet valid"),  # this one was issued just now
    ],
)
def test_a_node_with_a_wrong_clock_is_refused(federation: Loopback, ahead: int, what: str) -> None:
    before = refusals(federation)
    log = log_of(federation, **wrong_clock(federation.folder, ahead))
    assert what in log
    assert (JOINED in log) == (ahead == -120)
    assert (refusals(federation) > before) == (ahead > 0)


@contextmanager
def superlink(folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """Something that takes connections with the folder's certificate, and what it hears."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    heard: list[bytes] = []

    def listen() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(ssl.SSLError, ConnectionError):
                    heard.append(context.wrap_socket(connection, server_side=True).recv(99))

    with create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", heard


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        (-40 * DAY, "certificate has expired"),
        (DAY, "certificate is not yet valid"),
        (None, "certificate signature failure"),
    ],
)
def test_a_superlink_with_a_bad_certificate_hears_nothing_of_a_node(
    tmp_path: Path, issued: int | None, why: str
) -> None:
    """``issued``: seconds from now; None: by somebody else, under the same name."""
    clock = wrong_clock(tmp_path, issued or 0)
    command = [sys.executable, "-c", ISSUE, str(tmp_path)]
    subprocess.run(command, env=os.environ | clock, cwd=ROOT, check=True)
    node = Loopback(tmp_path, FLOWER)
    with superlink(tmp_path) as (address, heard):
        node.find(address, 1, timeout=deadline(90))
        issue_node_key(tmp_path / "known.key")
        if issued is None:
            (tmp_path / "others").mkdir()
            issue_certificates(tmp_path / "others")
            (tmp_path / "others" / "ca.crt").replace(tmp_path / "ca.crt")
        assert why in log_of(node)
    assert heard == []
