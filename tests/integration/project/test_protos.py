"""buf's word on the API: linted, and compatible with what was released last."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import buf

pytestmark = pytest.mark.buf


def test_protos_are_lint_free(capfd: pytest.CaptureFixture[str]) -> None:
    assert buf.lint() == 0, capfd.readouterr().out


def test_protos_break_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    assert buf.breaking() == 0, capfd.readouterr().out


def test_lint_asks_for_comments_and_lets_aip_names_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copy(buf.ROOT / "buf.yaml", tmp_path)
    buf.supply_googleapis(tmp_path)
    proto = tmp_path / "protos/fnmesh/things/v1/things.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text(
        'syntax = "proto3";\npackage fnmesh.things.v1;\nimport "google/api/httpbody.proto";\n'
        "// A thing.\nmessage Thing {\n  google.api.HttpBody body = 1;\n}\n"
        "// Which thing.\nmessage GetThingRequest {}\n"
        "// Things.\nservice ThingService {\n  // One thing.\n"
        "  rpc GetThing(GetThingRequest) returns (Thing);\n}\n"
    )
    status = buf.run(["lint", "protos"], root=tmp_path)
    findings = capfd.readouterr().out.splitlines()
    assert status != 0
    assert [line.partition("things.proto:")[2] for line in findings] == [
        '6:3:Field "body" should have a non-empty comment for documentation.'
    ]
