"""How names, labels and keys must look, in the server's words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.kubernetes.statuses import Cause

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")

_SAYS_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SAYS_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_SAYS_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_SAYS_NAME_PART = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_SAYS_CONFIG_KEY = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


class Shown(str):
    """A value that is written into a message without quotation marks."""


def invalid_value(field: str, value: Any, why: str) -> Cause:
    """A cause with the value as the server writes it."""
    shown = f'"{value}"' if isinstance(value, str) and not isinstance(value, Shown) else value
    return Cause(field, f"Invalid value: {shown}: {why}")


def shown(value: Any) -> Shown:
    """A list or map as the server writes it."""
    return Shown(json.dumps(value, separators=(",", ":")))


def one_of(field: str, value: str, supported: tuple[str, ...]) -> Iterator[Cause]:
    """A cause if `value` is none of those."""
    if value not in supported:
        listed = ", ".join(f'"{one}"' for one in supported if one)
        yield Cause(field, f'Unsupported value: "{value}": supported values: {listed}', "FieldValueNotSupported")


def required(field: str, why: str = "") -> Cause:
    return Cause(field, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def object_name(kind: str, name: str) -> Iterator[Cause]:
    """Of `metadata.name`: services and namespaces are stricter than the rest."""
    rule, says, longest = _SUBDOMAIN, _SAYS_SUBDOMAIN, 253
    if kind in ("Service", "Namespace"):
        rule, says, longest = _LABEL, _SAYS_LABEL, 63
    if len(name) > longest:
        yield invalid_value("metadata.name", name, f"must be no more than {longest} characters")
    if rule is _LABEL and "." in name:
        yield invalid_value("metadata.name", name, "must not contain dots")
    elif not rule.fullmatch(name):
        yield invalid_value("metadata.name", name, says)


def label(field: str, name: str, longest: int = 63) -> Iterator[Cause]:
    """Of containers, volumes and ports."""
    if len(name) > longest:
        yield invalid_value(field, name, f"must be no more than {longest} characters")
    if not _LABEL.fullmatch(name):
        yield invalid_value(field, name, _SAYS_LABEL)


def label_pairs(field: str, found: Mapping[str, str]) -> Iterator[Cause]:
    for key, value in found.items():
        yield from _qualified(field, key)
        if len(value) > 63:
            yield invalid_value(field, value, "must be no more than 63 bytes")
        if not _VALUE.fullmatch(value):
            yield invalid_value(field, value, _SAYS_VALUE)


def annotation_keys(field: str, found: Mapping[str, str]) -> Iterator[Cause]:
    for key in found:
        yield from _qualified(field, key.lower())
    if sum(len(key) + len(value) for key, value in found.items()) > 256 * 1024:
        yield Cause(field, "Too long: may not be more than 262144 bytes", "FieldValueTooLong")


def _qualified(field: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and (not _SUBDOMAIN.fullmatch(prefix) or len(prefix) > 253):
        yield invalid_value(field, key, f"prefix part {_SAYS_SUBDOMAIN}")
    if not name:
        yield invalid_value(field, key, "name part must be non-empty")
    elif len(name) > 63:
        yield invalid_value(field, key, "name part must be no more than 63 bytes")
    elif not _NAME_PART.fullmatch(name):
        yield invalid_value(field, key, _SAYS_NAME_PART)


def config_keys(found: Mapping[str, str]) -> Iterator[Cause]:
    """Of a Secret or ConfigMap."""
    for key in found:
        if len(key) > 253:
            yield invalid_value(f"data[{key}]", key, "must be no more than 253 characters")
        if not _CONFIG_KEY.fullmatch(key):
            yield invalid_value(f"data[{key}]", key, _SAYS_CONFIG_KEY)
