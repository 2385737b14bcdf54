"""Says hello to whoever is named, as a WebAssembly component: `/api/hello?name=Ada`, or a JSON body."""

import json
from urllib.parse import parse_qs, urlsplit

from spin_sdk import http
from spin_sdk.http import Request, Response


class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request: Request) -> Response:
        name = named(request) or "world"
        print(f"saying hello to {name}")  # shown by `fnmesh logs`, with the trace of this request
        body = json.dumps({"message": f"Hello, {name}!"})
        return Response(200, {"content-type": "application/json"}, body.encode())


def named(request: Request) -> str | None:
    """The name in a request's query or JSON body."""
    query = parse_qs(urlsplit(request.uri).query)
    if "name" in query:
        return query["name"][0]
    return json.loads(request.body).get("name") if request.body else None
