"""Which clusters there are, and how deploy_svc shows who it is: kubeconfig files, or the account of its own pod."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import incluster_config, kube_config
from kubernetes.aio.config.config_exception import ConfigException

from mesh.clock import Clock
from mesh.errors import FailedPrecondition

IN_CLUSTER = "in-cluster"
_HOST_VARIABLE = "KUBERNETES_SERVICE_HOST"
_ANEW_S = 60.0  # token files are replaced while they are still good
_SPARE = timedelta(seconds=60)
_TLS = ("host", "ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "tls_server_name", "proxy")

_FILES = ("ssl_ca_cert", "cert_file", "key_file")


class Source(Protocol):
    """Where clusters are described."""

    @property
    def contexts(self) -> tuple[str, ...]:
        """The contexts there are, the current one first."""
        ...

    @property
    def current(self) -> str:
        """The one that is meant where none is named; empty where one must be."""
        ...

    async def load(self, context: str, into: Configuration) -> datetime | None:
        """Fill in address and credentials of a context; when they run out, where that is known."""
        ...


@dataclass(frozen=True, slots=True)
class PodAccount:
    """The service account of the pod that deploy_svc runs in."""

    contexts: tuple[str, ...] = (IN_CLUSTER,)
    current: str = IN_CLUSTER

    async def load(self, context: str, into: Configuration) -> datetime | None:
        """Read what the kubelet keeps up to date."""
        incluster_config.load_incluster_config(into, try_refresh_token=False)
        return None


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """Files as kubectl reads them."""

    paths: str
    contexts: tuple[str, ...]
    current: str

    async def load(self, context: str, into: Configuration) -> datetime | None:
        """Read the files, and run the program that makes the credentials where they name one."""
        loader = kube_config.KubeConfigLoader(
            config_dict=kube_config.KubeConfigMerger(self.paths).config, config_base_path=None, active_context=context
        )
        await loader.load_and_set(into)
        return cast("datetime | None", getattr(loader, "exec_plugin_expiry", None))


def find_source(setting: str, environ: Mapping[str, str]) -> Source | None:
    """The setting, else KUBECONFIG, else the pod's account; None without any.

    What a person's kubectl would use by itself is never taken. Raises FailedPrecondition (KUBECONFIG_INVALID).
    """
    paths = setting or environ.get("KUBECONFIG", "")
    if paths:
        return read_kubeconfig(paths)
    return PodAccount() if environ.get(_HOST_VARIABLE) else None


def read_kubeconfig(paths: str) -> Kubeconfig:
    """The contexts of kubeconfig files. Raises FailedPrecondition (KUBECONFIG_INVALID)."""
    try:
        found = [yaml.safe_load(Path(one).expanduser().read_text()) for one in paths.split(os.pathsep) if one]
        contexts = [str(one["name"]) for each in found for one in each.get("contexts") or ()]
        current = next((str(each["current-context"]) for each in found if each.get("current-context")), "")
    except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _invalid(f"{type(error).__name__} while reading {paths}") from error
    if not contexts:
        raise _invalid(f"no context in {paths}")
    if current not in contexts:
        current = ""
    return Kubeconfig(paths, tuple(dict.fromkeys([*([current] if current else []), *contexts])), current)


def _invalid(why: str) -> FailedPrecondition:
    return FailedPrecondition(
        "KUBECONFIG_INVALID", f"The kubeconfig cannot be used: {why}; mend it, or set FNMESH_DEPLOY_KUBECONFIG."
    )


class Access:
    """The client of one context, its credentials read anew while they are still good, and when they were refused."""

    def __init__(self, source: Source, context: str, clock: Clock) -> None:
        self._source, self._clock = source, clock
        self.context = context
        self._client: ApiClient | None = None
        self._made_of: tuple[Any, ...] = ()
        self._anew_at = 0.0
        self._refused = False
        self._reading = asyncio.Lock()

    async def client(self) -> ApiClient:
        """A client with credentials. Raises FailedPrecondition (KUBECONFIG_INVALID)."""
        async with self._reading:
            if self._client is None or self._clock.monotonic() >= self._anew_at:
                self._client = await self._renewed()
            return self._client

    async def _renewed(self) -> ApiClient:
        fresh = Configuration()
        try:
            expires = await self._source.load(self.context, fresh)
        except (ConfigException, OSError, ValueError, TypeError, KeyError) as error:
            raise _invalid(f"context '{self.context}': {error}") from error
        self._anew_at = self._clock.monotonic() + self._keep_s(expires)
        by_certificate, self._refused = self._refused and bool(fresh.cert_file), False
        before, self._made_of = self._made_of, _settings(fresh)
        if self._client is not None and self._made_of == before and not by_certificate:
            self._client.configuration.api_key = fresh.api_key
            return self._client
        await self.close()
        fresh.connection_pool_maxsize = 0  # each watch and each log that is followed has a connection of its own
        return ApiClient(fresh)

    def renew(self) -> None:
        """The credentials were refused: read them anew before the next call, certificates too."""
        self._anew_at, self._refused = 0.0, True

    async def close(self) -> None:
        """End all that goes on with the client."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    def _keep_s(self, expires: datetime | None) -> float:
        if expires is None:
            return _ANEW_S
        left = expires - _SPARE - datetime.now(UTC)
        return max(_ANEW_S, left.total_seconds())


def _settings(configuration: Configuration) -> tuple[Any, ...]:
    """All that connections are made of, and which version of each file: certificates are replaced under their names."""
    return tuple(getattr(configuration, name) for name in _TLS) + tuple(
        _version(getattr(configuration, name)) for name in _FILES
    )


def _version(path: str | None) -> tuple[int, int]:
    if not path:
        return 0, 0
    try:
        found = Path(path).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
