"""What a command ends with when it cannot do what it was asked."""

from __future__ import annotations


class CommandError(Exception):
    """One sentence for a person, saying what to do; printed on stderr, never with a traceback."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
