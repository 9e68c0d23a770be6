"""Arrays that one checkpoint after another asks for, kept in memory as far as they fit."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np


class Remembered:
    """The first arrays that fit into so many bytes.

    They stay: all are asked for in turn, so that a newer one in the place of an older would be gone before its turn.
    """

    def __init__(self, most_bytes: int) -> None:
        self._room = most_bytes
        self._arrays: dict[Hashable, np.ndarray] = {}

    def of(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a key, made where it is not here. It is shared: nobody writes into it."""
        if key in self._arrays:
            return self._arrays[key]
        made = make()
        if made.nbytes <= self._room:
            self._room -= made.nbytes
            self._arrays[key] = made
            made.setflags(write=False)
        return made
