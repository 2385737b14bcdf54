"""The verbs: what a request for one kind of object does, once it is known who asks and for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes import ownership, patches, pod_security, statuses
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.deleting import DeleteOptions, Deleting
from tests.support.kubernetes.names import required
from tests.support.kubernetes.objects import Objects, Options
from tests.support.kubernetes.ownership import Manager
from tests.support.kubernetes.resources import NAMESPACES, PODS, SERVICE_ACCOUNTS, Resource
from tests.support.kubernetes.spin_admission import SpinAdmission
from tests.support.kubernetes.statuses import Cause
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import ClusterClock, stamp

Json = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What a request is about; `name` is empty for a collection."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Api:
    """Reads and writes as a client would, without HTTP, RBAC and faults. Raises ApiError.

    What is returned may be what is stored: it must not be altered.
    """

    def __init__(self, storage: Storage, clock: ClusterClock) -> None:
        self._storage = storage
        self._clock = clock
        self._objects = Objects(storage, clock)
        self._deleting = Deleting(storage, clock)
        self.spin = SpinAdmission()

    def get(self, target: Target) -> Json:
        found = self._storage.find(target.resource, target.namespace, target.name)
        if found is None:
            raise statuses.not_found(target.resource, target.name)
        return found

    def create(self, target: Target, body: Any, options: Options) -> Json:
        with self._storage.lock:
            decoded = self._objects.decoded(target.resource, target.namespace, target.name, body, options)
            return self._create(target.resource, decoded, Manager(options.manager), options)

    def update(self, target: Target, body: Any, options: Options) -> Json:
        with self._storage.lock:
            before = self.get(target)
            decoded = self._objects.decoded(target.resource, target.namespace, target.name, body, options)
            return self._update(target, before, decoded, options)

    def patch(self, target: Target, body: Any, content_type: str, options: Options) -> tuple[Json, bool]:
        """The object, and whether it is new. `content_type` is one of those in `patches`."""
        with self._storage.lock:
            if content_type == patches.APPLY:
                return self._apply(target, body, options)
            before = self.get(target)
            live = clone(before)
            match content_type:
                case patches.MERGE:
                    wanted = patches.merge(live, body)
                case patches.STRATEGIC if not target.resource.custom:
                    wanted = patches.strategic(live, body, self._objects.node(target.resource))
                case patches.JSON_PATCH:
                    wanted = patches.json_patch(live, body)
                case _:
                    raise statuses.unsupported_media_type(content_type)
            decoded = self._objects.decoded(target.resource, target.namespace, target.name, wanted, options)
            return self._update(target, before, decoded, options), False

    def delete(self, target: Target, options: DeleteOptions) -> Json:
        """A Status where the thing is gone, and the thing where it still goes."""
        with self._storage.lock:
            return self._deleting.delete(target.resource, self.get(target), options)

    def _create(self, resource: Resource, decoded: Json, manager: Manager, options: Options) -> Json:
        metadata = decoded["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if metadata.get("resourceVersion") and manager.operation == "Update":
            raise statuses.bad_request("resourceVersion should not be set on objects to be created")
        if resource.namespaced:
            self._require_namespace(resource, namespace, name)
        if resource is PODS:
            self._require_service_account(decoded)
            self._require_security(decoded)
        elif resource.kind in ("Deployment", "ReplicaSet"):
            self._warn_of_security(decoded, namespace, options)
        now = self._objects.made(resource, decoded)
        self._ask_webhook(resource, now)
        if self._storage.find(resource, namespace, name) is not None:
            raise statuses.already_exists(resource, name)
        node, time = self._objects.node(resource), stamp(self._clock.now())
        if manager.operation == "Update":
            now["metadata"].pop("managedFields", None)
            ownership.updated(None, now, node, manager, time)
        else:
            bare = {"metadata": {}, "apiVersion": now["apiVersion"], "kind": now["kind"]}
            applied = ownership.applied(bare, decoded, node, manager.name, force=True, time=time)
            now["metadata"]["managedFields"] = applied["metadata"]["managedFields"]
        return now if options.dry_run else self._storage.put(resource, now)

    def _update(self, target: Target, before: Json, decoded: Json, options: Options) -> Json:
        resource, name = target.resource, target.name
        metadata = decoded["metadata"]
        if metadata.get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]:
            said = (f"Precondition failed: UID in precondition: {metadata['uid']}, "
                    f"UID in object meta: {before['metadata']['uid']}")  # fmt: skip
            raise statuses.conflict(resource, name, said)
        if (
            metadata.get("resourceVersion", before["metadata"]["resourceVersion"])
            != before["metadata"]["resourceVersion"]
        ):
            raise statuses.conflict(resource, name)
        now = self._objects.changed(resource, before, decoded, subresource=target.subresource)
        now["metadata"]["managedFields"] = before["metadata"].get("managedFields", [])
        manager = Manager(options.manager, subresource=target.subresource)
        time = stamp(self._clock.now())
        ownership.updated(before, now, self._objects.node(resource), manager, time)
        return self._stored(resource, before, now, options)

    def _apply(self, target: Target, body: Any, options: Options) -> tuple[Json, bool]:
        resource = target.resource
        if not options.manager:
            raise statuses.invalid(
                Resource("meta.k8s.io", "v1", "patchoptions", "PatchOptions"), "",
                [required("fieldManager", "is required for apply patch")],
            )  # fmt: skip
        if not isinstance(body, dict) or not body.get("apiVersion") or not body.get("kind"):
            raise statuses.bad_request("Object 'Kind' is missing in the applied object")
        if (body.get("metadata") or {}).get("managedFields"):
            raise statuses.bad_request("metadata.managedFields must be nil")
        wanted = self._objects.configuration(resource, target.namespace, target.name, body)
        live = self._storage.find(resource, target.namespace, target.name)
        if live is None:
            if wanted["metadata"].get("uid") or wanted["metadata"].get("resourceVersion"):
                raise statuses.conflict(resource, target.name, "the object does not exist any more")
            self._objects.check(resource, wanted, options)
            return self._create(resource, wanted, Manager(options.manager, "Apply"), options), True
        version = wanted["metadata"].pop("resourceVersion", None)
        if version not in (None, live["metadata"]["resourceVersion"]):
            raise statuses.conflict(resource, target.name)
        merged = ownership.applied(
            live, wanted, self._objects.node(resource), options.manager,
            force=options.force, time=stamp(self._clock.now()),
        )  # fmt: skip
        merged = clone(merged)  # what is stored lives on in it, and `check` alters what it is given
        self._objects.check(resource, merged, options)
        now = self._objects.changed(resource, live, merged, subresource=target.subresource)
        return self._stored(resource, live, now, options), False

    def _stored(self, resource: Resource, before: Json, now: Json, options: Options) -> Json:
        if ownership.same(before, now):
            return before
        if before.get("status") == now.get("status"):
            self._ask_webhook(resource, now)
        if options.dry_run:
            return now
        if not now["metadata"].get("finalizers") and self._deleting.waited_for_finalizers(resource, now):
            self._storage.remove(resource, now["metadata"].get("namespace", ""), now["metadata"]["name"])
            return now
        return self._storage.put(resource, now)

    def _ask_webhook(self, resource: Resource, thing: Json) -> None:
        if resource.custom and resource.kind == "SpinApp":
            self.spin.require(resource, thing)

    def _require_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        found = self._storage.find(NAMESPACES, "", namespace)
        if found is None:
            raise statuses.not_found(NAMESPACES, namespace)
        if "deletionTimestamp" in found["metadata"]:
            said = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = Cause("metadata.namespace", f"namespace {namespace} is being terminated", "NamespaceTerminating")
            raise statuses.forbidden(resource, name, said, [cause])

    def _require_security(self, pod: Json) -> None:
        found = self._storage.find(NAMESPACES, "", pod["metadata"]["namespace"])
        if found is not None and (said := pod_security.violations(found, pod["spec"])):
            name = pod["metadata"].get("generateName") or pod["metadata"]["name"]
            raise statuses.forbidden(PODS, name, f"violates {said}")

    def _warn_of_security(self, workload: Json, namespace: str, options: Options) -> None:
        found = self._storage.find(NAMESPACES, "", namespace)
        if found is not None and (said := pod_security.violations(found, workload["spec"]["template"].get("spec", {}))):
            options.warnings.append(f"would violate {said}")

    def _require_service_account(self, pod: Json) -> None:
        namespace, wanted = pod["metadata"]["namespace"], pod["spec"].get("serviceAccountName", "default")
        if self._storage.find(SERVICE_ACCOUNTS, namespace, wanted) is None:
            said = f'error looking up service account {namespace}/{wanted}: serviceaccount "{wanted}" not found'
            name = pod["metadata"].get("generateName") or pod["metadata"]["name"]
            raise statuses.forbidden(PODS, name, said)
