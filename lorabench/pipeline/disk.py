"""How large on disk what a study makes will be."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lorabench import formats, images
from lorabench.layers import Components, module_of
from lorabench.pipeline import keeping
from lorabench.pipeline.plan import Merging, Plan, TrainingRun
from lorabench.pipeline.trainable import blank

SAMPLE = 8  # pictures of the data set whose size as PNG stands for that of those to draw
PNG = 1.75  # bytes of a pixel, of which there are three without compression: 450 kB for 512 x 512
SCORE = 10  # bytes of a row of the tables of scores: results/reference has 9 in one and 10 in another


def adapter_bytes(plan: Plan, model: Components, runs: Sequence[TrainingRun]) -> int:
    """Of all checkpoints of trainings, as their float16 files will be; `model` may be on the meta device."""
    each = {run.config.name: run for run in runs}
    fresh = {name: blank(model, run.config, plan.words_of(run)) for name, run in each.items()}
    sizes = {name: formats.file_size(adapter, each[name].config) for name, adapter in fresh.items()}
    return sum(sizes[run.config.name] * len(run.config.training.milestones) for run in runs)


def merged_bytes(model: Components, mergings: Sequence[Merging]) -> int:
    """Of merges, whose files are float32; `model` may be on the meta device. Files are taken to be float16."""
    sizes = {each.name: _merged_bytes(model, each) for each in {each.name: each for each in mergings}.values()}
    return sum(sizes[each.name] for each in mergings)


def _merged_bytes(model: Components, merging: Merging) -> int:
    files = [each.weights for each in merging.parents if each.weights and each.weights.is_file()]
    of_files = 2 * sum(file.stat().st_size for file in files)
    configs = [run.config for run in merging.runs]
    if merging.recipe.method in ("linear", "svd", "dlf") and all(each.adapter.method == "lora" for each in configs):
        return of_files + 2 * sum(formats.file_size(blank(model, each), each) for each in configs)
    names = dict.fromkeys(name for each in configs for name in blank(model, each).modules)
    shapes = [module_of(model, name).weight.shape for name in names]
    rank = merging.recipe.rank
    return of_files + sum(4 * (rank * (shape[0] + shape[1:].numel()) if rank else shape.numel()) for shape in shapes)


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
