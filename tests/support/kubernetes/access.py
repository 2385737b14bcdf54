"""Who a request is of, and whether they may: bearer tokens and the rules tests give them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.support.kubernetes.api import Target
from tests.support.kubernetes.resources import Resource
from tests.support.kubernetes.statuses import ApiError, forbidden, unauthorized
from tests.support.kubernetes.times import ClusterClock

ANONYMOUS = "system:anonymous"


@dataclass(frozen=True)
class Rule:
    """May do `verbs` on `resources` ("deployments", "deployments/status", "*"), in `namespace` or, if empty, in all.

    `groups` of None means any group; `names` of None any name.
    """

    verbs: Sequence[str]
    resources: Sequence[str]
    namespace: str = ""
    groups: Sequence[str] | None = None
    names: Sequence[str] | None = None

    def allows(self, verb: str, target: Target) -> bool:
        plural = f"{target.resource.plural}/{target.subresource}" if target.subresource else target.resource.plural
        return (
            ("*" in self.verbs or verb in self.verbs)
            and ("*" in self.resources or plural in self.resources)
            and self.namespace in ("", target.namespace)
            and (self.groups is None or target.resource.group in self.groups)
            and (self.names is None or target.name in self.names)
        )


@dataclass
class Holder:
    """Of a token: the name messages give them, what they may (None: everything), and until when it is good."""

    name: str
    rules: Sequence[Rule] | None = None
    expires_at: datetime | None = None


class Access:
    """The tokens of one server. `admin_token` may do everything."""

    def __init__(self, clock: ClusterClock) -> None:
        self._clock = clock
        self._holders: dict[str, Holder] = {}
        self.admin_token = self.grant(None, user="kubernetes-admin")

    def grant(
        self, rules: Sequence[Rule] | None, *, user: str = "system:serviceaccount:default:narrow",
        expires_in_s: float | None = None,
    ) -> str:  # fmt: skip
        """A new token that may do what `rules` say, or everything if None."""
        token = secrets.token_urlsafe(24)
        expires_at = None if expires_in_s is None else self._clock.now() + timedelta(seconds=expires_in_s)
        self._holders[token] = Holder(user, rules, expires_at)
        return token

    def expire(self, token: str) -> None:
        """From now on it is answered with 401."""
        self._holders[token].expires_at = self._clock.now()

    def holder(self, authorization: str) -> Holder:
        """Of an Authorization header, which may be empty. Raises ApiError 401."""
        if not authorization:
            return Holder(ANONYMOUS, [])
        scheme, _, token = authorization.partition(" ")
        holder = self._holders.get(token.strip()) if scheme.lower() == "bearer" else None
        if holder is None or (holder.expires_at is not None and holder.expires_at <= self._clock.now()):
            raise unauthorized()
        return holder


def require(holder: Holder, verb: str, target: Target) -> None:
    """Raises ApiError 403, naming the verb and the resource, as the real server does."""
    if holder.rules is None or any(rule.allows(verb, target) for rule in holder.rules):
        return
    resource = target.resource
    plural = f"{resource.plural}/{target.subresource}" if target.subresource else resource.plural
    where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
    said = f'User "{holder.name}" cannot {verb} resource "{plural}" in API group "{resource.group}" {where}'
    named = Resource(resource.group, resource.version, plural, resource.kind) if target.subresource else resource
    raise forbidden(named, target.name, said)


def forbidden_path(holder: Holder, verb: str, path: str) -> ApiError:
    """Of a path that is no object's."""
    return ApiError(403, "Forbidden", f'forbidden: User "{holder.name}" cannot {verb} path "{path}"', details={})
