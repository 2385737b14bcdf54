"""The Python example: says what it was called with."""

import os


def handler(event):
    http = event.get("requestContext", {}).get("http", {})
    print("called with", http.get("method", "an event"))
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": {"language": "python", "greeting": os.environ.get("GREETING", "Hello"), "method": http.get("method")},
    }
