"""Checkpoint files: read any of them, fit it to a base model, save an adapter. One file = one kind of checkpoint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from lorabench import components as plugins
from lorabench.adapters import Adapter
from lorabench.components import BIAS_SUFFIX, NORM_SUFFIXES, Algorithm, LoadedAdapter, Origin, Params
from lorabench.errors import UserError
from lorabench.formats import kohya
from lorabench.formats._safetensors import refuse_pickle
from lorabench.layers import Components, canonical, is_kernel, recognise_layers, trainable_modules
from lorabench.records import TrainConfig

_MARKS = {
    "dora": {"dora_scale"},
    "tucker": {"lora_mid.weight", "hada_t1", "lokr_t2"},
    "decompose_both": {"lokr_w1_a"},
}
_FAULTS = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RuntimeError)
DType = Literal["float16", "bfloat16", "float32"]


def read_adapter(path: Path, unused: Sequence[str] = ()) -> LoadedAdapter:
    """Read a checkpoint in whichever format recognises it. UserError, naming file and key, for a faulty one.

    Every key counts, but for those that match a glob pattern in `unused`.
    """
    if not path.exists():
        raise UserError(f"Checkpoint {path} does not exist.")
    refuse_pickle(path)
    for name in plugins.names("formats"):
        format_ = plugins.find("formats", name)
        if format_.recognises(path):
            try:
                return format_.read(path, unused)
            except _FAULTS as error:  # other people's files can be broken in ways that nobody has thought of
                raise UserError(f"{path} is a faulty {name} file ({error!r}); save it again.") from error
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        refuse_pickle(file)
    raise UserError(f"{path} is no checkpoint of a kind that lorabench reads: {', '.join(plugins.names('formats'))}.")


def load_adapter(path: Path, components: Components, unused: Sequence[str] = ()) -> tuple[Adapter, LoadedAdapter]:
    """Read a checkpoint and fit it to the base model: the adapter to swap in, and what the file says of itself."""
    loaded = read_adapter(path, unused)
    return resolve(loaded, components), loaded


def save_adapter(
    path: Path,
    adapter: Adapter,
    origin: Origin,
    dtype: DType = "float16",
    format_name: str = "kohya",
) -> None:
    """Write the adapter, whole or not at all. UserError for a format that is only read."""
    format_ = plugins.find("formats", format_name)
    if format_.write is None:
        raise UserError(f"Format '{format_name}' can be read but not written; write kohya instead.")
    format_.write(path, _as_saved(adapter, path, origin), getattr(torch, dtype))


def file_size(adapter: Adapter, dtype: DType = "float16") -> int:
    """Bytes of the kohya file that `save_adapter` would write, but for what it says of its origin.

    The adapter may be on the meta device.
    """
    return kohya.file_size(_as_saved(adapter, Path(), Origin(seed=0, epoch=0, step=0)), getattr(torch, dtype))


def resolve(loaded: LoadedAdapter, components: Components) -> Adapter:
    """The adapter for this base model, params on its device, or as they are where it is on the meta device.

    dim, alpha, factor and trained layers that the file does not say are read off its weights. UserError if a module
    of the file is not in the base model, or its update does not fit there.
    """
    algorithm = plugins.find("algorithms", loaded.algorithm, str(loaded.source))
    modules = trainable_modules(components)
    name_of = {canonical(name): name for name in modules}
    names = {key: name_of.get(_canonical_key(key)) for key in loaded.modules}
    _refuse_unmatched(loaded, [key for key, name in names.items() if name is None])
    _refuse_twice(names, loaded.source)
    config = loaded.config or TrainConfig(loaded.source.stem, loaded.algorithm, trained_layers="", lr=float("nan"))
    for key, name in names.items():
        _check_fit(modules[name], loaded.modules[key], algorithm, config, f"{loaded.source}: '{key}'")
    if not config.trained_layers:
        layers = recognise_layers(components, frozenset(names.values()))
        kernels = frozenset(key for key, name in names.items() if is_kernel(modules[name]))
        config = replace(config, trained_layers=layers, **_sizes(loaded, algorithm, kernels), **_options(loaded))
    params = {name: _beside(modules[name].weight, loaded.modules[key]) for key, name in names.items()}
    alphas = {names[key]: alpha for key, alpha in loaded.alphas.items() if alpha != config.alpha}
    return Adapter(algorithm, config, params, alphas)


def _as_saved(adapter: Adapter, path: Path, origin: Origin) -> LoadedAdapter:
    alphas = {name: _alpha(adapter, name) for name, params in adapter.modules.items() if not _norm(params)}
    return LoadedAdapter(adapter.algorithm.name, adapter.config, adapter.modules, alphas, path, origin)


def _alpha(adapter: Adapter, name: str) -> float:
    """The alpha a file states for the module; where none is set, the one that changes nothing."""
    alpha, params = adapter.alphas.get(name, adapter.config.alpha), adapter.modules[name]
    algorithm = adapter.algorithm.of_module(params) if adapter.algorithm.of_module else adapter.algorithm
    if alpha or algorithm.neutral_alpha is not None:
        return float(alpha or algorithm.neutral_alpha)
    return float(algorithm.sizes_of(params).get("dim", 1))


def _beside(weight: torch.Tensor, params: Params) -> Params:
    return params if weight.is_meta else {suffix: tensor.to(weight.device) for suffix, tensor in params.items()}


def _canonical_key(key: str) -> str:
    """ "lora_unet_x", "lora_te_text_model_x" or "unet.x" as `layers.canonical` spells the module.

    LyCORIS numbers text encoders handed over as a list, and where it wraps one model alone says "lycoris_" of either.
    """
    key = re.sub(r"^lora_te1?_|^lycoris_(?=text_model_|encoder_layers_)", "text_encoder_", key)
    return canonical(re.sub("^lycoris_", "unet_", key.removeprefix("lora_")))


def _refuse_unmatched(loaded: LoadedAdapter, unmatched: list[str]) -> None:
    if unmatched:
        raise UserError(
            f"{loaded.source}: {len(unmatched)} of its {len(loaded.modules)} modules are not in this base model, "
            f"'{unmatched[0]}' for one; was it made for another base? (--allow-unused PATTERN leaves keys out.)"
        )


def _refuse_twice(names: Mapping[str, str], source: Path) -> None:
    for name, count in Counter(names.values()).items():
        if count > 1:
            both = " and ".join(f"'{key}'" for key in names if names[key] == name)
            raise UserError(f"{source}: {both} are the same module of this base model; the file must hold it once.")


def _sizes(loaded: LoadedAdapter, algorithm: Algorithm, kernels: frozenset[str]) -> dict[str, float | None]:
    """dim, alpha and factor as the weights show them: the most frequent, and the largest factor.

    conv_dim and conv_alpha are those of kernels, where they differ. A factor shows only in layers whose width it
    divides.
    """
    held = {key: params for key, params in loaded.modules.items() if set(algorithm.suffixes) & set(params)}
    sizes = {key: algorithm.sizes_of(params) for key, params in held.items()}
    dims = {key: size["dim"] for key, size in sizes.items() if "dim" in size}
    found: dict[str, float | None] = {
        "dim": _most(dims, dims.keys() - kernels or dims.keys()),
        "alpha": _most(loaded.alphas, loaded.alphas.keys() - kernels or loaded.alphas.keys()),
        "factor": max((size["factor"] for size in sizes.values() if "factor" in size), default=None),
    }
    for key, values in (("dim", dims), ("alpha", loaded.alphas)):
        of_kernels = _most(values, values.keys() & kernels)
        found[f"conv_{key}"] = None if of_kernels == found[key] else of_kernels
    return found


def _most(values: Mapping[str, float], keys: Set[str]) -> float | None:
    """The most frequent of the values under these keys; None if there is none."""
    counted = Counter(values[key] for key in values if key in keys)
    return counted.most_common(1)[0][0] if counted else None


def _options(loaded: LoadedAdapter) -> dict[str, bool]:
    """The options of an algorithm that its suffixes give away."""
    suffixes = {suffix for params in loaded.modules.values() for suffix in params}
    return {option: bool(suffixes & marks) for option, marks in _MARKS.items()}


def _check_fit(module: nn.Module, params: Params, algorithm: Algorithm, config: TrainConfig, place: str) -> None:
    """UserError if the update is not one of this module, found on the meta device, where sums cost nothing."""
    shapes = ", ".join(f"{suffix} {list(tensor.shape)}" for suffix, tensor in params.items())
    wrong = UserError(
        f"{place} does not fit this base model: {shapes} on a weight of {list(module.weight.shape)}; "
        "was it made for another base?"
    )
    bias = params.get(NORM_SUFFIXES[1], params.get(BIAS_SUFFIX))
    if bias is not None and (module.bias is None or bias.shape != module.bias.shape):
        raise wrong
    if _norm(params):
        if params[NORM_SUFFIXES[0]].shape != module.weight.shape:
            raise wrong
        return
    weight = torch.empty(module.weight.shape, device="meta")
    try:
        algorithm.delta_weight({suffix: tensor.to("meta") for suffix, tensor in params.items()}, weight, config)
    except KeyError as error:
        raise UserError(f"{place} lacks {error}, which {algorithm.name} needs; the file is not whole.") from error
    except _FAULTS as error:
        raise wrong from error


def _norm(params: Mapping[str, torch.Tensor]) -> bool:
    return NORM_SUFFIXES[0] in params
