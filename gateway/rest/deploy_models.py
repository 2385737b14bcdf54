"""Deploys of images as older clients write and read them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator
from pydantic.config import JsonDict

from gateway.rest import quantities, words
from gateway.rest.task_models import APP

_NAMESPACE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_LABEL = r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
_IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,599}$"
_EXAMPLE: JsonDict = {
    "namespace": "default",
    "image_ref": "127.0.0.1:5000/faas-app:a1b2c3d4",
    "function_id": "fn-my-function-001",
    "enable_autoscaling": True,
    "use_spot": False,
}

Namespace = Annotated[
    str, Field(pattern=_NAMESPACE, description="Of the cluster; where the mesh has none, there is `default`.")
]
AppName = Annotated[str, Field(pattern=APP)]
Quantity = Annotated[str, Field(max_length=20, pattern=r"^[0-9]{1,9}(\.[0-9]{1,3})?[A-Za-z]{0,2}$")]


class DeployIn(words.Given):
    """An image to deploy."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    namespace: Namespace
    image_ref: str = Field(pattern=_IMAGE, description="`registry/repository:tag`, or `@sha256:...`.")
    function_id: str | None = Field(
        default=None, pattern=_LABEL, description="A label; where it names a function, that one gets the deployment."
    )
    app_name: AppName | None = Field(default=None, description="Made up where absent: a new app.")
    enable_autoscaling: StrictBool = True
    replicas: int | None = Field(default=None, ge=1, le=100, description="Counts only without autoscaling; 1.")
    use_spot: StrictBool = True
    service_account: str | None = Field(default=None, pattern=_LABEL)
    cpu_limit: Quantity | None = Field(default=None, description="`500m`, `1`.", examples=["500m"])
    memory_limit: Quantity | None = Field(default=None, description="`128Mi`, `1Gi`.", examples=["128Mi"])

    @field_validator("cpu_limit")
    @classmethod
    def _cpu(cls, value: str | None) -> str | None:
        if value is not None:
            quantities.cpu_millis(value)
        return value

    @field_validator("memory_limit")
    @classmethod
    def _memory(cls, value: str | None) -> str | None:
        if value is not None:
            quantities.memory_bytes(value)
        return value

    @property
    def wanted_replicas(self) -> int | None:
        """How many there shall be; None where it scales by itself."""
        return None if self.enable_autoscaling else self.replicas or 1


class ScaffoldIn(DeployIn):
    """An image whose manifest is wanted."""

    namespace: Namespace = "default"


class Scaffold(BaseModel):
    """The manifest that a deploy would apply."""

    yaml: str
    app_name: str


class Deployed(BaseModel):
    """An app as it is deployed."""

    app_name: str
    namespace: str
    service_name: str
    service_status: Literal["found", "pending"]
    endpoint: str | None = Field(description="Null while the service is not there.")
    enable_autoscaling: bool
    use_spot: bool
    error: str | None
    url: str | None = Field(default=None, description="Where this mesh answers for it.")
    function_id: str = Field(description="The function that has the deployment.")
