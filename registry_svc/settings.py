"""Settings of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from mesh.settings import MeshSettings


class RegistrySettings(MeshSettings):
    """FNMESH_REGISTRY_* and the common names."""

    service: ClassVar[str] = "registry"

    registry_poll_interval_s: float = Field(default=1.0, gt=0, le=60)
    """How often a watch looks for changes that other processes made (its own wake it at once)."""
    registry_watch_max_age_s: float = Field(default=1800, gt=0)
    """After this a watch ends with UNAVAILABLE and is called again."""
    registry_tombstone_s: float = Field(default=7200, ge=3600)
    """How long a deleted function can still be learned of by a watcher that was away."""
    registry_drain_s: float = Field(default=5.0, ge=0)
    """How long calls have to finish when the service stops."""
    registry_secrets_key_file: Path = Field(default_factory=lambda data: data["data_dir"] / "secrets.key")
    """The key that env values are encrypted with; made where it is not there. Back it up with the database.
    """
