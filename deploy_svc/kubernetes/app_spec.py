"""An app: all that its manifests are made of, of a function and a revision. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from deploy_svc.domain import ArtifactKind, ClusterSettings, Function, Limits, Runtime, Workload
from deploy_svc.kubernetes.names import app_name
from deploy_svc.launch import launch_of
from mesh.errors import FailedPrecondition
from runtimes.catalog import arguments

DEFAULT_MOST_REPLICAS = 10
SPIN_PORT = 80


class AppKind(StrEnum):
    """What runs the app: a Deployment of our own, or SpinKube's operator."""

    CONTAINER = "Deployment"
    SPIN = "SpinApp"


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace of a cluster."""

    context: str
    namespace: str


@dataclass(frozen=True, slots=True)
class App:
    """`replicas` are those wanted now, 0 while it rests, which it only does with `rests`; with `autoscaling` the
    cluster chooses between `least` and `most`. `env` and `secrets` share no key; values of the latter are in no repr.
    """

    name: str
    namespace: str
    mesh: str
    function_uid: str
    revision: int
    kind: AppKind
    image: str
    arguments: tuple[str, ...]
    limits: Limits
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    least: int = 1
    most: int = 1
    replicas: int = 1
    rests: bool = False
    autoscaling: bool = False
    use_spot: bool = False
    service_account: str = ""
    pull_secrets: tuple[str, ...] = ()

    @property
    def scaled_apart(self) -> bool:
        """Whether a SpinApp leaves the number of pods to its Deployment: to say 0 there it must."""
        return self.kind is AppKind.SPIN and (self.autoscaling or self.rests)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What applies where a function's settings say nothing."""

    context: str
    namespace: str


def place_of(settings: ClusterSettings, defaults: Defaults) -> Place:
    """Where a function belongs."""
    return Place(settings.context or defaults.context, settings.namespace or defaults.namespace)


def app_of(function: Function, workload: Workload, place: Place, mesh: str, *, resting: bool) -> App:
    """The app that a revision of a function is. Raises FailedPrecondition (ARTIFACT_KIND) for one built for another
    target.
    """
    artifact, settings = workload.artifact, function.cluster
    if artifact.kind is not ArtifactKind.IMAGE:
        message = "This revision was not built for a cluster: deploy the function again."
        raise FailedPrecondition("ARTIFACT_KIND", message)
    spin = workload.runtime is Runtime.SPIN
    least = max(1, function.min_instances)
    return App(
        name=settings.app_name or app_name(function.display_name, function.uid),
        namespace=place.namespace,
        mesh=mesh,
        function_uid=function.uid,
        revision=workload.revision,
        kind=AppKind.SPIN if spin else AppKind.CONTAINER,
        image=artifact.reference,
        arguments=() if spin else tuple(arguments(launch_of(workload))),
        limits=workload.limits,
        env={key: value for key, value in workload.env.items() if key not in workload.secret_names},
        secrets={key: workload.env[key] for key in workload.secret_names},
        least=least,
        most=max(least, function.max_instances or DEFAULT_MOST_REPLICAS),
        replicas=0 if resting else least,
        rests=function.min_instances == 0 and not settings.autoscaling,
        autoscaling=settings.autoscaling,
        use_spot=settings.use_spot,
        service_account=settings.service_account,
        pull_secrets=settings.image_pull_secrets,
    )
