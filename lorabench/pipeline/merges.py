"""From the merges of a study to what is to be merged: parents that are there and go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from lorabench import config, formats
from lorabench.base_models import Base
from lorabench.config import Study
from lorabench.errors import UserError
from lorabench.layers import Components
from lorabench.pipeline.given import content_hash
from lorabench.pipeline.plan import Merging, Parent, TrainingRun
from lorabench.pipeline.trainable import blank
from lorabench.records import Checkpoint
from lorabench.stages.merge_files import check_rank, check_words
from lorabench.values import OF_A_FOLDER

MERGED = "merge"  # the algorithm of merges in tables: none that is trained, so no factor explains their scores


def mergings(study: Study, runs: Sequence[TrainingRun]) -> tuple[Merging, ...]:
    """The merges of a study, by seed and milestone, as far as their parents are trained by `runs`, or files.

    UserError as of `config.checked_merges`.
    """
    known = {(run.config.name, run.seed): run for run in runs}
    return tuple(
        Merging(merge.name, merge.recipe, tuple(parents), seed, milestone)
        for merge in config.checked_merges(study, config.expand(study))
        for seed, milestone in product(study.seeds, merge.milestones)
        for parents in [[_parent(name, ratio, known.get((name, seed))) for name, ratio in merge.weighted]]
        if all(each.run or each.weights for each in parents)
    )


def _parent(name: str, ratio: float, run: TrainingRun | None) -> Parent:
    path = Path(name) if config.is_path(name) else None
    return Parent(_file_name(path) if path else name, ratio, run, path)


def _file_name(path: Path) -> str:
    """What a file is called to people: by its folders, where every tool calls it so."""
    name = path.name.removesuffix(".safetensors")
    return "/".join(path.parts[-4:-1]) if name.lower() in OF_A_FOLDER else name


def checkpoint_of(merging: Merging) -> Checkpoint:
    """A merge as what is drawn and measured; how it was made are factors of its own."""
    own = {"merge": merging.recipe.method, "ratios": ", ".join(f"{each.ratio:g}" for each in merging.parents)}
    return Checkpoint(merging.id, merging.name, MERGED, seed=merging.seed, **merging.milestone.columns, own=own)


def with_files(study: Study, base: Base, found: Sequence[Merging]) -> tuple[Merging, ...]:
    """The merges with the hashes of files among their parents.

    UserError for a file that is missing, no adapter or of another base, and for parents that do not go together.
    """
    if not found:
        return ()
    model, hashes = base.architecture(), dict[Path, str]()
    for merging in {each.name: each for each in found}.values():
        index = [each.name for each in study.merge].index(merging.name)
        try:
            _check(study.unused_keys, model, merging)
        except UserError as error:
            place = f"study '{study.name}', merge[{index}].parents"
            raise UserError(f"Merge '{merging.name}': {error} ({place})") from error
        hashes |= {each.weights: content_hash(each.weights) for each in merging.parents if each.weights}
    return tuple(
        replace(
            each,
            parents=tuple(replace(one, sha256=hashes[one.weights]) if one.weights else one for one in each.parents),
        )
        for each in found
    )


def _check(unused: Sequence[str], model: Components, merging: Merging) -> None:
    loaded = [formats.read_adapter(each.weights, unused) for each in merging.parents if each.weights]
    fitted = [formats.resolve(each, model) for each in loaded]
    ratios = [each.ratio for each in merging.parents if each.weights]
    files = list(zip(fitted, ratios, strict=True))
    check_words(loaded, files)
    if merging.recipe.method == "svd" and merging.recipe.rank is None:
        trained = [(blank(model, each.run.config), each.ratio) for each in merging.parents if each.run]
        check_rank([*trained, *files], merging.recipe)
