"""The tools that make the provider of Spin components, where `make provider-tools` has put them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2] / ".cache" / "provider"


def why_missing() -> str | None:
    """What is missing to build the provider, or None."""
    return None if (ROOT / ".made").exists() else "the compiler is not there (make provider-tools)"
