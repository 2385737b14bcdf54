"""Says hello to whoever is named: `/api/hello?name=Ada`, a JSON body, or `fnmesh invoke ... -d '{"name": "Ada"}'`."""

import json


def handler(event, context):
    name = named(event) or "world"
    print(f"saying hello to {name}")  # shown by `fnmesh logs`, with the trace of this request
    return {"message": f"Hello, {name}!", "from": context.function_name, "trace_id": context.trace_id}


def named(event):
    """The name in an HTTP event's query or JSON body, or in the event of a direct invoke."""
    if event.get("version") != "2.0":
        return event.get("name")
    query = event.get("queryStringParameters", {})
    body = json.loads(event["body"]) if event.get("body") else {}
    return query.get("name") or body.get("name")
