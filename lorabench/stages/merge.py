"""Several weight updates as one: sums, the published ways to merge, and how much two updates stand in each other's way.

An update is what an adapter adds to the pristine weight, whatever its algorithm, so adapters of any kind merge.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorabench import adapters
from lorabench.adapters import Adapter
from lorabench.components import Params
from lorabench.layers import Components, canonical, is_norm, module_of
from lorabench.records import Recipe
from lorabench.seeds import derive_seed

Parents = Sequence[tuple[Adapter, float]]  # with their ratios
UP, DOWN = "lora_up.weight", "lora_down.weight"
OVERLAP_RANK = 8  # directions of each update that `interference` compares


@dataclass(frozen=True)
class Merged:
    """The params of a merged adapter by module, as LyCORIS names them; factors have a scale of 1."""

    modules: Mapping[str, Params]
    error: float  # of compressing to a rank: |dW - dW_r| / |dW| over all matrices, Frobenius; 0 where none is


@dataclass(frozen=True)
class Interference:
    """What two updates of one weight have to do with each other."""

    module: str
    cosine: float  # of the two as vectors
    overlap: float  # of the spaces that their outputs move in: 0 none in common, 1 the same; LoRA's phi (eq. 4)
    chance: float  # the overlap of two spaces of these ranks that have nothing to do with each other, on average
    strength: tuple[float, float] | None  # |dW| / |W0|, Frobenius, each at its ratio; None where W0 is not here


@torch.no_grad()
def merge(
    components: Components, parents: Parents, recipe: Recipe, advance: Callable[[int], None] = lambda _: None
) -> Merged:
    """One adapter that does what its parents do together. Parents with ratio 0 take no part.

    linear: sum of r_i dW_i. svd: the same, compressed to `rank` (by default the largest of the parents'). ties: trim,
    elect signs, disjoint mean (Yadav et al. 2023). dare: drop at random, rescale, sum (Yu et al. 2024); both as peft
    has them, a matrix at a time. dlf: dynamic layer-wise fusion, `layer_ratios`. Sums of plain LoRA without a rank
    stay factors, exactly. `advance` is told of each module. ValueError where nothing is left, for svd of parents
    without a rank, and where updates depend on weights that the components do not have.
    """
    taken = [(adapter, ratio) for adapter, ratio in parents if ratio]
    if not taken:
        raise ValueError("all ratios are 0, so nothing is left to merge")
    rank = recipe.rank or (largest_rank(taken) if recipe.method == "svd" else None)
    by_layer = layer_ratios(components, taken) if recipe.method == "dlf" else {}
    modules: dict[str, Params] = {}
    lost = whole = 0.0
    for name in dict.fromkeys(name for adapter, _ in taken for name in adapter.modules):
        of_it = [(adapter, by_layer.get((name, place), ratio)) for place, (adapter, ratio) in enumerate(taken)]
        of_it = [(adapter, ratio) for adapter, ratio in of_it if name in adapter.modules]
        is_vector = is_norm(module_of(components, name))
        factors = _joined_factors(of_it, name) if recipe.method in ("linear", "svd", "dlf") else None
        found = {kind: _combined(tensors, recipe, name, kind) for kind, tensors in _updates(components, of_it, name)}
        params: Params = factors or {"w_norm" if is_vector else "diff": found["weight"]}
        if rank is not None and not is_vector:
            params, error, size = compressed(factors or found["weight"], rank)
            lost, whole = lost + error**2, whole + size**2
        if "bias" in found:
            params = {**params, "b_norm" if is_vector else "diff_b": found["bias"]}
        modules[name] = params
        advance(1)
    return Merged(modules, (lost / whole) ** 0.5 if whole else 0.0)


def layer_ratios(components: Components, parents: Parents) -> dict[tuple[str, int], float]:
    """Of each (module, place of a parent) the ratio that dynamic layer-wise fusion gives it there.

    s_i(l) = |dW_i(l)| / |dW_i| is the share of an update that it spends on a layer. A parent's ratio r_i becomes
    r_i n s_i(l) / sum_j s_j(l) over the n parents that change the layer: r_i where all shares are equal, more of the
    one for which the layer is the more important, and a parent alone keeps its own. No published source pins down the
    rule behind the name: this is one reading of it.
    """
    norms = [
        {name: float(_update_of(components, adapter, name)["weight"].norm()) for name in adapter.modules}
        for adapter, _ in parents
    ]
    shares = [
        {
            name: norm / total if (total := sum(each**2 for each in own.values()) ** 0.5) else 0.0
            for name, norm in own.items()
        }
        for own in norms
    ]
    ratios = {}
    for name in dict.fromkeys(name for own in shares for name in own):
        of_it = {place: own[name] for place, own in enumerate(shares) if name in own}
        total = sum(of_it.values())
        for place, share in of_it.items():
            ratios[name, place] = parents[place][1] * (len(of_it) * share / total if total else 1.0)
    return ratios


# --- one weight -------------------------------------------------------------------------------------------------------


def linear(tensors: Sequence[Tensor], ratios: Sequence[float]) -> Tensor:
    """Sum of r_i t_i."""
    return sum(ratio * tensor for tensor, ratio in zip(tensors, ratios, strict=True))


def ties(tensors: Sequence[Tensor], ratios: Sequence[float], density: float) -> Tensor:
    """Trim, elect sign, disjoint merge (TIES, Yadav et al. 2023).

    Of each tensor that share of its numbers stays which is largest; the sign of their sum is elected, and the mean of
    the r_i t_i that have it is taken.
    """
    kept = torch.stack([_trimmed(tensor, density) for tensor in tensors])
    elected = torch.where(kept.sum(0) >= 0, 1.0, -1.0)
    agrees = kept.sign() == elected
    weighted = kept * torch.tensor(ratios).view(-1, *[1] * (kept.ndim - 1))
    return (weighted * agrees).sum(0) / agrees.sum(0).clamp(min=1)


def dare(tensors: Sequence[Tensor], ratios: Sequence[float], density: float, rng: torch.Generator) -> Tensor:
    """Drop and rescale (DARE, Yu et al. 2024): each number stays with that probability, over it; then the sum."""
    masks = [torch.bernoulli(torch.full(each.shape, density), generator=rng) for each in tensors]
    return linear([tensor * mask / density for tensor, mask in zip(tensors, masks, strict=True)], ratios)


def _trimmed(tensor: Tensor, density: float) -> Tensor:
    flat = tensor.flatten()
    mask = torch.zeros_like(flat)
    mask[flat.abs().topk(int(density * flat.numel())).indices] = 1
    return tensor * mask.view(tensor.shape)


def compressed(update: Tensor | Params, rank: int) -> tuple[Params, float, float]:
    """The nearest update of a rank as LoRA's factors, how far it is, and the update's size; both in Frobenius' norm.

    The update may be factors itself. A kernel is unrolled to [c_out, c_in k^2], so that its first factor is a kernel
    and the second one of 1 x 1.
    """
    shape = update.shape if isinstance(update, Tensor) else (len(update[UP]), *update[DOWN].shape[1:])
    rows, columns, *kernel = shape
    left, values, right = _decomposed(update)
    rank = min(rank, len(values))
    root = values[:rank].sqrt()
    up, down = left[:, :rank] * root, root[:, None] * right[:rank]
    params = {
        UP: up.reshape(rows, rank, *[1] * len(kernel)).contiguous(),
        DOWN: down.reshape(rank, columns, *kernel).contiguous(),
    }
    return params, float(values[rank:].norm()), float(values.norm())


def _decomposed(update: Tensor | Params) -> tuple[Tensor, Tensor, Tensor]:
    """Left vectors, singular values and right vectors of an update, unrolled to a matrix."""
    if isinstance(update, Tensor):
        return torch.linalg.svd(update.flatten(1), full_matrices=False)
    # By the small matrix between two orthogonal ones: that of a whole layer takes a thousand times longer.
    (q_up, r_up), (q_down, r_down) = torch.linalg.qr(update[UP].flatten(1)), torch.linalg.qr(update[DOWN].flatten(1).T)
    left, values, right = torch.linalg.svd(r_up @ r_down.T, full_matrices=False)
    return q_up @ left, values, right @ q_down.T


def _combined(tensors: list[tuple[Tensor, float]], recipe: Recipe, name: str, kind: str) -> Tensor:
    updates, ratios = [tensor for tensor, _ in tensors], [ratio for _, ratio in tensors]
    if recipe.method == "ties":
        return ties(updates, ratios, recipe.density)
    if recipe.method == "dare":
        rng = torch.Generator().manual_seed(derive_seed("dare", recipe.seed, canonical(name), kind))
        return dare(updates, ratios, recipe.density, rng)
    return linear(updates, ratios)


def _updates(components: Components, parents: Parents, name: str) -> Iterator[tuple[str, list[tuple[Tensor, float]]]]:
    """("weight" or "bias", each parent's update of it and its ratio) of one module, on the CPU."""
    found: dict[str, list[tuple[Tensor, float]]] = {}
    for adapter, ratio in parents:
        for kind, update in _update_of(components, adapter, name).items():
            found.setdefault(kind, []).append((update, ratio))
    yield from found.items()


@torch.no_grad()
def _update_of(components: Components, adapter: Adapter, name: str) -> dict[str, Tensor]:
    """An adapter's updates of a module by "weight" and "bias", float32 on the CPU.

    Where the base has no weights NaN stands for them, so that an update that is NaN depends on them: ValueError.
    """
    module = module_of(components, name)
    if module.weight.is_meta:
        module = copy.deepcopy(module).to_empty(device="cpu")
        for parameter in module.parameters():
            parameter.fill_(torch.nan)
    found = {kind: update.float().cpu() for kind, _, update in adapters.updates_of(module, adapter, name)}
    if any(update.isnan().any() for update in found.values()):
        raise ValueError(f"the update of {name} depends on the base model's weights")
    return found


def _joined_factors(parents: Parents, name: str) -> Params | None:
    """The sum of plain low-rank updates as one, its rank the sum of theirs; None where one is of another kind."""
    ups, downs = [], []
    for adapter, ratio in parents:
        params = adapter.modules[name]
        if adapter.algorithm.name not in ("lora", "mixed") or not {UP, DOWN} <= params.keys() <= {UP, DOWN, "diff_b"}:
            return None
        up, down = params[UP].float().cpu(), params[DOWN].float().cpu()
        alpha = adapters.alpha_of(adapter, name)
        ups.append(up * (ratio * (1.0 if alpha is None else alpha / down.shape[0])))
        downs.append(down)
    return {UP: torch.cat(ups, dim=1), DOWN: torch.cat(downs, dim=0)}


def largest_rank(parents: Parents) -> int:
    """Of the parents' updates. ValueError where none has a rank."""
    ranks = [
        size["dim"]
        for adapter, _ in parents
        for params in adapter.modules.values()
        if "w_norm" not in params and "dim" in (size := adapter.algorithm.sizes_of(params))
    ]
    if not ranks:
        raise ValueError("none of the adapters has a rank: say the one to compress to")
    return max(ranks)


# --- two updates ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def interference(
    components: Components, first: tuple[Adapter, float], second: tuple[Adapter, float]
) -> list[Interference]:
    """Of each weight that both change, norms left out; a space is that of the `OVERLAP_RANK` largest directions."""
    shared = [name for name in first[0].modules if name in second[0].modules]
    found = []
    for name in shared:
        module = module_of(components, name)
        if is_norm(module):
            continue
        parts = [_joined_factors([parent], name) or _scaled(components, parent, name) for parent in (first, second)]
        (left, values, right), (other_left, other_values, other_right) = map(_decomposed, parts)
        sizes = float(values.norm()), float(other_values.norm())
        if not all(sizes):
            continue
        product = float(((left * values).T @ (other_left * other_values) * (right @ other_right.T)).sum())
        weight = 0.0 if module.weight.is_meta else float(module.weight.detach().float().norm())
        strength = (sizes[0] / weight, sizes[1] / weight) if weight else None
        spaces = _largest(left, values), _largest(other_left, other_values)
        chance = max(each.shape[1] for each in spaces) / len(left)
        found.append(Interference(name, product / (sizes[0] * sizes[1]), _overlap(*spaces), chance, strength))
    return found


def _scaled(components: Components, parent: tuple[Adapter, float], name: str) -> Tensor:
    adapter, ratio = parent
    return ratio * _update_of(components, adapter, name)["weight"]


def _overlap(one: Tensor, other: Tensor) -> float:
    """|U1^T U2|^2 / min(ranks) of orthonormal directions [rows, rank] (Hu et al. 2021, eq. 4)."""
    return float((one.T @ other).square().sum()) / min(one.shape[1], other.shape[1])


def _largest(left: Tensor, values: Tensor) -> Tensor:
    """The directions that an update has, at most `OVERLAP_RANK` of them."""
    rank = int((values > 1e-5 * values[0]).sum())
    return left[:, : min(rank, OVERLAP_RANK)]
