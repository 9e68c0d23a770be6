"""Put a weight update into a live base model and take it out again.

Every algorithm runs on this one road: W0 + scale * dW in float32 from the pristine weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from lorabench.bases import UNET
from lorabench.components import Algorithm, Apart, Params, Words
from lorabench.errors import UserError
from lorabench.layers import Components, canonical, is_kernel, is_norm, module_of, trained_modules
from lorabench.records import EMBEDDINGS, HYPERPARAMETERS, TEXTUAL_INVERSION, AdapterConfig
from lorabench.seeds import derive_seed

WRITE = 48  # multiplications in the time that writing one number of an activation takes (benchmarks/layer_time.py)


@dataclass(frozen=True)
class Adapter:
    """A weight update of some modules of a base model: what is trained, saved and swapped in."""

    algorithm: Algorithm
    config: AdapterConfig
    modules: Mapping[str, Params]  # module name -> tensors by LyCORIS suffix, without "alpha"
    alphas: Mapping[str, float] = field(default_factory=dict)  # of modules that do not have the config's alpha
    words: Words = field(default_factory=dict)
    kept_rows: Mapping[str, Tensor] = field(default_factory=dict)  # module name -> 1 or 0 a row of its update: dropout


# --- making and counting ---------------------------------------------------------------------------------------------


def create(
    components: Components, algorithm: Algorithm, config: AdapterConfig, seed: int, words: Words | None = None
) -> Adapter:
    """A fresh adapter, dW = 0, its params float32 on each module's device and requiring gradients.

    Each module draws from its own CPU generator, seeded by (seed, module name): neither the device nor the choice of
    other modules changes a draw. On the meta device nothing is allocated, so that parameters can be counted. `words`
    are what words that are trained begin as. UserError as of `check_config` and `trained_modules`.
    """
    check_config(algorithm, config)
    vectors = _each_vector(words or {}, lambda tensor: tensor.detach().clone().requires_grad_())
    if config.algorithm == TEXTUAL_INVERSION:
        return Adapter(algorithm, config, {}, words=vectors)
    names = trained_modules(components, config.trained_layers, config.train_unet, config.train_text_encoder)
    modules, alphas = {}, {}
    for name in names:
        rng = torch.Generator().manual_seed(derive_seed("adapter", seed, canonical(name)))
        module = module_of(components, name)
        try:
            params = _initial_params(module, algorithm, config, rng)
        except ValueError as error:
            reason = str(error).rstrip(".")
            raise UserError(f"Cannot train {name} with {algorithm.name}: {reason}.") from error
        modules[name] = {suffix: tensor.requires_grad_(tensor.is_floating_point()) for suffix, tensor in params.items()}
        if config.conv_alpha is not None and is_kernel(module):
            alphas[name] = config.conv_alpha
    return Adapter(algorithm, config, modules, alphas, vectors)


def check_config(algorithm: Algorithm, config: AdapterConfig) -> None:
    """UserError if the config lacks what sets the algorithm's capacity, or has a hyperparameter it does not take."""
    needed = algorithm.capacity_from
    if needed is not None and getattr(config, needed) is None:
        raise UserError(f"Algorithm '{algorithm.name}' needs {needed}; give it a whole number.")
    if algorithm.name == TEXTUAL_INVERSION and (config.trained_layers != EMBEDDINGS or config.vectors is None):
        raise UserError(
            f"{TEXTUAL_INVERSION} trains words and no layer: it has vectors (1, say), and no trained_layers but "
            f"'{EMBEDDINGS}'."
        )
    if config.initial_word and config.vectors is None:
        raise UserError("initial_word is of words that are trained: say of how many vectors each is, vectors = 1.")
    for key in HYPERPARAMETERS:
        value = getattr(config, key)
        if value is None or value is False:
            continue
        if key not in algorithm.hyperparameters:
            taken = ", ".join(algorithm.hyperparameters) or f"none of {', '.join(HYPERPARAMETERS)}"
            raise UserError(f"Algorithm '{algorithm.name}' has no {key} (got {value}); it takes {taken}.")
        if isinstance(value, int | float) and not 0 < value < math.inf:
            raise UserError(f"Hyperparameter {key} must be a number above zero, got {value}.")


