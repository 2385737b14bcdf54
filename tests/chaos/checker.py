"""Compares what clients were told with what is there. Pure: `violations` of a ledger and an observation.

What may still be under way (a build, a rollout, a stop) is a violation too: callers look again until there is none,
for a bounded time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.ledger import Ledger, Story

FINAL = ("DONE", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class Answer:
    """What a function answers to a GET."""

    status: int
    edition: int = 0
    greeting: str = ""


@dataclass
class SeenFunction:
    """A function as the API shows it: states are the words of the enums without their prefixes."""

    uid: str
    builds: dict[str, str] = field(default_factory=dict)
    revisions: dict[int, str] = field(default_factory=dict)
    serving: int = 0
    deployment: str = ""
    instances: dict[str, str] = field(default_factory=dict)
    """By identifier; state of each that has not ended."""
    answer: Answer | None = None


@dataclass
class Observation:
    """What is there: through the API, and on the machine behind its back."""

    functions: dict[str, SeenFunction] = field(default_factory=dict)
    keys: dict[str, bool] = field(default_factory=dict)
    """Identifier, and whether it is revoked."""
    workloads: list[str] = field(default_factory=list)
    """The instance of each workload process and container that there is; twice where there are two."""
    records: set[str] = field(default_factory=set)
    """Instances that have a directory, a socket or a record."""
    strangers: list[str] = field(default_factory=list)
    """Processes, sockets, containers and images of the mesh that nothing accounts for, each as a phrase."""


def violations(ledger: Ledger, seen: Observation) -> list[str]:
    """Everything that is not as clients were told, one sentence each; empty where all is well."""
    found: list[str] = []
    for story in ledger.stories.values():
        found += _function(story, seen.functions.get(story.name))
    unknown = sorted(name for name in seen.functions if name not in ledger.stories and name.startswith(ledger.prefix))
    found += [f"function {name} is there, but nobody asked for it" for name in unknown]
    found += _keys(ledger, seen)
    found += _things(seen)
    for failure in ledger.unexplained():
        found.append(
            f"{failure.what} failed, and nothing that was done explains it: {failure.how}"
            f" (sent {failure.began:.2f}, failed {failure.ended:.2f})"
        )
    return found


def _function(story: Story, seen: SeenFunction | None) -> Iterator[str]:
    if seen is None:
        if story.exists:
            yield f"function {story.name} ({story.uid}) was acknowledged and is not there"
        return
    if seen.uid in story.earlier_uids:
        yield f"function {story.name} ({seen.uid}) was deleted and is there again"
        return
    if story.exists is False:
        yield f"function {story.name} was deleted and is there, as {seen.uid}"
        return
    if story.exists and seen.uid != story.uid:
        yield f"function {story.name} was acknowledged as {story.uid} and is there as {seen.uid}"
        return
    if not story.uid or seen.uid == story.uid:
        yield from _builds(story, seen)
        yield from _serving(story, seen)


def _builds(story: Story, seen: SeenFunction) -> Iterator[str]:
    for build, kind in story.builds.items():
        state = seen.builds.get(build)
        told = story.ended.get(build)
        if state is None:
            yield f"{build} was acknowledged and is not there"
        elif state not in FINAL:
            yield f"{build} was accepted and has not ended: {state}"
        elif told is not None and state != told:
            yield f"{build} was said to have ended {told} and is {state}"
        elif state != ("DONE" if kind == "good" else "FAILED"):
            yield f"{build} of a {kind} source ended {state}"
    for build, state in seen.builds.items():
        if state not in FINAL:
            yield f"{build} has not ended: {state}"
    for number in sorted(story.revisions):
        if number not in seen.revisions:
            yield f"revision {number} of {story.name} was acknowledged and is not there"


def _serving(story: Story, seen: SeenFunction) -> Iterator[str]:
    if not story.editions:
        return
    if not seen.serving:
        if story.edition:
            yield f"{story.name}: edition {story.edition} was accepted and nothing serves"
        return
    if seen.revisions.get(seen.serving) != "BUILT":
        yield f"{story.name} serves revision {seen.serving}, which is {seen.revisions.get(seen.serving, 'not there')}"
    if seen.deployment != "READY":
        yield f"{story.name} is deployed and {seen.deployment or 'of no state'}"
    not_ready = {uid: state for uid, state in seen.instances.items() if state != "READY"}
    if not_ready:
        yield f"{story.name} has instances that are not READY: {not_ready}"
    answer = seen.answer
    if answer is None or answer.status != 200:
        yield f"{story.name} is deployed and does not answer: {answer.status if answer else 'no answer'}"
        return
    if answer.edition not in story.editions:
        yield f"{story.name} serves edition {answer.edition}; it should be one of {sorted(story.editions)}"
    if answer.greeting not in story.greetings:
        yield f"{story.name} has the greeting '{answer.greeting}'; it should be one of {sorted(story.greetings)}"


def _keys(ledger: Ledger, seen: Observation) -> Iterator[str]:
    for key in ledger.keys.values():
        if key.key_id not in seen.keys:
            yield f"key {key.key_id} was acknowledged and is not there"
        elif key.revoked is not None and seen.keys[key.key_id] != key.revoked:
            now = "revoked" if seen.keys[key.key_id] else "good"
            yield f"key {key.key_id} was said to be {'revoked' if key.revoked else 'good'} and is {now}"


def _things(seen: Observation) -> Iterator[str]:
    wanted = {uid for function in seen.functions.values() for uid in function.instances}
    there = set(seen.workloads)
    for uid in sorted(there - wanted):
        yield f"instance {uid} runs, and no function has it"
    for uid in sorted(wanted - there):
        yield f"instance {uid} is said to be there and does not run"
    for uid in sorted(there):
        if seen.workloads.count(uid) > 1:
            yield f"instance {uid} runs {seen.workloads.count(uid)} times"
    for uid in sorted(seen.records - wanted):
        yield f"instance {uid} is gone and has left a directory, a socket or a record"
    yield from seen.strangers
