"""What is sent to begin tasks: forms with a file, which is sent on as it comes, and JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from gateway.rest import multipart, sources
from gateway.rest.caller import Caller
from mesh.errors import MeshError

M = TypeVar("M", bound=BaseModel)


async def form(request: Request, mesh: Caller, model: type[M]) -> tuple[M, str]:
    """What a form says, and the digest of its file, which is sent on as it comes."""

    async def keep(filename: str, content: AsyncIterator[bytes]) -> str:
        broken: list[HTTPException] = []

        async def watched() -> AsyncIterator[bytes]:
            try:
                async for piece in content:
                    yield piece
            except HTTPException as error:
                broken.append(error)
                raise

        name = _source_name(filename)
        try:
            return await sources.upload(mesh, name, watched())
        except (asyncio.CancelledError, MeshError):  # what gRPC makes of an iterator that fails
            if broken:
                raise broken[0] from None
            raise

    sent = await multipart.read(request, "file", keep)
    given = checked(model, {name: value for name, value in sent.fields.items() if value})
    if sent.file is None:
        raise invalid("file", "A file is missing: send a .py or a .zip as 'file'.")
    return given, sent.file


def _source_name(filename: str) -> str:
    """What a file is called in its source: a single file is always the same app."""
    ending = filename.lower().rpartition(".")[2]
    if ending not in ("py", "zip"):
        raise invalid("file", "The file must be a .py or a .zip.")
    return "app.py" if ending == "py" else "source.zip"


async def values_of(request: Request) -> Mapping[str, Any]:
    """The fields of a body that is JSON or a form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == multipart.FORM:

        async def refuse(filename: str, content: AsyncIterator[bytes]) -> str:
            raise invalid("file", "A push takes no file: name what was built.")

        sent = await multipart.read(request, "file", refuse)
        return {name: value for name, value in sent.fields.items() if value}
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON.") from None
    return found if isinstance(found, dict) else {"": found}


def checked(model: type[M], values: Mapping[str, Any]) -> M:
    """The values as the model has them. Raises RequestValidationError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None


def invalid(name: str, message: str) -> RequestValidationError:
    """That something is wrong with a field."""
    return RequestValidationError([{"loc": ("body", name), "msg": message, "type": "value_error"}])
