"""The programs that builds run: an interpreter and a Node that the build's user can execute, and a copy of pip."""

from __future__ import annotations

import asyncio
import configparser
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from build_svc import sandbox
from build_svc.domain import BuildFailed

_DEFAULT_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
_ASK_PYTHON = """
import json, sys, sysconfig
abi = [sys.implementation.cache_tag, sysconfig.get_platform(), str(sysconfig.get_config_var("SOABI"))]
print(json.dumps({"minor": list(sys.version_info[:2]), "abi": "-".join(abi)}))
"""
_FILE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
CHECK_PYTHON = Path(__file__).with_name("check_python.py")


@dataclass(frozen=True)
class Python:
    """An interpreter; `abi` names what libraries for it must fit."""

    path: Path
    abi: str


@dataclass(frozen=True)
class Node:
    """A Node.js with its npm (None where that is not installed); `abi` is its version and platform."""

    path: Path
    npm: Path | None
    abi: str


class Toolchain:
    """Finds the programs once, when they are first needed, and keeps the copies that the build's user may read.

    `directory` is made, world-readable; nobody but this process's user may write it. `uid` is a user like the ones
    builds run as, None where that is this process's own.
    """

    def __init__(
        self,
        directory: Path,
        *,
        workload_python: str,
        workload_node: str,
        uid: int | None,
        environ: Mapping[str, str],
    ) -> None:
        self._directory = directory
        self._wanted = workload_python
        self._wanted_node = workload_node
        self._uid = uid
        self._environ = environ
        self._lock = asyncio.Lock()
        self._python: Python | None = None
        self._node: Node | None = None
        self._pip: Path | None = None
        self._shared: dict[str, str] | None = None

    async def python(self) -> Python:
        """The interpreter that process workloads run under. Raises BuildFailed where there is none."""
        async with self._lock:
            if self._python is None:
                self._python = await self._find_python()
            return self._python

    async def node(self) -> Node | None:
        """Node, or None where it is not installed."""
        async with self._lock:
            if self._node is None:
                self._node = await self._find_node()
            return self._node

    async def pip(self) -> Path:
        """A directory that the interpreter can run as pip."""
        async with self._lock:
            if self._pip is None:
                self._pip = await asyncio.to_thread(self._copy_pip)
            return self._pip

    async def readable(self, script: Path) -> Path:
        """A copy of one of our own scripts that the build's user can read."""
        if sandbox.reachable(script):
            return script
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        return await asyncio.to_thread(lambda: self._keep(script.name, script.read_bytes()))

    async def environment(self, home: Path) -> dict[str, str]:
        """The whole environment of a build's process whose home directory, its user's alone, is `home`."""
        async with self._lock:
            if self._shared is None:
                self._shared = await asyncio.to_thread(self._readable_environment)
        private = await asyncio.to_thread(self._give_configurations, home)
        return {
            **self._shared,
            **private,
            "PATH": self.search_path(),
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "NPM_CONFIG_CACHE": str(home / ".npm"),
        }

    def search_path(self) -> str:
        """PATH of builds: the directories of this process's that any user can read, and the usual ones."""
        given = [one for one in self._environ.get("PATH", "").split(os.pathsep) if one]
        good = [one for one in given if sandbox.reachable(Path(one))]
        return os.pathsep.join(dict.fromkeys([*good, *_DEFAULT_PATH]))

    async def _find_python(self) -> Python:
        own = list(sys.version_info[:2])
        tried: list[str] = []
        for candidate in dict.fromkeys(self._python_candidates()):
            answer = await self._ask([candidate, "-I", "-S", "-c", _ASK_PYTHON])
            if answer is None:
                tried.append(candidate)
                continue
            told = json.loads(answer)
            if told["minor"] == own or self._wanted:
                return Python(Path(candidate), told["abi"])
            tried.append(candidate)
        raise BuildFailed(
            f"No Python {own[0]}.{own[1]} here can be run by an unprivileged user (tried {', '.join(tried)});"
            " install one for all users, or name one in FNMESH_WORKLOAD_PYTHON."
        )

    def _python_candidates(self) -> Iterator[str]:
        if self._wanted:
            yield self._wanted
            return
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        yield str(Path(sys.base_prefix, "bin", name))
        yield "/usr/bin/python3"
        for directory in self.search_path().split(os.pathsep):
            if (found := Path(directory, name)).exists():
                yield str(found)

    async def _find_node(self) -> Node | None:
        node = self._wanted_node or shutil.which("node", path=self.search_path())
        if node is None:
            return None
        abi = await self._ask([node, "-p", "process.version + '-' + process.platform + '-' + process.arch"])
        if abi is None:
            return None
        npm = shutil.which("npm", path=self.search_path())
        return Node(Path(node), Path(npm) if npm else None, abi)

    async def _ask(self, argv: list[str]) -> str | None:
        lines: list[bytes] = []

        async def keep(line: bytes) -> None:
            lines.append(line)

        env = {"PATH": self.search_path(), "LANG": "C.UTF-8", "HOME": "/nonexistent"}
        # Another build_svc of this machine may be asking the same, as the same user: it must not end with this one.
        status = await sandbox.run(argv, uid=self._uid, cwd=Path("/"), env=env, on_line=keep, beside_others=True)
        return lines[-1].decode() if status == 0 and lines else None

    def _copy_pip(self) -> Path:
        spec = find_spec("pip")
        if spec is None or not spec.submodule_search_locations:
            raise BuildFailed("pip is not installed beside the mesh, so libraries cannot be installed.")
        source = Path(spec.submodule_search_locations[0])
        target = self._directory / f"pip-{version('pip')}"
        if not target.exists():
            draft = self._directory / f".pip-{os.getpid()}"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(source, draft / "pip", ignore=shutil.ignore_patterns("__pycache__"))
            _open_to_all(draft)
            try:
                draft.rename(target)
            except OSError:  # another process was faster
                shutil.rmtree(draft, ignore_errors=True)
        return target / "pip"

    def _readable_environment(self) -> dict[str, str]:
        """The operator's variables for package indexes, their files and configurations copied where needed."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        found = sandbox.operators_environment(self._environ)
        for name in _FILE_VARIABLES:
            file = Path(found.get(name) or "/nonexistent")
            if file.is_file() and not sandbox.reachable(file):
                found[name] = str(self._keep(f"{name.lower()}.pem", file.read_bytes()))
        return found

    def _give_configurations(self, home: Path) -> dict[str, str]:
        """The operator's pip and npm configurations, which may hold passwords, for the build's user to read."""
        found = {}
        operators = Path(self._environ.get("HOME") or "/nonexistent")
        if pip_conf := merged_pip_configuration(self._environ, operators):
            found["PIP_CONFIG_FILE"] = str(_private(home / ".pip.conf", pip_conf))
        npmrc = Path(self._environ.get("NPM_CONFIG_USERCONFIG") or operators / ".npmrc")
        if npmrc.is_file():
            text = re.sub(r"(?m)^(cache|prefix|tmp)\s*=.*$", "", npmrc.read_text())
            found["NPM_CONFIG_USERCONFIG"] = str(_private(home / ".fnmesh-npmrc", text))
        return found

    def _keep(self, name: str, content: bytes) -> Path:
        path = self._directory / name
        draft = self._directory / f".{name}-{os.getpid()}"
        draft.write_bytes(content)
        draft.chmod(0o644)
        draft.replace(path)
        return path


def merged_pip_configuration(environ: Mapping[str, str], home: Path) -> str:
    """What the operator's pip configuration files say together, later ones winning; empty where they say nothing.

    The build's user has another home, and often may not read the operator's.
    """
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        config / "pip/pip.conf",
    ]
    files.append(Path(sys.prefix) / "pip.conf")
    if (given := environ.get("PIP_CONFIG_FILE")) and given != os.devnull:
        files.append(Path(given))
    merged = configparser.RawConfigParser()
    for file in files:
        try:
            merged.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
    lines: list[str] = []
    for section in merged.sections():
        lines.append(f"[{section}]")
        for key, value in merged.items(section):
            lines.append(f"{key} = " + value.replace("\n", "\n    "))
    return "\n".join([*lines, ""]) if lines else ""


def _private(path: Path, text: str) -> Path:
    """Write a file once, for the owner of its directory alone; a link that lies there is not followed."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(handle, "w") as file:
        file.write(text)
        owner = path.parent.stat()
        os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
    return path


def _open_to_all(root: Path) -> None:
    for directory, _, files in os.walk(root):
        Path(directory).chmod(0o755)
        for name in files:
            Path(directory, name).chmod(0o644)
