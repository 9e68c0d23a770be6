"""Files spoilt in many ways, and a reading of each that may only succeed or say a sentence."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

import pytest

from lorabench.errors import UserError

INTRUDERS = (b"\0", b"\xe9", b'"', b",", b"\n", b"[", b"=", b"1e999")
JSON_JUNK = (None, True, -1, 2**70, 1.5, "", "x", [], [1], {}, {"a": []}, "\0", "9" * 5000, [[["deep"]]])


def spoilt_bytes(content: bytes, count: int, rng: random.Random) -> Iterator[bytes]:
    """Cut short, with other bytes, with bytes too many, in other encodings."""
    yield from (b"", b"\0" * 64, b"\xff\xfe" + content, b"\xef\xbb\xbf" + content, content.replace(b"\n", b"\r\n"))
    for _ in range(count):
        place = rng.randrange(len(content))
        how = rng.randrange(4)
        if how == 0:
            yield content[:place]
        elif how == 1:
            yield content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]
        elif how == 2:
            yield (
                content[:place]
                + rng.choice([b"\0", b"\xe9", b'"', b",", b"\n", b"[", b"=", b"1e999"])
                + content[place:]
            )
        else:
            yield content[:place] + content[rng.randrange(len(content)) :]


def only_sentences(cases: Iterator[object], write: Callable[[object], object], read: Callable[[], object]) -> int:
    """Write and read each; how many were read. Anything but a UserError of some words fails the test."""
    read_well = 0
    for case in cases:
        write(case)
        try:
            read()
            read_well += 1
        except UserError as error:
            assert len(str(error)) > 20 and "Traceback" not in str(error)
        except Exception as error:
            pytest.fail(f"{type(error).__name__}: {error}\nfrom {case!r:.2000}")
    return read_well


def json_of_junk(content: object, rng: random.Random, count: int) -> Iterator[object]:
    """The content with a value, somewhere, that is junk or gone."""
    for _ in range(count):
        spoilt = json.loads(json.dumps(content))
        here, above, key = spoilt, None, None
        while isinstance(here, dict | list) and here and (above is None or rng.random() < 0.8):
            above, key = here, rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
            here = above[key]
        if rng.random() < 0.2:
            del above[key]
        else:
            above[key] = rng.choice(JSON_JUNK)
        yield spoilt
