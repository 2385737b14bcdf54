"""Answers that are none, and large ones."""

from __future__ import annotations

import sys

MIB = 1 << 20


def do_raise():
    print("before it fails")
    raise ValueError("the secret of the cellar")


def do_exit():
    sys.exit("leaving")


def do_set():
    return {1, 2}


def do_nan():
    return {"x": float("nan")}


def do_circular():
    one = {}
    one["self"] = one
    return one


def do_deep():
    one = []
    for _ in range(100_000):
        one = [one]
    return one


def do_surrogate():
    return "\ud800"


def do_odd_text():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    raise Odd


def do_large(mib):
    return {"statusCode": 200, "body": b"x" * (int(mib) * MIB)}


def do_large_json(mib):
    return "x" * (int(mib) * MIB)


def do_headers(count="1", size="1", text="v"):
    return {"statusCode": 200, "headers": {f"x-h{n}": text * int(size) for n in range(int(count))}, "body": "ok"}


def do_header(name, value):
    return {"statusCode": 200, "headers": {name: value}, "body": "ok"}
