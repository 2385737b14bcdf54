"""Somebody who keeps asking a function while something else goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

_PAUSE_S = 0.02


@contextmanager
def steadily(url: str, path: str) -> Iterator[list[int]]:
    """Asks again and again for as long as the context lasts; its end asserts that every answer was a 200."""
    answers: list[int] = []
    failures: list[str] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as session:
            while not over.wait(_PAUSE_S):
                try:
                    answer = session.get(path)
                except httpx.HTTPError as error:
                    failures.append(repr(error))
                    continue
                answers.append(answer.status_code)
                if answer.status_code != 200:
                    failures.append(answer.text)

    asking = threading.Thread(target=ask, name="steadily")
    asking.start()
    try:
        yield answers
    finally:
        over.set()
        asking.join()
    assert not failures, f"{len(failures)} of {len(answers)}: {failures[:3]}"
