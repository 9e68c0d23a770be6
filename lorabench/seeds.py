"""Seeds of random numbers, derived from what they are for: the same in every process, on every machine."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: str | int) -> int:
    """A seed in [0, 2**63) that depends on every part, its type and its place, and on nothing else.

    The first 63 bits of a SHA-256; Python's own `hash` of a string differs from process to process.
    """
    # repr keeps 1 apart from "1", and its quotes keep ("a", "b") apart from ("a,b",).
    digest = hashlib.sha256(",".join(map(repr, parts)).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
