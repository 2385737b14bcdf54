"""The runtimes' Dockerfiles are understood, whatever they say, as far as they go."""

from __future__ import annotations

import pytest

from build_svc.recipe import Copy, RecipeInvalid, layers, placed
from runtimes import images


def test_a_copy_after_a_run_begins_a_layer() -> None:
    found = layers(
        "FROM x\nUSER 7:7\nWORKDIR /app\nARG A\nCOPY --chown=7:7 app/r.txt /app/r.txt\nRUN pip \\\n  install\n"
        'COPY --chown=7:7 app/ /app/\nRUN compile\nUSER 9:9\nENTRYPOINT ["a"]\n'
    )

    assert [layer.copies for layer in found] == [
        (Copy(("app/r.txt",), "/app/r.txt", 7),),
        (Copy(("app/",), "/app/", 7),),
    ]
    assert found[0].commands == ("pip install",)
    assert [layer.user for layer in found] == ["7:7", "7:7"]
    assert "USER 9:9" in found[1].changes
    assert 'ENTRYPOINT ["a"]' in found[1].changes


@pytest.mark.parametrize("runtime", ["python", "node"])
@pytest.mark.parametrize("libraries", [True, False])
def test_the_templates_of_functions_have_a_layer_for_the_code_alone(runtime: str, libraries: bool) -> None:
    found = layers(images.dockerfile(runtime, "base", libraries))  # type: ignore[arg-type]

    assert len(found) == (2 if libraries else 1)
    assert found[-1].copies == (Copy(("app/",), "/app/", images.BUILD_UID),)
    assert any(change.startswith("ENTRYPOINT") for change in found[-1].changes)
    assert f"USER {images.RUN_UID}:{images.RUN_UID}" in found[-1].changes
    if libraries:
        assert found[0].user == f"{images.BUILD_UID}:{images.BUILD_UID}"


@pytest.mark.parametrize("runtime", ["python", "node"])
def test_the_templates_of_runtimes_are_one_layer(runtime: str) -> None:
    found = layers(images.runtime_base_dockerfile(runtime, "base"))  # type: ignore[arg-type]

    assert len(found) == 1
    assert found[0].copies[0].patterns == ("server/",)


def test_where_files_go() -> None:
    names = ["app/a.py", "app/lib/b.py", "app/package.json", "app/package-lock.json"]

    assert placed(Copy(("app/",), "/app/"), names)["app/lib/b.py"] == "/app/lib/b.py"
    assert placed(Copy(("app/package.json", "app/package-lock.json*", "app/.npmrc*"), "/app/"), names) == {
        "app/package.json": "/app/package.json",
        "app/package-lock.json": "/app/package-lock.json",
    }
    assert placed(Copy(("app/a.py",), "/x/b.py"), names) == {"app/a.py": "/x/b.py"}


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(RecipeInvalid):
        layers("FROM x\nONBUILD RUN y\n")
