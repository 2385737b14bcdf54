"""Which URLs outside the mesh an operator's patterns allow."""

from __future__ import annotations

import pytest

from mesh.settings import SettingsError
from registry_svc.settings import RegistrySettings
from registry_svc.urls import PatternInvalid, UrlPatterns

PATTERNS = UrlPatterns.parse("https://*.example.org, http://10.0.0.7:8080/fn,http://[::1]")


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example.org", "https://a.b.example.org/", "https://A.EXAMPLE.org:443/x/y", "http://10.0.0.7:8080/fn",
        "http://10.0.0.7:8080/fn/x", "http://[::1]:80/anything",
    ],
)  # fmt: skip
def test_what_is_allowed(url: str) -> None:
    assert PATTERNS.allow(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "http://a.example.org", "https://example.org", "https://aexample.org", "https://a.example.org:8443",
        "https://a.example.org.evil.net", "https://evil.net/.example.org", "https://evil.net?x=.example.org",
        "https://evil.net#.example.org", "https://evil.net\\.example.org", "https://user@a.example.org",
        "https://a.example.org@evil.net", "https://a.example.org/?", "https://a.example.org/x?y", "https://.example.org",
        "http://10.0.0.7:8080", "http://10.0.0.7:8080/fnx", "http://10.0.0.7:8080/fn/../x", "http://10.0.0.7/fn",
        "http://10.0.0.7:8080/fn/%2e%2e/x", "http://10.0.0.7:8080/fn%2f..%2fx", "ftp://a.example.org", "https://",
        "https://a.example.org/\r\nhost: x", "https://ä.example.org", "http://[::1", "https://a.example.org:x",
        "https://a.example.org/" + "x" * 2048, "http://169.254.169.254/latest",
    ],
)  # fmt: skip
def test_what_is_not(url: str) -> None:
    assert not PATTERNS.allow(url)


def test_nothing_is_allowed_where_nothing_is_set() -> None:
    assert not UrlPatterns.parse("").allow("https://a.example.org")


@pytest.mark.parametrize("pattern", ["*", "*.example.org", "https://*", "https://a.*.org", "https://*.org/?x", "http:"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(PatternInvalid, match=r"is not a pattern such as https://\*\.example\.org"):
        UrlPatterns.parse(f"https://fine.example.org,{pattern}")
    with pytest.raises(SettingsError, match=r"FNMESH_INVOCATION_URL_ALLOW is wrong: "):
        RegistrySettings.load({"FNMESH_INVOCATION_URL_ALLOW": pattern})


def test_the_setting_has_two_names() -> None:
    for name in ("FNMESH_INVOCATION_URL_ALLOW", "FNMESH_REGISTRY_INVOCATION_URL_ALLOW"):
        assert RegistrySettings.load({name: "https://*.x.org"}).invocation_urls.allow("https://a.x.org")
