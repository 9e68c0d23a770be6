"""Methods of the peft library for Linear and Conv2d, by its own config: `peft = { peft_type = "VERA", r = 8 }`.

A layer is wrapped on its own, so methods that share matrices between layers (VeRA) draw them for each shape; peft's own
files hold them once, and every layer's params refer to those. A 1 x 1 convolution is a matrix: methods that wrap no
convolution are given it as one. Refused is what is no update of a weight and a bias: methods that are not linear in
their input (LILY), that turn the patches of a kernel (OFT), or that keep matrices made from the base model's weights
(PSOFT).
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from lorabench.components import SHARED_SUFFIX, Algorithm, Params
from lorabench.errors import UserError
from lorabench.peft_settings import checked_settings, for_layer
from lorabench.records import AdapterConfig
from lorabench.untrusted import offline

PREFIX = "peft."
_NAME, _DEFAULT = "layer", ".default"
_WEIGHT, _BIAS = f"{_NAME}.base_layer.weight", f"{_NAME}.base_layer.bias"
_WIDTHS = (64, 768, 1024, 1280)  # of a layer that shows how a method names things; block sizes have to divide it
_FROZEN_SEED = 0  # of what a method draws and does not train: the same whenever the layer is made again


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """peft's own initial values of what the method trains, under peft's names. ValueError for what it refuses.

    Some methods do not start at dW = 0 unless their settings say so (C3A, FourierFT).
    """
    settings = _settings(config)
    weight = _as_wrapped(weight, settings)
    seed = int(torch.randint(2**31, (), generator=rng))
    wrapped = _wrapped(tuple(weight.shape), settings, seed)
    for check in (_check, _check_start):
        check(settings, tuple(weight.shape[2:]))
    return {
        f"{PREFIX}{name}": parameter.detach().float().to(weight.device) for name, parameter in _trained(wrapped).items()
    }


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """W' - W, W' read off the wrapped layer's answers to unit inputs: what `_check` lets pass is linear in them."""
    settings = _settings(config)
    given = _as_wrapped(weight, settings)
    if weight.is_meta:  # only whether it fits is asked for, and not every method can answer without numbers
        _layer_with(params, _skeleton(tuple(given.shape), settings, torch.device("cpu")))
        _refuse_unless_update(settings, tuple(given.shape[2:]))
        return torch.empty_like(weight)
    layer = _layer_with(params, _skeleton(tuple(given.shape), settings, weight.device), given)
    return (_kernel_of(layer, given) - given).reshape(weight.shape)


def delta_bias(params: Params, weight: Tensor, bias: Tensor, config: AdapterConfig) -> Tensor | None:
    """b' - b: the wrapped layer's answer to nothing, less its bias; None of methods that leave it alone."""
    settings = _settings(config)
    if not _moves_bias(settings):
        return None
    weight = _as_wrapped(weight, settings)
    layer = _layer_with(params, _skeleton(tuple(weight.shape), settings, weight.device, bias=True), weight, bias)
    return layer(_unit_inputs(weight)[:1] * 0).flatten(1)[0].reshape(len(bias), -1)[:, 0] - bias


def _as_wrapped(weight: Tensor, settings: str) -> Tensor:
    """The weight as peft is given it: a 1 x 1 kernel as a matrix where the method wraps no convolution."""
    return weight if weight.shape[2:] != (1, 1) or _wraps_kernels(settings) else weight.flatten(1)


def wraps_kernels(config: AdapterConfig) -> bool:
    """Whether peft itself wraps convolutions with the method of a config."""
    return _wraps_kernels(_settings(config))


@functools.cache
def _wraps_kernels(settings: str) -> bool:
    try:
        return _example(settings, (1, 1)) is not None
    except ValueError:
        return False


def saved_names(settings: Mapping[str, Any]) -> dict[str, str]:
    """How peft's files call what the method trains in a layer, and what its layers share -> our name of it.

    UserError if it is no update of a weight.
    """
    try:
        text = _checked(json.dumps(dict(settings), sort_keys=True))
    except ValueError as error:
        raise UserError(f"It cannot be read: {error}.") from error
    for width in _WIDTHS:
        try:
            tuner = _tuner((width, width), text, _FROZEN_SEED)
        except ValueError as error:
            reason = error
            continue
        _refuse_unless_update(text, ())
        held = [*tuner.named_buffers(remove_duplicate=False), *tuner.named_parameters(remove_duplicate=False)]
        shared = {name.removesuffix(_DEFAULT) for name, _ in held if not name.startswith("model.")}
        own = {
            name.removeprefix(f"{_NAME}.").replace(_DEFAULT, ""): f"{PREFIX}{name}" for name in _trained(tuner.model)
        }
        return own | {name: f"{SHARED_SUFFIX}{name}" for name in shared}
    raise UserError(f"peft's {settings['peft_type']} cannot be read: {reason}.")


