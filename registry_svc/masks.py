"""Update masks (AIP-134/161): the message that an update means."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from fnmesh.registry.v1 import function_pb2
from registry_svc import rules
from registry_svc.context import check_mask
from registry_svc.convert import scales_in_cluster

_MESSAGES = {
    "limits": ("memory_bytes", "cpu_millis", "timeout", "concurrency"),
    "scaling": ("min_instances", "max_instances", "idle_ttl"),
    "cluster": tuple(function_pb2.ClusterSettings.DESCRIPTOR.fields_by_name),
}
_MOST = "scaling.max_instances"
FUNCTION_FIELDS = frozenset(
    {
        *("display_name", "description", "path", "methods", "runtime", "target", "env", "limits", "scaling"),
        *("event_format", "access", "handler", "labels", "source_digest", "invocation_url", "cluster"),
        *(f"{outer}.{inner}" for outer, names in _MESSAGES.items() for inner in names),
    }
)


def merged(current: function_pb2.Function, given: function_pb2.Function, paths: Sequence[str]) -> function_pb2.Function:
    """`current` (env masked) with the fields of `given` that the mask names.

    `env.KEY` sets one value, or removes it where `given` has none. A field that `given` does not set goes
    back to its default. InvalidArgument (MASK_INVALID) for an empty mask or an unknown field.
    """
    if not paths:
        rules.refuse("MASK_INVALID", "update_mask", "update_mask is empty: name the fields to change.")
    keys = [path.removeprefix("env.") for path in paths if path.startswith("env.")]
    plain = [path for path in paths if not path.startswith("env.")]
    check_mask(plain, FUNCTION_FIELDS)
    result = function_pb2.Function()
    result.CopyFrom(current)
    for path in plain:
        outer, _, inner = path.partition(".")
        if inner:
            _copy_field(getattr(result, outer), getattr(given, outer), inner)
        else:
            _copy_field(result, given, outer)
    if scales_in_cluster(result) and not scales_in_cluster(current) and not {"scaling", _MOST} & set(plain):
        _forget_default_most(result.scaling)
    for key in keys:
        if key in given.env:
            result.env[key] = given.env[key]
        else:
            result.env.pop(key, None)
    return result


def _forget_default_most(scaling: function_pb2.Scaling) -> None:
    """Where a cluster begins to change the number of instances, the default for one machine is not what is meant."""
    if scaling.max_instances == max(1, scaling.min_instances):
        scaling.ClearField("max_instances")


def _copy_field(
    target: Message,
    source: Message,
    name: str,
) -> None:
    """Copies one field, of whatever kind: merging a message that has only that field."""
    only = type(source)()
    only.CopyFrom(source)
    for field, _ in source.ListFields():
        if field.name != name:
            only.ClearField(field.name)
    target.ClearField(name)
    target.MergeFrom(only)
