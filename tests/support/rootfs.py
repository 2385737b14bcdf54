"""A file system tree made of this machine's own programs and the shared libraries that they need."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_PROGRAMS = (
    "sh", "bash", "env", "ls", "cat", "cp", "mv", "rm", "mkdir", "rmdir", "chmod", "chown", "ln", "id",
    "sleep", "true", "false", "head", "tail", "grep", "sed", "tar", "gzip", "find", "uname", "touch", "echo",
    "printf", "test", "dd", "nproc", "getconf", "mktemp", "dirname", "basename", "readlink", "realpath",
    "tr", "cut", "sort", "uniq", "wc", "xargs", "date", "stat", "kill", "ps",
)  # fmt: skip
_DIRECTORIES = (
    "etc/ssl/certs", "tmp", "var/tmp", "root", "proc", "sys", "dev", "run", "app", "home/app",
    "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local/bin", "usr/local/lib",
)  # fmt: skip
_MERGED = ("bin", "sbin", "lib", "lib64")
# Loaded by name at run time (glibc's name lookups, extension modules from wheels), so ldd does not show them.
_LOADED_BY_NAME = (
    "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1", "libstdc++.so.6", "libm.so.6",
    "libdl.so.2", "librt.so.1", "libpthread.so.0", "libutil.so.1",
)  # fmt: skip


class Rootfs:
    """A tree being made at `path`, merged-usr as on Debian; files keep the paths they have here."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lay_out(self) -> None:
        """The empty directories, the usual programs, users, name lookup and the CA bundle."""
        for directory in _DIRECTORIES:
            (self.path / directory).mkdir(parents=True, exist_ok=True)
        for name in _MERGED:
            (self.path / name).symlink_to(f"usr/{name}")
        for sticky in ("tmp", "var/tmp"):
            (self.path / sticky).chmod(0o1777)
        for name in _PROGRAMS:
            found = shutil.which(name, path="/bin:/usr/bin")
            if found:
                shutil.copy2(Path(found).resolve(), self.path / "usr/bin" / name)
        self.write(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        )
        self.write("/etc/group", "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n")
        self.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
        for path in ("/etc/os-release", CA_BUNDLE):
            if Path(path).exists():
                self.write(path, Path(path).read_text())

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def at(self, path: str | Path) -> Path:
        """Where the absolute `path` lies in the tree."""
        return self.path / str(path).lstrip("/")

    def link(self, path: str, target: str) -> None:
        """Make `path` a symbolic link to `target` unless it is there."""
        place = self.at(path)
        if not place.is_symlink() and not place.exists():
            place.symlink_to(target)

    def copy_needed_libraries(self) -> None:
        """Copy what the ELF files in the tree are linked with, to the directories the loader looks in."""
        listed = subprocess.run(
            ["ldd", *map(str, self._elf_files())], capture_output=True, text=True, check=False
        ).stdout
        needed = {Path(word) for line in listed.splitlines() for word in line.split() if _is_library(word)}
        directory = next(lib.parent for lib in needed if lib.name == "libc.so.6")
        needed |= {directory / name for name in _LOADED_BY_NAME}
        for library in needed:
            if library.is_relative_to(self.path) or not library.exists():
                continue
            loader = library.name.startswith("ld-linux")
            place = self.at(library) if loader else self.at(directory) / library.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                shutil.copy2(library.resolve(), place)

    def _elf_files(self) -> list[Path]:
        found = []
        for directory, _, names in os.walk(self.path):
            for name in names:
                path = Path(directory) / name
                if path.is_symlink() or not path.is_file():
                    continue
                with path.open("rb") as file:
                    if file.read(4) == b"\x7fELF":
                        found.append(path)
        return found


def _is_library(word: str) -> bool:
    return word.startswith("/") and not word.endswith(":")
