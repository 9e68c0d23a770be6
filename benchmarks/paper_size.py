"""Scoring and ranking a table of the paper's size, on random features.

    python benchmarks/paper_size.py [--checkpoints 234] [--json]

26 configs x 3 seeds x 3 epochs, 149 sets of 100 images each (concepts and prompt types), DINOv2's and CLIP's widths.
Features are drawn as they are asked for, and the time for drawing is told apart.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import time
from dataclasses import asdict

import numpy as np
import pandas as pd

from lorabench import components
from lorabench.records import Concept, Features
from lorabench.stages.rank import rank
from lorabench.stages.score import Leaf, MetricChoice, score_checkpoint
from lorabench.statistics.columns import FACTORS
from lorabench.statistics.correlation import leaf_correlations
from lorabench.statistics.errors import summarise

SETS, IMAGES, TRAINING_IMAGES = 149, 100, 40
WIDTHS = {"dinov2": 1024, "clip": 768}
METRICS = (
    ("image_similarity", "dinov2"),
    ("squared_centroid_distance", "dinov2"),
    ("vendi", "dinov2"),
    ("image_similarity", "clip"),
    ("text_similarity", "clip"),
    ("vendi", "clip"),
)
CATEGORIES = ("anime_characters", "movie_characters", "stuffed_toys", "scenes", "styles")
TYPES = ("train", "trigger", "alter", "style")


class Drawn:
    """Random features by source; unit rows around a direction of their set. `seconds` is the time it took to draw."""

    def __init__(self, checkpoint: int) -> None:
        self.rng, self.seconds = np.random.default_rng(checkpoint), 0.0

    def __call__(self, source: str, concept: str, prompt_type: str, encoder: str, resize: str) -> Features:
        since = time.perf_counter()
        n = TRAINING_IMAGES if source == "dataset" else IMAGES
        array = self.rng.standard_normal((n, WIDTHS[encoder]), dtype=np.float32) + 0.5
        array /= np.linalg.norm(array, axis=1, keepdims=True)
        self.seconds += time.perf_counter() - since
        return Features(encoder, encoder, resize, tuple(map(str, range(n))), array)


def leaves() -> list[Leaf]:
    """149 sets: 38 concepts of 28 classes in five categories, with three or four prompt types."""
    concepts = [
        Concept(CATEGORIES[k % 5], f"class-{k % 28}", "" if k < 28 else "other", "[V]", "a thing") for k in range(38)
    ]
    pairs = list(itertools.product(concepts, TYPES))[:SETS]
    return [Leaf(concept, prompt_type, np.arange(IMAGES) % 10) for concept, prompt_type in pairs]


def factors(checkpoints: int) -> pd.DataFrame:
    grid = itertools.islice(itertools.product(range(26), (23, 24, 25), (10, 30, 50)), checkpoints)
    rows = [
        {"study": "paper", "base": "sd15", "checkpoint": str(k), "config": f"config-{config}", "algorithm": "lora"}
        | {"seed": seed, "epoch": epoch, "scale": 1.0}
        for k, (config, seed, epoch) in enumerate(grid)
    ]
    return pd.DataFrame(rows).reindex(columns=FACTORS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=234)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    choices = [MetricChoice(components.find("metrics", metric), encoder, "") for metric, encoder in METRICS]
    sets, times, records = leaves(), {}, []
    since, drawing = time.perf_counter(), 0.0
    for checkpoint in range(options.checkpoints):
        drawn = Drawn(checkpoint)
        records += score_checkpoint(str(checkpoint), sets, drawn, choices)
        drawing += drawn.seconds
    times["draw random features"] = drawing
    times["score"] = time.perf_counter() - since - drawing
    scores = pd.DataFrame([asdict(record) for record in records]).rename(columns={"checkpoint_id": "checkpoint"})
    scores = factors(options.checkpoints).merge(scores, on="checkpoint")
    higher = {choice.metric.name: choice.metric.higher_is_better for choice in choices}
    for name, work in (
        ("rank", lambda: rank(scores, higher)),
        ("means and standard errors", lambda: summarise(rank(scores, higher).normalized, ["config", "epoch"])),
        ("correlations", lambda: leaf_correlations(rank(scores, higher).normalized)),
    ):
        since = time.perf_counter()
        work()
        times[name] = time.perf_counter() - since
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {"checkpoints": options.checkpoints, "values": len(scores), "seconds": times, "peak_gib": peak / 2**30}
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{options.checkpoints} checkpoints, {len(scores):,} values")
    for name, seconds in times.items():
        print(f"{name:<28} {seconds:8.2f} s")
    print(f"peak memory {result['peak_gib']:.2f} GiB")


if __name__ == "__main__":
    main()
