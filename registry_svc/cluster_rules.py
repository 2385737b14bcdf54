"""What may be said of how a function is run on a cluster. Pure; raises InvalidArgument (CLUSTER_INVALID)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

from registry_svc.domain import Cluster
from registry_svc.rules import refuse

APP_NAME_CHARACTERS = 52
"""What Kubernetes adds to the name of a Deployment for its pods still fits into a label then."""
CONTEXT_CHARACTERS = 253
PULL_SECRETS = 16
SUBDOMAIN_CHARACTERS = 253

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_APP_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")  # a Service's name begins with a letter
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_SUBDOMAIN_WORDS = (
    f"1 to {SUBDOMAIN_CHARACTERS} characters of a-z, 0-9, - and ., and begins and ends with a letter or digit, "
    "as does each part between dots"
)


def checked(given: Cluster) -> Cluster:
    """The settings, each pull secret once."""
    _context(given.context)
    if given.namespace and not _LABEL.fullmatch(given.namespace):
        _refuse(
            "namespace",
            "A namespace has 1 to 63 characters of a-z, 0-9 and -, and begins and ends with a letter or digit.",
        )
    if given.app_name and (len(given.app_name) > APP_NAME_CHARACTERS or not _APP_NAME.fullmatch(given.app_name)):
        _refuse(
            "app_name",
            f"An app_name has 1 to {APP_NAME_CHARACTERS} characters of a-z, 0-9 and -, begins with a letter, and ends "
            "with a letter or digit.",
        )
    if given.service_account and not _is_subdomain(given.service_account):
        _refuse("service_account", f"A service account's name has {_SUBDOMAIN_WORDS}.")
    return replace(given, image_pull_secrets=_pull_secrets(given.image_pull_secrets))


def _context(name: str) -> None:
    if len(name) > CONTEXT_CHARACTERS or not name.isprintable():
        _refuse("context", f"A context has at most {CONTEXT_CHARACTERS} characters, none of them a control character.")


def _pull_secrets(names: Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(names))
    if len(found) > PULL_SECRETS:
        _refuse("image_pull_secrets", f"There are more than {PULL_SECRETS} image_pull_secrets; leave some out.")
    if not all(_is_subdomain(name) for name in found):
        _refuse("image_pull_secrets", f"The name of a pull secret has {_SUBDOMAIN_WORDS}.")
    return found


def _is_subdomain(name: str) -> bool:
    return len(name) <= SUBDOMAIN_CHARACTERS and _SUBDOMAIN.fullmatch(name) is not None


def _refuse(field: str, message: str) -> NoReturn:
    refuse("CLUSTER_INVALID", f"cluster.{field}", message)
