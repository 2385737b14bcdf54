"""Code and library of a function as two texts, which is how older clients send and read them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import AsyncIterator
from typing import IO, Literal

from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.registry.v1 import function_pb2
from gateway.rest.caller import Caller
from gateway.rest.codes import Code
from mesh.errors import NotFound

Language = Literal["python", "node"]

CODE_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_SPOOL_BYTES = 8 * 1024 * 1024
_LIBRARY_FILES: dict[Language, str] = {"python": "requirements.txt", "node": "package.json"}
_ENTRY = re.compile(r"(handler|app|main)\.py|index\.(js|mjs|cjs)")
_IS_MODULE = re.compile(r"^\s*(export|import)\s", re.MULTILINE)
_IS_COMMONJS = re.compile(r"^\s*(module\.)?exports\b", re.MULTILINE)


def pack(language: Language, code: str | bytes, library: str | None) -> bytes:
    """A zip archive with both; the same texts make the same bytes."""
    files = {_entry_file(language, code): code}
    if library:
        files[_LIBRARY_FILES[language]] = library
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return target.getvalue()


async def upload(caller: Caller, filename: str, content: bytes | AsyncIterator[bytes]) -> str:
    """Sends a source on, as it comes; its digest. Raises InvalidArgument (SOURCE_INVALID), ResourceExhausted."""

    async def parts() -> AsyncIterator[build_pb.UploadSourceRequest]:
        yield build_pb.UploadSourceRequest(filename=filename)
        if isinstance(content, bytes):
            for at in range(0, len(content), _CHUNK_BYTES):
                yield build_pb.UploadSourceRequest(chunk=content[at : at + _CHUNK_BYTES])
            return
        async for piece in content:
            for at in range(0, len(piece), _CHUNK_BYTES):
                yield build_pb.UploadSourceRequest(chunk=piece[at : at + _CHUNK_BYTES])

    answer = await caller.build.UploadSource(parts())
    return str(answer.source_digest)


async def read(caller: Caller, function: function_pb2.Function) -> Code:
    """Entry file and list of libraries of a function's source; nothing where it has none (any more). The caller has
    been shown the function, and may see its source.
    """
    if not function.source_digest:
        return Code()
    known = caller.codes.get(function.source_digest)
    if known is not None:
        return known
    filename, digest = "", hashlib.sha256()
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
        try:
            async for part in caller.build.GetSource(build_pb.GetSourceRequest(function=function.name)):
                if part.WhichOneof("part") == "filename":
                    filename = part.filename
                else:
                    digest.update(part.chunk)
                    await asyncio.to_thread(file.write, part.chunk)
        except NotFound:
            return Code()
        file.seek(0)
        code = await asyncio.to_thread(_read, filename, file)
    caller.codes.put(f"sha256:{digest.hexdigest()}", code)  # what came, which may be newer than what was asked for
    return code


def _read(filename: str, file: IO[bytes]) -> Code:
    if not zipfile.is_zipfile(file):
        file.seek(0)
        return Code(file.read(CODE_BYTES).decode(errors="replace"))
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        entry = next((name for name in names if _ENTRY.fullmatch(name)), "")
        library = next((name for name in _LIBRARY_FILES.values() if name in names), "")
        return Code(_text(archive, entry) if entry else "", _text(archive, library) if library else None)


def _text(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as file:
        return file.read(CODE_BYTES).decode(errors="replace")


def _entry_file(language: Language, code: str | bytes) -> str:
    if language == "python":
        return "handler.py"
    code = code if isinstance(code, str) else code.decode(errors="replace")
    return "index.mjs" if _IS_MODULE.search(code) and not _IS_COMMONJS.search(code) else "index.js"
