"""The pages for people: plain HTML, nothing fetched from anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
code { font-family: ui-monospace, monospace; background: #8882; padding: .1em .3em; border-radius: .2em; }
section { border-top: 1px solid #8885; padding: .5rem 0; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top; }
:root { color-scheme: light dark; }
"""


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def welcome_page(version: str) -> str:
    """What a person sees who opens the address of the mesh."""
    return _page(
        "fnmesh",
        f"<h1>fnmesh {escape(version)}</h1>"
        "<p>This is a function mesh. Functions answer at <code>/api/&lt;path&gt;</code>; "
        "deploy one with <code>fnmesh deploy</code>.</p>"
        "<p>The gRPC API answers at this same address, with reflection. "
        'Over HTTP there are <a href="/docs">these calls</a> (<a href="/openapi.json">OpenAPI</a>) '
        'and <a href="/health">the state of the mesh</a>.</p>',
    )


def docs_page(openapi: Mapping[str, Any]) -> str:
    """Every operation of an OpenAPI document, with parameters and answers."""
    info = openapi["info"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('description', ''))}</p>",
        '<p>The machine-readable form is <a href="/openapi.json">openapi.json</a>.</p>',
    ]
    for path, operations in openapi.get("paths", {}).items():
        for method, operation in operations.items():
            parts.append(_operation(method, path, operation))
    return _page(f"{info['title']}: calls", "".join(parts))


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><th>{escape(parameter['name'])}</th><td>{escape(parameter['in'])}</td>"
        f"<td>{escape(parameter.get('description', ''))}</td></tr>"
        for parameter in operation.get("parameters", [])
    ]
    answers = [
        f"<tr><th>{escape(status)}</th><td>{escape(_schema(answer))}</td>"
        f"<td>{escape(answer.get('description', ''))}</td></tr>"
        for status, answer in operation.get("responses", {}).items()
    ]
    text = operation.get("description") or operation.get("summary", "")
    return (
        f"<section><h2><code>{escape(method.upper())} {escape(path)}</code></h2><p>{escape(text)}</p>"
        f"<table>{''.join(rows)}</table><h3>Answers</h3><table>{''.join(answers)}</table></section>"
    )


def _schema(answer: Mapping[str, Any]) -> str:
    for content_type, content in answer.get("content", {}).items():
        reference = content.get("schema", {}).get("$ref", "")
        return f"{content_type} {reference.rpartition('/')[2]}".strip()
    return ""
