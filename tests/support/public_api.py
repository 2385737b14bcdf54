"""The public API as somebody finds it who knows nothing but the address: by reflection, call by call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.reflection import load_descriptors

TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Method:
    """A method of a public service."""

    descriptor: MethodDescriptor

    @property
    def name(self) -> str:
        return str(self.descriptor.name)

    @property
    def path(self) -> str:
        return f"/{self.descriptor.containing_service.full_name}/{self.name}"

    @property
    def request(self) -> type[Message]:
        return message_factory.GetMessageClass(self.descriptor.input_type)

    @property
    def answer(self) -> type[Message]:
        return message_factory.GetMessageClass(self.descriptor.output_type)

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Outcome:
    """What came of a call: the answers (at most the first few of a stream) and how it ended."""

    code: grpc.StatusCode
    message: str = ""
    reason: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    answers: list[Any] = field(default_factory=list)


def listed_services(server: str) -> list[str]:
    """The services of the mesh's API that reflection names."""
    with grpc.insecure_channel(server) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S)
        names = [service.name for service in answer.list_services_response.service]
    return sorted(name for name in names if name.startswith("fnmesh."))


def known_methods() -> list[Method]:
    """All methods of the public API, by the stubs: for parametrizing. `listed_services` says whether that is all."""
    from gateway.reflection import API_SERVICES

    load_descriptors()
    pool = descriptor_pool.Default()
    return [Method(method) for name in sorted(API_SERVICES) for method in pool.FindServiceByName(name).methods]


def call(
    channel: grpc.Channel,
    method: Method,
    *requests: Message | bytes,
    metadata: Sequence[tuple[str, str]] = (),
    timeout_s: float = TIMEOUT_S,
) -> Outcome:
    """One call with these messages, sent as they are. An endless stream is left after its first answer."""
    descriptor = method.descriptor
    kind = ("stream" if descriptor.client_streaming else "unary") + (
        "_stream" if descriptor.server_streaming else "_unary"
    )
    begin = getattr(channel, kind)(
        method.path, request_serializer=_bytes, response_deserializer=method.answer.FromString
    )
    given: Any = iter(requests) if descriptor.client_streaming else requests[0]
    answers: list[Any] = []
    try:
        if not descriptor.server_streaming:
            answers.append(begin(given, timeout=timeout_s, metadata=metadata))
            return Outcome(grpc.StatusCode.OK, answers=answers)
        stream = begin(given, timeout=timeout_s, metadata=metadata)
        for answer in stream:
            answers.append(answer)
            if not descriptor.client_streaming:
                stream.cancel()
                break
        return Outcome(grpc.StatusCode.OK, answers=answers)
    except grpc.RpcError as error:
        return _failed(error, answers)


def string_fields(message: type[Message], prefix: str = "", depth: int = 2) -> Iterator[str]:
    """Paths (`function.name`) of the singular string fields of a message, also within its messages."""
    fields: Any = message.DESCRIPTOR.fields
    for one in fields:
        if one.is_repeated:
            continue
        if one.type == FieldDescriptor.TYPE_STRING:
            yield prefix + one.name
        elif one.message_type is not None and depth > 0:
            inner = message_factory.GetMessageClass(one.message_type)
            yield from string_fields(inner, f"{prefix}{one.name}.", depth - 1)


def put(message: Message, path: str, value: Any) -> None:
    """Sets a field by its path."""
    *outer, last = path.split(".")
    for name in outer:
        message = getattr(message, name)
    setattr(message, last, value)


def _bytes(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def _failed(error: Any, answers: list[Any]) -> Outcome:
    reason, fields = "", dict[str, str]()
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(bad):
                fields = {one.field: one.description for one in bad.field_violations}
    return Outcome(error.code(), error.details() or "", reason, fields, answers)
