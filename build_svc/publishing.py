"""Pushes what a build made to the registry that the build names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from build_svc.docker_push import DockerPush
from build_svc.domain import Artifact, ArtifactKind, Build, BuildFailed, Push, Stage, Target
from build_svc.oci import reference
from build_svc.oci.client import connected
from build_svc.oci.credentials import Credentials, DockerCredentials
from build_svc.oci.errors import RegistryError
from build_svc.oci.patience import Patience
from build_svc.oci.reference import ReferenceInvalid, Repository
from build_svc.ports import Journal
from build_svc.spin_push import SpinPush
from build_svc.store import BuildStore
from mesh.errors import InvalidArgument
from mesh.secrets_key import DecryptionError, EnvCipher

_PASSWORD_BYTES = 16 * 1024
_USERNAME_CHARACTERS = 255
_REPOSITORY_CHARACTERS = 400
_KEY = "password"


class Publisher:
    """Checks pushes when they are asked for, keeps their passwords, and does them. `insecure` are the registries that
    the operator lets be spoken to without TLS."""

    def __init__(
        self,
        store: BuildStore,
        cipher: EnvCipher,
        docker_credentials: DockerCredentials,
        spin: SpinPush,
        docker: DockerPush,
        *,
        insecure: Collection[str] = (),
        patience: Patience | None = None,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._docker_credentials = docker_credentials
        self._spin = spin
        self._docker = docker
        self._insecure = insecure
        self._patience = patience or Patience()

    def check(self, push: Push, password: str) -> None:
        """Raises InvalidArgument (REPOSITORY_INVALID, CREDENTIALS_INVALID) for what can never be pushed."""
        if not push.repository or len(push.repository) > _REPOSITORY_CHARACTERS:
            _refuse("REPOSITORY_INVALID", "repository", "build.push.repository must name a registry and a repository.")
        try:
            reference.is_plain(reference.parse(push.repository, push.tag), self._insecure)
        except ReferenceInvalid as error:
            _refuse("REPOSITORY_INVALID", "repository", str(error))
        if len(push.username) > _USERNAME_CHARACTERS or not push.username.isprintable() or ":" in push.username:
            _refuse(
                "CREDENTIALS_INVALID",
                "username",
                f"The username has at most {_USERNAME_CHARACTERS} printable characters, and no colon.",
            )
        if password and not push.username:
            _refuse("CREDENTIALS_INVALID", "username", "A password is given, but no username; send both.")
        if len(password.encode()) > _PASSWORD_BYTES or "\0" in password:
            _refuse("CREDENTIALS_INVALID", "password", f"The password is larger than {_PASSWORD_BYTES >> 10} KiB.")

    def sealed(self, build_uid: str, password: str) -> bytes | None:
        """The password as it is stored with its build; None for none."""
        return self._cipher.encrypt({_KEY: password}, _place(build_uid)) if password else None

    def check_target(self, build: Build) -> None:
        """Raises BuildFailed where what will be built cannot be pushed: before it is built, not after."""
        if build.target == Target.PROCESS:
            raise BuildFailed(
                "What is built for the target process cannot be pushed to a registry; build for docker, or with the"
                " runtime spin."
            )

        if build.target == Target.KUBERNETES:
            raise BuildFailed(
                "What is built for the target kubernetes and deployed is pushed to the cluster's repository; leave out"
                " either the push or the deploy."
            )

    async def publish(self, build: Build, artifact: Artifact, journal: Journal) -> Push:
        """Where the artifact is now. Raises BuildFailed with a sentence for the build's author."""
        assert build.push is not None
        try:
            async with journal.stage(Stage.PUBLISH):
                return await self._publish(build, build.push, artifact, journal)
        except (RegistryError, ReferenceInvalid) as error:
            raise BuildFailed(str(error)) from None

    async def _publish(self, build: Build, push: Push, artifact: Artifact, journal: Journal) -> Push:
        repository = reference.parse(push.repository, push.tag)
        plain = reference.is_plain(repository, self._insecure)
        credentials = await self._credentials(build, push, repository)
        await journal.line(f"Pushing to {repository.name}")
        if artifact.kind is ArtifactKind.IMAGE:
            tag = repository.tag or artifact.reference.removeprefix("sha256:")[:8]
            digest = await self._docker.push(artifact.reference, repository, tag, credentials, journal)
        else:
            async with connected(repository, credentials, plain=plain, patience=self._patience) as registry:
                tag, digest = await self._spin.push(build.uid, artifact, registry, repository.tag, journal)
        image = f"{repository.name}:{tag}"
        await journal.line(f"Pushed {image} ({digest})")
        return replace(push, image=image, digest=digest)

    async def _credentials(self, build: Build, push: Push, repository: Repository) -> Credentials | None:
        password = await self.password(build)
        if password is None:
            return await self._docker_credentials.find(repository.registry)
        return Credentials(push.username, password)

    async def password(self, build: Build) -> str | None:
        """The password that came with a build; None for none. Raises RegistryError where it cannot be read."""
        stored = await self._store.push_password(build.uid)
        if stored is None:
            return None
        try:
            return self._cipher.decrypt(stored, _place(build.uid))[_KEY]
        except (DecryptionError, KeyError):
            raise RegistryError(
                "The password of this push was encrypted with another key than the builder has now; send it again."
            ) from None


def _place(build_uid: str) -> str:
    """What a stored password is bound to."""
    return f"push:{build_uid}"


def _refuse(reason: str, field: str, message: str) -> None:
    raise InvalidArgument(reason, message, fields={f"build.push.{field}": message})
