"""Forms with a file in them (multipart/form-data, RFC 7578), read as they come: the file is never held whole."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

FORM = "multipart/form-data"
_FIELDS_MAX = 50
_FIELD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Form:
    """The fields of a form as text, and what was made of its file; None where it has none."""

    fields: dict[str, str]
    file: str | None


@dataclass
class _Part:
    name: str = ""
    filename: str | None = None
    headers: dict[bytes, bytes] = field(default_factory=dict)


async def read(request: Request, file_field: str, keep: Callable[[str, AsyncIterator[bytes]], Awaitable[str]]) -> Form:
    """The form that a request brings. `keep` is given the file's name and its content as that arrives.

    Raises HTTPException: 400 for what is no form, 413 for fields that are too large, 415 for another type of body.
    """
    reader = _Reader(request)
    fields: dict[str, str] = {}
    file: str | None = None
    while (part := await reader.next_part()) is not None:
        if part.name == file_field and part.filename is not None:
            if file is not None:
                raise HTTPException(400, f"The form has two files as '{file_field}'.")
            file = await keep(part.filename, reader.content())
        else:
            fields[part.name] = await _text(reader)
            if len(fields) > _FIELDS_MAX:
                raise HTTPException(400, f"The form has more than {_FIELDS_MAX} fields.")
    return Form(fields, file)


async def _text(reader: _Reader) -> str:
    found = bytearray()
    async for piece in reader.content():
        found += piece
        if len(found) > _FIELD_BYTES:
            raise HTTPException(413, f"A field of the form is larger than {_FIELD_BYTES >> 10} KiB.")
    try:
        return found.decode()
    except UnicodeDecodeError:
        raise HTTPException(400, "A field of the form is not UTF-8.") from None


class _Reader:
    """The parts of a body one after the other. What was not read of a part is passed over."""

    def __init__(self, request: Request) -> None:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != FORM.encode() or not options.get(b"boundary"):
            raise HTTPException(415, f"The body must be a form: send content-type: {FORM} with a boundary.")
        self._stream = aiter(request.stream())
        self._waiting: deque[_Part | bytes | None] = deque()
        self._part = _Part()
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_part_data": lambda data, start, end: self._waiting.append(data[start:end]),
                    "on_part_end": lambda: self._waiting.append(None),
                    "on_header_begin": self._begin_header,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                },
            )
        except FormParserError:
            raise _broken() from None
        self._ended = False

    async def next_part(self) -> _Part | None:
        """The next part; None where there is none any more."""
        while (found := await self._next()) is not _END:
            if isinstance(found, _Part):
                return found
        return None

    async def content(self) -> AsyncIterator[bytes]:
        """The rest of the part that was given last."""
        while isinstance(found := await self._next(), bytes):
            yield found
        if found is not None:
            raise _broken()

    async def _next(self) -> _Part | bytes | object | None:
        """A part's beginning, a piece of its content, None at its end; _END at the end of all."""
        while not self._waiting:
            if self._ended:
                return _END
            chunk = await anext(self._stream, b"")
            try:
                if chunk:
                    self._parser.write(chunk)
                else:
                    self._parser.finalize()
                    self._ended = True
            except FormParserError:
                raise _broken() from None
        return self._waiting.popleft()

    def _begin(self) -> None:
        self._part = _Part()

    def _begin_header(self) -> None:
        self._header = (bytearray(), bytearray())

    def _end_header(self) -> None:
        name, value = self._header
        self._part.headers[bytes(name).lower()] = bytes(value)

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition", b""))
        self._part.name = options.get(b"name", b"").decode(errors="replace")
        filename = options.get(b"filename")
        self._part.filename = None if filename is None else filename.decode(errors="replace")
        self._waiting.append(self._part)


_END = object()


def _broken() -> HTTPException:
    return HTTPException(400, "The body is not the form that its content-type says it is.")
