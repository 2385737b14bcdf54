"""What names, paths and keys may look like, for the schema; the registry has the last word."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

WORKSPACE_NAME = r"^(?!ws-)[a-z0-9][a-z0-9-]{0,62}$"
FUNCTION_NAME = r"^(?!fn-)[a-z0-9][a-z0-9_-]{0,62}$"
RESERVED = "workspaces|functions|v1|upload|execute|jobs|job|project|projects|cloudwatch|log|health"
_CHARACTER = r"[A-Za-z0-9._~!$&'()*+,;=:@-]"
_SEGMENT = rf"(?!\.\.?(/|$)){_CHARACTER}+"
PATH = rf"^/?(?!({RESERVED})(/|$)){_SEGMENT}(/{_SEGMENT})*/?$"
METHOD = r"^[A-Za-z][A-Za-z0-9-]{0,31}$"
METHODS = r"^[A-Za-z][A-Za-z0-9-]{0,31}( *, *[A-Za-z][A-Za-z0-9-]{0,31}){0,9}$"
RUNTIME = r"^([Pp]ython|[Nn]ode|[Nn]odejs)[0-9]{0,2}(\.[0-9x]{1,3})?$|^spin$|^wasm$"
TEXT = r"^[^\x00]*$"
PLAIN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"


class Given(BaseModel):
    """What a caller sends."""

    model_config = ConfigDict(regex_engine="python-re")  # the other one knows no (?!...)


EnvKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")]
EnvValue = Annotated[str, StringConstraints(pattern=TEXT, max_length=65_536)]
_ENV_KEYS = 1000


def _few(env: Any) -> Any:
    """Looks at how many there are first: what is wrong with each of a million takes seconds to find."""
    if isinstance(env, dict) and len(env) > _ENV_KEYS:
        raise PydanticCustomError("too_long", f"There may be at most {_ENV_KEYS} environment variables.")
    return env


Env = Annotated[
    dict[EnvKey, EnvValue],
    Field(max_length=_ENV_KEYS, json_schema_extra={"additionalProperties": False}),
    BeforeValidator(_few),
]
Description = Annotated[str, Field(max_length=1024, pattern=PLAIN)]
