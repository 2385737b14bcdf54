"""Tells the registry how builds ended, until it has heard."""

from __future__ import annotations

from build_svc.domain import Build
from build_svc.hints import Hints
from build_svc.ports import Registry
from build_svc.shelf import Shelf
from build_svc.store import BuildStore
from mesh import telemetry
from mesh.errors import (
    FailedPrecondition,
    InvalidArgument,
    MeshError,
    NotFound,
)
from mesh.logs import get_logger

log = get_logger(__name__)
_BATCH = 50
_FOR_GOOD = (NotFound, FailedPrecondition, InvalidArgument)
"""What repeating cannot change: the function was deleted meanwhile, or the revision has ended already."""


class Reporter:
    """The outbox. Several processes may tell the same: repeating it is harmless."""

    def __init__(self, store: BuildStore, shelf: Shelf, registry: Registry, hints: Hints) -> None:
        self._store = store
        self._shelf = shelf
        self._registry = registry
        self._hints = hints

    async def step(self) -> bool:
        """Tell of every build that is due; says whether there may be more."""
        due = await self._store.unreported(_BATCH)
        for build in due:
            await self._report(build)
        return len(due) == _BATCH

    async def _report(self, build: Build) -> None:
        heard = True
        try:
            if build.revision:
                with telemetry.within(build.traceparent):
                    await self._registry.report(build)
        except _FOR_GOOD as error:
            heard = False
            log.warning("build_report_refused", build=build.uid, reason=error.reason)
        except MeshError as error:
            log.warning("build_report_failed", build=build.uid, reason=error.reason)
            await self._store.report_failed(build.uid)
            return
        await self._shelf.reported(build.uid, build.artifact.digest if heard and build.artifact else None)
        self._hints.changed(build.uid)
