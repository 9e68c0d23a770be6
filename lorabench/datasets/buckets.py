"""The sizes that pictures are trained at: aspect-ratio buckets, as the paper's trainer (sd-scripts) has them."""

from __future__ import annotations

import functools


def bucket_size(width: int, height: int, resolution: int, step: int | None = None) -> tuple[int, int]:
    """The (width, height) a picture of that size is trained at: the bucket whose width / height is nearest, up or down.

    For each width there is one bucket, as high as an area of resolution^2 allows, and the same one lying. Sides are
    multiples of `step`, by default 64 (16 below resolution 256: the latents of small models), from 5/8 to 15/8 of the
    resolution (320 to 960 at 512). Of equally near ones the narrowest. ValueError for sizes that are not positive.
    """
    if min(width, height, resolution) < 1:
        raise ValueError(f"Sizes are positive, got {width} x {height} at resolution {resolution}.")
    return min(
        _buckets(resolution, step or (64 if resolution >= 256 else 16)),
        key=lambda bucket: abs(bucket[0] / bucket[1] - width / height),
    )


@functools.lru_cache
def _buckets(resolution: int, step: int) -> tuple[tuple[int, int], ...]:
    """All buckets, sorted."""
    smallest, largest = -(-resolution * 5 // (8 * step)) * step, resolution * 15 // (8 * step) * step
    square = max(step, resolution // step * step)
    found = {(square, square)}
    for width in range(smallest, largest + 1, step):
        height = min(largest, resolution**2 // width // step * step)
        if height >= smallest:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))
