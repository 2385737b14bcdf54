"""The documents of the REST facade: complete, of nothing from elsewhere, and exact about methods."""

from __future__ import annotations

import re

import httpx


def test_the_documents_need_nothing_from_elsewhere(http: httpx.Client) -> None:
    for path in ("/docs", "/redoc"):
        page = http.get(path)
        assert page.status_code == 200
        assert "//" not in page.text.replace("http://127.0.0.1", "").replace("/callbacks//", "")
    document = http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)


def test_undeclared_methods_are_refused_with_the_declared_ones(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        declared = {method.upper() for method in operations}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - declared:
            answer = http.request(method, re.sub(r"\{[^}]*\}", "1", path))
            assert answer.status_code == 405, (method, path)
            assert set(answer.headers["allow"].split(", ")) == declared
            assert answer.json()["reason"] == "METHOD_NOT_ALLOWED"
