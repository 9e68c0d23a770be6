"""Any method of the peft library for Linear and Conv2d, by its own config: `peft = { peft_type = "VERA", r = 8 }`.

A layer is wrapped on its own, so methods that share matrices between layers (VeRA) draw them for each shape. Not for
kernels: peft's OFT, whose patches overlap in the input it rotates, so that it changes the answer from the start.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lorabench.components import Algorithm, Params
from lorabench.errors import UserError
from lorabench.records import TrainConfig

PREFIX = "peft."
_NAME = "layer"
_WEIGHT = f"{_NAME}.base_layer.weight"
_WIDTHS = (64, 768, 1024, 1280)  # of a layer that shows how a method names things; block sizes have to divide it
_FROZEN_SEED = 0  # of what a method draws and does not train: the same whenever the layer is made again


def init(weight: Tensor, config: TrainConfig, rng: torch.Generator) -> Params:
    """peft's own initial values of what the method trains, under peft's names. ValueError for what it refuses.

    Some methods do not start at dW = 0 unless their settings say so (C3A, FourierFT).
    """
    seed = int(torch.randint(2**31, (), generator=rng))
    wrapped = _wrapped(tuple(weight.shape), _settings(config), seed)
    return {
        f"{PREFIX}{name}": parameter.detach().float().to(weight.device)
        for name, parameter in wrapped.named_parameters()
        if parameter.requires_grad
    }


def delta_weight(params: Params, weight: Tensor, config: TrainConfig) -> Tensor:
    """W' - W, W' read off the wrapped layer's answers to unit inputs: whatever the method does is linear in them."""
    wrapped = _skeleton(tuple(weight.shape), _settings(config), weight.device)
    replaced = {name.removeprefix(PREFIX): tensor for name, tensor in params.items()}
    known = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    if known != replaced.keys():
        raise ValueError(f"peft's method has {', '.join(sorted(known))}, the file {', '.join(sorted(replaced))}")
    answers = functional_call(wrapped, {**replaced, _WEIGHT: weight}, (_unit_inputs(weight),))
    if weight.ndim == 2:
        return answers.T - weight
    # An impulse meets the kernel from its last entry to its first.
    return answers.transpose(0, 1).flip(2, 3) - weight


def saved_names(settings: Mapping[str, Any]) -> dict[str, str]:
    """How peft's files call what the method trains in a layer -> our name of it.

    UserError if the method keeps matrices that layers share: a layer alone cannot make them again.
    """
    for width in _WIDTHS:
        try:
            tuner = _tuner((width, width), json.dumps(dict(settings), sort_keys=True), _FROZEN_SEED)
        except ValueError as error:
            reason = error
            continue
        held = [*tuner.named_buffers(remove_duplicate=False), *tuner.named_parameters(remove_duplicate=False)]
        shared = [name.split(".")[0] for name, _ in held if not name.startswith("model.")]
        if shared:
            raise UserError(
                f"peft's {settings['peft_type']} shares {', '.join(shared)} between layers, so its files cannot be "
                "read layer by layer; merge the adapter with peft and evaluate the merged model."
            )
        names = [name for name, parameter in tuner.model.named_parameters() if parameter.requires_grad]
        return {name.removeprefix(f"{_NAME}.").replace(".default", ""): f"{PREFIX}{name}" for name in names}
    raise UserError(f"peft's {settings['peft_type']} cannot be read: {reason}.")


def _unit_inputs(weight: Tensor) -> Tensor:
    """Every input channel alone: [q, q], or [q, q, 2k - 1, 2k - 1] with an impulse in the middle."""
    columns = weight.shape[1]
    identity = torch.eye(columns, device=weight.device)
    if weight.ndim == 2:
        return identity
    height, width = weight.shape[2:]
    pictures = torch.zeros(columns, columns, 2 * height - 1, 2 * width - 1, device=weight.device)
    pictures[:, :, height - 1, width - 1] = identity
    return pictures


def _settings(config: TrainConfig) -> str:
    if not config.peft or "peft_type" not in config.peft:
        raise ValueError('it needs a table of its settings: peft = { peft_type = "VERA", r = 8 }, say')
    if isinstance(config.peft.get("init_lora_weights"), str):
        raise ValueError("an initialisation that changes the base model's weight is not one of an update")
    return json.dumps(dict(config.peft), sort_keys=True)


@functools.lru_cache(maxsize=64)  # making a layer takes milliseconds, and every step needs each
def _skeleton(shape: tuple[int, ...], settings: str, device: torch.device) -> nn.Module:
    return _wrapped(shape, settings, _FROZEN_SEED).to(device)


def _wrapped(shape: tuple[int, ...], settings: str, seed: int) -> nn.Module:
    """A layer of that weight inside peft's method, without bias and without dropout."""
    return _tuner(shape, settings, seed).model.eval()


def _tuner(shape: tuple[int, ...], settings: str, seed: int) -> nn.Module:
    """peft's model around that layer, with whatever its layers share."""
    peft = _library()
    options: dict[str, Any] = json.loads(settings)
    method = options.pop("peft_type")
    kinds = {str(getattr(kind, "value", kind)): config for kind, config in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if method not in kinds:
        raise ValueError(f"peft {peft.__version__} has no method '{method}'; it has {', '.join(sorted(kinds))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rows, columns, *kernel = shape
        layer = nn.Conv2d(columns, rows, tuple(kernel), bias=False) if kernel else nn.Linear(columns, rows, bias=False)
        model = nn.Sequential()
        model.add_module(_NAME, layer)
        try:
            tuner = peft.get_peft_model(model, kinds[method](target_modules=[_NAME], **options)).base_model
        except (TypeError, NotImplementedError, AssertionError) as error:
            raise ValueError(f"peft's {method} refuses a layer of {list(shape)}: {error}") from error
    if not hasattr(tuner.model.get_submodule(_NAME), "base_layer"):
        raise ValueError(f"peft's {method} does not wrap single layers")
    return tuner


def _library() -> Any:
    try:
        import peft
    except ImportError as error:
        raise UserError("algorithm 'peft' needs the peft library: pip install 'lorabench[peft]'.") from error
    return peft


peft = Algorithm(
    name="peft",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("peft",),
    suffixes=(PREFIX,),
    saved_names=saved_names,
    description="Any method of the peft library, by its own config.",
)
