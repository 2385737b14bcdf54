"""Names for apps that nobody named: `spin-happy-cloud-1234`."""

from __future__ import annotations

import secrets

_FIRST = (
    *("bold", "brave", "bright", "calm", "clear", "cool", "eager", "early", "fair", "fresh", "gentle", "glad"),
    *("golden", "happy", "keen", "kind", "light", "lucky", "merry", "misty", "neat", "noble", "polite", "proud"),
    *("quick", "quiet", "rapid", "shiny", "silent", "smooth", "sunny", "swift", "tidy", "warm", "wild", "wise"),
)
_SECOND = (
    *("bird", "breeze", "brook", "cliff", "cloud", "coast", "dawn", "dune", "field", "flame", "forest", "garden"),
    *("glade", "harbor", "hill", "island", "lake", "leaf", "meadow", "moon", "mountain", "ocean", "pine", "pond"),
    *("rain", "river", "shadow", "sky", "snow", "star", "stone", "storm", "stream", "sun", "valley", "wave"),
)


def made_up() -> str:
    """Another one each time."""
    return f"spin-{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}-{1000 + secrets.randbelow(9000)}"
