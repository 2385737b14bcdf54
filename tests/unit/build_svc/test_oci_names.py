"""What repositories are called, and what registries ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build_svc.oci import challenge, reference
from build_svc.oci.reference import ReferenceInvalid
from tests.support.errors_page import answers

ANSWERS = answers("Pushing to a registry")


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag"),
    [
        ("127.0.0.1:5000/faas-app", "127.0.0.1:5000", "faas-app", ""),
        ("http://127.0.0.1:5000/faas-app/", "127.0.0.1:5000", "faas-app", ""),
        ("ghcr.io/me/app:v1", "ghcr.io", "me/app", "v1"),
        ("localhost/app", "localhost", "app", ""),
        ("[::1]:5000/a/b/c", "[::1]:5000", "a/b/c", ""),
        ("docker.io/me/app", "docker.io", "me/app", ""),
        ("docker.io/app", "docker.io", "library/app", ""),
        ("1234.dkr.ecr.eu-west-1.amazonaws.com/x__y", "1234.dkr.ecr.eu-west-1.amazonaws.com", "x__y", ""),
    ],
)  # fmt: skip
def test_a_repository_as_people_write_it(text: str, registry: str, path: str, tag: str) -> None:
    found = reference.parse(text)

    assert (found.registry, found.path, found.tag) == (registry, path, tag)
    assert found.api_host == ("index.docker.io" if registry == "docker.io" else registry)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ftp://ghcr.io/app", "only https:// and http:// may stand before it"),
        ("https://me:secret@ghcr.io/app", "must hold no credentials"),
        ("ghcr.io/app@sha256:00", "no digest"),
        ("127.0.0.1:5000", "does not name registry and repository"),
        ("ghcr.io/", "does not name registry and repository"),
        ("me/app", "does not name registry and repository"),
        ("app:1", "does not name registry and repository"),
        ("", "does not name registry and repository"),
        ("ghcr.io/Big", "is not the name of a repository"),
        ("ghcr.io/a//b", "is not the name of a repository"),
        ("ghcr.io/../b", "is not the name of a repository"),
        ("gh cr.io/b", "is not the name of a registry"),
        ("ghcr.io/" + "a" * 300, "is not the name of a repository"),
        ("ghcr.io/a:b c", "is not a tag"),
    ],
)
def test_what_names_no_repository_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ReferenceInvalid, match=complaint):
        reference.parse(text)


def test_credentials_in_a_url_are_not_repeated() -> None:
    with pytest.raises(ReferenceInvalid) as caught:
        reference.parse("https://me:secret@ghcr.io/app")
    assert str(caught.value) == ANSWERS["credentials in the URL"]


def test_no_registry_is_the_one_that_is_meant_where_none_is_named() -> None:
    with pytest.raises(ReferenceInvalid) as caught:
        reference.parse("me/app")
    assert str(caught.value) == ANSWERS["a repository without its registry"]


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = reference.parse(text)
    except ReferenceInvalid:
        return
    assert reference.parse(found.name + (f":{found.tag}" if found.tag else "")).path == found.path


@pytest.mark.parametrize(
    ("text", "insecure", "plain"),
    [
        ("127.0.0.1:5000/a", "", True),
        ("127.9.9.9:5000/a", "", True),
        ("localhost:5000/a", "", True),
        ("[::1]:5000/a", "", True),
        ("https://127.0.0.1:5000/a", "", False),
        ("ghcr.io/a", "", False),
        ("registry.lan:5000/a", "registry.lan:5000", True),
        ("registry.lan:5000/a", "registry.lan", True),
        ("registry.lan:5001/a", "registry.lan:5000", False),
        ("127.0.0.1.evil.example/a", "", False),
    ],
)
def test_only_registries_of_this_machine_or_listed_ones_do_without_tls(text: str, insecure: str, plain: bool) -> None:
    assert reference.is_plain(reference.parse(text), frozenset([insecure])) is plain


def test_plain_http_to_another_machine_is_refused() -> None:
    with pytest.raises(ReferenceInvalid) as caught:
        reference.is_plain(reference.parse("http://ghcr.io/a"), frozenset())
    assert str(caught.value) == ANSWERS["http:// to another machine"]


def test_challenges_of_all_kinds() -> None:
    bearer = 'Bearer realm="https://auth.example/token",service="reg, one",scope="repository:a:pull,push"'

    (first, second, third) = challenge.parse([bearer, 'Basic realm="a \\"b\\"", Negotiate'])

    assert first.scheme == "bearer"
    assert first.parameters == {
        "realm": "https://auth.example/token", "service": "reg, one", "scope": "repository:a:pull,push",
    }  # fmt: skip
    assert (second.scheme, second.parameters) == ("basic", {"realm": 'a "b"'})
    assert third.scheme == "negotiate"
    assert challenge.parse(['=== "']) == []


@given(st.lists(st.text(max_size=200), max_size=3))
def test_no_challenge_breaks_the_parser(headers: list[str]) -> None:
    challenge.parse(headers)
