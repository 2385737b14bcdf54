"""Real shells: with this checkout's `fnmesh` in them, and what they offer when Tab is pressed after a line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.support import require
from tests.support.eventually import eventually_sync

SHELLS = ("bash", "zsh", "fish")
_LIMIT_S = 60
_BASH = """
. {script}
COMP_LINE={line} COMP_POINT={point} COMP_WORDS=({words}) COMP_CWORD={last}
_fnmesh
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# Tab as a widget that puts all matches into the line, and one that writes the line to a file.
_ZSH = """
PS1=; unsetopt beep; autoload -Uz compinit; compinit -u -D; source {script}
zle -C everything complete-word _generic
zstyle ':completion:everything:*' completer _all_matches _complete
zstyle ':completion:everything:*' insert true
bindkey '^I' everything
tell() {{ print -r -- "$BUFFER" > {out}.new; mv {out}.new {out} }}
zle -N tell; bindkey '^O' tell
print ready > {out}.ready
"""


def with_fnmesh(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """An environment in which `fnmesh` is this checkout's; the command is written to `directory`."""
    directory.mkdir(exist_ok=True)
    command = directory / "fnmesh"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cli "$@"\n')
    command.chmod(0o755)
    return {**environ, "PATH": f"{directory}{os.pathsep}{environ['PATH']}"}


def offers(shell: str, line: str, *, home: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """The words that `shell` offers at the end of `line`, sorted. Skips the test, by name, where there is none."""
    program = shutil.which(shell)
    if program is None:
        require.missing(shell, f"{shell} not found on PATH")
    home.mkdir(exist_ok=True)
    environ = with_fnmesh({**os.environ, "HOME": str(home), "TERM": "dumb", **(environ or {})}, home / "bin")
    completion = home / f"completion.{shell}"
    completion.write_text(_script(shell))
    match shell:
        case "bash":
            words = re.sub("([=:])", r" \\1 ", line).split(" ")  # as readline splits it
            script = _BASH.format(
                script=shlex.quote(str(completion)),
                line=shlex.quote(line),
                point=len(line),
                words=shlex.join(words),
                last=len(words) - 1,
            )
            found = _run([program, "--norc", "--noprofile", "-c", script], environ)
        case "fish":
            script = f"source {shlex.quote(str(completion))}; complete -C {shlex.quote(line)}"
            lines = _run([program, "--no-config", "-c", script], environ)
            found = [one.partition("\t")[0] for one in lines]
        case _:
            found = _zsh(program, line, home, completion, environ)
    return sorted(found)


def _run(argv: list[str], environ: Mapping[str, str]) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ, timeout=_LIMIT_S)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [one for one in done.stdout.splitlines() if one]


@cache
def _script(shell: str) -> str:
    """What `fnmesh completion` prints; asked once, since it is always the same."""
    command = [sys.executable, "-m", "cli", "completion", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _zsh(program: str, line: str, home: Path, completion: Path, environ: Mapping[str, str]) -> list[str]:
    """zsh completes in its line editor only, and that wants a terminal."""
    out = home / "line"
    for left in (out, Path(f"{out}.ready")):
        left.unlink(missing_ok=True)
    rc = home / "rc"
    rc.write_text(_ZSH.format(script=shlex.quote(str(completion)), out=shlex.quote(str(out))))
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [program, "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    said = b""

    def there(path: Path) -> bool:
        nonlocal said
        try:
            said += os.read(ours, 65536)
        except OSError:
            assert process.poll() is None, said
        return path.exists()

    try:
        os.write(ours, f"source {shlex.quote(str(rc))}\n".encode())
        eventually_sync(lambda: there(Path(f"{out}.ready")), _LIMIT_S)
        os.write(ours, f"{line}\t\x0f".encode())
        eventually_sync(lambda: there(out), _LIMIT_S)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    before = line.rpartition(" ")[0]
    found = out.read_text().strip()
    assert found.startswith(before), (found, said)
    words = found[len(before) :].split()
    return [] if words == line[len(before) :].split() else words
