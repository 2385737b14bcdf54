"""The routes: which function a path and a method mean.

Functions hang in a tree of path segments, so a lookup costs what its path is long, however many functions there
are. A segment of a request is percent-decoded once, by itself, and compared as it is: nothing is normalised.
A segment that is empty, `.` or `..`, that is not UTF-8, or holds a slash or NUL once decoded, equals the segment
of no function; what follows the function's own segments is the function's business and is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from invoke_svc.domain import (
    MethodNotAllowed,
    Route,
    allow_header,
    function_unknown,
    path_malformed,
    routes_unknown,
)

PREFIX = "/api/"
_HEX = frozenset("0123456789abcdefABCDEF")
_NEVER = frozenset(("", ".", ".."))


class _Node:
    __slots__ = ("children", "routes")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.routes: tuple[Route, ...] = ()


class RouteTable:
    """All functions, by path, by identifier and by name. For one event loop: changes are seen at once."""

    def __init__(self) -> None:
        self.synced = False
        self._clear()

    def _clear(self) -> None:
        self._root = _Node()
        self._routes: dict[str, Route] = {}
        self._names: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def get(self, uid: str) -> Route | None:
        """The function with that identifier."""
        return self._routes.get(uid)

    def uids(self) -> Iterable[str]:
        return self._routes.keys()

    def named(self, workspace: str, function: str) -> Route | None:
        """The function that `workspaces/{workspace}/functions/{function}` names, by identifiers or display names."""
        uid = self._names.get((workspace, function))
        return self._routes[uid] if uid is not None else None

    def put(self, route: Route) -> None:
        """Adds a function, or replaces what is known of it; an older version than the known one is ignored."""
        known = self._routes.get(route.uid)
        if known is not None:
            if known.version > route.version:
                return
            self._unhang(known)
        self._routes[route.uid] = route
        for key in _names(route):
            self._names[key] = route.uid
        node = self._root
        for segment in route.path.split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.children[segment] = _Node()
            node = child
        node.routes = (*node.routes, route)

    def remove(self, uid: str) -> None:
        """Forgets a function; one that is not known is none the less forgotten."""
        known = self._routes.pop(uid, None)
        if known is not None:
            self._unhang(known)

    def replace_all(self, routes: Iterable[Route]) -> None:
        """Makes these all the functions there are, with no moment in between at which one is missing."""
        fresh = RouteTable()
        for route in routes:
            fresh.put(route)
        self._root, self._routes, self._names = fresh._root, fresh._routes, fresh._names

    def find(self, target: str, method: str) -> Route:
        """The function for a request target (`/api/...`, with or without a query) and a method.

        Raises InvalidArgument (PATH_MALFORMED), NotFound (FUNCTION_NOT_FOUND), MethodNotAllowed, and Unavailable
        while the functions are not known yet.
        """
        if not target.isascii() or not target.isprintable() or " " in target or "#" in target:
            raise path_malformed()
        path = target.partition("?")[0]
        if not path.startswith(PREFIX):
            raise path_malformed()
        found: tuple[Route, ...] = ()
        node = self._root
        malformed = False
        for raw in path[len(PREFIX) :].split("/"):
            segment: str | None = raw
            if "%" in raw:
                segment = decode_segment(raw)
                malformed = segment is None
            if segment is None or segment in _NEVER:
                break
            child = node.children.get(segment)
            if child is None:
                break
            node = child
            if node.routes:
                found = node.routes
        for route in found:
            if route.answers(method):
                return route
        if found:
            raise MethodNotAllowed(method, allow_header({one for route in found for one in route.methods}))
        if malformed:
            raise path_malformed()
        if not self.synced:
            raise routes_unknown()
        raise function_unknown("at this path")

    def _unhang(self, route: Route) -> None:
        for key in _names(route):
            if self._names.get(key) == route.uid:
                del self._names[key]
        trail: list[tuple[_Node, str]] = []
        node = self._root
        for segment in route.path.split("/"):
            trail.append((node, segment))
            node = node.children[segment]
        node.routes = tuple(one for one in node.routes if one.uid != route.uid)
        for parent, segment in reversed(trail):
            child = parent.children[segment]
            if child.routes or child.children:
                break
            del parent.children[segment]


def decode_segment(raw: str) -> str | None:
    """A segment percent-decoded once; "" where it equals no segment of a function, None where it is malformed."""
    at = raw.find("%")
    while at >= 0:
        if len(raw) < at + 3 or raw[at + 1] not in _HEX or raw[at + 2] not in _HEX:
            return None
        at = raw.find("%", at + 3)
    try:
        text = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    return "" if "/" in text else text


def _names(route: Route) -> list[tuple[str, str]]:
    return [
        (workspace, function)
        for workspace in (route.workspace, route.workspace_display_name)
        for function in (route.uid, route.display_name)
    ]
