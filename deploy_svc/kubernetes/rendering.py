"""The manifests of a function as somebody asks for them: what a deploy of it would apply. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from deploy_svc.convert import to_desired, to_limits
from deploy_svc.domain import Artifact, ArtifactKind, Function, Runtime, Target, Workload
from deploy_svc.kubernetes.app_spec import Defaults, Place, app_of, place_of
from deploy_svc.kubernetes.manifests import Manifest, Options, render, to_yaml
from deploy_svc.kubernetes.names import mesh_label
from deploy_svc.kubernetes.placement import parse_spot
from deploy_svc.settings import DeploySettings
from fnmesh.deploy.v1 import deploy_service_pb2 as pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.registry.v1 import function_pb2
from mesh.errors import InvalidArgument

_RUNTIMES = {function_pb2.RUNTIME_NODE: Runtime.NODE, function_pb2.RUNTIME_SPIN: Runtime.SPIN}
_ENTRY_FILES = {Runtime.NODE: "index.js", Runtime.PYTHON: "handler.py"}


def options_of(settings: DeploySettings) -> Options:
    """What the settings say of all apps. Raises ValueError with a sentence."""
    spot = parse_spot(settings.deploy_kubernetes_spot_labels, settings.deploy_kubernetes_spot_tolerations)
    return Options(spot, round(settings.deploy_kubernetes_progress_s))


@dataclass(frozen=True, slots=True)
class Rendered:
    """The objects of an app of that name, and where they belong; its context is empty for the default one."""

    app_name: str
    place: Place
    objects: list[Manifest]

    @property
    def answer(self) -> pb.RenderManifestsResponse:
        """The message."""
        return pb.RenderManifestsResponse(yaml=to_yaml(self.objects), app_name=self.app_name)


def rendered(request: pb.RenderManifestsRequest, known: Workload | None, settings: DeploySettings) -> Rendered:
    """What a request asks for; `known` is what the registry has of its revision, None where it has none."""
    snapshot = internal_pb.FunctionSnapshot(function=request.function, serving_revision_number=max(1, request.revision))
    function = _function(snapshot)
    place = place_of(function.cluster, Defaults("", settings.deploy_kubernetes_namespace))
    workload = _workload(request, known)
    app = app_of(function, workload, place, mesh_label(settings.read_mesh_id()), resting=False)
    return Rendered(app.name, place, render(app, options_of(settings)))


def _function(snapshot: internal_pb.FunctionSnapshot) -> Function:
    desired = to_desired(snapshot)
    return Function(**{name: getattr(desired, name) for name in type(desired).__dataclass_fields__})


def _workload(request: pb.RenderManifestsRequest, known: Workload | None) -> Workload:
    """The workload that the request describes; what it cannot say comes of what is known, or is a default."""
    message = request.function
    env = dict(message.env)
    runtime = _RUNTIMES.get(message.runtime, Runtime.PYTHON)
    limits = to_limits(message.limits)
    entry_file, reference, secrets = _ENTRY_FILES.get(runtime, ""), "", frozenset[str]()
    handler, event_format = message.handler or "handler", "v2"
    if message.event_format == function_pb2.EVENT_FORMAT_BODY:
        event_format = "body"
    if known is not None:
        runtime, secrets = known.runtime, known.secret_names
        entry_file = known.artifact.entry_file
        reference = known.artifact.reference if known.artifact.kind is ArtifactKind.IMAGE else ""
        handler, event_format = known.handler, known.event_format
        limits = limits if message.HasField("limits") else known.limits
    if not request.image and not reference:
        told = "image names what is to be run: there is no revision that was built for a cluster."
        raise InvalidArgument("IMAGE_MISSING", told, fields={"image": told})
    artifact = Artifact("", ArtifactKind.IMAGE, request.image or reference, 0, entry_file)
    return Workload(
        function_uid=message.uid,
        function_name=message.display_name,
        revision=request.revision,
        runtime=runtime,
        target=Target.KUBERNETES,
        artifact=artifact,
        limits=limits,
        handler=handler,
        event_format=event_format,
        env={key: value for key, value in env.items() if key not in secrets} | dict.fromkeys(secrets, ""),
        secret_names=secrets,
    )
