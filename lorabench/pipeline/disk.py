"""How large on disk what a study makes will be."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lorabench import adapters, components, formats, images
from lorabench.layers import Components
from lorabench.pipeline import keeping
from lorabench.pipeline.plan import Plan, TrainingRun

SAMPLE = 8  # pictures of the data set whose size as PNG stands for that of those to draw
PNG = 1.75  # bytes of a pixel, of which there are three without compression: 450 kB for 512 x 512
SCORE = 10  # bytes of a row of the tables of scores: results/reference has 9 in one and 10 in another


def adapter_bytes(model: Components, runs: Sequence[TrainingRun]) -> int:
    """Of all checkpoints of trainings, as their float16 files will be; `model` may be on the meta device."""
    sizes = {
        each.name: formats.file_size(
            adapters.create(model, components.find("algorithms", each.adapter.algorithm), each.adapter, seed=0), each
        )
        for each in {run.config.name: run.config for run in runs}.values()
    }
    return sum(sizes[run.config.name] * len(run.config.training.checkpoint_epochs) for run in runs)


def picture_bytes(plan: Plan) -> float:
    """Of a picture to draw: as those of the data set are at that size, or PNG bytes a pixel where none is here."""
    side = plan.study.sampling.size
    there = [each.path for each in plan.dataset.images[:SAMPLE] if each.path.is_file()]
    if not there:
        return PNG * side**2
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        sizes = []
        for path in there:
            images.write(file, images.fit(images.read(path), side, side))
            sizes.append(file.stat().st_size)
    return min(statistics.fmean(sizes), largest_picture(side))


def kept_share(plan: Plan) -> float:
    """Share of the images that stay on disk once they are measured (images.keep)."""
    sets = [each for checkpoint in plan.checkpoints for each in keeping.kept(plan, checkpoint)]
    return sum(most for _, most in sets) / max(1, sum(len(each.requests) for each, _ in sets))


def largest_picture(side: int) -> int:
    """Of pixels that cannot be compressed."""
    return 3 * side**2
