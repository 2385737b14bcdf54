"""Server-side apply as laws: what holds for any two managers and any configurations of theirs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.kubernetes import fields, ownership, schemas
from tests.support.kubernetes.resources import DEPLOYMENTS

Json = dict[str, Any]

NODE = schemas.built_in(DEPLOYMENTS)
BARE: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "namespace": "default"}}
TIME = "2026-01-01T00:00:00Z"

words = st.sampled_from(["a", "b", "c"])
maps = st.dictionaries(words, words, min_size=1, max_size=3)


def keyed(below: st.SearchStrategy[Json]) -> st.SearchStrategy[list[Json]]:
    items = st.dictionaries(words, below, min_size=1, max_size=3)
    return items.map(lambda found: [{"name": name, **one} for name, one in found.items()])


containers = keyed(
    st.fixed_dictionaries(
        {},
        optional={
            "image": words,
            "args": st.lists(words, min_size=1, max_size=2),
            "env": keyed(st.fixed_dictionaries({}, optional={"value": words})),
        },
    )
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 3),
        "paused": st.booleans(),
        "selector": st.fixed_dictionaries({"matchLabels": maps}),
        "template": st.fixed_dictionaries({"spec": st.fixed_dictionaries({"containers": containers})}),
    },
)


@st.composite
def configurations(draw: st.DrawFn) -> Json:
    """What a manager might apply: any part of a Deployment."""
    metadata = {**BARE["metadata"], **({"labels": draw(maps)} if draw(st.booleans()) else {})}
    spec = draw(specs)
    return {**BARE, "metadata": metadata, **({"spec": spec} if spec else {})}


def applied(live: Json, wanted: Json, manager: str) -> Json:
    return ownership.applied(live, wanted, NODE, manager, force=True, time=TIME)


def values(thing: Json) -> dict[fields.Path, Any]:
    bare = {**thing, "metadata": {key: one for key, one in thing["metadata"].items() if key != "managedFields"}}
    return fields.flat(bare, NODE)


def owners(thing: Json) -> dict[str, frozenset[fields.Path]]:
    return {entry.manager.name: entry.paths for entry in ownership.entries(thing)}


@given(configurations())
def test_what_is_owned_is_written_and_read_without_loss(wanted: Json) -> None:
    paths = set(values(wanted))
    assert fields.decoded(fields.encoded(paths)) == paths


@given(configurations(), configurations())
def test_applying_again_changes_nothing(first: Json, second: Json) -> None:
    live = applied(applied(BARE, first, "one"), second, "two")
    assert ownership.same(applied(live, second, "two"), live)


@given(configurations(), configurations())
def test_what_is_applied_is_there_and_owned(first: Json, second: Json) -> None:
    live = applied(applied(BARE, first, "one"), second, "two")
    there = values(live)
    for path, value in values(second).items():
        assert there[path] == value
    for path in owners(live).get("two", ()):
        assert path in there
    for path, value in values(first).items():
        assert path in there, "what others apply takes nothing away"
        assert path in owners(live).get("one", ()) or there[path] != value or path in ownership.NOBODYS


@given(configurations(), configurations(), configurations())
def test_what_nobody_wants_any_more_goes_and_only_that(first: Json, second: Json, third: Json) -> None:
    live = applied(applied(BARE, first, "one"), second, "two")
    after = applied(live, third, "two")
    kept = owners(after).get("one", frozenset()) | set(values(third)) | ownership.NOBODYS
    for path in values(after):
        assert path in kept or any(one[: len(path)] == path for one in kept)
    for path in owners(live).get("one", ()):
        assert path in values(after)
