"""Secrets of functions, over real gRPC, on both databases."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fnmesh.registry.v1 import registry_service_pb2 as pb
from mesh.clock import FakeClock
from mesh.db import Database
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from mesh.main import StartupError
from registry_svc.settings import RegistrySettings

VALUE, NEWER = "first-value-7c1f", "newer-value-52aa"
HELLO = "workspaces/default/functions/hello"


async def _set(registry: Any, key: str, value: str, name: str = HELLO) -> pb.SetSecretResponse:
    answer: pb.SetSecretResponse = await registry.public.SetSecret(
        pb.SetSecretRequest(parent=name, key=key, value=value)
    )
    return answer


async def _delete(registry: Any, key: str) -> pb.DeleteSecretResponse:
    answer: pb.DeleteSecretResponse = await registry.public.DeleteSecret(
        pb.DeleteSecretRequest(name=f"{HELLO}/secrets/{key}")
    )
    return answer


async def _keys(registry: Any) -> list[str]:
    answer = await registry.public.ListSecrets(pb.ListSecretsRequest(parent=HELLO))
    return [one.key for one in answer.secrets]


async def _given(registry: Any) -> tuple[int, dict[str, str], dict[str, str]]:
    """What an instance would be started with now: revision, env, secrets."""
    function = await registry.get(HELLO)
    number = int(function.serving_revision.rpartition("/")[2])
    workload = await registry.workload(function.uid, number)
    return number, dict(workload.env), dict(workload.secrets)


async def test_a_secret_makes_a_new_revision_of_the_same_artifact(registry: Any) -> None:
    function = await registry.create("hello", env={"GREETING": "hi"})
    await registry.build(function.name, "b-1")

    answer = await _set(registry, "TOKEN", VALUE)

    assert answer.function.serving_revision.endswith("/revisions/2")
    assert answer.secret.name == f"{function.name}/secrets/TOKEN"
    assert answer.secret.set_time.ToDatetime() == registry.clock.now().replace(tzinfo=None)
    assert await _given(registry) == (2, {"GREETING": "hi"}, {"TOKEN": VALUE})
    revisions = (await registry.public.ListRevisions(pb.ListRevisionsRequest(parent=function.name))).revisions
    assert revisions[0].artifact == revisions[1].artifact
    assert list(revisions[0].env_keys) == ["GREETING"]


async def test_setting_the_same_value_rolls_out_too(registry: Any) -> None:
    """An answer that differed would tell a guesser that the guess was right."""
    function = await registry.create("hello")
    await registry.build(function.name, "b-1")
    await _set(registry, "TOKEN", VALUE)

    answer = await _set(registry, "TOKEN", VALUE)

    assert answer.function.serving_revision.endswith("/revisions/3")


async def test_secrets_before_the_first_build_are_there_at_the_first_start(registry: Any) -> None:
    function = await registry.create("hello")
    await _set(registry, "TOKEN", VALUE)

    await registry.build(function.name, "b-1")

    assert await _given(registry) == (1, {}, {"TOKEN": VALUE})


async def test_a_secret_set_during_a_build_is_not_lost(registry: Any) -> None:
    function = await registry.create("hello")
    await registry.build(function.name, "b-1")
    building = await registry.begin(function.name, "b-2")
    await _set(registry, "TOKEN", VALUE)

    await registry.finish(building, "b")

    number, _, secrets = await _given(registry)
    assert (number, secrets) == (4, {"TOKEN": VALUE})


async def test_a_stopped_function_is_not_started_by_a_secret(registry: Any) -> None:
    function = await registry.create("hello")
    await registry.build(function.name, "b-1")
    await registry.public.StopFunction(pb.StopFunctionRequest(name=HELLO))

    answer = await _set(registry, "TOKEN", VALUE)

    assert not answer.function.running


async def test_a_rollback_does_not_bring_back_a_rotated_secret(registry: Any) -> None:
    function = await registry.create("hello", env={"GREETING": "hi"})
    await registry.build(function.name, "b-1")
    await _set(registry, "TOKEN", VALUE)
    await registry.update(HELLO, "env.GREETING", env={"GREETING": "hello"})
    await _set(registry, "TOKEN", NEWER)

    await registry.public.RollbackFunction(pb.RollbackFunctionRequest(name=HELLO, revision_number=2))

    assert await _given(registry) == (2, {"GREETING": "hi"}, {"TOKEN": NEWER})


async def test_a_rollback_to_before_a_key_was_a_secret_keeps_the_secret(registry: Any) -> None:
    function = await registry.create("hello", env={"TOKEN": "in-plain-env", "A": "a"})
    await registry.build(function.name, "b-1")
    await registry.update(HELLO, "env.TOKEN")
    await _set(registry, "TOKEN", VALUE)

    await registry.public.RollbackFunction(pb.RollbackFunctionRequest(name=HELLO, revision_number=1))

    assert await _given(registry) == (1, {"A": "a"}, {"TOKEN": VALUE})
    assert dict((await registry.get(HELLO)).env) == {"A": "a"}
    await registry.update(HELLO, "env.B", env={"B": "b"})  # the key of the old env stands in no way
    await _delete(registry, "TOKEN")
    assert await _given(registry) == (5, {"A": "a", "B": "b"}, {})


async def test_an_old_env_value_does_not_come_to_light_when_its_secret_is_deleted(registry: Any) -> None:
    function = await registry.create("hello", env={"TOKEN": "in-plain-env"})
    await registry.build(function.name, "b-1")
    await registry.update(HELLO, "env.TOKEN")
    await _set(registry, "TOKEN", VALUE)
    await registry.public.RollbackFunction(pb.RollbackFunctionRequest(name=HELLO, revision_number=1))

    await _delete(registry, "TOKEN")

    assert await _given(registry) == (4, {}, {})


async def test_deleting_a_secret_rolls_out(registry: Any) -> None:
    function = await registry.create("hello")
    await registry.build(function.name, "b-1")
    await _set(registry, "TOKEN", VALUE)

    answer = await _delete(registry, "TOKEN")

    assert answer.function.serving_revision.endswith("/revisions/3")
    assert await _given(registry) == (3, {}, {})
    with pytest.raises(NotFound, match=r"'hello' has no secret TOKEN\.") as caught:
        await _delete(registry, "TOKEN")
    assert caught.value.reason == "SECRET_NOT_FOUND"


async def test_a_key_is_either_env_or_a_secret(registry: Any) -> None:
    await registry.create("hello", env={"GREETING": "hi"})
    await _set(registry, "TOKEN", VALUE)

    with pytest.raises(FailedPrecondition) as taken_by_env:
        await _set(registry, "GREETING", VALUE)
    with pytest.raises(FailedPrecondition) as taken_by_secret:
        await registry.update(HELLO, "env.TOKEN", env={"TOKEN": "x"})

    assert taken_by_env.value.reason == "KEY_IS_ENV"
    assert taken_by_env.value.message == (
        "GREETING is in the env of 'hello' already: remove it there first (`fnmesh env unset hello GREETING`); "
        "a key is either env or a secret."
    )
    assert taken_by_secret.value.reason == "KEY_IS_SECRET"
    assert taken_by_secret.value.message == (
        "TOKEN is a secret of 'hello' already: delete that first (`fnmesh secret delete hello TOKEN`); "
        "a key is either env or a secret."
    )
    assert await _keys(registry) == ["TOKEN"]
    assert dict((await registry.get(HELLO)).env) == {"GREETING": "hi"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("1A", "x", "'1A' cannot be the name of a secret"),
        ("a b", "x", "cannot be the name of a secret"),
        ("", "x", "cannot be the name of a secret"),
        ("K" * 129, "x", "at most 128 characters"),
        ("TOKEN", "", "The value of TOKEN is empty; give one, or delete the secret."),
        ("TOKEN", "hush\0hush", "The value of TOKEN has a NUL character; leave it out."),
        ("TOKEN", "hush" * 20_000, "The function's secrets have 80,005 bytes; 65,536 are allowed."),
    ],
)
async def test_what_cannot_be_a_secret_is_refused_in_a_sentence(
    registry: Any, key: str, value: str, message: str
) -> None:
    await registry.create("hello")

    with pytest.raises(InvalidArgument) as caught:
        await _set(registry, key, value)

    assert caught.value.reason == "SECRET_INVALID"
    assert message in caught.value.message
    assert "hush" not in str(caught.value)
    assert await _keys(registry) == []


async def test_secrets_are_listed_by_key_in_pages_without_values(registry: Any) -> None:
    await registry.create("hello")
    for key in ("B", "a", "C"):
        await _set(registry, key, VALUE)

    first = await registry.public.ListSecrets(pb.ListSecretsRequest(parent=HELLO, page_size=2))
    second = await registry.public.ListSecrets(
        pb.ListSecretsRequest(parent=HELLO, page_size=2, page_token=first.next_page_token)
    )

    assert [one.key for one in [*first.secrets, *second.secrets]] == ["B", "C", "a"]
    assert not second.next_page_token
    assert VALUE not in str(first) + str(second)


async def test_secrets_go_with_their_function(registry: Any, settings: RegistrySettings) -> None:
    await registry.create("hello")
    await _set(registry, "TOKEN", VALUE)

    await registry.public.DeleteFunction(pb.DeleteFunctionRequest(name=HELLO))
    await registry.create("hello")

    assert await _keys(registry) == []
    assert await _stored(settings) == []


async def test_values_are_encrypted_where_they_are_kept(registry: Any, settings: RegistrySettings) -> None:
    await registry.create("hello")
    await _set(registry, "TOKEN", VALUE)

    (stored,) = await _stored(settings)

    assert VALUE.encode() not in stored
    for answer in (await registry.get(HELLO), await registry.public.ListSecrets(pb.ListSecretsRequest(parent=HELLO))):
        assert VALUE.encode() not in answer.SerializeToString()


async def test_another_key_file_is_told_at_the_start(
    settings: RegistrySettings, clock: FakeClock, connect_registry: Any, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        registry = await connect_registry(stack, settings, clock)
        await registry.create("hello")
        await _set(registry, "TOKEN", VALUE)
    settings.registry_secrets_key_file.rename(tmp_path / "lost")

    with pytest.raises(StartupError, match="is not the key that the stored env values were encrypted with"):
        async with AsyncExitStack() as stack:
            await connect_registry(stack, settings, clock)


async def _stored(settings: RegistrySettings) -> list[bytes]:
    database = Database(settings.database_url, schema="registry")
    try:
        async with database.read() as conn:
            return [bytes(value) for value in (await conn.execute(sa.text("SELECT value FROM secrets"))).scalars()]
    finally:
        await database.close()
