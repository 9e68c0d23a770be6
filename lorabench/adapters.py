"""Put a weight update into a live base model and take it out again, and say which modules a preset trains.

Every algorithm runs on this one road: W0 + scale * dW in float32 from the pristine weight. A module is called by its
component and path, "unet.down_blocks.0.attentions.0.proj_in" or "text_encoder.encoder.layers.0.mlp.fc1".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lorabench.components import Algorithm, Params
from lorabench.errors import UserError, unknown
from lorabench.records import TrainConfig
from lorabench.seeds import derive_seed

Components = Mapping[str, nn.Module]  # {"unet": ..., "text_encoder": ...}

PRESETS = ("attention", "linear", "full")
CUSTOM = "regex:"  # trained_layers = "regex:<expression>" trains every module whose name it matches

_ATTENTION = r"\.(to_q|to_k|to_v|to_out\.0|q_proj|k_proj|v_proj|out_proj)$"
_TRANSFORMER = r"\.ff\.net\.(0\.proj|2)$|\.attentions\.\d+\.proj_(in|out)$|\.mlp\.fc[12]$"
_BLOCK = r"\.(attentions|resnets)\.\d+\."  # the norms of `full`; the U-Net's last norm is outside of it


@dataclass(frozen=True)
class Adapter:
    """A weight update of some modules of a base model: what is trained, saved and swapped in."""

    algorithm: Algorithm
    config: TrainConfig
    modules: Mapping[str, Params]  # module name -> tensors by LyCORIS suffix, without "alpha"
    alphas: Mapping[str, float] = field(default_factory=dict)  # of modules that do not have the config's alpha


# --- which modules ---------------------------------------------------------------------------------------------------


def canonical(name: str) -> str:
    """The name of a module without dots and without `text_model`, which transformers 5.6 took out of its paths.

    Files, random seeds and spellings of different library versions meet in it.
    """
    return name.replace(".", "_").replace("text_encoder_text_model_", "text_encoder_", 1)


def trainable_modules(components: Components) -> dict[str, nn.Module]:
    """Every Linear, Conv2d and affine LayerNorm or GroupNorm of the components, by name, in the model's own order."""
    return {
        f"{component}.{path}": module
        for component, root in components.items()
        for path, module in root.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) or _is_norm(module)
    }


def trained_modules(
    components: Components, trained_layers: str, train_unet: bool = True, train_text_encoder: bool = True
) -> tuple[str, ...]:
    """Names of the modules that a preset or "regex:<expression>" trains (re.search on the whole name).

    `attention`: query, key, value and output projections. `linear`: and the other matrices of transformer blocks with
    the 1x1 projections around them. `full`: and all else of the U-Net that has a matrix or a kernel, with the affine
    parameters of the norms inside its transformer and resnet blocks. Embeddings are never trained. UserError if the
    preset is unknown or nothing matches.
    """
    if not train_unet and not train_text_encoder:
        raise UserError("Nothing to train: train_unet and train_text_encoder are both false; set one of them to true.")
    chosen = {
        name: module
        for name, module in trainable_modules(components).items()
        if (train_unet if name.startswith("unet.") else train_text_encoder)
    }
    if trained_layers.startswith(CUSTOM):
        names = _matching(chosen, trained_layers.removeprefix(CUSTOM))
    elif trained_layers in PRESETS:
        names = tuple(name for name, module in chosen.items() if _in_preset(name, module, trained_layers))
    else:
        raise UserError(unknown("trained_layers", trained_layers, (*PRESETS, f"{CUSTOM}<expression>")))
    if not names:
        raise UserError(_nothing_matches(trained_layers, tuple(chosen)))
    return names


def recognise_layers(components: Components, names: frozenset[str]) -> str:
    """The preset that trains exactly these modules, whatever parts of the model it was used on, or "custom"."""
    unet = any(name.startswith("unet.") for name in names)
    text_encoder = any(not name.startswith("unet.") for name in names)
    for preset in PRESETS if names else ():
        try:
            if frozenset(trained_modules(components, preset, unet, text_encoder)) == names:
                return preset
        except UserError:  # the preset has no module in this base
            continue
    return "custom"


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm | nn.GroupNorm) and module.weight is not None


def _in_preset(name: str, module: nn.Module, preset: str) -> bool:
    if _is_norm(module):
        return preset == "full" and name.startswith("unet.") and re.search(_BLOCK, name) is not None
    if preset == "full" and name.startswith("unet."):
        return True
    pattern = _ATTENTION if preset == "attention" else f"{_ATTENTION}|{_TRANSFORMER}"
    return re.search(pattern, name) is not None


def _matching(modules: Mapping[str, nn.Module], expression: str) -> tuple[str, ...]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UserError(f"trained_layers '{CUSTOM}{expression}' is not a regular expression: {error}.") from error
    return tuple(name for name in modules if pattern.search(name))


def _nothing_matches(trained_layers: str, names: tuple[str, ...]) -> str:
    words = trained_layers.removeprefix(CUSTOM).replace("\\", "")
    near = difflib.get_close_matches(words, names, n=3, cutoff=0.2) or names[:3]
    hint = f"The nearest of its {len(names)} names are {', '.join(near)}." if near else "It has no trainable module."
    return f"trained_layers '{trained_layers}' matches no module of this base model. {hint}"


