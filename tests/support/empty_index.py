"""A package index on loopback that has no packages: pip and npm ask it in place of the real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _NotFound(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"error": "Not found"}'
        self.send_response(404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def empty_index() -> Iterator[str]:
    """Its address, `http://127.0.0.1:port`, for as long as the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _NotFound)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def settings_for(index: str) -> dict[str, str]:
    """The variables that make pip and npm ask this index, and nothing else."""
    return {
        "PIP_INDEX_URL": f"{index}/simple/",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_RETRIES": "0",
        "NPM_CONFIG_REGISTRY": f"{index}/",
        "npm_config_registry": f"{index}/",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
