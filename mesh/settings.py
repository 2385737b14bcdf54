"""Settings: environment variables FNMESH_*, read once, frozen, unknown names refused."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh import addresses
from mesh.auth import ServiceToken

PREFIX = "FNMESH_"
SERVICES = ("registry", "build", "deploy", "invoke", "gateway")
_PARTS = ("REGISTRY", "BUILD", "DEPLOY", "INVOKE", "GATEWAY", "WORKLOAD", "UP", "TEST")
_NOT_OURS = frozenset({"FNMESH_SERVER", "FNMESH_API_KEY", "FNMESH_REQUIRE"})


OLDER_NAMES = {
    "FNMESH_CLUSTER_ALIASES": "gateway_cluster_aliases",
    "FNMESH_INVOCATION_URL_ALLOW": "registry_invocation_url_allow",
    "LOKI_SERVICE_URL": "loki_url",
    "PROMETHEUS_SERVICE_URL": "gateway_prometheus_url",
}
"""Names by which systems that came before call a setting: taken where the setting itself is not given."""


class SettingsError(Exception):
    """The settings are wrong; the text is one sentence that says which and what to do."""


def default_data_dir() -> Path:
    """Where the mesh keeps its data: /var/lib/fnmesh for root, else below the home directory."""
    return Path("/var/lib/fnmesh") if os.geteuid() == 0 else Path.home() / ".local/share/fnmesh"


def default_run_dir(data_dir: Path) -> Path:
    """Where sockets are: a short path, since gRPC refuses socket paths over 107 characters."""
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:8]
    return Path(f"/tmp/fnmesh-{digest}")  # noqa: S108 -- short; made by `up` with its own mode and owner checks


def _socket(service: str) -> Any:
    return Field(default_factory=lambda data: f"unix:{data['run_dir']}/m/{service}.sock")


class MeshSettings(BaseSettings):
    """The settings that all services share. A service adds fields that begin with its own name.

    `FNMESH_REGISTRY_POLL_INTERVAL_S` is the field `registry_poll_interval_s` of a class with
    `service = "registry"`. An empty variable counts as one that is not set.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )
    service: ClassVar[str] = ""

    data_dir: Path = Field(default_factory=default_data_dir)
    run_dir: Path = Field(default_factory=lambda data: default_run_dir(data["data_dir"]))
    database_url: str = Field(default="", repr=False)
    """Where the tables are; a SQLite file `<data>/db/<service>.db` where not set."""
    token_file: Path = Field(default_factory=lambda data: data["run_dir"] / "token")
    auth: Literal["off", "keys"] = "off"
    mesh_id: str = ""
    """Tells this mesh's containers from others'; see `read_mesh_id`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    trace_rate: float = Field(default=50, ge=0)
    """Traces a second that are sampled whatever the load is."""
    trace_share: float = Field(default=0.01, ge=0, le=1)
    """Share of the others that is sampled."""
    blob_url: str = Field(default_factory=lambda data: str(data["data_dir"] / "blobs"), repr=False)
    registry_address: str = _socket("registry")
    build_address: str = _socket("build")
    deploy_address: str = _socket("deploy")
    invoke_address: str = _socket("invoke")
    gateway_address: str = _socket("gateway")
    listen_address: str = ""
    """Where this process listens; at its own FNMESH_..._ADDRESS where not set. For several of a service, when that one
    says where all of them are reached."""
    advertised_address: str = ""
    """What Envoy is told of this process; where it listens, if not set."""
    loki_url: str = Field(default="", repr=False)
    """A Loki (`http://loki:3100`) that log lines of functions are sent to and read from; older: LOKI_SERVICE_URL."""

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        if not self.database_url and self.service:
            url = f"sqlite:///{self.data_dir.absolute()}/db/{self.service}.db"
            object.__setattr__(self, "database_url", url)
        return self

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings of this process. Raises SettingsError with one sentence."""
        given = os.environ if environ is None else environ
        known = check_names(cls, given)
        older: dict[str, Any] = {
            field: given[name]
            for name, field in OLDER_NAMES.items()
            if field in cls.model_fields and field not in known and given.get(name)
        }
        try:
            values: dict[str, Any] = dict(known)
            settings = cls(**older) if environ is None else cls(**values, **older)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = PREFIX + "_".join(str(one) for one in first["loc"]).upper()
            raise SettingsError(f"{name} is wrong: {first['msg']}.") from None
        settings.check_addresses()
        return settings

    def check_addresses(self) -> None:
        """Raises SettingsError where an address names no place."""
        for service in SERVICES:
            try:
                addresses.split(str(getattr(self, f"{service}_address")))
            except addresses.AddressError as error:
                raise SettingsError(f"FNMESH_{service.upper()}_ADDRESS is wrong: {error}.") from None

    @property
    def own_address(self) -> str:
        """Where this process listens: `unix:/path` or `host:port`. Raises SettingsError where that is not said."""
        address = self.listen_address or str(getattr(self, f"{self.service}_address"))
        if addresses.is_several(address):
            raise SettingsError(
                f"FNMESH_{self.service.upper()}_ADDRESS names several: "
                "say in FNMESH_LISTEN_ADDRESS where this process listens."
            )
        return address

    @property
    def has_replicas(self) -> bool:
        """Whether there may be other processes of this service."""
        return addresses.is_several(str(getattr(self, f"{self.service}_address")))

    def advertised(self, bound: str) -> str:
        """Where Envoy reaches this process, which listens at `bound`."""
        return self.advertised_address or bound

    def read_token(self) -> ServiceToken:
        """The service token. Raises SettingsError where the file is not there or not a token."""
        try:
            return ServiceToken.read(self.token_file)
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot read the service token (FNMESH_TOKEN_FILE): {error}.") from None

    def read_mesh_id(self) -> str:
        """The mesh's own id: the setting, else what `<data>/mesh_id` says. Raises SettingsError without both."""
        if self.mesh_id:
            return self.mesh_id
        path = self.data_dir / "mesh_id"
        try:
            value = path.read_text().strip()
        except OSError as error:
            raise SettingsError(f"cannot read the mesh's id (FNMESH_MESH_ID): {error}.") from None
        if not value:
            raise SettingsError(f"{path} is empty: put an id there or set FNMESH_MESH_ID.")
        return value

    def redacted(self) -> dict[str, object]:
        """All settings as they may be logged."""
        shown: dict[str, object] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in ("database_url", "blob_url", "loki_url", "gateway_prometheus_url") and "@" in str(value):
                scheme, _, rest = str(value).partition("://")
                value = f"{scheme}://****@{rest.rpartition('@')[2]}"
            shown[name] = value if isinstance(value, bool | int | float) or value is None else str(value)
        return shown


def check_names(kind: type[MeshSettings], environ: Mapping[str, str]) -> dict[str, str]:
    """The fields that the environment sets. Raises SettingsError for a FNMESH_ name that nobody knows.

    A service answers for its own prefix and the common names; `FNMESH_BUILD_...` is not the registry's
    business.
    """
    own = kind.service.upper()
    fields: dict[str, str] = {}
    for name, value in environ.items():
        if not name.upper().startswith(PREFIX) or name in _NOT_OURS or name in OLDER_NAMES:
            continue
        field = name[len(PREFIX) :].lower()
        if field in kind.model_fields and name.isupper():
            if value:
                fields[field] = value
            continue
        part = name[len(PREFIX) :].split("_")[0]
        if part in _PARTS and part != own:
            continue
        names = [PREFIX + one.upper() for one in kind.model_fields]
        near = difflib.get_close_matches(name.upper(), names, n=1)
        hint = f"; did you mean {near[0]}" if near else ""
        raise SettingsError(f"{name} is not a setting of the mesh{hint}.")
    return fields
