"""docs/errors.md can be read, and tells of nothing twice. That its answers are true is shown in tests/badinput."""

from __future__ import annotations

from tests.support.errors_page import PAGE, sections

TOPICS = [
    "The source",
    "The settings of a function",
    "The handler",
    "Spin components",
    "Pushing to a registry",
    "Functions on a cluster",
    "HTTP requests",
    "Control calls and keys",
    "The machine",
]


def test_every_row_has_an_answer_and_what_to_do() -> None:
    assert list(sections()) == TOPICS  # raises for a row that has not


def test_no_answer_is_one_of_a_program_gone_wrong() -> None:
    for rows in sections().values():
        for answer in rows.values():
            assert "Traceback" not in answer
            assert "should not have happened" not in answer
            assert "\n" not in answer


def test_the_readme_leads_there() -> None:
    assert f"docs/{PAGE.name}" in (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
