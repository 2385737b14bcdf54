"""The server that runs inside a Python function's workload: asyncio and httptools, nothing else.

Its import time is part of every cold start, so no module here imports pathlib, typing, dataclasses or
argparse.
"""
