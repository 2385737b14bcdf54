"""Which firewall rules are Docker's, and so may be taken away with it."""

from __future__ import annotations

import pytest

from tests.support.docker_network import is_dockers


@pytest.mark.parametrize(
    "rule",
    [
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A POSTROUTING -s 172.18.0.0/16 ! -o br-0123456789ab -j MASQUERADE",
        "-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE",
    ],
)
def test_dockers_rules(rule: str) -> None:
    assert is_dockers(rule)


@pytest.mark.parametrize(
    "rule",
    [
        "-A FORWARD -i br-lan -j ACCEPT",
        "-A POSTROUTING -s 10.0.0.0/8 -o eth0 -j MASQUERADE",
        "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
    ],
)
def test_rules_of_others(rule: str) -> None:
    assert not is_dockers(rule)
