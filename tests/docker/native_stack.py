"""The stack of docker/compose.yaml without containers: commands, environments and health checks as
they stand there, and an address of its own in 127/8 for each service instead of a host name."""

import os
import pwd
import re
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flows.federation.certificates import issue_certificates
from tests.support.waiting import ProcessTree, deadline, wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
OURS, FLOWER = "docker/metaem.Dockerfile", "docker/flower.Dockerfile"
PROGRAMS = {OURS: Path(sys.executable).parent, FLOWER: ROOT / ".venv-flower" / "bin"}
VARIABLE = re.compile(r"\$\{(\w+):\?[^}]*\}")


def compose() -> dict[str, Any]:
    """The file's content, extensions and anchors resolved."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return content


def required() -> set[str]:
    """The variables that it cannot do without."""
    return {*VARIABLE.findall(COMPOSE.read_text())}


def baked_in(dockerfile: str) -> dict[str, str]:
    """What the image sets."""
    text = (ROOT / dockerfile).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("ENV ")]
    return dict(pair.split("=", 1) for line in lines for pair in line.split()[1:])


@dataclass
class Stack:
    """Processes, and their files and logs, which are all in one folder."""

    folder: Path
    services: dict[str, dict[str, Any]] = field(init=False)
    processes: dict[str, ProcessTree] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = compose()["services"]
        self.addresses = {name: f"127.9.0.{n}" for n, name in enumerate(self.services, 1)}
        self.addresses["superlink"] = "127.0.0.1"  # which its certificate is for
        self.secrets = {name: secrets.token_hex(16) for name in required()}
        self.secrets["PREFECT_AUTH"] = f"admin:{secrets.token_hex(16)}"

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *error: object) -> None:
        for name in reversed([*self.processes]):
            self.stop(name)

    def up(self) -> None:
        """Start every service once what it depends on is as it should be."""
        for name in self.services:  # in the file, what depends on others stands below them
            self.start(name)

    def start(self, name: str) -> None:
        service = self.services[name]
        for other, how in service.get("depends_on", {}).items():
            self._wait(other, how["condition"])
        (self.folder / name).mkdir(exist_ok=True)
        certificates = self.folder / name / "certificates"
        if name == "superlink" and not certificates.exists():
            certificates.mkdir()
            issue_certificates(certificates)
        if "postgres" in service["image"]:
            self._spawn(name, self._database(name))
        else:
            self._spawn(name, [self.text(name, word) for word in service["command"]])

    def stop(self, name: str) -> None:
        signal_name = self.services[name].get("stop_signal", "SIGTERM")
        self.processes[name].send_signal(signal.Signals[signal_name])
        with suppress(subprocess.TimeoutExpired):
            self.processes[name].wait(deadline(60))
        self.kill(name)

    def kill(self, name: str) -> None:
        """kill -9 of the service and of all that it started."""
        self.processes.pop(name).__exit__(None, None, None)

    def text(self, name: str, value: object) -> str:
        """What the file says, for here: variables, host names, addresses, paths."""
        text = VARIABLE.sub(lambda match: self.secrets[match[1]], str(value)).replace("$$", "$")
        hosts = "|".join(sorted(self.services, key=len, reverse=True))
        text = re.sub(rf"\b({hosts}):(\d+)", lambda m: f"{self.addresses[m[1]]}:{m[2]}", text)
        text = re.sub(r"\b(0\.0\.0\.0|127\.0\.0\.1)\b", self.addresses[name], text)
        text = re.sub(r"/opt/metaem\b", str(ROOT), text)
        text = text.replace("/etc/metaem", str(self.folder / name))
        return text.replace("/var/lib/metaem", str(self.folder / name))

    def environment(self, name: str) -> dict[str, str]:
        """The service's, on top of what the image sets and what any process needs."""
        image = self.services[name].get("build", {}).get("dockerfile", OURS)
        own = {
            "PATH": f"{PROGRAMS[image]}:{postgres()}:/usr/bin:/bin",
            "HOME": str(self.folder / name),
            "LANG": "C.UTF-8",
            **{variable: self.text(name, value) for variable, value in baked_in(image).items()},
            "PREFECT_HOME": str(self.folder / name / "prefect"),
        }
        for variable, value in (self.services[name].get("environment") or {}).items():
            given = os.environ.get(variable) if value is None else self.text(name, value)
            if given is not None:
                own[variable] = self._copied(name, given)
        return own

    def run(self, name: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """A command in a service's environment."""
        environment, place = self.environment(name), self._place(name)
        return subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True)

    def healthy(self, name: str) -> bool:
        """Whether the service's own health check passes."""
        how, *test = self.services[name]["healthcheck"]["test"]
        words = [self.text(name, word) for word in test]
        return self.run(name, *(["sh", "-c"] if how == "CMD-SHELL" else []), *words).returncode == 0

    def _wait(self, name: str, condition: str) -> None:
        ends = condition == "service_completed_successfully"

        def there() -> bool:
            code = self.processes[name].poll()
            if code if ends else code is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"{name} ended with code {code}:\n{log[-4000:]}")
            return code == 0 if ends else self.healthy(name)

        wait_until(there, f"{name}: {condition}")

    def _spawn(self, name: str, command: list[str]) -> None:
        environment, place = self.environment(name), self._place(name)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = ProcessTree(
                command, environment, cwd=place, stdout=log, stderr=subprocess.STDOUT
            )

    def _place(self, name: str) -> str:
        return self.text(name, self.services[name].get("working_dir", self.folder / name))

    def _copied(self, name: str, value: str) -> str:
        """A configuration file says what the service's own says, for here."""
        if not value.endswith(".ini"):
            return value
        copy = self.folder / name / Path(value).name
        copy.write_text(self.text(name, Path(value).read_text()))
        return str(copy)

    def _database(self, name: str) -> list[str]:
        """What the image's entry point does with a new volume, then the server."""
        environment = self.environment(name)
        data, password = self.folder / name / "data", self.folder / name / "password"
        user, database = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
        password.write_text(environment["POSTGRES_PASSWORD"])
        as_postgres = []
        if os.getuid() == 0:  # which PostgreSQL refuses
            as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            owner = pwd.getpwnam("postgres")
            for each in (self.folder / name, password):
                os.chown(each, owner.pw_uid, owner.pw_gid)
        command = [*as_postgres, str(postgres() / "initdb"), "--pgdata", str(data)]
        options = ["--username", user, "--pwfile", str(password), "--auth", "scram-sha-256"]
        if not data.exists():
            subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
            single = [*as_postgres, str(postgres() / "postgres"), "--single", "-D", str(data)]
            create = f"CREATE DATABASE {database};\n".encode()
            create_database = [*single, "postgres"]
            subprocess.run(create_database, input=create, check=True, stdout=subprocess.DEVNULL)
        server = [*as_postgres, str(postgres() / "postgres"), "-D", str(data)]
        return [*server, "-h", self.addresses[name], "-k", str(self.folder / name)]


def postgres() -> Path:
    """The folder of PostgreSQL's programs."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        raise RuntimeError("PostgreSQL is needed: apt-get install postgresql")
    return folders[-1]
