"""`lorabench merge`: several adapter files as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorabench import formats
from lorabench.api.adapter_tools import DIFFUSERS, KOHYA, fitted
from lorabench.api.progress import open_progress
from lorabench.config import OPTIONS_OF
from lorabench.errors import UserError
from lorabench.records import MergeMethod, Recipe
from lorabench.stages.merge import Interference
from lorabench.stages.merge_files import agreement, merged_adapter
from lorabench.values import LARGEST_RATIO


def recipe_of(method: MergeMethod, rank: int | None, density: float | None, seed: int | None) -> Recipe:
    """UserError for what a method does not take."""
    if rank is not None and rank < 1:
        raise UserError(f"--rank is a whole number above 0, not {rank}.")
    if density is not None and not 0 < density <= 1:
        raise UserError(f"--density is a share above 0 and at most 1, not {density}.")
    said = {name: value for name, value in (("density", density), ("seed", seed)) if value is not None}
    for name in said:
        if method not in OPTIONS_OF[name]:
            raise UserError(f"--{name} is of {' and '.join(OPTIONS_OF[name])}, and the method is {method}.")
    return Recipe(method, rank, **said)


def merged(
    parents: Sequence[tuple[Path, float]],
    out: Path,
    recipe: Recipe,
    base: str | None,
    to: str,
    dtype: formats.DType,
    unused: Sequence[str],
    quiet: bool,
) -> dict[str, Any]:
    """Write the merge of adapter files, and say what came of it. UserError for files that do not go together."""
    for path, ratio in parents:
        if not abs(ratio) <= LARGEST_RATIO:
            most = f"{LARGEST_RATIO:g}"
            raise UserError(f"The ratio of {path} is {ratio:g}: a ratio is a number from -{most} to {most}.")
    if out.exists():
        raise UserError(f"{out} exists; remove it or name another path.")
    if any(folder.is_file() for folder in out.parents):
        raise UserError(f"{out} lies in a file, not in a folder: name another path.")
    if to in (KOHYA, DIFFUSERS) and out.suffix != ".safetensors":
        raise UserError(f"{out} would be found by no reader: let the name of a {to} file end in .safetensors.")
    loaded = [formats.read_adapter(path, unused) for path, _ in parents]
    name, components, first = fitted(loaded[0], base)
    adapters = [first, *(formats.resolve(each, components) for each in loaded[1:])]
    taken = [(adapter, ratio) for adapter, (_, ratio) in zip(adapters, parents, strict=True)]
    count = len({module for adapter, _ in taken for module in adapter.modules})
    with open_progress(quiet).stage("merge", count, count) as advance:
        found = merged_adapter(components, loaded, taken, recipe, out, advance)
    found.save(out, dtype, to)
    adapter = found.adapter
    return {
        "file": str(out),
        "method": recipe.method,
        "fits": name,
        "parents": {str(path): ratio for path, ratio in parents},
        "algorithm": adapter.algorithm.name,
        "rank": adapter.config.dim,
        "modules": len(adapter.modules),
        "error": found.error,
        "interference": [_pair_row(parents, places, rows) for places, rows in found.interference.items()],
    }


def _pair_row(
    parents: Sequence[tuple[Path, float]], places: tuple[int, int], rows: Sequence[Interference]
) -> dict[str, Any]:
    return {
        "adapters": [str(parents[place][0]) for place in places],
        **agreement(rows),
        "layers": [vars(row) for row in rows],
    }
