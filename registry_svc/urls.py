"""URLs that functions may be invoked at outside the mesh, and the patterns by which an operator allows them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

URL_CHARACTERS = 2048
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")


class PatternInvalid(ValueError):
    """A pattern is none; the text says which, and what one looks like."""


@dataclass(frozen=True)
class Place:
    """The parts of a URL that a pattern is about."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True)
class UrlPatterns:
    """URLs that are allowed. In a pattern `*` stands for one or more labels at the beginning of the host's name.

    Scheme and port have to be the same; the path of a pattern, where it has one, is the beginning of the URL's,
    segment by segment.
    """

    patterns: tuple[Place, ...] = ()

    @classmethod
    def parse(cls, text: str) -> UrlPatterns:
        """Patterns with commas between them. Raises PatternInvalid."""
        found = []
        for word in filter(None, (part.strip() for part in text.split(","))):
            place = place_of(word.replace("://*.", "://any.", 1))
            if place is None:
                raise PatternInvalid(f"'{word}' is not a pattern such as https://*.example.org or http://10.0.0.7:8080")
            if "://*." in word:
                place = Place(place.scheme, "*" + place.host.removeprefix("any"), place.port, place.path)
            found.append(place)
        return cls(tuple(found))

    def allow(self, url: str) -> bool:
        """Whether a URL matches one of them. What is no plain http(s) URL never does."""
        place = place_of(url)
        return place is not None and any(_matches(pattern, place) for pattern in self.patterns)


def place_of(url: str) -> Place | None:
    """The parts of a URL; None where it is no http(s) URL, or has a user, a query, a fragment or `..` in it."""
    if len(url) > URL_CHARACTERS or not url.isascii():
        return None
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    plain = parts.scheme in _PORTS and "@" not in parts.netloc and not (parts.query or parts.fragment)
    if not plain or url.endswith(("?", "#")) or not _HOST.fullmatch(host) or not _PATH.fullmatch(parts.path):
        return None
    segments = parts.path.lower().replace("%2e", ".").split("/")
    if ".." in segments or "%2f" in parts.path.lower():
        return None
    return Place(parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/"))


def _matches(pattern: Place, place: Place) -> bool:
    if (pattern.scheme, pattern.port) != (place.scheme, place.port):
        return False
    same_host = place.host == pattern.host
    if pattern.host.startswith("*."):
        same_host = place.host.endswith(pattern.host[1:]) and place.host != pattern.host[2:]
    return same_host and (place.path == pattern.path or place.path.startswith(pattern.path + "/"))
