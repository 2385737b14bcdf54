"""What may be said of a workspace and a function. Pure; raises InvalidArgument."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NoReturn

from mesh.errors import InvalidArgument
from registry_svc.domain import Limits, Scaling

MASKED = "****"
RESERVED_SEGMENTS = frozenset(
    [
        "workspaces",
        "functions",
        "v1",
        "upload",
        "execute",
        "jobs",
        "job",
        "project",
        "projects",
        "cloudwatch",
        "log",
        "health",
    ]
)
ENV_BYTES = 64 * 1024
SECRET_KEY_CHARACTERS = 128
PATH_CHARACTERS = 255
DESCRIPTION_CHARACTERS = 1024
MEBIBYTE = 1024 * 1024

_WORKSPACE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FUNCTION_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_METHOD = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_HANDLER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*(\.[A-Za-z_$][A-Za-z0-9_$]*)*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{0,64}")
_UNSHOWN = frozenset({"Cc", "Cs"})
_LINE_ENDS = {ord(one): " " for one in "\t\n\r"}
_LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")


def refuse(reason: str, field: str, message: str) -> NoReturn:
    """Raises InvalidArgument about one field."""
    raise InvalidArgument(reason, message, fields={field: message})


def workspace_name(name: str) -> str:
    """A workspace's display name, checked."""
    if not _WORKSPACE_NAME.fullmatch(name) or name.startswith("ws-"):
        refuse(
            "NAME_INVALID",
            "display_name",
            "A workspace's name has 1 to 63 characters of a-z, 0-9 and -, begins with a letter or digit, "
            "and not with 'ws-'.",
        )
    return name


def function_name(name: str) -> str:
    """A function's display name, checked."""
    if not _FUNCTION_NAME.fullmatch(name) or name.startswith("fn-"):
        refuse(
            "NAME_INVALID",
            "display_name",
            "A function's name has 1 to 63 characters of a-z, 0-9, - and _, begins with a letter or digit, "
            "and not with 'fn-'.",
        )
    return name


def function_path(path: str) -> str:
    """A path below /api in its one form: no slash at either end. PATH_INVALID, PATH_RESERVED."""
    path = path.removeprefix("/").removesuffix("/")
    if not path:
        refuse("PATH_INVALID", "path", "The path is empty; name one, such as 'hello'.")
    if len(path) > PATH_CHARACTERS:
        refuse("PATH_INVALID", "path", f"The path is longer than {PATH_CHARACTERS} characters; choose a shorter one.")
    segments = path.split("/")
    for segment in segments:
        if not segment:
            refuse("PATH_INVALID", "path", "The path has an empty segment ('//'); leave out a slash.")
        if segment in (".", ".."):
            refuse("PATH_INVALID", "path", f"The path has a segment '{segment}'; leave it out.")
        if not _SEGMENT.fullmatch(segment):
            refuse(
                "PATH_INVALID",
                "path",
                "The path has a character that is not allowed: use letters, digits and ._~!$&'()*+,;=:@- only.",
            )
    if segments[0] in RESERVED_SEGMENTS:
        refuse(
            "PATH_RESERVED",
            "path",
            f"Paths that begin with '{segments[0]}' belong to the mesh itself; choose another beginning.",
        )
    return path


def http_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """Methods in upper case, each once, sorted; none means all."""
    found = set()
    for method in methods:
        upper = method.upper()
        if not method.isascii() or not _METHOD.fullmatch(upper):
            refuse("METHOD_INVALID", "methods", f"'{method[:40]}' is not an HTTP method, such as GET.")
        found.add(upper)
    if len(found) > 32:
        refuse("METHOD_INVALID", "methods", "There are more than 32 methods; name none to allow all.")
    return tuple(sorted(found))


def description(text: str) -> str:
    """Free text, checked."""
    if len(text) > DESCRIPTION_CHARACTERS:
        refuse(
            "DESCRIPTION_INVALID",
            "description",
            f"The description has more than {DESCRIPTION_CHARACTERS:,} characters; shorten it.",
        )
    if not shown(text.translate(_LINE_ENDS)):
        refuse("DESCRIPTION_INVALID", "description", "The description has control characters; send plain text.")
    return text


def shown(text: str) -> bool:
    """Whether a text is one that a terminal may be given: no control characters (and no database refuses it)."""
    return not any(unicodedata.category(one) in _UNSHOWN for one in text)


def handler(name: str) -> str:
    """The attribute to call; `handler` where empty."""
    if len(name) > 128 or (name and not _HANDLER.fullmatch(name)):
        refuse("HANDLER_INVALID", "handler", "The handler must be a name such as 'handler' or 'app.handle'.")
    return name or "handler"


def labels(given: Mapping[str, str]) -> dict[str, str]:
    """Labels, checked."""
    if len(given) > 64:
        refuse("LABELS_INVALID", "labels", "There are more than 64 labels; leave some out.")
    for key, value in given.items():
        if not _LABEL_KEY.fullmatch(key) or len(value) > 255 or not shown(value):
            refuse(
                "LABELS_INVALID",
                "labels",
                "A label's key has 1 to 63 characters of letters, digits and ._/-, its value at most 255, "
                "no control characters among them.",
            )
    return dict(given)


