"""What a source asks to be installed, and the digest under which that is cached. Pure: takes texts, no files.

An installation may be shared by all functions that ask for the same only if nothing of the source took part in
it. Where that cannot be told from the texts, the source's digest is part of the key and nothing is shared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from build_svc.domain import Runtime, artifact_digest

PYTHON_FILES = ("requirements.txt",)
NODE_FILES = ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc")
_NODE_DEPENDENCIES = ("dependencies", "optionalDependencies", "peerDependencies")
_NODE_INSTALL_SCRIPTS = (
    "preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare",
)  # fmt: skip
_SHARED_OPTIONS = re.compile(
    r"(--index-url|--extra-index-url|-i|--pre|--no-binary|--only-binary|--prefer-binary|--require-hashes"
    r"|--trusted-host|--use-feature|--no-index)\b"
)
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[A-Za-z0-9._,\s-]*\])?\s*"
    r"(@\s*(git\+)?https?://\S+|[(<>=!~][^;#/]*)?\s*(;[^/#]*)?(\s--hash=\S+)*"
)
_COMMENT = re.compile(r"(^|\s)#.*$")
_REGISTRY_SPEC = re.compile(r"(npm:.*|[^:/]*|(git\+)?https?://.*)")


class LibrariesInvalid(Exception):
    """The list of libraries cannot be read; the text is one sentence for its author."""


@dataclass(frozen=True)
class Libraries:
    """What to install. `key_texts` is what an installation depends on; `shared` if on nothing else of the source."""

    key_texts: Mapping[str, str]
    shared: bool


def find(runtime: Runtime, files: Mapping[str, str]) -> Libraries | None:
    """What the source's own files (name at its root -> text) ask for; None if nothing.

    Raises LibrariesInvalid.
    """
    if runtime is Runtime.PYTHON:
        return _python(files)
    return _node(files)


def cache_key(libraries: Libraries, environment: Mapping[str, str], source_digest: str) -> str:
    """Digest that names the installation; `environment` is what else it depends on (interpreter, image, builder)."""
    parts = {f"file {name}": text for name, text in libraries.key_texts.items()}
    parts |= {f"environment {name}": value for name, value in environment.items()}
    if not libraries.shared:
        parts["source"] = source_digest
    return artifact_digest(parts)


def _python(files: Mapping[str, str]) -> Libraries | None:
    text = files.get("requirements.txt", "")
    lines = requirement_lines(text)
    if not lines:
        return None
    shared = all(_SHARED_OPTIONS.match(line) or _REQUIREMENT.fullmatch(line) for line in lines)
    return Libraries({"requirements.txt": text}, shared)


def requirement_lines(text: str) -> list[str]:
    """The lines of a requirements.txt that say something: continued lines joined, comments left out."""
    joined = re.sub(r"\\\r?\n", " ", text.lstrip("\ufeff"))
    lines = (_COMMENT.sub("", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def _node(files: Mapping[str, str]) -> Libraries | None:
    if "package.json" not in files:
        return None
    try:
        package = json.loads(files["package.json"].lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise LibrariesInvalid(f"package.json is not valid JSON: {error}.") from error
    if not isinstance(package, dict):
        raise LibrariesInvalid('package.json must be a JSON object, such as {"dependencies": {}}.')
    specs: list[object] = []
    for field in _NODE_DEPENDENCIES:
        wanted = package.get(field, {})
        if not isinstance(wanted, dict):
            raise LibrariesInvalid(f'"{field}" in package.json must be an object of names and versions.')
        if field != "peerDependencies" or package.get("dependencies"):
            specs += wanted.values()
    scripts = package.get("scripts")
    runs_own = isinstance(scripts, dict) and any(name in scripts for name in _NODE_INSTALL_SCRIPTS)
    if not specs and not runs_own and not package.get("workspaces"):
        return None
    shared = (
        not runs_own
        and not package.get("workspaces")
        and all(isinstance(spec, str) and _REGISTRY_SPEC.fullmatch(spec) for spec in specs)
        and not any(marker in files.get(lock, "") for lock in NODE_FILES[1:3] for marker in ('"file:', '"link"'))
    )
    return Libraries({name: files[name] for name in NODE_FILES if name in files}, shared)
