"""How a function is run on a cluster, through the public service and as the other services see it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.registry.v1 import function_pb2
from mesh.clock import FakeClock
from mesh.errors import InvalidArgument
from registry_svc.settings import RegistrySettings
from tests.support.errors_page import answers

HELLO = "workspaces/default/functions/hello"
CLUSTER = function_pb2.ClusterSettings(
    context="arn:aws:eks:eu-west-1:123456789012:cluster/prod",
    namespace="team-a",
    app_name="hello-app",
    service_account="build.robot",
    use_spot=True,
    autoscaling=True,
    image_pull_secrets=["regcred", "other.cred"],
)


async def snapshot(registry: Any) -> Any:
    """The first function that a watcher is told of."""
    stream = registry.watch()
    async for message in stream:
        stream.cancel()
        return message.function
    raise AssertionError("the stream ended")


async def test_cluster_settings_are_kept_and_told(
    registry: Any, settings: RegistrySettings, clock: FakeClock, connect_registry: Any
) -> None:
    made = await registry.create(target=function_pb2.TARGET_KUBERNETES, cluster=CLUSTER)
    assert made.target == function_pb2.TARGET_KUBERNETES
    assert made.cluster == CLUSTER
    assert (await registry.get(HELLO)).cluster == CLUSTER
    assert (await snapshot(registry)).function.cluster == CLUSTER
    async with AsyncExitStack() as stack:
        again = await connect_registry(stack, settings, clock)
        assert (await again.get(HELLO)).cluster == CLUSTER


async def test_a_function_without_any_has_none(registry: Any) -> None:
    assert not (await registry.create()).HasField("cluster")
    assert not (await registry.get(HELLO)).HasField("cluster")


async def test_masks_name_all_of_it_or_one_field(registry: Any) -> None:
    await registry.create(cluster=CLUSTER)
    other = function_pb2.ClusterSettings(namespace="team-b", app_name="x", image_pull_secrets=["one", "one"])
    after = await registry.update(HELLO, "cluster.namespace", cluster=other)
    wanted = function_pb2.ClusterSettings()
    wanted.CopyFrom(CLUSTER)
    wanted.namespace = "team-b"
    assert after.cluster == wanted
    after = await registry.update(HELLO, "cluster.image_pull_secrets", "cluster.use_spot", cluster=other)
    assert list(after.cluster.image_pull_secrets) == ["one"] and not after.cluster.use_spot
    assert after.cluster.app_name == "hello-app"
    after = await registry.update(HELLO, "cluster", cluster=function_pb2.ClusterSettings(context="c"))
    assert after.cluster == function_pb2.ClusterSettings(context="c")
    after = await registry.update(HELLO, "cluster")
    assert not after.HasField("cluster")
    with pytest.raises(InvalidArgument) as refused:
        await registry.update(HELLO, "cluster.nothing")
    assert refused.value.reason == "MASK_INVALID"


async def test_a_change_of_it_makes_no_revision_but_is_told(registry: Any) -> None:
    made = await registry.create(target=function_pb2.TARGET_KUBERNETES)
    revision = await registry.build(made.name, "b-1")
    before = await snapshot(registry)
    after = await registry.update(HELLO, "cluster.use_spot", cluster=function_pb2.ClusterSettings(use_spot=True))
    assert after.serving_revision == revision.name
    told = await snapshot(registry)
    assert told.version > before.version and told.function.cluster.use_spot


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("context", "a\tb"),
        ("context", "a\0"),
        ("context", "x" * 254),
        ("namespace", "Team"),
        ("namespace", "a.b"),
        ("namespace", "-a"),
        ("namespace", "x" * 64),
        ("app_name", "1st"),
        ("app_name", "a_b"),
        ("app_name", "a-"),
        ("app_name", "x" * 53),
        ("service_account", "a..b"),
        ("service_account", "a/b"),
        ("service_account", "x" * 254),
        ("image_pull_secrets", ["a", ""]),
        ("image_pull_secrets", ["a\n"]),
        ("image_pull_secrets", [f"s{number}" for number in range(17)]),
    ],
)
async def test_what_no_cluster_would_take_is_refused(registry: Any, field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await registry.create(cluster=function_pb2.ClusterSettings(**{field: value}))
    assert refused.value.reason == "CLUSTER_INVALID"
    assert list(refused.value.fields) == [f"cluster.{field}"]


@pytest.mark.parametrize(
    ("row", "field"),
    [("a namespace that no cluster could have", "namespace"), ("an app name that no cluster would take", "app_name")],
)
async def test_the_sentence_says_what_is_allowed(registry: Any, row: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await registry.create(cluster=function_pb2.ClusterSettings(**{field: "No Name"}))
    assert refused.value.message == answers("Functions on a cluster")[row]


async def test_where_the_cluster_scales_there_may_be_ten(registry: Any) -> None:
    scaled = function_pb2.ClusterSettings(autoscaling=True)
    made = await registry.create(target=function_pb2.TARGET_KUBERNETES, cluster=scaled)
    assert (made.scaling.min_instances, made.scaling.max_instances) == (1, 10)
    fixed = await registry.create(
        "fixed",
        target=function_pb2.TARGET_KUBERNETES,
        cluster=scaled,
        scaling=function_pb2.Scaling(min_instances=2, max_instances=3),
    )
    assert (fixed.scaling.min_instances, fixed.scaling.max_instances) == (2, 3)
    elsewhere = await registry.create("here", cluster=scaled)
    assert elsewhere.scaling.max_instances == 1


async def test_most_instances_follow_where_the_cluster_begins_to_scale(registry: Any) -> None:
    await registry.create(target=function_pb2.TARGET_KUBERNETES)
    scaled = function_pb2.ClusterSettings(autoscaling=True)
    after = await registry.update(HELLO, "cluster.autoscaling", cluster=scaled)
    assert after.scaling.max_instances == 10
    after = await registry.update(HELLO, "scaling.max_instances", scaling=function_pb2.Scaling(max_instances=4))
    after = await registry.update(HELLO, "cluster.use_spot", cluster=function_pb2.ClusterSettings(use_spot=True))
    assert after.scaling.max_instances == 4
    chosen = await registry.create("chosen", scaling=function_pb2.Scaling(min_instances=2, max_instances=5))
    moved = {"target": function_pb2.TARGET_KUBERNETES, "cluster": scaled}
    after = await registry.update(chosen.name, "target", "cluster", **moved)
    assert after.scaling.max_instances == 5


async def test_what_is_only_pushed_is_made_for_this_machine(registry: Any) -> None:
    made = await registry.create(target=function_pb2.TARGET_KUBERNETES)
    other = await registry.create("other", target=function_pb2.TARGET_PROCESS)

    async def target_of(function: str) -> int:
        request = internal_pb.CreateRevisionRequest(
            function=function,
            build_uid="b-1",
            default_target=function_pb2.TARGET_PROCESS,
            local_target=function_pb2.TARGET_DOCKER,
        )
        return int((await registry.internal.CreateRevision(request)).revision.target)

    assert await target_of(made.name) == function_pb2.TARGET_DOCKER
    assert await target_of(other.name) == function_pb2.TARGET_PROCESS


async def test_builds_for_it_are_of_that_target(registry: Any) -> None:
    made = await registry.create(target=function_pb2.TARGET_KUBERNETES)
    answer = await registry.internal.CreateRevision(
        internal_pb.CreateRevisionRequest(
            function=made.name,
            build_uid="b-1",
            runtime=function_pb2.RUNTIME_PYTHON,
            default_target=function_pb2.TARGET_PROCESS,
        )
    )
    assert answer.revision.target == function_pb2.TARGET_KUBERNETES