Layer = Callable[[Tensor], Tensor]


def _layer_with(params: Params, wrapped: nn.Module, weight: Tensor | None = None, bias: Tensor | None = None) -> Layer:
    """The wrapped layer with these numbers in it. ValueError if they are not those that the method trains."""
    shared = {
        f"{_NAME}.{n.removeprefix(SHARED_SUFFIX)}{_DEFAULT}": t
        for n, t in params.items()
        if n.startswith(SHARED_SUFFIX)
    }
    own = {n.removeprefix(PREFIX): t for n, t in params.items() if not n.startswith(SHARED_SUFFIX)}
    shapes = {name: shape for name, shape in _shapes(wrapped).items() if name not in shared}
    if shapes != {name: tensor.shape for name, tensor in own.items()}:
        raise ValueError(f"peft's method has {_shape_words(shapes)}, the file {_shape_words(own)}")
    _check_shared(wrapped, shared)
    base = {name: value for name, value in ((_WEIGHT, weight), (_BIAS, bias)) if value is not None}
    return lambda inputs: functional_call(wrapped, {**own, **shared, **base}, (inputs,))


def _check_shared(wrapped: nn.Module, shared: Params) -> None:
    """ValueError if a matrix that layers share has less than this layer uses of it."""
    held = {**dict(wrapped.named_buffers()), **dict(wrapped.named_parameters())}
    for name, tensor in shared.items():
        used = held[name].shape
        if len(used) != tensor.ndim or any(size < least for size, least in zip(tensor.shape, used)):
            raise ValueError(f"{name} is {list(tensor.shape)}, of which a layer uses {list(used)}")


