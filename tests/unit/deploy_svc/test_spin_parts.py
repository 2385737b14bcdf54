"""What a component is started with, and what is made of its host's lines."""

from __future__ import annotations

import pytest

from deploy_svc.domain import Artifact, ArtifactKind, Limits, LogStream, Runtime, Target, Workload
from deploy_svc.frames import parse_line
from deploy_svc.ports import OutputLine
from deploy_svc.spin.application import allowed_hosts, environment, requests_per_instance, stores, variables
from deploy_svc.spin.output import HostOutput
from mesh.errors import FailedPrecondition
from runtimes.spin.application import SpinApp, Variable

TRACE = "0af7651916cd43dd8448eb211c80319c"


def app(**fields: object) -> SpinApp:
    return SpinApp(name="a", component="a", **fields)  # type: ignore[arg-type]


def workload(**env: str) -> Workload:
    artifact = Artifact("sha256:a", ArtifactKind.WASM, "a", 1, "app.wasm")
    limits = Limits(1, 1, 1, 1)
    return Workload("fn-a", "a", 1, Runtime.SPIN, Target.SPIN, artifact, limits, "handler", "v2", env)


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ("https://example.com", "https|example.com|443|443;"),
        ("http://Example.com:8080/", "http|example.com|8080|8080;"),
        ("http://*.example.com", "http|*.example.com|80|80;"),
        ("*://*:*", "*|*|0|65535;"),
        ("https://*:*", "https|*|0|65535;"),
        ("http://127.0.0.1:{8000..9000}", "http|127.0.0.1|8000|9000;"),
        ("http://127.0.0.1:8000..9000", "http|127.0.0.1|8000|9000;"),
        ("http://[::1]:80", "http|[::1]|80|80;"),
        ("https://{{ host }}", "https|api.example|443|443;"),
        ("*://example.com", ""),
        ("redis://example.com:6379", ""),
        ("http://10.0.0.0/8:80", ""),
        ("http://me@example.com", ""),
        ("http://example.com:99999", ""),
        ("http://example.com:9..3", ""),
        ("http://a|b:80", ""),
        ("example.com", ""),
        ("", ""),
    ],
)
def test_allowed_hosts_are_told_to_the_provider(given: str, rules: str) -> None:
    assert allowed_hosts(app(allowed_outbound_hosts=(given,)), {"host": "api.example"}) == rules


def test_variables_are_those_of_the_function_and_those_that_the_manifest_makes_of_them() -> None:
    one = app(
        variables={"host": Variable(default="x.example"), "key": Variable(required=True)},
        component_variables={"url": "https://{{ host }}/{{key}}", "host": "{{ host }}"},
    )
    assert variables(one, {"KEY": "k"}) == {"key": "k", "url": "https://x.example/k", "host": "x.example"}
    assert variables(one, {"KEY": "k", "HOST": "y"})["url"] == "https://y/k"
    with pytest.raises(FailedPrecondition, match="'key'"):
        variables(one, {})
    with pytest.raises(FailedPrecondition, match="'nobody'"):
        variables(app(component_variables={"x": "{{ nobody }}"}), {})


def test_the_host_program_gets_no_name_that_means_anything_to_it() -> None:
    env = environment(
        app(environment={"LD_PRELOAD": "/x", "b=d": "x"}), workload(PATH="/evil", SPIN_INSTANCE_REUSE="9")
    )
    assert env == {"SPIN_VARIABLE_PATH": "/evil", "FNMESH_ENV_LD_PRELOAD": "/x"}


def test_stores_are_plain_names_and_the_default_is_always_there() -> None:
    assert stores(app(key_value_stores=("other", "default", "../up", ""))) == ["default", "other"]


@pytest.mark.parametrize("told", ["0", "-1", "x", "1.5", "10000000", ""])
def test_reuse_is_a_number_of_requests(told: str) -> None:
    with pytest.raises(FailedPrecondition, match="SPIN_INSTANCE_REUSE"):
        requests_per_instance(workload(SPIN_INSTANCE_REUSE=told))
    assert requests_per_instance(workload()) == 1
    assert requests_per_instance(workload(SPIN_INSTANCE_REUSE="1000")) == 1000


def test_lines_of_a_host_are_told_apart() -> None:
    output = HostOutput()

    def read(text: bytes) -> tuple[str, LogStream, str] | None:
        line = output.read(OutputLine(text, 7))
        if line is None:
            return None
        assert line.position == 7
        parsed = parse_line(line.text, line.stream)
        return parsed.text, parsed.stream, parsed.trace_id

    assert read(b"Serving HTTP on http://127.0.0.1:1/") is None
    assert read(b"stdout [0] :: before") == ("before", LogStream.STDOUT, "")
    assert read(f"stderr [0] :: \x1erequest 00-{TRACE}-00f067aa0ba902b7-01".encode()) is None
    assert read(b"stdout [0] :: one") == ("one", LogStream.STDOUT, TRACE)
    assert read(b"stderr [0] :: ") == ("", LogStream.STDERR, TRACE)
    assert read(b"stdout [1] :: two \xff") == ("two \N{REPLACEMENT CHARACTER}", LogStream.STDOUT, "")
    assert read(b"stderr [1] :: \x1erequest nonsense") is None
    assert read(b"stdout [1] :: three") == ("three", LogStream.STDOUT, "")
    assert read(b"worker failed: guest timed out") == (
        "Timeout: a request was stopped, since it took longer than its time limit.", LogStream.STDERR, ""
    )  # fmt: skip
    assert read(b"    forcing trap when growing memory to 209715200 bytes") == (
        "Out of memory: a request wanted 200 MiB, more than its limit.", LogStream.STDERR, ""
    )  # fmt: skip
    assert read(b"    wasm trap: integer divide by zero") == (
        "    wasm trap: integer divide by zero", LogStream.STDERR, ""
    )  # fmt: skip
    assert read(b"error: guest never invoked `response-outparam::set` method") is None


def test_what_is_known_of_requests_is_bounded() -> None:
    output = HostOutput()
    for n in range(10_000):
        output.read(OutputLine(f"stderr [{n}] :: \x1erequest 00-{TRACE}-00f067aa0ba902b7-01".encode(), n))
    early, late = (output.read(OutputLine(f"stdout [{n}] :: x".encode(), 1)) for n in (0, 9_999))
    assert early is not None and early.text == b"x"
    assert late is not None and TRACE in late.text.decode()
