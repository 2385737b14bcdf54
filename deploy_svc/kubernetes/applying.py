"""Writes apps to clusters, and removes them: only what differs, and nothing that is not theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy_svc.kubernetes.app_spec import App, AppKind, Place
from deploy_svc.kubernetes.clusters import Opened
from deploy_svc.kubernetes.kinds import AUTOSCALER, BY_NAME, DEPLOYMENT, SECRET, SERVICE, SPIN_APP, Kind
from deploy_svc.kubernetes.manifests import Manifest
from deploy_svc.kubernetes.names import APPLIED, FUNCTION_LABEL, MESH_LABEL, secret_name
from deploy_svc.kubernetes.names import SECRET as SECRET_OF
from deploy_svc.kubernetes.views import Held
from mesh import telemetry
from mesh.errors import Aborted, FailedPrecondition
from mesh.logs import get_logger

log = get_logger(__name__)
ObjectKey = tuple[str, str]  # kind and name


@dataclass(frozen=True, slots=True)
class Plan:
    """What an app should be, without the values it is made of: `applied` are the marks of its objects.

    `made_of` tells whether it still is what the function should be.
    """

    made_of: tuple[Any, ...]
    place: Place
    name: str
    kind: AppKind
    replicas: int
    scaled_apart: bool
    secret: str
    applied: Mapping[ObjectKey, str]

    @property
    def main(self) -> ObjectKey:
        """The object that makes pods."""
        return self.kind.value, self.name

    def stale(self, there: Mapping[ObjectKey, Held]) -> set[ObjectKey]:
        """The objects that are not as they should be."""
        return {key for key, mark in self.applied.items() if key not in there or there[key].applied != mark}


def plan_of(app: App, place: Place, objects: Sequence[Manifest], made_of: tuple[Any, ...]) -> Plan:
    """The plan of an app that was rendered."""
    marks = {_key(one): one["metadata"]["annotations"][APPLIED] for one in objects if one["kind"] != SECRET.name}
    secret = secret_name(app.name, app.function_uid) if app.secrets else ""
    return Plan(made_of, place, app.name, app.kind, app.replicas, app.scaled_apart, secret, marks)


def there_is(opened: Opened, function: str, namespace: str) -> dict[ObjectKey, Held]:
    """What there is of a function in a namespace."""
    found = opened.watching.objects(function)
    return {(one.kind, one.name): one for one in found if one.namespace == namespace}


class Applying:
    """For functions of one mesh. `placing` is told where something is made, before it is."""

    def __init__(self, mesh: str, placing: Callable[[str, Place], Awaitable[None]]) -> None:
        self._mesh, self._placing = mesh, placing

    async def apply(
        self,
        opened: Opened,
        function: str,
        plan: Plan,
        objects: Sequence[Manifest],
        there: Mapping[ObjectKey, Held],
    ) -> None:
        """Write what is stale of what there is. Raises what the cluster says, and Aborted (APP_NAME_TAKEN)."""
        stale, cluster = plan.stale(there), opened.cluster
        with telemetry.span("deploy.apply", function=function, context=cluster.context, app=plan.name):
            await cluster.check_namespace(plan.place.namespace)
            _check_kind(plan, there)
            await self._check_names(opened, function, plan, stale - there.keys())
            await self._placing(function, plan.place)
            was_autoscaled = await self._end_autoscaling(opened, plan, there)
            for manifest in objects:
                key = _key(manifest)
                if key in stale or (manifest["kind"] == SECRET.name and plan.main in stale):
                    manifest = _still_naming(manifest, there.get(key))
                    opened.watching.wrote(await cluster.apply(manifest, was_autoscaled=was_autoscaled))
        log.info("app_applied", function=function, app=plan.name, objects=len(stale), context=cluster.context)

    async def scale_apart(self, opened: Opened, plan: Plan, pods: int) -> None:
        """Have the Deployment of a SpinApp started or put to rest where its pods are not as they should be."""
        namespace = plan.place.namespace
        if plan.replicas == 0 and pods:
            await opened.cluster.scale(namespace, plan.name, 0)
        elif plan.replicas and not pods:
            found = await opened.cluster.find(DEPLOYMENT, namespace, plan.name)
            if found is not None and (found.get("spec") or {}).get("replicas") == 0:
                await opened.cluster.scale(namespace, plan.name, plan.replicas)

    async def tidy(self, opened: Opened, function: str, plan: Plan) -> None:
        """Remove what an earlier state of the function was made of, in the place where it is now."""
        namespace = plan.place.namespace
        for key, one in there_is(opened, function, namespace).items():
            if one.ending:
                continue
            if one.secret not in ("", plan.secret):  # before what names it: nobody could tell its name then
                await opened.cluster.delete(SECRET, namespace, one.secret)
                if key in plan.applied:
                    opened.watching.wrote(
                        await opened.cluster.unmark(BY_NAME[one.kind], namespace, one.name, SECRET_OF)
                    )
            if key not in plan.applied:
                log.info("app_object_removed", function=function, kind=one.kind, name=one.name)
                await opened.cluster.delete(BY_NAME[one.kind], namespace, one.name)

    async def _end_autoscaling(self, opened: Opened, plan: Plan, there: Mapping[ObjectKey, Held]) -> bool:
        """Whether the cluster has chosen the number of pods until now, and shall not any more.

        The autoscaler goes before the number is set: it would set it again, and own it then, which it does not while
        nobody else does.
        """
        autoscaler = (AUTOSCALER.name, plan.name)
        ends = autoscaler in there and autoscaler not in plan.applied
        if ends:
            await opened.cluster.delete(AUTOSCALER, plan.place.namespace, plan.name)
        return ends

    async def _check_names(self, opened: Opened, function: str, plan: Plan, new: set[ObjectKey]) -> None:
        """What is there by a name that is about to be used must be ours. Raises Aborted (APP_NAME_TAKEN)."""
        wanted: list[tuple[Kind, str]] = [(BY_NAME[kind], name) for kind, name in sorted(new)]
        if plan.kind is AppKind.SPIN and plan.main in new:
            wanted += [(DEPLOYMENT, plan.name), (SERVICE, plan.name)]  # which the operator makes
        for kind, name in wanted:
            found = await opened.cluster.find(kind, plan.place.namespace, name)
            if found is not None and not self._is_ours(found, function, plan):
                raise Aborted(
                    "APP_NAME_TAKEN",
                    f"There is a {kind.name} '{name}' in namespace '{plan.place.namespace}' that is not of this "
                    "function: give the function another app_name.",
                )

    def _is_ours(self, found: Mapping[str, Any], function: str, plan: Plan) -> bool:
        metadata = found.get("metadata") or {}
        labels = metadata.get("labels") or {}
        if labels.get(MESH_LABEL) == self._mesh and labels.get(FUNCTION_LABEL) == function:
            return True
        owners = metadata.get("ownerReferences") or ()
        made_by_operator = any(one.get("kind") == SPIN_APP.name and one.get("name") == plan.name for one in owners)
        return plan.kind is AppKind.SPIN and made_by_operator


def _still_naming(manifest: Manifest, before: Held | None) -> Manifest:
    """A main object without a Secret names the one that it had, of pods that may be restarted, until it is tidied."""
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations", {})
    if before is None or not before.secret or SECRET_OF in annotations:
        return manifest
    return {**manifest, "metadata": {**metadata, "annotations": {**annotations, SECRET_OF: before.secret}}}


def _check_kind(plan: Plan, there: Mapping[ObjectKey, Held]) -> None:
    """A SpinApp's operator makes a Deployment of its name. Raises FailedPrecondition (APP_KIND_CHANGED)."""
    for kind in AppKind:
        if kind is not plan.kind and (kind.value, plan.name) in there:
            raise FailedPrecondition(
                "APP_KIND_CHANGED",
                f"The app '{plan.name}' is a {kind.value} and cannot become a {plan.kind.value}: give the function "
                "another app_name, and it moves there without a gap.",
            )


def _key(manifest: Mapping[str, Any]) -> ObjectKey:
    return manifest["kind"], manifest["metadata"]["name"]
