"""Names and labels of what is made on a cluster."""

from __future__ import annotations

import base64
import hashlib
import re

MANAGER = "fnmesh"
"""Who owns the fields that are applied."""
MESH_LABEL = "fnmesh.dev/mesh"
FUNCTION_LABEL = "function_id"
REVISION_LABEL = "fnmesh.dev/revision"
APPLIED = "fnmesh.dev/applied"
"""Annotation: SHA-256 of the object as it was applied, so that one that is as it should be costs no write."""
SECRET = "fnmesh.dev/secret"  # noqa: S105 -- the name of an annotation
"""Annotation of an app's main object: the name of its Secret. Secrets themselves are never read."""
CONCURRENCY = "fnmesh.dev/concurrency"
TIMEOUT_MS = "fnmesh.dev/timeout-ms"
CONTAINER = "function"
APP_NAME_CHARACTERS = 52

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_UNFIT = re.compile(r"[^a-z0-9]+")


def mesh_label(mesh_id: str) -> str:
    """The mesh's id as the value of a label: itself where it may be one."""
    return mesh_id if _LABEL_VALUE.fullmatch(mesh_id) else hashlib.sha256(mesh_id.encode()).hexdigest()[:32]


def app_name(display_name: str, function_uid: str) -> str:
    """A function's display name as the name of its objects: a DNS label that begins with a letter."""
    fit = _UNFIT.sub("-", display_name.lower()).strip("-")
    if not fit:
        return function_uid.lower()
    if not fit[0].isalpha():
        fit = f"fn-{fit}"
    if len(fit) <= APP_NAME_CHARACTERS:
        return fit
    mark = hashlib.sha256(display_name.encode()).hexdigest()[:6]
    return f"{fit[: APP_NAME_CHARACTERS - 7].rstrip('-')}-{mark}"


def secret_name(app: str, function_uid: str) -> str:
    """The name of an app's Secret, which nobody else takes: whose one is cannot be looked up without reading it."""
    return f"{app}-{function_uid}"


def instance_uid(pod_uid: str, restarts: int) -> str:
    """The identifier of what runs in a pod since its last restart."""
    digest = hashlib.sha256(f"{pod_uid}/{restarts}".encode()).digest()
    return "in-" + base64.b32encode(digest).decode().lower()[:12]


def handle(namespace: str, pod: str, restarts: int, context: str) -> str:
    """What an instance's row keeps of where it is; the part before `@` is for people."""
    return f"{namespace}/{pod}@{restarts}@{context}"


def parse_handle(text: str) -> tuple[str, str, int, str]:
    """Namespace, pod, restarts and context of a handle."""
    shown, _, rest = text.partition("@")
    restarts, _, context = rest.partition("@")
    namespace, _, pod = shown.partition("/")
    return namespace, pod, int(restarts or 0), context
