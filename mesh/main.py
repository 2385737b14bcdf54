"""What the `__main__` of each service calls: settings, signals, one-sentence errors, exit codes."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn, TypeVar

import uvloop

from mesh import disk, logs, telemetry
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.settings import MeshSettings, SettingsError

log = get_logger(__name__)
S = TypeVar("S", bound=MeshSettings)

EXIT_FAILED = 1
EXIT_SETTINGS = 2


class StartupError(Exception):
    """The service cannot start; the text is one sentence that says why and what to do. `exit_code` is for programs that
    want to know which error it is.
    """

    def __init__(self, sentence: str, *, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def run(
    settings_type: type[S],
    app: Callable[[S], AbstractAsyncContextManager[Any]],
    *,
    migrate: Callable[[S], Awaitable[None]] | None = None,
    commands: Mapping[str, Callable[[S, Sequence[str]], Awaitable[None]]] | None = None,
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Runs a service (or one of its subcommands) and exits the process.

    `app(settings)` is a context manager that is ready when entered; it is left on SIGTERM or SIGINT (drain),
    and a second signal ends the process at once. `migrate` is the subcommand `migrate`; `commands` are
    others, which get the arguments after their name and print to stdout. Exit codes: 0 ended as asked, 1
    failed, 2 settings, others as a StartupError says.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    actions = dict(commands or {})
    if migrate is not None:
        actions["migrate"] = lambda settings, _: migrate(settings)
    name = settings_type.service
    gc.freeze()  # what is imported stays: the collector need not look at it again and again
    gc.enable()
    try:
        settings = settings_type.load()
        logs.setup(name, settings.log_level)
        disk.watch(settings.data_dir)
        if arguments and arguments[0] not in actions:
            known = ", ".join(sorted(actions)) or "none"
            raise SettingsError(f"'{arguments[0]}' is not a subcommand (there are: {known}).")
        work = actions[arguments[0]](settings, arguments[1:]) if arguments else _serve(settings, app)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_awaited(work))
    except SettingsError as error:
        _leave(name, str(error), EXIT_SETTINGS)
    except StartupError as error:
        _leave(name, str(disk.told(error) or error), error.exit_code)
    except (MeshError, OSError) as error:
        _leave(name, str(disk.told(error) or error), EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseExceptionGroup as group:
        told = disk.told(group) or _first_told(group)
        if told is not None:
            _leave(name, str(told), EXIT_FAILED)
        log.exception("service_failed", group)
        sys.exit(EXIT_FAILED)
    except Exception as error:
        told = disk.told(error)
        if told is not None:
            _leave(name, str(told), EXIT_FAILED)
        log.exception("service_failed", error)
        sys.exit(EXIT_FAILED)
    sys.exit(0)


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def _serve(settings: S, app: Callable[[S], AbstractAsyncContextManager[Any]]) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            signal.raise_signal(signal.SIGTERM)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    token = settings.token_file
    traces = telemetry.setup(settings.service, settings, token=token.read_text().strip() if token.is_file() else None)
    try:
        async with app(settings):
            log.info("service_ready", **settings.redacted())
            await stopping.wait()
            log.info("service_draining")
    finally:
        await asyncio.to_thread(traces.shutdown)
    log.info("service_stopped")


def _first_told(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """The first error in a group that is meant for people."""
    for error in group.exceptions:
        found = _first_told(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, SettingsError | StartupError | OSError):
            return found
    return None


def _leave(name: str, sentence: str, code: int) -> NoReturn:
    print(f"fnmesh {name}: {sentence}", file=sys.stderr)
    sys.exit(code)
