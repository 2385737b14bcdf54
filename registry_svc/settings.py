"""Settings of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field

from mesh.settings import MeshSettings, SettingsError
from registry_svc.urls import PatternInvalid, UrlPatterns


class RegistrySettings(MeshSettings):
    """FNMESH_REGISTRY_* and the common names."""

    service: ClassVar[str] = "registry"

    registry_poll_interval_s: float = Field(default=1.0, gt=0, le=60)
    """How often a watch looks for changes that other processes made (its own wake it at once)."""
    registry_watch_max_age_s: float = Field(default=1800, gt=0)
    """After this a watch ends with UNAVAILABLE and is called again."""
    registry_tombstone_s: float = Field(default=7200, ge=3600)
    """How long a deleted function can still be learned of by a watcher that was away."""
    registry_invocation_url_allow: str = ""
    """URLs outside the mesh that direct invokes of a function may be sent to (`invocation_url`), as patterns with
    commas between them: `https://*.example.org`, `http://10.0.0.7:8080/fn`. None of them where not set.
    FNMESH_INVOCATION_URL_ALLOW is another name of this setting.
    """
    registry_drain_s: float = Field(default=5.0, ge=0)
    """How long calls have to finish when the service stops."""
    registry_secrets_key_file: Path = Field(default_factory=lambda data: data["data_dir"] / "secrets.key")
    """The key that env values are encrypted with; made where it is not there. Back it up with the database.
    """

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings of this process. Raises SettingsError with one sentence."""
        settings = super().load(environ)
        try:
            UrlPatterns.parse(settings.registry_invocation_url_allow)
        except PatternInvalid as error:
            raise SettingsError(f"FNMESH_INVOCATION_URL_ALLOW is wrong: {error}.") from None
        return settings

    @property
    def invocation_urls(self) -> UrlPatterns:
        """Which URLs a function's direct invokes may be sent to."""
        return UrlPatterns.parse(self.registry_invocation_url_allow)