def env(given: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """Environment variables, with `****` replaced by what is stored under that key. ENV_INVALID."""
    merged: dict[str, str] = {}
    for key, value in given.items():
        if not _ENV_KEY.fullmatch(key):
            refuse(
                "ENV_INVALID",
                "env",
                f"'{key[:60]}' cannot be the name of an environment variable: use letters, digits and _, "
                "not beginning with a digit.",
            )
        if "\0" in value:
            refuse("ENV_INVALID", f"env.{key}", f"The value of {key} has a NUL character; leave it out.")
        if value == MASKED:
            if key not in stored:
                refuse(
                    "ENV_INVALID",
                    f"env.{key}",
                    f"'{MASKED}' keeps a stored value, and {key} has none; give the value itself.",
                )
            value = stored[key]
        merged[key] = value
    size = sum(len(key.encode()) + len(value.encode()) for key, value in merged.items())
    if size > ENV_BYTES:
        refuse("ENV_INVALID", "env", f"The environment has {size:,} bytes; {ENV_BYTES:,} are allowed.")
    return merged


def secret(key: str, value: str) -> None:
    """Checks a secret. SECRET_INVALID; nothing of the value is in the message."""
    if not _ENV_KEY.fullmatch(key) or len(key) > SECRET_KEY_CHARACTERS:
        refuse(
            "SECRET_INVALID",
            "key",
            f"'{key[:60]}' cannot be the name of a secret: use letters, digits and _, not beginning with a digit, "
            f"at most {SECRET_KEY_CHARACTERS} characters.",
        )
    if not value:
        refuse("SECRET_INVALID", "value", f"The value of {key} is empty; give one, or delete the secret.")
    if "\0" in value:
        refuse("SECRET_INVALID", "value", f"The value of {key} has a NUL character; leave it out.")


def secrets_size(values: Mapping[str, str]) -> None:
    """Checks how much the secrets of a function are together. SECRET_INVALID."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in values.items())
    if size > ENV_BYTES:
        refuse("SECRET_INVALID", "value", f"The function's secrets have {size:,} bytes; {ENV_BYTES:,} are allowed.")


def limits(memory_bytes: int, cpu_millis: int, timeout_ms: int, concurrency: int) -> Limits:
    """Limits with their defaults in place of zeros. LIMITS_INVALID."""
    default = Limits()
    _within(memory_bytes, 16 * MEBIBYTE, 64 * 1024 * MEBIBYTE, "limits.memory_bytes", "The memory", "16 MiB to 64 GiB")
    _within(
        cpu_millis, 10, 256_000, "limits.cpu_millis", "The share of CPUs", "0.01 to 256 (10 to 256,000 thousandths)"
    )
    _within(timeout_ms, 1, 15 * 60 * 1000, "limits.timeout", "The timeout", "1 ms to 15 minutes")
    _within(concurrency, 1, 1000, "limits.concurrency", "The concurrency", "1 to 1,000 requests at once")
    return Limits(
        memory_bytes or default.memory_bytes,
        cpu_millis or default.cpu_millis,
        timeout_ms or default.timeout_ms,
        concurrency or default.concurrency,
    )


def scaling(
    min_instances: int | None,
    max_instances: int,
    idle_ttl_ms: int = 0,
    *,
    least_by_default: int = 1,
    most_by_default: int = 1,
) -> Scaling:
    """Scaling with its defaults. SCALING_INVALID."""
    least = least_by_default if min_instances is None else min_instances
    if not 0 <= least <= 100:
        refuse("SCALING_INVALID", "scaling.min_instances", "min_instances must be 0 to 100.")
    most = max_instances or max(most_by_default, least)
    if not 1 <= most <= 100:
        refuse("SCALING_INVALID", "scaling.max_instances", "max_instances must be 1 to 100.")
    if least > most:
        refuse("SCALING_INVALID", "scaling.max_instances", "max_instances must be at least min_instances.")
    if idle_ttl_ms and not 3000 <= idle_ttl_ms <= 24 * 3600 * 1000:
        refuse("SCALING_INVALID", "scaling.idle_ttl", "idle_ttl must be 3 seconds to 24 hours.")
    return Scaling(least, most, idle_ttl_ms or Scaling.idle_ttl_ms)


def source_digest(given: str) -> str:
    """The digest of a source, checked; may be empty."""
    if given and not _DIGEST.fullmatch(given):
        refuse("SOURCE_DIGEST_INVALID", "source_digest", "source_digest must be 'sha256:' and 64 hex digits.")
    return given


def request_id(given: str) -> str:
    """The id of a request, checked; may be empty."""
    if not _REQUEST_ID.fullmatch(given):
        refuse("REQUEST_ID_INVALID", "request_id", "request_id has at most 64 printable ASCII characters.")
    return given


def _within(value: int, least: int, most: int, field: str, name: str, wording: str) -> None:
    if value and not least <= value <= most:
        refuse("LIMITS_INVALID", field, f"{name} must be {wording}.")
