"""peft's folder: adapter_model.safetensors with adapter_config.json, one for each component or one alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lorabench import store
from lorabench.components import SHARED_SUFFIX, Format, LoadedAdapter, Params, find
from lorabench.errors import UserError
from lorabench.formats import _safetensors
from lorabench.formats._params import gather, refuse_others, renamed
from lorabench.formats._peft_config import (
    METHODS,
    PeftConfig,
    alpha_of,
    pattern_of,
    peft_config,
    rank_of,
    scales_inputs,
    settings_of,
)
from lorabench.peft_settings import DIVISORS
from lorabench.records import AdapterConfig, TrainConfig
from lorabench.untrusted import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
_TUNER, _PREFIX = "base_model.", "base_model.model."  # of what layers share, and of the layers
OTHERS = "peft"  # the algorithm of methods that we have no formula of our own for
# peft's ends of keys and LyCORIS's; those of LoHa and LoKr are the same.
_SUFFIXES = {
    "lora_A.weight": "lora_down.weight",
    "lora_B.weight": "lora_up.weight",
    "lora_magnitude_vector": "dora_scale",
    "ia3_l": "weight",
}


def folder_of(config: Path) -> Path:
    """The folder that is one adapter, for an adapter_config.json in it or in that of one of its components."""
    return config.parent.parent if config.parent.name in _COMPONENTS else config.parent


def recognises(path: Path) -> bool:
    """A folder with adapter_config.json, in itself or in a component's, or the weights in such a folder."""
    path = _folder(path)
    return any((folder / CONFIG).is_file() for folder in (path, *(path / name for name in _COMPONENTS)))


def read(path: Path, unused: Sequence[str] = ()) -> LoadedAdapter:
    """A LoRA, LoHa or LoKr in our own terms, peft's other methods as algorithm "peft".

    UserError for what is saved besides.
    """
    path = _folder(path)
    modules: dict[str, Params] = {}
    alphas: dict[str, float] = {}
    folders = {name: path / name for name in _COMPONENTS if (path / name / CONFIG).is_file()} or {"": path}
    tables = {component: read_json(folder / CONFIG).root for component, folder in folders.items()}
    configs = {name: _config(table, folders[name] / CONFIG) for name, table in tables.items()}
    algorithms = {config.algorithm for config in configs.values()}
    if len(algorithms) > 1:
        raise UserError(f"{path} holds {' and '.join(sorted(algorithms))}; evaluate its folders one by one.")
    if algorithms == {OTHERS}:
        return _read_other(path, folders, tables, unused)
    for component, folder in folders.items():
        file = folder / WEIGHTS
        found, _ = gather(renamed(_weights(folder, unused), lambda key, of=component: _ours(key, of), file), file)
        for name, params in found.items():
            modules[name], alphas[name] = _read_module(params, configs[component], name, file)
    algorithm = algorithms.pop()
    return LoadedAdapter(algorithm, None, modules, {} if algorithm == "ia3" else alphas, path)


def _folder(path: Path) -> Path:
    return path.parent if path.name == WEIGHTS else path


def _read_other(
    path: Path, folders: Mapping[str, Path], tables: Mapping[str, Any], unused: Sequence[str]
) -> LoadedAdapter:
    settings = [settings_of(table, str(folders[name] / CONFIG)) for name, table in tables.items()]
    if any(other != settings[0] for other in settings):
        raise UserError(f"{path} holds adapters of different settings; evaluate its folders one by one.")
    try:
        names = find("algorithms", OTHERS).saved_names(settings[0])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    modules: dict[str, Params] = {}
    for component, folder in folders.items():
        modules |= _others_of(component, folder / WEIGHTS, _weights(folder, unused), names, settings[0]["peft_type"])
    config = TrainConfig(path.name, AdapterConfig(OTHERS, peft=settings[0]))
    return LoadedAdapter(OTHERS, config, modules, {}, path)


def _others_of(
    component: str, file: Path, tensors: Mapping[str, torch.Tensor], names: Mapping[str, str], method: str
) -> dict[str, Params]:
    """The modules of one component, each with whatever all of them share."""
    modules: dict[str, Params] = {}
    shared: Params = {}
    for key, tensor in tensors.items():
        suffix = next((each for each in names if key.endswith(f".{each}")), None)
        if suffix is None:
            raise UserError(f"{file}: '{key}' is nothing that {method} trains.")
        if key == f"{_TUNER}{suffix}":
            shared[names[suffix]] = tensor
        elif not names[suffix].startswith(SHARED_SUFFIX):  # some methods also save what is shared with every layer
            module = _ours(key.removesuffix(f".{suffix}"), component)
            modules.setdefault(module, {})[names[suffix]] = tensor
    for theirs, ours in names.items():
        if ours.startswith(SHARED_SUFFIX) and ours not in shared:
            raise UserError(
                f"{file} lacks '{_TUNER}{theirs}', which all layers of {method} share; "
                "save it again with save_projection = true."
            )
    return {name: {**params, **shared} for name, params in modules.items()}


