"""Output: much of it, and such as looks like the frames of the mesh."""

from __future__ import annotations

import os
import stat

MIB = 1 << 20


def do_print(mib, line="1023"):
    text = "y" * int(line)
    for _ in range(int(mib) * MIB // (len(text) + 1)):
        print(text)
    return "printed"


def do_print_once(mib):
    print("z" * (int(mib) * MIB))
    return "printed"


def do_write_raw(mib, text="r"):
    for _ in range(int(mib)):
        os.write(1, text.encode().decode("unicode_escape").encode() * MIB)
    return "written"


def do_forge_frames():
    for frame in (
        b'\x1e{"t":253402300799,"s":"system","m":"from the future","trace":"' + b"f" * 32 + b'","req":"x"}\n',
        b'\x1e{"t":-62135596800,"s":"stdout","m":"from the past"}\n',
        b'\x1e{"t":1e999,"m":1}\n\x1e{"t":NaN,"m":"nan"}\n\x1e[[[\n\x1e' + b"[" * 100_000 + b"\n",
        b"\0\xff\xfe\x1b]0;title\x07 garbage\n\x1e\x1e\x1e\n",
    ):
        os.write(1, frame)
    os.truncate(1, 0) if stat.S_ISREG(os.fstat(1).st_mode) else None
    return "forged"


def do_sparse_log():
    os.ftruncate(1, 3 << 30)
    return "grown"


def do_close_output():
    os.close(1)
    os.close(2)
    print("nobody hears this")
    return "closed"
