"""What only the Node server does: module kinds, and errors that no promise carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Start, eventually

pytestmark = [pytest.mark.node, pytest.mark.parametrize("runtime", ["node"])]

ESM = "import os from 'node:os';\nexport const handler = async (event) => [typeof os.cpus, event];\n"
ESM_DEFAULT = "export default { handler: (event) => ['function', event] };\n"
CJS = "const os = require('os');\nmodule.exports = { handler: (event) => [typeof os.cpus, event] };\n"


@pytest.mark.parametrize(
    ("name", "source", "package"),
    [
        ("index.mjs", ESM, None),
        ("index.mjs", ESM_DEFAULT, None),
        ("index.js", ESM, '{"type": "module"}'),
        ("index.js", CJS, None),
        ("index.js", CJS, '{"type": "commonjs"}'),
        ("index.cjs", CJS, '{"type": "module"}'),
    ],
)
def test_commonjs_and_esm_modules_are_loaded(
    start: Start, tmp_path: Path, name: str, source: str, package: str | None
) -> None:
    (tmp_path / name).write_text(source)
    if package:
        (tmp_path / "package.json").write_text(package)
    assert start(app=tmp_path, file=name).invoke(1).json == ["function", 1]


def test_packages_lie_in_the_app(start: Start, tmp_path: Path) -> None:
    package = tmp_path / "node_modules" / "left"
    package.mkdir(parents=True)
    (package / "index.js").write_text("module.exports = 'left';\n")
    (tmp_path / "index.js").write_text("exports.handler = () => require('left');\n")
    assert start(app=tmp_path, file="index.js").invoke({}).json == "left"


def test_an_error_from_a_timer_fails_the_call_it_came_from(start: Start) -> None:
    # given
    server = start("stray", concurrency=1)
    # when
    answer = server.invoke({"gate": str(server.file("gate"))})
    # then
    assert (answer.status, answer.json["errorMessage"]) == (500, "from a timer")
    server.file("gate").touch()
    eventually(lambda: server.call(path="/.fnmesh/ready").status == 200)