def _shape_words(named: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {list(getattr(value, 'shape', value))}" for name, value in sorted(named.items()))


def _kernel_of(layer: Layer, weight: Tensor) -> Tensor:
    """The weight that gives a layer's answers, shaped like `weight`."""
    inputs = _unit_inputs(weight)
    answers = layer(inputs) - layer(inputs[:1] * 0)
    if weight.ndim == 2:
        return answers.T
    # An impulse meets the kernel from its last entry to its first.
    return answers.transpose(0, 1).flip(2, 3)


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


@functools.cache
def _check(settings: str, kernel: tuple[int, ...]) -> None:
    """ValueError if what the method does to a layer with such a kernel is no update of its weight and bias."""
    wrapped, other_base = (_example(settings, kernel, base_seed) for base_seed in (0, 1))
    if any(_shapes(wrapped) != _shapes(_example(settings, kernel, seed=seed)) for seed in range(1, 7)):
        raise ValueError("what it trains is drawn anew each time it is made")
    if _shapes(wrapped) != _shapes(_example(settings, kernel, bias=True)):
        raise ValueError("it trains more where a layer has a bias; lorabench's own methods do not")
    weight = wrapped.get_parameter(_WEIGHT)
    size = [2 * length + 1 for length in kernel]
    one, other = torch.randn(2, 2, weight.shape[1], *size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        weight.copy_(other_base.get_parameter(_WEIGHT))
        _stir(wrapped)
        _stir(other_base)
        try:
            answer, without = (layer(one) - layer(one * 0) for layer in (wrapped, other_base))
        except Exception as error:  # whatever goes wrong in a method, the sentence names it
            raise ValueError(f"it cannot be asked about a layer alone: {error}") from error
        apply = functional.conv2d if kernel else functional.linear
        update = (answer - apply(one, weight)).abs().max()
        # A method that trains the bias alone leaves rounding errors of the answer.
        tolerance = float(torch.maximum(1e-3 * update, 1e-5 * answer.abs().max()))
        near = functools.partial(torch.allclose, other=answer, atol=tolerance, rtol=0)
        if not near(without):
            raise ValueError("it keeps matrices made from the base model's weights, and here a layer is wrapped alone")
        if not near(wrapped(one + other) - wrapped(other)):
            raise ValueError("its answers are not linear in its inputs, so that no weight gives them")
        whole = _kernel_of(wrapped, weight)
        if not near(apply(one, whole)):
            raise ValueError("what it does to a kernel is no update of its weight")


@functools.cache
def _check_start(settings: str, kernel: tuple[int, ...]) -> None:
    """ValueError if the method's first values come from the base model's weights, which they are drawn without here."""
    first, other = (_trained(_example(settings, kernel, base_seed)) for base_seed in (0, 1))
    if any(not torch.equal(tensor, other[name]) for name, tensor in first.items()):
        raise ValueError("it starts from the base model's weights, and here every layer is wrapped alone")


def _refuse_unless_update(settings: str, kernel: tuple[int, ...]) -> None:
    """UserError where `_check` finds a fault."""
    try:
        _check(settings, kernel)
    except ValueError as error:
        raise UserError(f"peft's {json.loads(settings)['peft_type']} cannot be read: {error}.") from error


def _trained(wrapped: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in wrapped.named_parameters() if parameter.requires_grad}


def _shapes(wrapped: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in _trained(wrapped).items()}


@functools.cache
def _moves_bias(settings: str) -> bool:
    """Whether the method answers to nothing with anything but the bias."""
    wrapped = _example(settings, (), bias=True)
    with torch.no_grad():
        _stir(wrapped)
        bias = wrapped.get_parameter(_BIAS)
        return not torch.equal(wrapped(torch.zeros(1, bias.shape[0]))[0], bias)


def _example(
    settings: str, kernel: tuple[int, ...], base_seed: int = 0, seed: int = _FROZEN_SEED, bias: bool = False
) -> nn.Module:
    """The method around a small layer, as wide as its settings ask for."""
    for width in _WIDTHS:
        try:
            return _tuner((width, width, *kernel), settings, seed, base_seed, bias).model.eval()
        except ValueError as error:
            reason = error
    raise reason


def _stir(wrapped: nn.Module) -> None:
    """Random numbers for all that is trained, as after training: most methods begin by doing nothing."""
    rng = torch.Generator().manual_seed(1)
    for parameter in _trained(wrapped).values():
        parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.1)


def _settings(config: AdapterConfig) -> str:
    return _checked(json.dumps(dict(config.peft or {}), sort_keys=True))


@functools.cache
def _checked(text: str) -> str:
    """The settings themselves. ValueError unless `peft_settings` knows all of them, or if they begin with no update."""
    settings = json.loads(text)
    if str(settings.get("init_lora_weights")).lower() not in ("none", "true", "false", "gaussian", "orthogonal"):
        raise ValueError("an initialisation that changes the base model's weight is not one of an update")
    return json.dumps(checked_settings(settings), sort_keys=True)


@functools.lru_cache(maxsize=64)  # making a layer takes milliseconds, and every step needs each
def _skeleton(shape: tuple[int, ...], settings: str, device: torch.device, bias: bool = False) -> nn.Module:
    return _tuner(shape, settings, _FROZEN_SEED, bias=bias).model.eval().to(device)


def _wrapped(shape: tuple[int, ...], settings: str, seed: int) -> nn.Module:
    """A layer of that weight inside peft's method, without bias and without dropout."""
    return _tuner(shape, settings, seed).model.eval()


def _tuner(shape: tuple[int, ...], settings: str, seed: int, base_seed: int = 0, bias: bool = False) -> nn.Module:
    """peft's model around that layer, with whatever its layers share; ValueError for what it refuses."""
    peft = _library()
    options = for_layer(json.loads(settings), *shape[:2])
    method = options.pop("peft_type")
    kinds = {str(getattr(kind, "value", kind)): config for kind, config in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if method not in kinds:
        raise ValueError(f"peft {peft.__version__} has no method '{method}'; it has {', '.join(sorted(kinds))}")
    with torch.random.fork_rng(devices=[]), offline(), _nothing_compiled():
        torch.manual_seed(base_seed)
        rows, columns, *kernel = shape
        layer = nn.Conv2d(columns, rows, tuple(kernel), bias=bias) if kernel else nn.Linear(columns, rows, bias=bias)
        layer.weight.data *= 1 + base_seed  # no mean and no norm of it may stay the same either
        torch.manual_seed(seed)
        model = nn.Sequential()
        model.add_module(_NAME, layer)
        try:
            tuner = peft.get_peft_model(model, kinds[method](target_modules=[_NAME], **options)).base_model
        except Exception as error:  # whatever goes wrong in a method, the sentence names it
            raise ValueError(f"peft's {method} refuses a layer of {list(shape)}: {error}") from error
    if not hasattr(tuner.model.get_submodule(_NAME), "base_layer"):
        raise ValueError(f"peft's {method} does not wrap single layers")
    return tuner


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """Inside, peft's BOFT does without its CUDA extension: making a layer would start a compiler."""
    layer = importlib.import_module("peft.tuners.boft.layer")
    compiler, layer.get_fbd_cuda = layer.get_fbd_cuda, lambda: None
    try:
        yield
    finally:
        layer.get_fbd_cuda = compiler


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
    delta_bias=delta_bias,
    hyperparameters=("peft",),
    suffixes=(PREFIX,),
    saved_names=saved_names,
    description="A method of the peft library, by its own config.",
)
