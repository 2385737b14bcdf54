"""Code and library of a function as two texts, which is how older clients send and read them."""

from __future__ import annotations

import asyncio
import io
import re
import tempfile
import zipfile
from collections.abc import AsyncIterator
from typing import IO, Literal

from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.registry.v1 import function_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest.caller import Caller
from gateway.rest.codes import Code
from mesh.errors import FailedPrecondition, NotFound
from mesh.logs import get_logger

log = get_logger(__name__)

Language = Literal["python", "node"]

CODE_BYTES = 4 * 1024 * 1024
READ_BYTES = 16 * 1024 * 1024
"""Largest source that is looked into."""
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
    """Entry file and list of libraries of a function's source; nothing where it has none (any more), and no text where
    it is larger than READ_BYTES. The caller has been shown the function, and may see its source.
    """
    if not function.source_digest:
        return Code()
    known = caller.codes.get(function.source_digest)
    if known is not None:
        return known
    try:
        code = await _fetch(caller, function.name)
        now = await caller.registry.GetFunction(registry_pb.GetFunctionRequest(name=function.name))
    except NotFound:
        return Code()
    if now.source_digest == function.source_digest:  # what came may be newer than what was asked for
        caller.codes.put(function.source_digest, code)
    return code


async def changed(
    caller: Caller, function: function_pb2.Function, code: str | bytes | None, library: str | None
) -> tuple[str | bytes, str | None]:
    """Code and list of libraries of a function's next source: what is None stays as it is stored. Raises
    FailedPrecondition (SOURCE_HAS_MORE_FILES, SOURCE_MISSING) where it cannot stay.
    """
    if code is not None and library is not None:
        return code, library
    stored = await read(caller, function)
    if not stored.is_whole:
        raise FailedPrecondition(
            "SOURCE_HAS_MORE_FILES",
            f"The source of '{function.display_name}' is more than a file of code and a list of libraries: deploy it"
            " again with `fnmesh deploy`, or send both code and library to replace all of it.",
        )
    if code is None and not stored.code:
        raise FailedPrecondition("SOURCE_MISSING", f"'{function.display_name}' has no code yet; send code, too.")
    return stored.code if code is None else code, stored.library if library is None else library


async def upload_code(caller: Caller, kind: str, code: str | bytes, library: str | None) -> str:
    """Sends code for a kind of runtime (`convert.type_of`) on; its digest. A single file for Spin has no libraries."""
    if kind == "spin":
        return await upload(caller, "app.py", code if isinstance(code, bytes) else code.encode())
    return await upload(caller, "source.zip", pack("node" if kind == "node" else "python", code, library))


async def _fetch(caller: Caller, name: str) -> Code:
    filename, size = "", 0
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
        async for part in caller.build.GetSource(build_pb.GetSourceRequest(function=name)):
            filename = part.filename or filename
            size += len(part.chunk)
            if size > READ_BYTES:
                return Code(is_whole=False)
            await asyncio.to_thread(file.write, part.chunk)
        file.seek(0)
        try:
            return await asyncio.to_thread(_read, file)
        except Exception as error:  # the decompressors have error types of their own (zlib.error, LZMAError)
            log.info("source_not_readable", function=name, error=str(error))
            return Code(is_whole=False)


def _read(file: IO[bytes]) -> Code:
    if not zipfile.is_zipfile(file):
        file.seek(0)
        code, is_whole = _text(file)
        return Code(code, is_whole=is_whole)
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        entry = next((name for name in names if _ENTRY.fullmatch(name)), "")
        library = next((name for name in _LIBRARY_FILES.values() if name in names), "")
        others = [name for name in names if name not in (entry, library)]
        if not entry and len(others) == 1 and "/" not in others[0]:
            entry = others.pop()
        code, is_code = _member(archive, entry)
        text, is_text = _member(archive, library)
        is_whole = bool(entry) and not others and is_code and is_text
        return Code(code, text if library else None, is_whole)


def _member(archive: zipfile.ZipFile, name: str) -> tuple[str, bool]:
    if not name:
        return "", True
    with archive.open(name) as file:
        return _text(file)


def _text(file: IO[bytes]) -> tuple[str, bool]:
    """The beginning of a file as text, and whether that is all of it, to the byte."""
    content = file.read(CODE_BYTES + 1)
    try:
        return content[:CODE_BYTES].decode(), len(content) <= CODE_BYTES
    except UnicodeDecodeError:
        return content[:CODE_BYTES].decode(errors="replace"), False


def _entry_file(language: Language, code: str | bytes) -> str:
    if language == "python":
        return "handler.py"
    code = code if isinstance(code, str) else code.decode(errors="replace")
    return "index.mjs" if _IS_MODULE.search(code) and not _IS_COMMONJS.search(code) else "index.js"
