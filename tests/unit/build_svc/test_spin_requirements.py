"""What a component's requirements.txt may ask for."""

from __future__ import annotations

import pytest

from build_svc.domain import BuildFailed
from build_svc.spin.requirements import checked
from tests.support.errors_page import answers


@pytest.mark.parametrize(
    "line",
    [
        "six",
        "six==1.16.0",
        "six >= 1.0, < 2 ; python_version < '3.13' and sys_platform == 'wasi-p1'",
        "pydantic[email,dotenv]==2.1.0-beta",
        "six==1.16.0 --hash=sha256:abc --hash=sha256:def",
        "six @ https://example.org/six-1.16.0-py3-none-any.whl#sha256=abc",
        "--index-url https://example.org/simple",
        "--no-index",
    ],
)
def test_wheels_are_asked_for_by_name_or_url(line: str) -> None:
    assert checked(f"# why\n{line}  # because\n", {}.get) == {"requirements.txt": f"{line}\n"}


@pytest.mark.parametrize(
    "line",
    [
        "./library",
        "library/",
        "-e .",
        "git+https://example.org/library",
        "library @ git+https://example.org/library",
        "library @ file:///library.whl",
        "library @ https://example.org/library.tar.gz",
        "library @ https://example.org/library.tar.gz#a.whl",
        "https://example.org/library.whl -r /etc/fnmesh/secrets.key",
        "six @ https://example.org/${PIP_INDEX_URL}/six.whl",
        "six --no-binary=six",
        "--no-binary :all:",
        "--pre -r /etc/fnmesh/secrets.key",
        "-r /etc/fnmesh/secrets.key",
        "-r ../other.txt",
        "--requ /etc/fnmesh/secrets.key",
        "six==1 -r /etc/fnmesh/secrets.key",
        "# a comment \\\n-r /etc/fnmesh/secrets.key\n./x",
        "six \\\x0b-r /etc/fnmesh/secrets.key",
    ],
)
def test_what_leads_to_files_of_this_machine_or_to_code_that_is_run_is_refused(line: str) -> None:
    with pytest.raises(BuildFailed, match=r"^requirements\.txt: '.*' cannot be a library of a component"):
        checked(line, {}.get)


def test_files_beside_it_are_looked_at_too_and_nothing_that_was_not_looked_at_is_passed_on() -> None:
    texts = {"more.txt": "-c limits.txt\nsix # \\\n", "limits.txt": "-r more.txt\nsix<2\n", "notes.txt": "-e .\n"}
    assert checked("-r more.txt\n-r gone.txt\n", texts.get) == {
        "requirements.txt": "-r more.txt\n-r gone.txt\n",
        "more.txt": "-c limits.txt\nsix\n",
        "limits.txt": "-r more.txt\nsix<2\n",
    }
    with pytest.raises(BuildFailed, match=r"^notes\.txt: '-e \.'"):
        checked("-r notes.txt\n", texts.get)


def test_the_sentence_is_the_one_of_the_page() -> None:
    with pytest.raises(BuildFailed) as refused:
        checked("./library\n", {}.get)

    row = "a library of a component that is a directory, a file or a repository"
    assert f"The build failed: {refused.value}" == answers("Spin components")[row]
