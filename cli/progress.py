"""A deploy on the terminal: a bar for each build stage, the builder's lines above them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.output import console, word
from fnmesh.build.v1 import build_pb2

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from fnmesh.client import Deploy

_STAGES = {
    build_pb2.STAGE_UNPACK: "unpack",
    build_pb2.STAGE_CHECK: "check",
    build_pb2.STAGE_INSTALL: "install",
    build_pb2.STAGE_ASSEMBLE: "assemble",
    build_pb2.STAGE_COMPONENTIZE: "componentize",
    build_pb2.STAGE_VALIDATE: "validate",
    build_pb2.STAGE_COMPILE: "compile",
    build_pb2.STAGE_PUSH: "push",
}


def show_deploy(deploy: Deploy) -> None:
    """Shows the build as it goes, then the instances. Raises what the deploy raises."""
    if sys.stderr.isatty():
        _show_bars(deploy)
    else:
        _show_lines(deploy)


def _show_bars(deploy: Deploy) -> None:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (
        SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description:<12}"), BarColumn(bar_width=28),
        TextColumn("{task.fields[note]}"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console(stderr=True), transient=False) as progress:
        bars = _Bars(progress)
        for event in deploy.events():
            kind = event.WhichOneof("event")
            if kind == "log_line":
                progress.console.print(Text("  " + event.log_line.text, style="dim"))
            elif kind == "progress":
                bars.enter(event.progress.stage, event.progress.percent)
            elif kind == "state_change" and event.state_change.state == build_pb2.BUILD_STATE_DONE:
                bars.finish("cached" if event.state_change.build.cached else "")
            elif kind == "state_change" and event.state_change.state in _BAD_ENDS:
                bars.fail()
                return
        bars.start("start")
        for line in _instance_lines(deploy):
            bars.note(line)
        bars.finish()


_BAD_ENDS = (build_pb2.BUILD_STATE_FAILED, build_pb2.BUILD_STATE_CANCELLED)


class _Bars:
    """One bar a stage: the one it is in moves, those before it are full."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._stage: build_pb2.Stage.ValueType = build_pb2.STAGE_UNSPECIFIED
        self._from_percent = 0

    def enter(self, stage: build_pb2.Stage.ValueType, percent: int) -> None:
        """The build is in a stage, and has come so far in all."""
        if stage != self._stage or self._task is None:
            self._stage, self._from_percent = stage, percent
            self.start(_STAGES.get(stage, "build"))
        elif self._task is not None:
            left = max(1, 100 - self._from_percent)
            self._progress.update(self._task, total=100, completed=100 * (percent - self._from_percent) / left)

    def start(self, name: str) -> None:
        self.finish()
        self._task = self._progress.add_task(name, total=None, note="")

    def note(self, text: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, note=text)

    def finish(self, note: str = "") -> None:
        if self._task is not None:
            self._progress.update(self._task, total=100, completed=100, note=note)
            self._progress.stop_task(self._task)
        self._task = None

    def fail(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, total=100, note="failed")
            self._progress.stop_task(self._task)
        self._task = None


def _show_lines(deploy: Deploy) -> None:
    """The same for a file or a pipe: a line for each step, on stderr."""
    stage = build_pb2.STAGE_UNSPECIFIED
    for event in deploy.events():
        kind = event.WhichOneof("event")
        if kind == "log_line":
            print(f"  {event.log_line.text}", file=sys.stderr, flush=True)
        elif kind == "progress" and event.progress.stage != stage:
            stage = event.progress.stage
            print(f"{event.progress.percent:>3} % {_STAGES.get(stage, 'build')}", file=sys.stderr, flush=True)
        elif kind == "state_change":
            state = word(build_pb2.BuildState, event.state_change.state, "BUILD_STATE_")
            cached = ", nothing to build" if event.state_change.build.cached else ""
            print(f"      build {state}{cached}", file=sys.stderr, flush=True)
            if event.state_change.state in _BAD_ENDS:
                return
    for line in _instance_lines(deploy):
        print(f"      {line}", file=sys.stderr, flush=True)


def _instance_lines(deploy: Deploy) -> Iterator[str]:
    """How the deployment is, whenever that changes."""
    from fnmesh.registry.v1 import function_pb2

    last = ""
    for deployment in deploy.rollout():
        if deployment.desired_revision != deploy.revision:
            continue
        state = word(function_pb2.DeploymentState, deployment.state, "DEPLOYMENT_STATE_")
        line = f"revision {deployment.desired_revision} {state}" + (
            f": {deployment.message}" if deployment.message else ""
        )
        if line != last:
            last = line
            yield line
