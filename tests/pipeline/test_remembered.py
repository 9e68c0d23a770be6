from __future__ import annotations

import numpy as np

from lorabench.pipeline.remembered import Remembered


def test_the_first_that_fit_stay_and_are_made_once():
    """Asked for in turn, three of four that fit are made once; the fourth each time, whatever the order."""
    made = []

    def make(name):
        made.append(name)
        return np.full(10, ord(name), np.float32)

    kept = Remembered(most_bytes=130)
    for _ in range(3):
        assert [kept.of(name, lambda name=name: make(name))[0] for name in "abcd"] == [97, 98, 99, 100]
    assert made == ["a", "b", "c", "d", "d", "d"]
    assert not kept.of("a", lambda: make("a")).flags.writeable
