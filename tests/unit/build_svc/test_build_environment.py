"""What of the operator's environment a build may see."""

from __future__ import annotations

from pathlib import Path

from build_svc.installers import npm_error, pip_error
from build_svc.sandbox import operators_environment
from build_svc.toolchain import merged_pip_configuration


def test_only_the_way_to_package_indexes_is_passed_on() -> None:
    given = {
        "SSL_CERT_FILE": "/ca.pem",
        "NODE_EXTRA_CA_CERTS": "/ca.pem",
        "PIP_INDEX_URL": "https://pypi.example/simple",
        "NPM_CONFIG_REGISTRY": "https://npm.example",
        "npm_config_strict_ssl": "true",
        "HTTPS_PROXY": "http://proxy:1",
        "no_proxy": "localhost",
    }
    withheld = {
        "FNMESH_DATABASE_URL": "postgresql://secret",
        "FNMESH_HTTP_PROXY": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "DOCKER_HOST": "unix:///x",
        "PYTHONPATH": "/x",
        "LD_PRELOAD": "/x.so",
        "NODE_OPTIONS": "--require /x.js",
        "PIP_TARGET": "/elsewhere",
        "PIP_CACHE_DIR": "/somewhere/pip",
        "NPM_CONFIG_CACHE": "/somewhere/npm",
    }

    assert operators_environment(given | withheld) == given


def test_pips_configuration_is_merged_with_the_later_file_winning(tmp_path: Path) -> None:
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip/pip.conf").write_text("[global]\nindex-url = https://a\ntimeout = 5\n")
    chosen = tmp_path / "chosen.conf"
    chosen.write_text("[global]\nindex-url = https://b\nextra-index-url =\n    https://c\n    https://d\n")

    merged = merged_pip_configuration({"PIP_CONFIG_FILE": str(chosen)}, tmp_path)

    assert "index-url = https://b" in merged
    assert "timeout = 5" in merged
    assert "https://a" not in merged
    assert "    https://d" in merged


def test_errors_are_the_lines_that_say_why() -> None:
    assert pip_error(["ERROR: first", "ERROR: No matching distribution found for x", "", "[notice] y"]).endswith(
        "for x"
    )
    assert pip_error(["something odd"]) == "something odd"
    assert npm_error(["npm error code E404", "npm error 404 Not Found - GET x", "npm error A complete log"]) == (
        "npm error 404 Not Found - GET x"
    )
    assert npm_error(["npm ERR! code ERESOLVE", "npm ERR! ERESOLVE could not resolve"]) == (
        "npm error ERESOLVE could not resolve"
    )
