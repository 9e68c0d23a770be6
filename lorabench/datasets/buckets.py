"""The sizes that pictures are trained at: aspect-ratio buckets, as in the paper's training."""

from __future__ import annotations

import functools


def bucket_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """The (width, height) a picture of that size is trained at: the bucket of the nearest aspect ratio, up or down.

    Area <= resolution^2, sides multiples of 64 (of 16 below resolution 256: the latents of small models), from 5/8 to
    15/8 of the resolution, as in the paper's training (320 to 960 at 512). Of equal ratios the largest.
    """
    if min(width, height, resolution) < 1:
        raise ValueError(f"Sizes are positive, got {width} x {height} at resolution {resolution}.")
    # Ratios are compared by their quotient, so that a picture and the same one lying get corresponding buckets.
    ratio = width / height

    def distance(bucket: tuple[int, int]) -> tuple[float, int]:
        quotient = ratio * bucket[1] / bucket[0]
        return (round(max(quotient, 1 / quotient), 12), -bucket[0] * bucket[1])

    return min(_buckets(resolution), key=distance)


@functools.lru_cache
def _buckets(resolution: int) -> tuple[tuple[int, int], ...]:
    step = 64 if resolution >= 256 else 16
    square = max(step, resolution // step * step)
    smallest, largest = resolution * 5 / 8, resolution * 15 / 8
    sides = [side for side in range(step, int(largest) + 1, step) if side >= smallest]
    fitting = [(w, h) for w in sides for h in sides if w * h <= resolution**2]
    return tuple(sorted({(square, square), *fitting}))
