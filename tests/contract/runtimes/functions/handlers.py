"""The functions under test, in Python. handlers.js has the same names and does the same."""

import asyncio
import contextvars
import errno
import logging
import os
import subprocess
import sys
import time

BIG = b"x" * 65536


def hello(event):
    return {"statusCode": 200, "body": "hello"}


def echo(event):
    return event


async def echo_async(event):
    await asyncio.sleep(0)
    return event


def context_of(event, context):
    return {
        "name": context.function_name,
        "version": context.function_version,
        "memory": context.memory_limit_in_mb,
        "request": context.aws_request_id,
        "trace": context.trace_id,
        "remaining": context.get_remaining_time_in_millis(),
    }


def binary(event):
    return {"statusCode": 200, "body": bytes(range(256))}


def nothing(event):
    return None


def fails(event):
    raise ValueError("no luck")


async def fails_async(event):
    raise ValueError("no luck")


def exits(event):
    sys.exit(3)


def circular(event):
    value = {}
    value["self"] = value
    return value


def not_json(event):
    return {1, 2}


def nan(event):
    return float("nan")


def stream(event):
    yield "one"
    _wait(event["gate"])
    yield "two"


async def stream_async(event):
    yield "one"
    await _wait_async(event["gate"])
    yield "two"


def returned_stream(event):
    return (part for part in ["a", "", "b"])


async def stream_with_head(event):
    yield {
        "statusCode": 202,
        "headers": {"x-kind": "mine", "content-type": "text/csv"},
        "cookies": ["a=1", "b=2"],
    }
    yield "1,2\n"
    yield b"3,4\n"


def stream_of_json(event):
    yield {"n": 1}
    yield {"n": 2}


async def endless(event):
    while True:
        yield "again"


def stream_204(event):
    yield {"statusCode": 204}
    yield "not to be seen"


def prints_in_a_fork(event):
    child = os.fork()
    if not child:
        print("from the child")
        os._exit(0)
    os.waitpid(child, 0)
    print("from the parent")


def empty_stream(event):
    yield from ()


async def stream_fails(event):
    yield "one"
    raise ValueError("no luck")


async def stream_fails_first(event):
    if event is not None:
        raise ValueError("no luck")
    yield "never"


async def big_stream(event):
    for chunk in big_stream_sync(event):
        yield chunk


def big_stream_sync(event):
    for number in range(event["chunks"]):
        yield BIG
        with open(event["progress"], "w") as progress:
            progress.write(str(number))


async def waits(event):
    _touch(event["started"])
    try:
        await _wait_async(event["gate"])
    except asyncio.CancelledError:
        _touch(event["cancelled"])
        raise
    return "done"


def waits_sync(event):
    _touch(event["started"])
    _wait(event["gate"])
    return "done"


def prints(event):
    print("to stdout", event.get("n", ""))
    print("to stderr", file=sys.stderr)
    sys.stdout.write("partial")
    return "ok"


def prints_partial(event):
    sys.stdout.write("half a line")
    _wait(event["gate"])
    return "ok"


def prints_long(event):
    print("é" * 100_000)


def prints_raw(event):
    subprocess.run(["echo", "raw line"], check=True)


def logs(event):
    logging.getLogger("mine").info("an info")
    logging.getLogger("mine").debug("a debug")


def two_arguments_with_default(event, context=None):
    return context.function_name


_leak = contextvars.ContextVar("leak", default="clean")


def leaks(event):
    seen = _leak.get()
    _leak.set("dirty")
    return seen


async def _slowly(value):
    await asyncio.sleep(0.001)
    return value


_kept = []


def keeps_files(event):
    try:
        while True:
            _kept.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        for _ in range(event["but"]):
            os.close(_kept.pop())
        return errno.errorcode[error.errno]


def drives_a_loop(event):
    return asyncio.get_event_loop().run_until_complete(_slowly(event))


def environment(event):
    return {"path": sys.path, "modules": [m for m in sys.modules if "httptools" in m], "argv0": sys.argv[0]}


def _touch(path):
    with open(path, "w"):
        pass


def _wait(path):
    while not os.path.exists(path):
        time.sleep(0.005)


async def _wait_async(path):
    exists = os.path.exists
    while not exists(path):  # noqa: ASYNC110  # the gate is a file, made by another process
        await asyncio.sleep(0.005)
