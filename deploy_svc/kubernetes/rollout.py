"""How an app is, in the states and sentences of deployments. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy_svc.domain import DeploymentState, Function
from deploy_svc.kubernetes.app_spec import AppKind
from deploy_svc.kubernetes.views import Held, Pod
from deploy_svc.rollout import RESTS
from mesh.errors import MeshError, Unavailable

_SETTLED = (DeploymentState.READY, DeploymentState.IDLE, DeploymentState.DEGRADED)
_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_MAKING = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_OOM = "OOMKilled"
_SIGNALS = 128


@dataclass(frozen=True, slots=True)
class Seen:
    """An app on its cluster: `answering` are the uids of pods that get requests."""

    main: Held | None
    pods: Sequence[Pod]
    answering: frozenset[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """State and sentence; `all_ready`: as many pods as are wanted answer, all of the wanted revision."""

    state: DeploymentState
    message: str = ""
    all_ready: bool = False


def judge(function: Function, wanted: int, seen: Seen) -> Verdict:
    """How the function's app is when `wanted` pods are; with 0 it rests."""
    if wanted == 0:
        return Verdict(DeploymentState.IDLE, RESTS, all_ready=function.was_ready)
    own = [one for one in seen.pods if one.revision == function.revision and not one.ending]
    answering = [one for one in own if one.uid in seen.answering]
    current = seen.main is not None and seen.main.current
    enough, late = len(answering) >= wanted, current and _overdue(seen.main)
    if current and enough and not late:
        return Verdict(DeploymentState.READY, all_ready=True)
    trouble = _trouble(seen.main if current else None, [one for one in own if one.uid not in seen.answering])
    if enough and late and not trouble:
        trouble = "what was changed last makes no progress."
    told = _progress(function.revision, len(answering), wanted, trouble)
    if late and not function.was_ready:
        return Verdict(DeploymentState.FAILED, told + _who_serves(function.revision, seen))
    if function.was_ready and (trouble or late):  # also by a change of its settings, which makes no revision
        return Verdict(DeploymentState.DEGRADED, told)
    return Verdict(DeploymentState.STARTING, told)


def has_settled(function: Function) -> bool:
    """Whether what is wanted has come up, and was not asked for anew since."""
    return function.was_ready and function.state in _SETTLED


def of_error(error: MeshError, function: Function) -> Verdict:
    """What is told where the cluster refuses or is silent. What serves goes on serving."""
    serves = has_settled(function)
    if isinstance(error, Unavailable):
        state = function.state if serves else DeploymentState.PENDING
        return Verdict(state, function.message if serves else error.message)
    return Verdict(DeploymentState.DEGRADED if serves else DeploymentState.FAILED, error.message)


def _progress(revision: int, answering: int, wanted: int, trouble: str) -> str:
    told = f"{answering} of {wanted} pod{'s' if wanted != 1 else ''} of revision {revision} answer"
    return f"{told}; {trouble}" if trouble else f"{told}."


def _overdue(main: Held | None) -> bool:
    """Whether its controller has given up, on what was last applied: a SpinApp's does not say what it has seen."""
    progressing = main.condition("Progressing") if main else None
    if main is None or progressing is None or progressing.reason != "ProgressDeadlineExceeded":
        return False
    return main.kind == AppKind.CONTAINER or progressing.since >= main.written_at


def _who_serves(revision: int, seen: Seen) -> str:
    others = sorted({one.revision for one in seen.pods if one.uid in seen.answering} - {revision})
    return f" Revision {others[-1]} keeps serving." if others else ""


def _trouble(main: Held | None, silent: Sequence[Pod]) -> str:
    """The worst that is known of pods that do not answer, or why there are none."""
    for pod in reversed(silent):  # the newest first: the older ones may be of an earlier try
        words = in_words(pod)
        if words:
            return f"pod {pod.name}: {words}"
    refused = main.condition("ReplicaFailure") if main else None
    return _sentence(f"the cluster makes no pods: {refused.message}") if refused and refused.status == "True" else ""


def in_words(pod: Pod) -> str:
    """Why a pod does not answer; empty where it only needs time."""
    if pod.unschedulable:
        return _sentence(f"no node takes it (Unschedulable): {pod.unschedulable}")
    if pod.waiting in _IMAGE:
        return _sentence(f"its image cannot be pulled ({pod.waiting}): {pod.message or 'look at its name'}")
    if pod.waiting in _MAKING:
        return _sentence(f"its container cannot be started ({pod.waiting}): {pod.message}")
    if pod.phase == "Failed" and not pod.ended:
        return _sentence(f"it has failed: {pod.message or 'no reason was given'}")
    if pod.ended is not None and not pod.running:
        again = f" It was started {pod.restarts} times again ({pod.waiting})." if pod.waiting and pod.restarts else ""
        return end_in_words(pod) + again
    return ""


def end_in_words(pod: Pod) -> str:
    """How what ran in a pod ended."""
    ended = pod.ended
    if ended is None:
        return _sentence(pod.message) if pod.message else "It ended while nobody was watching."
    if ended.reason == _OOM:
        return f"It used more memory than its limit of {pod.memory or 'the container'} and was killed (OOMKilled)."
    if ended.code > _SIGNALS:
        how = f"It was killed by signal {ended.code - _SIGNALS}"
    else:
        how = f"It exited with code {ended.code}"
    last = ended.message.splitlines()[-1].strip() if ended.message else ""
    return _sentence(f"{how}: {last}" if last else how)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
