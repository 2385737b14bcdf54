"""What reflection tells: the named services and what their files import, and nothing else of this process."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor


def pool_of(services: Iterable[str]) -> descriptor_pool.DescriptorPool:
    """A pool with the files of these services. Raises KeyError for a service whose stub is not imported.

    The default pool holds the internal packages too, and reflection answers for any symbol of its pool.
    """
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for needed in file.dependencies:
            add(needed)
        pool.AddSerializedFile(file.serialized_pb)

    for service in services:
        add(descriptor_pool.Default().FindFileContainingSymbol(service))
    return pool
