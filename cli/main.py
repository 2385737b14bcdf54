"""The entry of `fnmesh`: the commands, and how errors are told."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from cli.commands import (
    completion,
    db,
    deploy,
    doctor,
    env,
    functions,
    history,
    invoke,
    job,
    key,
    logs,
    new,
    schedule,
    secret,
    seed,
    trace,
    up,
)
from cli.errors import CommandError

app = typer.Typer(
    name="fnmesh",
    help="A mesh for functions: from a directory to an answer.",
    no_args_is_help=True,
    add_completion=False,  # `fnmesh completion` is quicker: its scripts start no Python for words that are known
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command("up")(up.up)
app.command("new")(new.new)
app.command("deploy")(deploy.deploy)
app.command("invoke")(invoke.invoke)
app.command("list")(functions.list_functions)
app.command("show")(functions.show)
app.command("logs")(logs.logs)
app.add_typer(job.app, name="job")
app.add_typer(schedule.app, name="schedule")
app.add_typer(env.app, name="env")
app.add_typer(secret.app, name="secret")
app.command("builds")(history.builds)
app.command("executions")(history.executions)
app.command("trace")(trace.trace)
app.command("rollback")(functions.rollback)
app.command("delete")(functions.delete)
app.command("seed")(seed.seed)
app.command("doctor")(doctor.doctor)
app.add_typer(key.app, name="key")
app.add_typer(db.app, name="db")
app.command("completion")(completion.completion)
app.command("function-names", hidden=True)(completion.print_function_names)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"fnmesh {version('fnmesh')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Runs the command in sys.argv. Exit codes: 0 done, 1 it failed, 2 it was called wrongly, 130 Ctrl-C."""
    try:
        code = app(standalone_mode=False, prog_name="fnmesh")  # what typer.Exit says, 130 for Ctrl-C
    except CommandError as error:
        _leave(str(error), error.exit_code)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "fnmesh"
        if type(error).__name__ == "NoArgsIsHelpError":  # the help was asked for, in a way
            print(error.format_message(), file=sys.stderr)
            sys.exit(2)
        _leave(f"{error.format_message().rstrip('.')}; see `{path} --help`.", 2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _leave(f"{error.filename or 'The machine'} refused: {error.strerror or error}.", 1)
    except UnicodeEncodeError as error:
        shown = str(error.object).encode("utf-8", "backslashreplace").decode()
        _leave(f"'{shown[:60]}' is not UTF-8; write it in UTF-8.", 1)
    except Exception as error:
        if os.environ.get("FNMESH_UP_TRACEBACK"):
            raise
        _leave(
            f"This should not have happened: {type(error).__name__}: {error} "
            "(FNMESH_UP_TRACEBACK=1 shows where).", 1,
        )  # fmt: skip
    sys.exit(code if isinstance(code, int) else 0)


def _leave(sentence: str, code: int) -> NoReturn:
    print(f"fnmesh: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
