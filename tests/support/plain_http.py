"""For httpx's `verify` where nothing is encrypted: else httpx loads all certificates there are for each client that it
makes, each `httpx.get` included, which takes 20 ms of CPU, longer than most of the requests.
"""

from __future__ import annotations

import ssl

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody."""
