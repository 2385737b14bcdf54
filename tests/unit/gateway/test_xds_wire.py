"""The gateway's own discovery messages against the typed ones of envoy-data-plane: the same bytes, both ways."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2
from google.rpc import status_pb2

from fnmesh.internal.gateway.v1 import xds_pb2
from gateway.envoy import resources
from gateway.envoy.compiled import Compiled
from gateway.envoy.spec import EnvoySpec

# envoy-data-plane's models use a spelling that a later pydantic has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_requests_and_responses() -> None:
    from envoy_data_plane.envoy.service.discovery import v3

    request = xds_pb2.DeltaDiscoveryRequest(
        type_url="t",
        resource_names_subscribe=["a", "b"],
        resource_names_unsubscribe=["c"],
        initial_resource_versions={"a": "1"},
        response_nonce="n",
        error_detail=status_pb2.Status(code=3, message="no"),
    )
    typed = v3.DeltaDiscoveryRequest.parse(request.SerializeToString())
    assert (typed.type_url, typed.response_nonce) == ("t", "n")
    assert (typed.resource_names_subscribe, typed.resource_names_unsubscribe) == (["a", "b"], ["c"])
    assert typed.initial_resource_versions == {"a": "1"}
    assert typed.error_detail is not None
    assert (typed.error_detail.code, typed.error_detail.message) == (3, "no")
    assert xds_pb2.DeltaDiscoveryRequest.FromString(bytes(typed)) == request

    response = xds_pb2.DeltaDiscoveryResponse(system_version_info="s", type_url="t", nonce="n", removed_resources=["x"])
    response.resources.add(name="a", version="1", resource=any_pb2.Any(type_url="u", value=b"v"))
    sent = v3.DeltaDiscoveryResponse.parse(response.SerializeToString())
    assert (sent.system_version_info, sent.type_url, sent.nonce) == ("s", "t", "n")
    assert sent.removed_resources == ["x"]
    (one,) = sent.resources
    assert one.resource is not None
    assert (one.name, one.version, one.resource.type_url, one.resource.value) == ("a", "1", "u", b"v")
    assert xds_pb2.DeltaDiscoveryResponse.FromString(bytes(sent)) == response


def test_endpoints() -> None:
    from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment

    resource = resources.endpoints("invoke", ["unix:/a", "10.0.0.1:80", "[::1]:81"])
    typed = ClusterLoadAssignment.parse(resource.body)
    assert typed.cluster_name == "invoke"
    (place,) = typed.endpoints
    found = []
    for one in place.lb_endpoints:
        assert one.endpoint is not None
        address = one.endpoint.address
        assert address is not None
        socket = address.socket_address
        found.append(address.pipe.path if address.pipe else socket and (socket.address, socket.port_value))
    assert found == [("10.0.0.1", 80), ("::1", 81), "/a"]
    assert bytes(typed) == resource.body


def test_runtime() -> None:
    from envoy_data_plane.envoy.service.runtime.v3 import Runtime

    resource = resources.sampling(0.25)
    typed = Runtime.parse(resource.body)
    assert typed.name == "sampling"
    assert typed.layer is not None
    assert typed.layer.to_dict() == {"tracing.random_sampling": {"numerator": 2500.0, "denominator": "TEN_THOUSAND"}}


def test_fixed_resources_keep_their_version_and_survive_the_pipe() -> None:
    from gateway.envoy.compile import fixed_resources

    spec = EnvoySpec("127.0.0.1", 1, "unix:/g", "unix:/r", "/a", "token")
    first, second = fixed_resources(spec), fixed_resources(spec)
    assert [one.version for one in first] == [one.version for one in second]
    made = Compiled(b"bootstrap", tuple(first))
    assert Compiled.from_json(made.to_json()) == made
    assert {one.type_url for one in first} == {resources.CLUSTER, resources.LISTENER, resources.ROUTE}
    assert first[0].name == "registry"
