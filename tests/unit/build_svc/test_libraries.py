"""What is installed, and which installations functions may share."""

from __future__ import annotations

import json

import pytest

from build_svc.domain import Runtime
from build_svc.libraries import LibrariesInvalid, cache_key, find, requirement_lines


def python(text: str) -> object:
    return find(Runtime.PYTHON, {"requirements.txt": text})


def node(package: object, **files: str) -> object:
    return find(Runtime.NODE, {"package.json": json.dumps(package), **files})


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n   # here\n"])
def test_a_list_that_says_nothing_installs_nothing(text: str) -> None:
    assert python(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "six==1.16.0",
        "requests[socks] >= 2, <3 ; python_version > '3.8'",
        "six==1.16.0 \\\n    --hash=sha256:00\n",
        "--index-url https://pypi.example/simple\nsix",
        "thing @ https://example.org/thing-1.0.whl",
        "thing @ git+https://example.org/thing@v1",
    ],
)
def test_what_comes_from_an_index_is_shared(text: str) -> None:
    found = find(Runtime.PYTHON, {"requirements.txt": text})

    assert found is not None
    assert found.shared


@pytest.mark.parametrize(
    "text",
    ["-r other.txt", "-e .", "./lib", "lib/thing.whl", "thing @ file:///app/thing", "-c limits.txt", "../x", "."],
)
def test_what_may_come_from_the_source_is_not_shared(text: str) -> None:
    found = find(Runtime.PYTHON, {"requirements.txt": f"six\n{text}\n"})

    assert found is not None
    assert not found.shared
    assert cache_key(found, {}, "source a") != cache_key(found, {}, "source b")


def test_shared_installations_depend_on_text_and_environment_only() -> None:
    found = find(Runtime.PYTHON, {"requirements.txt": "six"})
    assert found is not None

    assert cache_key(found, {"python": "311"}, "a") == cache_key(found, {"python": "311"}, "b")
    assert cache_key(found, {"python": "311"}, "a") != cache_key(found, {"python": "312"}, "a")


def test_lines_are_joined_and_comments_left_out() -> None:
    assert requirement_lines("a \\\n  --hash=x # why\n#b\nc #d\ne@https://x/#egg=f\n") == [
        "a    --hash=x",
        "c",
        "e@https://x/#egg=f",
    ]


@pytest.mark.parametrize("package", [{}, {"name": "x"}, {"dependencies": {}}, {"devDependencies": {"a": "1"}}])
def test_a_package_without_dependencies_installs_nothing(package: object) -> None:
    assert node(package) is None


@pytest.mark.parametrize(
    ("package", "shared"),
    [
        ({"dependencies": {"a": "^1.0.0"}}, True),
        ({"dependencies": {"a": "latest", "b": ">=1 <2 || 3.x"}}, True),
        ({"dependencies": {"a": "npm:b@1"}}, True),
        ({"dependencies": {"a": "file:./a"}}, False),
        ({"dependencies": {"a": "../a"}}, False),
        ({"dependencies": {"a": "user/repository"}}, False),
        ({"dependencies": {"a": "1"}, "scripts": {"postinstall": "node x.js"}}, False),
        ({"scripts": {"prepare": "tsc"}}, False),
        ({"workspaces": ["a"]}, False),
    ],
)
def test_node_packages_share_what_comes_from_a_registry(package: object, shared: bool) -> None:
    found = find(Runtime.NODE, {"package.json": json.dumps(package)})

    assert found is not None
    assert found.shared is shared


@pytest.mark.parametrize("text", ["{", "[]", '{"dependencies": []}', "[" * 100_000])
def test_a_package_that_cannot_be_read_is_told_in_a_sentence(text: str) -> None:
    with pytest.raises(LibrariesInvalid, match=r"package\.json"):
        find(Runtime.NODE, {"package.json": text})
