"""`lorabench merge`: several adapter files as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorabench import formats
from lorabench.api.adapter_tools import DIFFUSERS, KOHYA, fitted
from lorabench.api.progress import open_progress
from lorabench.errors import UserError
from lorabench.records import Recipe
from lorabench.stages.merge import Interference
from lorabench.stages.merge_files import agreement, merged_adapter


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
    if out.exists():
        raise UserError(f"{out} exists; remove it or name another path.")
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
