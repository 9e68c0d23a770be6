"""`lorabench merge`: several adapter files as one."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from torch import Tensor

from lorabench import formats
from lorabench.adapters import Adapter
from lorabench.api.adapter_tools import DIFFUSERS, KOHYA, fitted
from lorabench.api.progress import open_progress
from lorabench.components import LoadedAdapter, Origin, Words
from lorabench.errors import UserError
from lorabench.layers import Components
from lorabench.records import Recipe, TrainConfig
from lorabench.stages.merge import DOWN, Interference, Merged, interference, merge


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
    words = _words(loaded, taken)
    count = len({module for adapter, _ in taken for module in adapter.modules})
    try:
        with open_progress(quiet).stage("merge", count, count) as advance:
            found = merge(components, taken, recipe, advance)
            pairs = _interferences(components, taken)
    except ValueError as error:
        hint = "; add --base, with its weights" if "depends on the base" in str(error) else ""
        raise UserError(f"These adapters cannot be merged by {recipe.method}: {error}{hint}.") from error
    adapter = _as_adapter(found, components, out, words)
    config = TrainConfig(out.stem, adapter.config)
    bases = {each.origin.base for each in loaded}
    formats.save_adapter(out, adapter, config, Origin(base=bases.pop() if len(bases) == 1 else ""), dtype, to)
    return {
        "file": str(out),
        "method": recipe.method,
        "fits": name,
        "parents": {str(path): ratio for path, ratio in parents},
        "algorithm": adapter.algorithm.name,
        "rank": adapter.config.dim,
        "modules": len(adapter.modules),
        "error": found.error if recipe.rank or recipe.method == "svd" else None,
        "interference": [_pair_row(parents, places, rows) for places, rows in pairs.items()],
    }


def _words(loaded: Sequence[LoadedAdapter], parents: Sequence[tuple[Adapter, float]]) -> Words:
    """The words of all parents that take part. UserError for one that two of them bring."""
    words: dict[str, Mapping[str, Tensor]] = {}
    for each, (adapter, ratio) in zip(loaded, parents, strict=True):
        twice = [word for word in adapter.words if word in words]
        if ratio and twice:
            raise UserError(f"{each.source}: another parent brings the word '{twice[0]}' too; a merge can hold one.")
        words |= adapter.words if ratio else {}
    return words


def _as_adapter(found: Merged, components: Components, out: Path, words: Words) -> Adapter:
    downs = {name: params[DOWN] for name, params in found.modules.items() if DOWN in params}
    alphas = {name: float(len(down)) for name, down in downs.items()}  # a scale of 1
    return formats.adapter_of(found.modules, alphas, components, out, words)


def _interferences(
    components: Components, parents: Sequence[tuple[Adapter, float]]
) -> dict[tuple[int, int], list[Interference]]:
    """Of each two parents that take part."""
    places = [place for place, (_, ratio) in enumerate(parents) if ratio]
    return {pair: interference(components, *(parents[place] for place in pair)) for pair in combinations(places, 2)}


def _pair_row(
    parents: Sequence[tuple[Path, float]], places: tuple[int, int], rows: Sequence[Interference]
) -> dict[str, Any]:
    return {
        "adapters": [str(parents[place][0]) for place in places],
        "shared_modules": len(rows),
        "cosine": statistics.median(row.cosine for row in rows) if rows else None,
        "overlap": statistics.median(row.overlap for row in rows) if rows else None,
        "layers": [vars(row) for row in rows],
    }