def _initial_params(module: nn.Module, algorithm: Algorithm, config: AdapterConfig, rng: torch.Generator) -> Params:
    zero_bias = None if module.bias is None else torch.zeros_like(module.bias, dtype=torch.float32, requires_grad=False)
    if is_norm(module):
        params = {"w_norm": torch.zeros_like(module.weight, dtype=torch.float32, requires_grad=False)}
        return params if zero_bias is None else {**params, "b_norm": zero_bias}
    if config.conv_dim is not None and is_kernel(module):
        config = replace(config, dim=config.conv_dim)
    with torch.no_grad():
        params = algorithm.init(module.weight.detach(), config, rng)
    return {**params, "diff_b": zero_bias} if algorithm.trains_bias and zero_bias is not None else params


def parameters(adapter: Adapter) -> list[Tensor]:
    """All tensors that are trained, in a fixed order."""
    in_layers = [tensor for params in adapter.modules.values() for tensor in trained(params)]
    return in_layers + [vectors for of in adapter.words.values() for vectors in of.values()]


def blank_words(components: Components, config: AdapterConfig, names: Collection[str]) -> Words:
    """Words as a config trains them, of no meaning yet: to count them."""
    tables = {name: each.get_input_embeddings().weight for name, each in components.items() if name != UNET}
    count = config.vectors or 0
    return {word: {name: table.new_empty(count, table.shape[1]) for name, table in tables.items()} for word in names}


def trained(params: Params) -> list[Tensor]:
    """The tensors of one module that are trained: all but integers, which are settings."""
    return [tensor for tensor in params.values() if tensor.is_floating_point()]


def count_parameters(adapter: Adapter) -> int:
    """How many numbers the adapter holds, alphas not counted, and once what modules share."""
    return sum({id(tensor): tensor.numel() for tensor in parameters(adapter)}.values())


def for_step(adapter: Adapter, seed: int, step: int) -> Adapter:
    """The part of the adapter that a step of training sees: all of it, but for algorithms that draw a part.

    The draw depends on (seed, step) and is the same for every module.
    """
    draw = adapter.algorithm.for_step
    if draw is None:
        return adapter
    modules = {}
    for name, params in adapter.modules.items():
        rng = torch.Generator().manual_seed(derive_seed("part", seed, step))
        modules[name] = params if "w_norm" in params else draw(params, adapter.config, rng)
    return replace(adapter, modules=modules)


def copy_to(adapter: Adapter, device: torch.device | str) -> Adapter:
    """The adapter with detached copies of its tensors on that device."""
    modules = {
        name: {suffix: tensor.detach().to(device, copy=True) for suffix, tensor in params.items()}
        for name, params in adapter.modules.items()
    }
    return replace(
        adapter, modules=modules, words=_each_vector(adapter.words, lambda each: each.detach().to(device, copy=True))
    )


def _each_vector(words: Words, change: Callable[[Tensor], Tensor]) -> Words:
    return {word: {name: change(vectors) for name, vectors in of.items()} for word, of in words.items()}


# --- into the model and out of it ------------------------------------------------------------------------------------


def merged_weights(components: Components, adapter: Adapter, scale: float = 1.0) -> dict[str, Tensor]:
    """W0 + scale * dW of every parameter the adapter touches, float32, differentiable in the adapter's params.

    Keys are "<module name>.weight" and "<module name>.bias". The components must hold the pristine weights.
    """
    return {
        f"{name}.{kind}": torch.add(parameter.detach().float(), update, alpha=scale)
        for name in adapter.modules
        for kind, parameter, update in updates(components, adapter, name)
    }


def cheaper_apart(components: Components, adapter: Adapter) -> frozenset[str]:
    """Modules whose updates are cheaper beside their frozen weight than merged into it, forward and backward.

    Layers of their own cost three times their multiplications and what they write. A merged update costs the gradient
    of the whole weight: for each position a multiplication for each of its numbers.
    """
    costs = {name: apart_of(components, adapter, name) for name in adapter.modules}
    return frozenset(
        name
        for name, apart in costs.items()
        if apart is not None
        and 3 * (apart.multiplications + WRITE * apart.activations) < module_of(components, name).weight.numel()
    )


@contextmanager
def run_apart(components: Components, adapter: Adapter, names: frozenset[str]) -> Iterator[Adapter]:
    """Inside, the updates of those modules run beside their frozen weights; yields the adapter of the others."""
    hooks = [
        module_of(components, name).register_forward_hook(
            partial(_add_answer, apart_of(components, adapter, name), adapter.kept_rows.get(name))
        )
        for name in names & adapter.modules.keys()
    ]
    others = {name: params for name, params in adapter.modules.items() if name not in names}
    try:
        yield replace(adapter, modules=others)
    finally:
        for hook in hooks:
            hook.remove()


