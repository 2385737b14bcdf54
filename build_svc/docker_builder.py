"""Artifacts for Docker workloads: the runtime's image, one with the libraries, and from it the function's."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from build_svc import installers, libraries, recipe, sandbox
from build_svc.docker_daemon import DockerDaemon
from build_svc.docker_images import VOLUME, BuiltImages, CommandFailed, File, Secrets, files_below
from build_svc.domain import (
    BUILDER_VERSION,
    Artifact,
    ArtifactKind,
    BuildFailed,
    Runtime,
    Stage,
    artifact_digest,
    server_of,
)
from build_svc.libraries import Libraries
from build_svc.ports import Job, Journal
from build_svc.recipe import Copy, Layer
from build_svc.shelf import Shelf
from build_svc.toolchain import CHECK_PYTHON, merged_pip_configuration
from runtimes import catalog, images

_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
_QUIET = {
    "PIP_NO_COLOR": "1",
    "PIP_PROGRESS_BAR": "off",
    "NPM_CONFIG_COLOR": "false",
    "NPM_CONFIG_PROGRESS": "false",
}
_OUT_OF_MEMORY = 137


class DockerBuilder:
    """Builds at a daemon. `base_images` are the operator's; `environ` is this process's environment."""

    def __init__(
        self,
        daemon: DockerDaemon,
        made: BuiltImages,
        shelf: Shelf,
        base_images: Mapping[Runtime, str],
        environ: Mapping[str, str],
    ) -> None:
        self._daemon = daemon
        self._made = made
        self._shelf = shelf
        self._base_images = base_images
        self._environ = environ
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def environment(self, runtime: Runtime, journal: Journal) -> Mapping[str, str]:
        name = self._base_images[runtime]
        found = await self._daemon.image_id(name)
        if found is None:
            await journal.line(f"Pulling {name}")
            try:
                await self._daemon.pull(name, journal.line)
            except BuildFailed as error:
                raise BuildFailed(
                    f"The base image {name} is not here and cannot be pulled ({error}); pull it, or set"
                    f" FNMESH_BUILD_{runtime.upper()}_IMAGE to one that is."
                ) from None
            found = await self._daemon.image_id(name)
        if found is None:
            raise BuildFailed(f"The base image {name} is gone again; pull it.")
        return {"image": found}

    async def make(self, job: Job, journal: Journal) -> Artifact:
        base_id = (await self.environment(job.runtime, journal))["image"]
        texts = await asyncio.to_thread(installers.read_texts, job.app, job.runtime)
        wanted = libraries.find(job.runtime, texts)
        files = await asyncio.to_thread(files_below, job.app, "app/")
        if wanted is not None:
            files = {name: file for name, file in files.items() if not name.startswith("app/node_modules/")}
        layers = recipe.layers(images.dockerfile(server_of(job.runtime), base_id, wanted is not None))
        reference = ""
        async with journal.stage(Stage.CHECK):
            runtime_image = await self._runtime_image(job.runtime, base_id, job, journal)
            deps_key = self._deps_key(job, wanted, runtime_image) if wanted else ""
            deps_image = await self._present(deps_key) if wanted else runtime_image
            if deps_image is not None:  # checked in the container that becomes the image: one start less
                commands = _check_commands(job)
                reference = await self._assemble(deps_image, layers[-1], files, commands, job, journal)
            else:  # find a wrong line before the libraries are installed, not after
                await self._check(runtime_image, layers[-1], files, job, journal)
        async with journal.stage(Stage.INSTALL):
            if wanted is not None and deps_image is not None:
                await journal.line("The libraries are the ones of an earlier build; nothing to install.")
            elif wanted is not None:
                deps_image = await self._install(deps_key, runtime_image, layers[0], files, wanted, job, journal)
        assert deps_image is not None
        async with journal.stage(Stage.ASSEMBLE):
            if not reference:
                reference = await self._assemble(deps_image, layers[-1], files, [], job, journal)
        async with journal.stage(Stage.PUSH):  # the daemon that runs it is the one that made it
            size = int((await self._daemon.inspect(reference) or {}).get("Size", 0))
        return Artifact(job.artifact_digest, ArtifactKind.IMAGE, reference, size, job.entry_file)

    async def is_there(self, reference: str) -> bool:
        return await self._daemon.image_id(reference) is not None

    async def delete(self, reference: str) -> bool:
        return await self._daemon.remove_image(reference)

    async def _runtime_image(self, runtime: Runtime, base_id: str, job: Job, journal: Journal) -> str:
        """The image with the runtime's server: made once for a base image and a version of the server."""
        key = artifact_digest(
            {
                "kind": "runtime",
                "base": base_id,
                "server": catalog.runtime_version(server_of(runtime)),
                "by": BUILDER_VERSION,
            }
        )
        async with self._locks[key]:
            if (found := await self._present(key)) is not None:
                return found
            await journal.line(f"Making the {runtime.value} runtime's image, once")
            root = catalog.runtime_files(server_of(runtime))
            files = {
                f"server/{path.relative_to(root).as_posix()}": File(path)
                for path in catalog.server_sources(server_of(runtime))
            }
            layer = recipe.layers(images.runtime_base_dockerfile(server_of(runtime), base_id))[-1]
            return await self._cached(key, base_id, layer, files, job, journal)

    async def _install(
        self,
        key: str,
        image: str,
        layer: Layer,
        files: Mapping[str, File],
        wanted: Libraries,
        job: Job,
        journal: Journal,
    ) -> str:
        if not wanted.shared:  # the code takes part in it
            whole = Copy(("app/",), "/app/", owner=layer.copies[0].owner)
            layer = Layer((whole,), layer.commands, layer.user, layer.workdir, layer.changes)
        async with self._locks[key]:
            if (found := await self._present(key)) is not None:
                return found
            return await self._cached(key, image, layer, files, job, journal)

    async def _cached(
        self, key: str, image: str, layer: Layer, files: Mapping[str, File], job: Job, journal: Journal
    ) -> str:
        try:
            made = await self._made.make(
                image,
                layer,
                files,
                role="cache",
                labels={"fnmesh.cache": key},
                name=self._daemon.container_name(job.build.uid, "install"),
                given=await asyncio.to_thread(self._secrets),
                on_line=journal.line,
            )
        except CommandFailed as failure:
            raise BuildFailed(self._error(job.runtime, failure)) from None
        size = int((await self._daemon.inspect(made) or {}).get("Size", 0))
        await self._shelf.keep_cached_image(key, made, size)
        return made

    async def _check(self, image: str, layer: Layer, files: Mapping[str, File], job: Job, journal: Journal) -> None:
        plain = Layer(layer.copies, (), layer.user, "/")
        try:
            await self._made.try_out(
                image,
                plain,
                files,
                _check_commands(job),
                name=self._daemon.container_name(job.build.uid, "check"),
                extra=_check_files(),
                on_line=journal.line,
            )
        except CommandFailed as failure:
            raise BuildFailed(installers.check_error(job.runtime, list(failure.last), "/app")) from None

    async def _assemble(
        self,
        image: str,
        layer: Layer,
        files: Mapping[str, File],
        commands: list[str],
        job: Job,
        journal: Journal,
    ) -> str:
        try:
            return await self._made.make(
                image,
                layer,
                files,
                role="artifact",
                labels={"fnmesh.artifact": job.artifact_digest, "fnmesh.made-by": job.build.uid},
                name=self._daemon.container_name(job.build.uid, "assemble"),
                before=commands,
                before_files=_check_files() if commands else {},
                on_line=journal.line,
            )
        except CommandFailed as failure:
            raise BuildFailed(installers.check_error(job.runtime, list(failure.last), "/app")) from None

    def _deps_key(self, job: Job, wanted: Libraries, runtime_image: str) -> str:
        environment = {"kind": "libraries", "image": runtime_image, "by": BUILDER_VERSION}
        return libraries.cache_key(wanted, environment, job.build.source_digest)

    async def _present(self, key: str) -> str | None:
        found = await self._shelf.cached_image(key)
        return found if found is not None and await self._daemon.image_id(found) is not None else None

    def _error(self, runtime: Runtime, failure: CommandFailed) -> str:
        if failure.status == _OUT_OF_MEMORY:
            return "The installation was killed: it needs more memory than FNMESH_BUILD_DOCKER_MEMORY_BYTES allows."
        tool = "pip" if runtime is Runtime.PYTHON else "npm"
        # A shell says 128 and the number of the signal that has ended what it ran.
        status = 128 - failure.status if failure.status > 128 else failure.status
        return installers.tool_error(tool, list(failure.last), status)

    def _secrets(self) -> Secrets:
        """How to reach package indexes: the operator's variables, certificates and configuration, at new places."""
        environment = sandbox.operators_environment(self._environ) | _QUIET
        environment.pop("SSL_CERT_DIR", None)  # a directory of this machine
        files: dict[str, bytes] = {}
        for name in _CA_VARIABLES:
            path = Path(environment.pop(name, "") or os.devnull)
            if path.is_file():
                files[f"{name.lower()}.pem"] = path.read_bytes()
                environment[name] = f"{VOLUME}/{name.lower()}.pem"
        home = Path(self._environ.get("HOME") or "/nonexistent")
        if configuration := merged_pip_configuration(self._environ, home):
            files["pip.conf"] = configuration.encode()
            environment["PIP_CONFIG_FILE"] = f"{VOLUME}/pip.conf"
        npmrc = Path(self._environ.get("NPM_CONFIG_USERCONFIG") or home / ".npmrc")
        if npmrc.is_file():
            files["npmrc"] = npmrc.read_bytes()
            environment["NPM_CONFIG_USERCONFIG"] = f"{VOLUME}/npmrc"
        return Secrets(environment, files)


def _check_files() -> dict[str, bytes]:
    return {CHECK_PYTHON.name: CHECK_PYTHON.read_bytes()}


def _check_commands(job: Job) -> list[str]:
    if job.runtime is Runtime.PYTHON:
        words = [
            "python",
            "-I",
            "-S",
            f"{VOLUME}/{CHECK_PYTHON.name}",
            "/app",
            job.entry_file,
            job.build.handler,
        ]
    else:
        words = ["node", "--check", f"/app/{job.entry_file}"]
    return [" ".join(_quoted(word) for word in words)]


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
