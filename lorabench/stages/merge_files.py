"""Adapters as they were read, merged into one that can be saved: what `lorabench merge` and a study do alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from lorabench import formats
from lorabench.adapters import Adapter
from lorabench.components import LoadedAdapter, Origin, Words
from lorabench.errors import UserError
from lorabench.formats import DType
from lorabench.layers import Components
from lorabench.records import Recipe, TrainConfig
from lorabench.stages.merge import DOWN, Interference, Merged, Parents, interference, largest_rank, merge


@dataclass(frozen=True)
class MergedAdapter:
    """An adapter made of others, and what is known of the making."""

    adapter: Adapter
    bases: frozenset[str]  # that the parents say they are of
    error: float | None  # of compressing to a rank, see `merge.Merged`; None where nothing is compressed
    interference: Mapping[tuple[int, int], list[Interference]]  # of each two parents that take part, by their places

    def save(self, path: Path, dtype: DType = "float32", format_name: str = "kohya") -> None:
        """By default so exactly that it draws what its parents draw together."""
        origin = Origin(base=next(iter(self.bases)) if len(self.bases) == 1 else "")
        formats.save_adapter(
            path, self.adapter, TrainConfig(path.stem, self.adapter.config), origin, dtype, format_name
        )


def merged_adapter(
    components: Components,
    loaded: Sequence[LoadedAdapter],
    parents: Parents,
    recipe: Recipe,
    out: Path,
    advance: Callable[[int], None] = lambda _: None,
) -> MergedAdapter:
    """The merge of adapters that were read (`loaded`) and fitted to a base model (`parents`), as it will be in `out`.

    UserError for adapters that do not go together.
    """
    check_words(loaded, parents)
    places = [place for place, (_, ratio) in enumerate(parents) if ratio]
    with _as_user_error(recipe):
        found = merge(components, parents, recipe, advance)
        pairs = {pair: interference(components, *(parents[each] for each in pair)) for pair in combinations(places, 2)}
    adapter = _as_adapter(found, components, out, _words(parents))
    error = found.error if recipe.rank or recipe.method == "svd" else None
    return MergedAdapter(adapter, frozenset(each.origin.base for each in loaded), error, pairs)


def check_words(loaded: Sequence[LoadedAdapter], parents: Parents) -> None:
    """UserError for a word that two adapters which take part bring."""
    words: set[str] = set()
    for each, (adapter, ratio) in zip(loaded, parents, strict=True):
        twice = [word for word in adapter.words if word in words]
        if ratio and twice:
            raise UserError(f"{each.source}: another parent brings the word '{twice[0]}' too; a merge can hold one.")
        words |= adapter.words.keys() if ratio else set()


def check_rank(parents: Parents, recipe: Recipe) -> None:
    """UserError for svd of updates without a rank, unless the recipe has one; they may be on the meta device."""
    taken = [parent for parent in parents if parent[1]]
    if recipe.method == "svd" and recipe.rank is None and taken:
        with _as_user_error(recipe):
            largest_rank(taken)


def agreement(rows: Sequence[Interference]) -> dict[str, float | int | None]:
    """How two updates agree over all weights that both change: medians, None where there is none."""
    return {
        "shared_modules": len(rows),
        "cosine": statistics.median(row.cosine for row in rows) if rows else None,
        "overlap": statistics.median(row.overlap for row in rows) if rows else None,
    }


@contextmanager
def _as_user_error(recipe: Recipe) -> Iterator[None]:
    """A ValueError within as a sentence."""
    try:
        yield
    except ValueError as error:
        hint = "; add --base, with its weights" if "depends on the base" in str(error) else ""
        raise UserError(f"These adapters cannot be merged by {recipe.method}: {error}{hint}.") from error


def _words(parents: Parents) -> Words:
    return {word: vectors for adapter, ratio in parents if ratio for word, vectors in adapter.words.items()}


def _as_adapter(found: Merged, components: Components, out: Path, words: Words) -> Adapter:
    downs = {name: params[DOWN] for name, params in found.modules.items() if DOWN in params}
    alphas = {name: float(len(down)) for name, down in downs.items()}  # a scale of 1
    return formats.adapter_of(found.modules, alphas, components, out, words)
