"""What every container of docker/compose.yaml must be, whichever there are."""

import re
from typing import Any

import pytest

from tests.docker.native_stack import COMPOSE, compose

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
SECRET = re.compile("PASSWORD|SECRET|AUTH_STRING|TOKEN")


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SERVICES[request.param]


def test_what_is_published_is_on_this_machine_alone(service: dict[str, Any]) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service.get("network_mode") is None


def test_an_image_has_a_version(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[\w./-]+:\d+(\.\d+)+[\w.-]*", service["image"]), service["image"]


def test_it_has_no_rights_to_lose(service: dict[str, Any]) -> None:
    assert int(service["user"].split(":")[0]) > 0
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")


def test_what_stays_up_tells_how_it_is(service: dict[str, Any]) -> None:
    assert ("healthcheck" in service) == (service["restart"] == "unless-stopped")


def test_secrets_come_from_the_environment_and_have_no_default(service: dict[str, Any]) -> None:
    for name, value in service.get("environment", {}).items():
        if SECRET.search(name):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), name
        assert not re.search(r"//[^/@]*:[^/@]*@", str(value)), f"{name} has a password in it"


def test_databases_are_reached_by_their_servers_alone() -> None:
    content = compose()
    for name in [name for name in SERVICES if name.endswith("-db")]:
        (network,) = SERVICES[name]["networks"]
        assert content["networks"][network]["internal"]
        members = [each for each, service in SERVICES.items() if network in service["networks"]]
        assert members == [name, name.removesuffix("-db")]


def test_the_superlink_lets_in_nodes_it_knows_over_tls_and_remembers_them() -> None:
    service = SERVICES["superlink"]
    options = dict(word.removeprefix("--").partition("=")[::2] for word in service["command"])
    assert {"enable-supernode-auth", "ssl-certfile", "ssl-keyfile"} <= options.keys()
    assert "insecure" not in options
    places = {volume.split(":")[1]: volume for volume in service["volumes"]}
    for option in ("database", "ssl-keyfile"):
        (kept,) = [volume for at, volume in places.items() if options[option].startswith(f"{at}/")]
        assert kept.endswith(":ro") == (option == "ssl-keyfile")


def test_every_volume_is_named() -> None:
    names = {*compose()["volumes"]}
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            place = volume.split(":")[0]
            assert place in names or place.startswith("./"), f"{volume} in {COMPOSE.name}"