# --- making and counting ---------------------------------------------------------------------------------------------


def create(components: Components, algorithm: Algorithm, config: TrainConfig, seed: int) -> Adapter:
    """A fresh adapter, dW = 0, its params float32 on each module's device and requiring gradients.

    Each module draws from its own CPU generator, seeded by (seed, module name): neither the device nor the choice of
    other modules changes a draw. On the meta device nothing is allocated, so that parameters can be counted. UserError
    as of `check_config` and `trained_modules`.
    """
    check_config(algorithm, config)
    names = trained_modules(components, config.trained_layers, config.train_unet, config.train_text_encoder)
    modules = {}
    for name in names:
        rng = torch.Generator().manual_seed(derive_seed("adapter", seed, canonical(name)))
        params = _initial_params(module_of(components, name), algorithm, config, rng)
        modules[name] = {suffix: tensor.requires_grad_(True) for suffix, tensor in params.items()}
    return Adapter(algorithm, config, modules)


def check_config(algorithm: Algorithm, config: TrainConfig) -> None:
    """UserError if the config lacks what sets the algorithm's capacity, or has a hyperparameter it does not take."""
    needed = algorithm.capacity_from
    if needed is not None and getattr(config, needed) is None:
        raise UserError(f"Config '{config.name}': algorithm '{algorithm.name}' needs {needed}; give it a whole number.")
    for key in ("dim", "alpha", "factor"):
        value = getattr(config, key)
        if value is None:
            continue
        if key not in algorithm.hyperparameters:
            taken = ", ".join(algorithm.hyperparameters) or "none of dim, alpha, factor"
            raise UserError(
                f"Config '{config.name}': algorithm '{algorithm.name}' has no {key} (got {value}); it takes {taken}."
            )
        if value <= 0:
            raise UserError(f"Config '{config.name}': {key} must be above zero, got {value}.")


def _initial_params(module: nn.Module, algorithm: Algorithm, config: TrainConfig, rng: torch.Generator) -> Params:
    zero_bias = None if module.bias is None else torch.zeros_like(module.bias, dtype=torch.float32, requires_grad=False)
    if _is_norm(module):
        params = {"w_norm": torch.zeros_like(module.weight, dtype=torch.float32, requires_grad=False)}
        return params if zero_bias is None else {**params, "b_norm": zero_bias}
    with torch.no_grad():
        params = algorithm.init(module.weight.detach(), config, rng)
    return {**params, "diff_b": zero_bias} if algorithm.trains_bias and zero_bias is not None else params


def parameters(adapter: Adapter) -> list[Tensor]:
    """All tensors of the adapter, in a fixed order: what an optimizer trains."""
    return [tensor for params in adapter.modules.values() for tensor in params.values()]


def count_parameters(adapter: Adapter) -> int:
    """How many numbers the adapter holds, alphas not counted."""
    return sum(tensor.numel() for tensor in parameters(adapter))


def copy_to(adapter: Adapter, device: torch.device | str) -> Adapter:
    """The adapter with detached copies of its tensors on that device."""
    modules = {
        name: {suffix: tensor.detach().to(device, copy=True) for suffix, tensor in params.items()}
        for name, params in adapter.modules.items()
    }
    return replace(adapter, modules=modules)


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


@contextmanager
def swapped(components: Components, adapter: Adapter, scale: float = 1.0) -> Iterator[None]:
    """Inside, the live model has the weights W0 + scale * dW; outside, its own bytes again.

    Sums are float32 and rounded once to the model's dtype, in the parameters' own storage. Do not train or read
    `merged_weights` inside: the weights are not pristine there.
    """
    pristine: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for name in adapter.modules:
                for _, parameter, update in updates(components, adapter, name):
                    pristine.append((parameter, parameter.detach().clone()))
                    parameter.copy_(torch.add(parameter.float(), update, alpha=scale))
        yield
    finally:
        with torch.no_grad():
            for parameter, saved in pristine:
                parameter.copy_(saved)


def updates(components: Components, adapter: Adapter, name: str) -> list[tuple[str, Tensor, Tensor]]:
    """("weight" or "bias", the model's parameter, its update) of one module, before the merge ratio."""
    module = module_of(components, name)
    device = module.weight.device
    params = {suffix: tensor.to(device) for suffix, tensor in adapter.modules[name].items()}
    if "w_norm" in params:
        weight_update = params["w_norm"]
    else:
        alpha = adapter.alphas.get(name)
        config = adapter.config if alpha is None else replace(adapter.config, alpha=alpha)
        weight_update = adapter.algorithm.delta_weight(params, module.weight.detach().float(), config)
    bias_update = params.get("b_norm", params.get("diff_b"))
    found = [("weight", module.weight, weight_update)]
    return found if bias_update is None else [*found, ("bias", module.bias, bias_update)]


def module_of(components: Components, name: str) -> nn.Module:
    """The module of that name; KeyError or AttributeError if this base model has none."""
    component, path = name.split(".", 1)
    return components[component].get_submodule(path)
