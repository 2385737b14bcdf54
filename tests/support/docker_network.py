"""What a Docker daemon changes on the machine outside its own directories, and how that is undone."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

_TABLES = ("filter", "nat")
_IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_CGROUPS = Path("/sys/fs/cgroup")
_BRIDGE = re.compile(r"^(docker0|br-[0-9a-f]{12}|veth[0-9a-f]{7})$")
_PUBLISHED = re.compile(r"-s (\S+)/32 -d \1/32 .*MASQUERADE")
_SIDE_PATHS = ("/etc/docker/key.json", "/run/docker", "/run/containerd", "/opt/containerd")


@dataclass(frozen=True)
class MachineState:
    """The machine before a daemon of ours ran on it."""

    ip_forward: str
    rules: dict[str, list[str]]
    links: list[str]
    side_paths: list[str]

    @staticmethod
    def read() -> MachineState:
        return MachineState(
            ip_forward=_IP_FORWARD.read_text().strip(),
            rules={table: _rules(table) for table in _TABLES},
            links=_links(),
            side_paths=[path for path in _SIDE_PATHS if Path(path).exists()],
        )

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(path: Path) -> MachineState:
        return MachineState(**json.loads(path.read_text()))

    def restore(self) -> None:
        """Take away what Docker added since; rules and links of others stay. May be repeated.

        Only when no Docker daemon runs: they all share the bridge and the chains.
        """
        bridges = [link for link in _links() if _BRIDGE.match(link) and link not in self.links]
        for table in _TABLES:
            self._restore_rules(table)
        for link in bridges:
            subprocess.run(["ip", "link", "del", link], capture_output=True, check=False)
        if _IP_FORWARD.read_text().strip() != self.ip_forward:
            _IP_FORWARD.write_text(self.ip_forward)
        _remove_cgroups()
        for path in _SIDE_PATHS:
            if path not in self.side_paths:
                _remove(Path(path))

    def _restore_rules(self, table: str) -> None:
        before = set(self.rules[table])
        added = [rule for rule in _rules(table) if rule not in before]
        chains = [rule.split()[1] for rule in added if rule.startswith("-N DOCKER")]
        for rule in added:
            if rule.startswith("-A ") and (is_dockers(rule) or rule.split()[1] in chains):
                _iptables(table, ["-D", *rule.split()[1:]])
        for chain in chains:
            _iptables(table, ["-F", chain])
        for chain in chains:
            _iptables(table, ["-X", chain])
        for rule in before:
            if rule.startswith("-P "):
                _iptables(table, rule.split())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_dockers(rule: str) -> bool:
    """Whether a rule as `iptables -S` prints it names a chain, a bridge or a published port of Docker's."""
    words = rule.split()
    return (
        any(word.startswith("DOCKER") or _BRIDGE.match(word) for word in words) or _PUBLISHED.search(rule) is not None
    )


def _rules(table: str) -> list[str]:
    return _iptables(table, ["-S"]).splitlines()


def _iptables(table: str, words: list[str]) -> str:
    done = subprocess.run(["iptables", "-w", "5", "-t", table, *words], capture_output=True, text=True, check=False)
    return done.stdout


def _links() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex())


def _remove_cgroups() -> None:
    for top in [_CGROUPS / "docker", *_CGROUPS.glob("*/docker")]:
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:  # still in use by somebody
                continue
