"""What handlers print, as both servers write it to fd 1 and 2."""

from __future__ import annotations

import time

from .conftest import TRACE, TRACEPARENT, Start, eventually


def test_lines_carry_the_trace_and_the_request_that_printed_them(start: Start) -> None:
    # given
    server = start("prints")
    before = time.time()
    # when
    server.invoke({"n": 1}, traceparent=TRACEPARENT, X_Fn_Request_Id="req-1")
    # then everything is there when the answer is, partial lines too
    out, err = server.frames("stdout"), server.frames("stderr")
    assert [(f["s"], f["m"], f["trace"], f["req"]) for f in out] == [
        ("stdout", "to stdout 1", TRACE, "req-1"),
        ("stdout", "partial", TRACE, "req-1"),
    ]
    assert [(f["s"], f["m"], f["trace"]) for f in err] == [("stderr", "to stderr", TRACE)]
    assert before - 1 <= out[0]["t"] <= time.time() + 1


def test_a_call_without_a_trace_has_none_in_its_lines(start: Start) -> None:
    server = start("prints")
    server.invoke({})
    assert all("trace" not in frame and frame["req"] for frame in server.frames())


def test_a_partial_line_appears_while_the_call_still_runs(start: Start) -> None:
    server = start("prints_partial")
    gate = server.file("gate")
    connection = server.begin({"gate": str(gate)}, traceparent=TRACEPARENT)
    frame = eventually(server.frames)[0]
    gate.touch()
    assert (frame["m"], frame["trace"]) == ("half a line", TRACE)
    assert server.answer(connection).status == 200
    assert len(server.frames()) == 1


def test_lines_of_concurrent_calls_are_not_mixed(start: Start) -> None:
    # given
    server = start("prints", concurrency=20)
    # when
    connections = [server.begin({"n": n}, X_Fn_Request_Id=f"req-{n}") for n in range(20)]
    for connection in connections:
        assert server.answer(connection).status == 200
    # then
    for n in range(20):
        mine = [frame["m"] for frame in server.frames() if frame["req"] == f"req-{n}"]
        assert mine == [f"to stdout {n}", "partial"]


def test_long_lines_are_cut_between_characters(start: Start) -> None:
    # given a line of 200,000 bytes in UTF-8
    server = start("prints_long")
    # when
    server.invoke({})
    # then
    pieces = [frame["m"] for frame in server.frames()]
    assert "".join(pieces) == "é" * 100_000
    assert all(len(piece.encode()) <= 65536 for piece in pieces)
    assert len(pieces) == 4


def test_output_of_subprocesses_passes_through_unframed(start: Start) -> None:
    server = start("prints_raw")
    server.invoke({})
    assert b"\nraw line\n" in b"\n" + server.printed("stdout")
