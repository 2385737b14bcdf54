"""HTTP with one registry: says who we are when asked, tells trouble from refusal, tries again after trouble."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin

import httpx

from build_svc.oci import challenge
from build_svc.oci.credentials import Credentials
from build_svc.oci.errors import CredentialsRefused, NotThere, RegistryError, RegistryTrouble
from build_svc.oci.patience import Patience
from build_svc.oci.reference import Repository

T = TypeVar("T")
Body = bytes | Callable[[], AsyncIterator[bytes]] | None
_ANSWER_BYTES = 4 * 1024 * 1024
_SAID_CHARACTERS = 200
_WAIT_MAX_S = 30.0
_CLIENT_ID = "fnmesh"


@dataclass(frozen=True)
class Answer:
    """What the registry answered to what it was asked at `url`."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: str

    @property
    def location(self) -> str:
        """Where to go on, as a whole URL; empty where the registry does not say."""
        found = self.headers.get("location", "")
        return urljoin(self.url, found) if found else ""


class Session:
    """Requests about one repository, from whoever `credentials` are (None: nobody)."""

    def __init__(
        self, repository: Repository, credentials: Credentials | None, *, plain: bool, patience: Patience
    ) -> None:
        self.registry = repository.registry
        self.patience = patience
        self._credentials = credentials
        self._plain = plain
        self._origin = f"{'http' if plain else 'https'}://{repository.api_host}"
        self._path = repository.path
        self.base = f"{self._origin}/v2/{repository.path}"
        self._authorization = ""
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(patience.answer_s, connect=patience.connect_s),
            verify=True if plain else ssl.create_default_context(),
            trust_env=not repository.on_this_machine,  # proxies are for elsewhere
            headers={"user-agent": _CLIENT_ID, "accept-encoding": "identity"},
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def tried(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, begun again after trouble. Raises RegistryError: RegistryTrouble where that was no use."""
        failures = 0
        while True:
            try:
                return await work()
            except RegistryTrouble as trouble:
                failures += 1
                if failures >= self.patience.tries:
                    raise RegistryTrouble(f"{trouble} (tried {failures} times)") from None
                wait_s = min(trouble.wait_s or self.patience.between.delay_s(failures), _WAIT_MAX_S)
            await asyncio.sleep(wait_s)

    async def call(
        self,
        method: str,
        url: str,
        *,
        expect: Collection[int],
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        doing: str,
    ) -> Answer:
        """The answer, whose status is one of `expect`. Raises RegistryError, and RegistryTrouble for one try more."""
        async with self.opened(method, url, expect=expect, body=body, headers=headers, doing=doing) as response:
            return Answer(response.status_code, response.headers, await self._read(response), str(response.url))

    @asynccontextmanager
    async def opened(
        self,
        method: str,
        url: str,
        *,
        expect: Collection[int],
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        doing: str,
    ) -> AsyncIterator[httpx.Response]:
        """As `call`, with the body of the answer still to be read."""
        try:
            response = await self._send(method, url, body, headers or {})
            if response.status_code == 401 and self._is_ours(url):
                offered = challenge.parse(response.headers.get_list("www-authenticate"))
                await response.aclose()
                await self._authorize(offered)
                response = await self._send(method, url, body, headers or {})
            try:
                if response.status_code not in expect:
                    raise self._refusal(response, await self._read(response), doing)
                yield response
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise self._failure(error) from None

    async def _send(self, method: str, url: str, body: Body, headers: Mapping[str, str]) -> httpx.Response:
        content = body() if callable(body) else body
        if not self._plain and url.startswith("http:"):
            url = "https:" + url.removeprefix("http:")  # a registry behind a proxy that does not know its own name
        sent = dict(headers)
        if self._authorization and self._is_ours(url):
            sent["authorization"] = self._authorization
        request = self._http.build_request(method, url, content=content, headers=sent)
        return await self._http.send(request, stream=True)

    def _is_ours(self, url: str) -> bool:
        """Whether a URL is the registry's own: credentials go nowhere else."""
        return httpx.URL(url).copy_with(raw_path=b"/") == httpx.URL(self._origin).copy_with(raw_path=b"/")

    async def _authorize(self, offered: list[challenge.Challenge]) -> None:
        """Do as the registry asks. Raises CredentialsRefused where we cannot."""
        for one in offered:
            if one.scheme == "bearer" and one.parameters.get("realm"):
                self._authorization = f"Bearer {await self._token(one.parameters)}"
                return
        if not any(one.scheme == "basic" for one in offered) or self._credentials is None:
            raise CredentialsRefused(self.registry, given=self._credentials is not None)
        refused = self._authorization
        self._authorization = _basic(self._credentials)
        if self._authorization == refused:
            raise CredentialsRefused(self.registry, given=True)

    async def _token(self, parameters: Mapping[str, str]) -> str:
        realm = parameters["realm"]
        if not self._plain and not realm.startswith("https://"):
            raise RegistryError(f"The registry {self.registry} wants credentials sent without encryption; refused.")
        wanted = {"scope": parameters.get("scope") or f"repository:{self._path}:pull,push"}
        if parameters.get("service"):
            wanted["service"] = parameters["service"]
        mine = self._credentials
        if mine is not None and not mine.username:
            form = {"grant_type": "refresh_token", "refresh_token": mine.password, "client_id": _CLIENT_ID, **wanted}
            request = self._http.build_request("POST", realm, data=form)
        else:
            headers = {"authorization": _basic(mine)} if mine else {}
            request = self._http.build_request("GET", realm, params=wanted, headers=headers)
        response = await self._http.send(request, stream=True)
        try:
            body = await self._read(response)
        finally:
            await response.aclose()
        if response.status_code in (400, 401, 403):
            raise CredentialsRefused(self.registry, given=mine is not None)
        if response.status_code != 200:
            raise self._refusal(response, body, "give a token")
        try:
            answer = json.loads(body)
            return str(answer.get("token") or answer["access_token"])
        except (ValueError, KeyError, AttributeError):
            raise RegistryError(f"The token server of {self.registry} answered no token.") from None

    async def _read(self, response: httpx.Response) -> bytes:
        found = bytearray()
        async for part in response.aiter_bytes():
            found += part
            if len(found) > _ANSWER_BYTES:
                raise RegistryError(f"The registry {self.registry} answered more than {_ANSWER_BYTES >> 20} MiB.")
        return bytes(found)

    def _refusal(self, response: httpx.Response, body: bytes, doing: str) -> RegistryError:
        """What a status means that nobody expected."""
        status = response.status_code
        if status == 401:
            return CredentialsRefused(self.registry, given=self._credentials is not None)
        said = _said(body)
        sentence = f"The registry {self.registry} does not {doing}: it answers {status}{f' ({said})' if said else ''}"
        if status == 404:
            return NotThere(sentence)
        if status == 429 or status >= 500:
            wait = response.headers.get("retry-after", "")
            return RegistryTrouble(sentence, float(wait) if wait.isdecimal() and len(wait) < 6 else None)
        return RegistryError(sentence)

    def _failure(self, error: httpx.HTTPError) -> RegistryError:
        """What it means that there was no answer."""
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return RegistryError(
                    f"The registry {self.registry} has a certificate that is not trusted here:"
                    f" {cause.verify_message}; add its authority to this machine's, or set SSL_CERT_FILE."
                )
            if isinstance(cause, ssl.SSLError):
                return RegistryError(f"The registry {self.registry} does not speak TLS: {cause.reason or cause}.")
        if isinstance(error, httpx.TimeoutException):
            limit = self.patience.connect_s if isinstance(error, httpx.ConnectTimeout) else self.patience.answer_s
            return RegistryTrouble(f"The registry {self.registry} did not answer within {limit:g} s")
        if isinstance(error, httpx.ConnectError):
            return RegistryTrouble(f"The registry {self.registry} cannot be reached")
        return RegistryTrouble(f"The registry {self.registry} broke off the connection")


def _basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()


def _said(body: bytes) -> str:
    """The registry's own words, one line of them."""
    try:
        first = json.loads(body)["errors"][0]
        said = str(first.get("message") or first["code"])
        if isinstance(first.get("detail"), str):
            said = f"{said}: {first['detail']}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    return "".join(one if one.isprintable() else " " for one in said)[:_SAID_CHARACTERS]


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