def apart_of(components: Components, adapter: Adapter, name: str) -> Apart | None:
    """How the update of a module runs beside its frozen weight; None where it must be merged."""
    params = adapter.modules[name]
    if adapter.algorithm.apart is None or {"w_norm", "diff_b"} & params.keys():
        return None
    weight = module_of(components, name).weight.detach()
    return adapter.algorithm.apart(params, weight, _config_of(adapter, name))


def _add_answer(
    apart: Apart, kept_rows: Tensor | None, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    answer = apart.answer(inputs[0], module)
    if kept_rows is not None:
        answer = answer * (kept_rows.view(-1, 1, 1) if isinstance(module, nn.Conv2d) else kept_rows)
    return output + answer


@contextmanager
def swapped(components: Components, *scaled: tuple[Adapter, float], into: Components | None = None) -> Iterator[None]:
    """Inside, the live model has the weights W0 + the sum of scale * dW over (adapter, scale); outside, its own bytes.

    Every dW is of the pristine weight. Sums are float32 and rounded once to the model's dtype, in the parameters' own
    storage. `into` names modules that draw in the place of `components`, copies of another precision: those take the
    sums, and `components` stay pristine where they are not the same. Do not train or read `merged_weights` inside on
    components that are.
    """
    live = components if into is None else into
    pristine: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for name in dict.fromkeys(name for adapter, _ in scaled for name in adapter.modules):
                drawing = module_of(live, name)
                for kind, parameter, merged in _sums(components, name, scaled):
                    target = getattr(drawing, kind)
                    pristine.append((target, parameter.detach().clone() if target is parameter else parameter))
                    target.copy_(merged)
        yield
    finally:
        with torch.no_grad():
            for target, saved in pristine:
                target.copy_(saved)


def _sums(
    components: Components, name: str, scaled: Sequence[tuple[Adapter, float]]
) -> list[tuple[str, Tensor, Tensor]]:
    """("weight" or "bias", the model's parameter, its merged value in float32) of one module."""
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    for adapter, scale in scaled:
        if name not in adapter.modules:
            continue
        for kind, parameter, update in updates(components, adapter, name):
            _, so_far = sums.get(kind, (parameter, parameter.float()))
            sums[kind] = (parameter, torch.add(so_far, update, alpha=scale))
    return [(kind, *found) for kind, found in sums.items()]


def updates(components: Components, adapter: Adapter, name: str) -> list[tuple[str, Tensor, Tensor]]:
    """("weight" or "bias", the model's parameter, its update) of one module, before the merge ratio."""
    return updates_of(module_of(components, name), adapter, name)


def updates_of(module: nn.Module, adapter: Adapter, name: str) -> list[tuple[str, Tensor, Tensor]]:
    """The same of a module that is at hand."""
    params = adapter.modules[name]
    weight = module.weight.detach().float()
    found = [("weight", module.weight, weight_update(adapter, name, weight))]
    bias_update = params.get("b_norm", params.get("diff_b"))
    if bias_update is None:
        bias_update = _bias_of_method(module, adapter, name)
    if bias_update is not None:
        found.append(("bias", module.bias, bias_update.to(weight.device)))
    return found


def _bias_of_method(module: nn.Module, adapter: Adapter, name: str) -> Tensor | None:
    if adapter.algorithm.delta_bias is None or module.bias is None or "w_norm" in adapter.modules[name]:
        return None
    weight, bias = module.weight.detach().float(), module.bias.detach().float()
    params = {suffix: tensor.to(weight.device) for suffix, tensor in adapter.modules[name].items()}
    return adapter.algorithm.delta_bias(params, weight, bias, _config_of(adapter, name))


def weight_update(adapter: Adapter, name: str, weight: Tensor) -> Tensor:
    """dW of one module on its pristine weight, float32 on the weight's device, before the merge ratio."""
    params = {suffix: tensor.to(weight.device) for suffix, tensor in adapter.modules[name].items()}
    if "w_norm" in params:
        return params["w_norm"]
    update = adapter.algorithm.delta_weight(params, weight, _config_of(adapter, name))
    kept = adapter.kept_rows.get(name)
    return update if kept is None else update * kept.view(-1, *[1] * (update.ndim - 1))


def alpha_of(adapter: Adapter, name: str) -> float | None:
    """A module's own alpha, else the config's; None = a scale of 1."""
    return adapter.alphas.get(name, adapter.config.alpha)


def _config_of(adapter: Adapter, name: str) -> AdapterConfig:
    """The config with the module's own alpha."""
    alpha = adapter.alphas.get(name)
    return adapter.config if alpha is None else replace(adapter.config, alpha=alpha)
