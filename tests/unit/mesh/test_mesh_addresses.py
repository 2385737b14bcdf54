"""How the places of several processes of a service are written, and read."""

from __future__ import annotations

import pytest

from mesh import addresses
from mesh.settings import MeshSettings, SettingsError
from tests.support.errors_page import answers


class Settings(MeshSettings):
    service = "registry"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:/run/a.sock,unix:/run/b.sock", "unix:/run/a.sock,/run/b.sock"),
        ("127.0.0.1:7001", "127.0.0.1:7001"),
        ("127.0.0.1:7001, 127.0.0.2:7002", "ipv4:127.0.0.1:7001,127.0.0.2:7002"),
        ("[::1]:7001,[::2]:7001", "ipv6:[::1]:7001,[::2]:7001"),
        ("registry:7001", "registry:7001"),
        ("dns:///registry:7001", "dns:///registry:7001"),
    ],
)
def test_grpc_is_told_all_of_them(text: str, target: str) -> None:
    assert addresses.grpc_target(text) == target


@pytest.mark.parametrize("text", ["", " , ", "unix:/a,127.0.0.1:1", "one:1,two:1", "127.0.0.1:1,[::1]:1", "a,b"])
def test_what_names_no_places_is_refused(text: str) -> None:
    with pytest.raises(addresses.AddressError):
        addresses.split(text)


def test_a_name_may_stand_for_several_and_a_single_address_does_not() -> None:
    assert addresses.is_several("dns:///registry:7001")
    assert addresses.is_several("unix:/a,unix:/b")
    assert not addresses.is_several("unix:/a")
    assert addresses.is_name("registry:7001")
    assert not addresses.is_name("[::1]:7001")


async def test_a_name_is_looked_up_and_one_that_nobody_knows_stands_for_none() -> None:
    assert "127.0.0.1:7001" in await addresses.resolved("dns:///localhost:7001")
    assert await addresses.resolved("dns:///there-is-no-such-host.invalid:7001") == ()
    assert await addresses.resolved("unix:/a,unix:/b") == ("unix:/a", "unix:/b")


def test_a_process_says_where_it_listens_and_what_others_are_told() -> None:
    two = {"FNMESH_REGISTRY_ADDRESS": "unix:/a,unix:/b"}
    assert Settings.load({**two, "FNMESH_LISTEN_ADDRESS": "unix:/b"}).own_address == "unix:/b"
    told = Settings.load({**two, "FNMESH_LISTEN_ADDRESS": "0.0.0.0:7001", "FNMESH_ADVERTISED_ADDRESS": "10.0.0.4:7001"})
    assert told.advertised("0.0.0.0:7001") == "10.0.0.4:7001"
    assert Settings.load({}).advertised("unix:/a") == "unix:/a"


def test_what_is_wrong_is_one_sentence() -> None:
    told = answers("The machine")
    with pytest.raises(SettingsError) as refused:
        _ = Settings.load({"FNMESH_REGISTRY_ADDRESS": "unix:/a,unix:/b"}).own_address
    assert str(refused.value) == told["a service that is told where several of it are"]
    with pytest.raises(SettingsError) as refused:
        Settings.load({"FNMESH_DEPLOY_ADDRESS": "one:1,two:1"})
    assert str(refused.value) == told["several addresses of different kinds, or names"]