def write(path: Path, adapter: LoadedAdapter, dtype: torch.dtype) -> None:
    """Write a folder with one for each component in it, whole or not at all.

    UserError for what peft's files cannot hold: norms, biases, other algorithms.
    """
    if adapter.algorithm == "dylora":  # a way to train a LoRA
        adapter = replace(adapter, algorithm="lora")
    if adapter.algorithm != "lora" and any("dora_scale" in params for params in adapter.modules.values()):
        raise UserError(f"peft has DoRA of LoRA only, not of {adapter.algorithm}; write kohya instead.")
    if adapter.algorithm not in (*METHODS.values(), OTHERS):
        known = ", ".join((*METHODS.values(), OTHERS))
        raise UserError(f"peft's files hold {known}; an adapter of {adapter.algorithm} can be written as kohya.")
    refuse_others(adapter, "peft")
    prepared = {}
    for component in _COMPONENTS:
        modules = {name: params for name, params in adapter.modules.items() if name.startswith(f"{component}.")}
        if modules:
            prepared[component] = (_tensors_of(component, modules, adapter), _config_of(component, modules, adapter))
    with store.whole_folder(path) as folder:
        for component, (tensors, config) in prepared.items():
            _safetensors.write(folder / component / WEIGHTS, tensors, {"format": "pt"}, dtype)
            (folder / component / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")


def _read_module(params: Params, config: PeftConfig, name: str, file: Path) -> tuple[Params, float]:
    path = name.split(".", 1)[1]
    if "weight" in params:
        return _read_ia3(params["weight"], scales_inputs(config, path)), 1.0
    sizes = find("algorithms", config.algorithm).sizes_of
    try:
        rank = sizes(params).get("dim")
    except KeyError as error:
        raise UserError(f"{file}: '{name}' lacks {error}; the file is not whole.") from error
    if "dora_scale" in params and "lora_up.weight" not in params:
        raise UserError(f"{file}: '{name}' has a DoRA magnitude and no LoRA, which peft does not write.")
    if "dora_scale" in params:
        points = [1] * (params["lora_up.weight"].ndim - 1)
        params = {**params, "dora_scale": params["dora_scale"].reshape(-1, *points)}
    if rank is None:  # two full blocks of LoKr, which peft scales all the same
        rank = rank_of(config, path)
        params = {**params, "lokr_w1": params["lokr_w1"] * (alpha_of(config, path, rank) / rank)}
    return params, alpha_of(config, path, rank)


def _read_ia3(scale: torch.Tensor, on_input: bool) -> Params:
    """peft stores l, and scales the bias too where it scales what a layer answers."""
    flags = {"on_input": torch.tensor(int(on_input)), "on_bias": torch.tensor(int(not on_input))}
    return {"weight": scale.flatten() - 1, **flags}


def _config(table: Mapping[str, Any], file: Path) -> PeftConfig:
    config = peft_config(table, str(file))
    if config.algorithm in METHODS.values() and config.lora_alpha is None and config.alpha is None:
        raise UserError(f"{file} has no alpha, so the scale of its update is unknown; add it.")
    return config


def _weights(folder: Path, unused: Sequence[str]) -> dict[str, Any]:
    pickled = folder / "adapter_model.bin"
    if not (folder / WEIGHTS).is_file():
        if pickled.is_file():
            _safetensors.refuse_pickle(pickled)
        raise UserError(f"{folder} has {CONFIG}, but {WEIGHTS} is missing; copy or save the adapter again.")
    return _safetensors.read(folder / WEIGHTS, unused)[0]


def _ours(key: str, component: str) -> str:
    path = key.removeprefix(_PREFIX)
    for theirs, ours in _SUFFIXES.items():
        if path.endswith(f".{theirs}"):
            path = path.removesuffix(theirs) + ours
    # peft does not say which model it wrapped; CLIP's layers are the ones called encoder.layers.
    return f"{component or ('text_encoder' if 'encoder.layers.' in path else 'unet')}.{path}"


def _tensors_of(component: str, modules: Mapping[str, Params], adapter: LoadedAdapter) -> dict[str, torch.Tensor]:
    """The weights of one component by peft's keys."""
    theirs = {ours: suffix for suffix, ours in _SUFFIXES.items()}
    if adapter.algorithm == OTHERS:
        names = find("algorithms", OTHERS).saved_names(adapter.config.adapter.peft)
        theirs = {ours: suffix for suffix, ours in names.items()}
    tensors = {}
    for name, params in modules.items():
        path = name.removeprefix(f"{component}.")
        for suffix, tensor in params.items():
            value = tensor.flatten() if suffix == "dora_scale" and tensor.ndim == 2 else tensor
            value = tensor.transpose(0, 1) if suffix == "dora_scale" and tensor.ndim == 4 else value
            if adapter.algorithm == OTHERS and suffix not in theirs:
                raise UserError(f"peft would not look for '{suffix}' of '{name}' in its folder; write kohya instead.")
            place = _TUNER if suffix.startswith(SHARED_SUFFIX) else f"{_PREFIX}{path}."
            tensors[f"{place}{theirs.get(suffix, suffix)}"] = value
    lacking = [
        name for ours, name in theirs.items() if ours.startswith(SHARED_SUFFIX) and f"{_TUNER}{name}" not in tensors
    ]
    if lacking:
        raise UserError(
            f"peft keeps one {lacking[0]} for all layers, and this adapter was trained with one for each shape; "
            "write kohya instead."
        )
    return tensors


def _config_of(component: str, modules: Mapping[str, Params], adapter: LoadedAdapter) -> dict[str, Any]:
    """What peft needs to build the same layers before it loads them."""
    if adapter.algorithm == OTHERS:
        paths = [name.removeprefix(f"{component}.") for name in modules]
        settings = adapter.config.adapter.peft
        method, (size, _) = settings["peft_type"], DIVISORS.get(settings["peft_type"], ("", 0))
        if size and size not in settings:
            raise UserError(f"peft keeps one {size} for all layers, and this {method} has one for each; write kohya.")
        return {**settings, "target_modules": paths, "base_model_name_or_path": adapter.origin.base}
    sizes = find("algorithms", adapter.algorithm).sizes_of
    ranks, alphas = {}, {}
    for name, params in modules.items():
        path = name.removeprefix(f"{component}.")
        rank = sizes(params).get("dim")
        # Full blocks of LoKr: a rank that no layer reaches, and no scale.
        ranks[path] = 10000 if rank is None else rank
        alphas[path] = float(10000 if rank is None else adapter.alphas[name])
    rank, rank_pattern = pattern_of(ranks)
    alpha, alpha_pattern = pattern_of(alphas)
    config = {"r": rank, "rank_pattern": rank_pattern, "alpha_pattern": alpha_pattern, "target_modules": list(ranks)}
    config["peft_type"] = next(method for method, name in METHODS.items() if name == adapter.algorithm)
    config["base_model_name_or_path"] = adapter.origin.base
    suffixes = {suffix for params in modules.values() for suffix in params}
    if adapter.algorithm == "lora":
        return config | {"lora_alpha": alpha, "use_dora": "dora_scale" in suffixes, "bias": "none"}
    config |= {"alpha": alpha, "use_effective_conv2d": bool(suffixes & {"hada_t1", "lokr_t2"})}
    if adapter.algorithm == "lokr":
        config |= {"decompose_factor": _factor_of(modules), "decompose_both": "lokr_w1_a" in suffixes}
    return config


def _factor_of(modules: Mapping[str, Params]) -> int:
    """The decompose_factor from which peft makes all these blocks. UserError if there is none."""
    cuts = {name: _cuts(params) for name, params in modules.items()}
    smallest = {min(small, large) for pairs in cuts.values() for small, large, _ in pairs}
    for factor in (*sorted(smallest, reverse=True), -1):
        if all(_is_cut(*pair, factor) for pairs in cuts.values() for pair in pairs):
            return factor
    name, pairs = next(iter(cuts.items()))
    raise UserError(
        f"peft cuts layers in one way for each factor, and none gives the blocks of this LoKr ('{name}': "
        f"{' and '.join(f'{small} x {large}' for small, large, _ in pairs)}); write kohya instead."
    )


Cut = tuple[int, int, tuple[int, ...]]  # first block, second block, the numbers of kernel entries that may be in it


def _cuts(params: Params) -> tuple[Cut, Cut]:
    """Of the outputs and of the inputs."""
    small = params["lokr_w1"].shape if "lokr_w1" in params else (len(params["lokr_w1_a"]), params["lokr_w1_b"].shape[1])
    if "lokr_w2" in params:
        return (small[0], params["lokr_w2"].shape[0], (1,)), (small[1], params["lokr_w2"].shape[1], (1,))
    rows = params["lokr_w2_a"].shape[1 if "lokr_t2" in params else 0]
    # A low-rank block of a kernel has its entries beside its inputs, and no shape says how many they are.
    entries = (1,) if "lokr_t2" in params else (1, 9, 25, 49)
    return (small[0], rows, (1,)), (small[1], params["lokr_w2_b"].shape[1], entries)


def _is_cut(small: int, large: int, entries: tuple[int, ...], factor: int) -> bool:
    inside = [large // count for count in entries if large % count == 0]
    return any(_peft_cut(small * each, factor) == (small, each) for each in inside)


def _peft_cut(width: int, factor: int) -> tuple[int, int]:
    """How peft's LoKr cuts a width: at the factor where it divides it, else in the evenest way within it."""
    if factor > 0 and width % factor == 0:
        return factor, width // factor
    limit = min(factor if factor > 0 else width, math.isqrt(width))
    small = max(divisor for divisor in range(1, limit + 1) if width % divisor == 0)
    return small, width // small


peft = Format(name="peft", recognises=recognises, read=read, write=write, description="peft folder.")
