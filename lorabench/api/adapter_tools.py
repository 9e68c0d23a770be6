"""Commands about adapters as files: count what one would hold, look into one, turn one into another format."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import torch

from lorabench import adapters, architectures, base_models, components, config, formats, store
from lorabench.adapters import Adapter
from lorabench.algorithms.peft import wraps_kernels
from lorabench.api.adapter_folders import adapter_files, names_of
from lorabench.components import LoadedAdapter
from lorabench.config import MINI
from lorabench.errors import UserError, unknown
from lorabench.layers import Components, module_of
from lorabench.records import TEXTUAL_INVERSION, AdapterConfig, TrainConfig
from lorabench.stages.weight_health import WHOLE, weight_health
from lorabench.statistics.validation import unlike_others

MERGED, KOHYA, DIFFUSERS, PEFT, EMBEDDING = "merged", "kohya", "diffusers", "peft", "embedding"


def count(base: str, config: AdapterConfig) -> dict[str, Any]:
    """Parameters, modules and bytes of the file (float16, kohya) that training this config on this base would make.

    Worked out on the meta device; `base` is a name of `architectures`, "mini", or as in a study.
    """
    found = base_models.architecture(base_source(base))
    algorithm = components.find("algorithms", config.algorithm, "--algorithm")
    words = adapters.blank_words(found, config, ["word"])
    adapter = adapters.create(found, algorithm, config, 0, words if config.vectors else None)
    modules = Counter(name.split(".", 1)[0] for name in adapter.modules)
    return {
        "base": base,
        "algorithm": config.method,
        "trained_layers": config.trained_layers,
        "parameters": adapters.count_parameters(adapter),
        "modules": {component: modules[component] for component in found},
        "bytes": formats.file_size(adapter, TrainConfig("count", config)),
    }


def peft_settings(text: str | None) -> dict[str, Any] | None:
    """The table `peft` of a config from JSON, or from the name of a method. UserError if it is neither."""
    if text is None:
        return None
    if text.isalnum():
        return {"peft_type": text}
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise UserError(f"--peft is neither the name of a method nor JSON: {error}.") from error
    if not isinstance(settings, dict):
        raise UserError('--peft must be a table of settings: {"peft_type": "VERA", "r": 8}, say.')
    return settings


def inspect(path: Path, base: str | None, unused: Sequence[str] = ()) -> dict[str, Any]:
    """What an adapter file holds: algorithm, layers, sizes, norms of its updates, metadata.

    Without `base` the file is fitted to the architectures there are. Norms are of |dW| at merge ratio 1; None where
    they depend on weights of the base that are not here. `blocks` is the health of the update block by block, see
    `BlockHealth`. UserError for a file that fits none.
    """
    loaded = formats.read_adapter(path, unused)
    name, found, adapter = fitted(loaded, base)
    rows = [_module_row(found, adapter, loaded, module) for module in adapter.modules]
    norms = [row["norm"] for row in rows if row["norm"] is not None]
    health = [_without_nan(vars(row)) for row in weight_health(found, adapter)] or [{}]
    config = adapter.config
    return {
        "file": str(path),
        "algorithm": loaded.algorithm,
        "fits": name,
        "base": loaded.origin.base or None,
        "trained_layers": config.trained_layers,
        "modules": dict(Counter(module.split(".", 1)[0] for module in adapter.modules)),
        **{key: getattr(config, key) for key in components.find("algorithms", loaded.algorithm).hyperparameters},
        **_spans(adapter),
        "words": {word: {name: list(each.shape) for name, each in of.items()} for word, of in adapter.words.items()},
        "seed": loaded.origin.seed,
        "epoch": loaded.origin.epoch,
        "step": loaded.origin.step,
        "parameters": adapters.count_parameters(adapter),
        "bytes": sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()),
        "norm_median": statistics.median(norms) if norms else None,
        "norm_max": max(norms, default=None),
        **{name: value for name, value in health[-1].items() if name not in ("block", "matrices")},
        "blocks": health,
        "layers": rows,
        "assumed": "; ".join([*loaded.notes, *formats.unused_words(loaded, adapter)]),
        "metadata": dict(loaded.metadata),
    }


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def compare_health(folder: Path, base: str | None, unused: Sequence[str] = ()) -> dict[str, Any]:
    """The health of the weights of several adapters, a row a file, block by block, and what is unlike the others."""
    rows, refused = [], {}
    files = adapter_files(folder)
    names = names_of(files, folder)
    for file in files:
        try:
            _, found, adapter = fitted(formats.read_adapter(file, unused), base)
        except UserError as error:
            refused[str(file)] = str(error)
            continue
        rows += [{"checkpoint": names[file], **vars(row)} for row in weight_health(found, adapter)]
    if not rows:
        reasons = "\n".join(refused.values())
        raise UserError(f"None of the {len(files)} files in {folder} can be looked into:\n{reasons}")
    table = pd.DataFrame(rows)
    whole = table[table["block"] == WHOLE].drop(columns=["block", "matrices"])
    return {
        "folder": str(folder),
        "files": [_without_nan(row) for row in whole.to_dict("records")],
        "blocks": [_without_nan(row) for row in rows],
        "unlike": unlike_others(table).to_dict("records"),
        "refused": refused,
    }


def convert(
    path: Path,
    out: Path,
    to: str,
    base: str | None,
    scale: float,
    dtype: formats.DType,
    unused: Sequence[str] = (),
) -> None:
    """Write the adapter in another format, or merged into a base model at a merge ratio. UserError if it cannot be.

    As embeddings its words alone are written: one as a file, several as a folder with a file each, called by the word.
    """
    writable = [name for name in components.names("formats") if components.find("formats", name).write is not None]
    if to not in (*writable, MERGED):
        raise UserError(unknown("format", to, (*writable, MERGED), "--to"))
    if dtype not in get_args(formats.DType):
        raise UserError(unknown("dtype", dtype, get_args(formats.DType), "--dtype"))
    if not math.isfinite(scale):
        raise UserError(f"--scale must be a number, got {scale}.")
    if out.exists():
        raise UserError(f"{out} exists; remove it or name another path.")
    if to in (KOHYA, DIFFUSERS) and out.suffix != ".safetensors":
        raise UserError(f"{out} would be found by no reader: let the name of a {to} file end in .safetensors.")
    loaded = formats.read_adapter(path, unused)
    if not loaded.modules and to not in (KOHYA, EMBEDDING):
        names = ", ".join(loaded.words)
        raise UserError(
            f"{path} holds words ({names}) and no weight update: --to {EMBEDDING} or {KOHYA} can hold them."
        )
    if to == EMBEDDING:
        _write_words(loaded, out, base, dtype)
    elif to == MERGED:
        _refuse_words(loaded)
        if dtype != "float32":
            raise UserError("--to merged writes float32, which rounds nothing: leave --dtype out.")
        _merge(loaded, out, base, scale)
    else:
        if scale != 1:
            raise UserError("--scale is for --to merged: an adapter's merge ratio is chosen when it is used.")
        _, found, adapter = fitted(loaded, base)
        if to == PEFT:
            _check_wrapped(found, adapter)
        formats.save_adapter(out, adapter, formats.config_of(loaded, adapter), loaded.origin, dtype, to)


def _write_words(loaded: LoadedAdapter, out: Path, base: str | None, dtype: formats.DType) -> None:
    adapter = fitted(loaded, base)[2]
    if not adapter.words:
        raise UserError(f"{loaded.source} brings no words: there is nothing to write as an embedding.")
    alone = out.suffix == ".safetensors"
    if alone and len(adapter.words) > 1:
        raise UserError(f"{loaded.source} brings {len(adapter.words)} words: name a folder, for a file of each.")
    saved = replace(adapter, algorithm=components.find("algorithms", TEXTUAL_INVERSION), modules={}, alphas={})
    stated = formats.config_of(loaded, adapter)
    with nullcontext(out.parent) if alone else store.whole_folder(out) as folder:
        for word, vectors in adapter.words.items():
            file = out if alone else folder / f"{word.replace('/', '-')}.safetensors"
            formats.save_adapter(file, replace(saved, words={word: vectors}), stated, loaded.origin, dtype, EMBEDDING)


def _refuse_words(loaded: LoadedAdapter) -> None:
    if loaded.words:
        raise UserError(
            f"{loaded.source} brings words ({', '.join(loaded.words)}), for which a base's weights have no place; "
            "leave them out with --allow-unused 'bundle_emb.*'."
        )


def _check_wrapped(found: Components, adapter: Adapter) -> None:
    """UserError for convolutions that peft's own method would not wrap when it loads the folder."""
    kernels = [name for name in adapter.modules if isinstance(module_of(found, name), torch.nn.Conv2d)]
    if adapter.algorithm.name == "peft" and kernels and not wraps_kernels(adapter.config):
        method = adapter.config.method.partition(":")[2]
        raise UserError(f"peft's {method} wraps no convolution ('{kernels[0]}' is one); write kohya instead.")


def _merge(loaded: LoadedAdapter, out: Path, source: str | None, scale: float) -> None:
    if source is None or source in architectures.ARCHITECTURES:
        raise UserError("--to merged needs the base model's weights: add --base, a diffusers folder or .safetensors.")
    base = base_models.base_of(base_source(source))
    model = base_models.load_base(base, torch.device("cpu"))
    adapter = formats.resolve(loaded, model.components)
    with store.whole_folder(out) as folder, adapters.swapped(model.components, (adapter, scale)):
        base_models.save_folder(model, base, folder)


def fitted(loaded: LoadedAdapter, base: str | None) -> tuple[str, Components, Adapter]:
    """The base that the adapter is for, its modules, and the adapter fitted to them.

    Weights are loaded where a base is named that has them. UserError if the file does not fit.
    """
    if base is not None and base not in architectures.ARCHITECTURES:  # "mini" is none of them
        found = base_models.load_base(base_models.base_of(base_source(base)), torch.device("cpu")).components
        return base, found, formats.resolve(loaded, found)
    candidates = [base] if base is not None else [MINI, *architectures.ARCHITECTURES]
    reasons = []
    for name in candidates:
        found = base_models.architecture(base_source(name))
        try:
            adapter = formats.resolve(loaded, found)
            return (name, found, adapter) if name != MINI else fitted(loaded, name)  # its weights are here
        except UserError as error:
            reasons.append(f"  {name}: {error}")
    named = formats.named(loaded)
    if named is not None:
        raise UserError(named)
    raise UserError("\n".join([f"{loaded.source} fits none of these; name its base with --base:", *reasons]))


def _module_row(found: Components, adapter: Adapter, loaded: LoadedAdapter, name: str) -> dict[str, Any]:
    params = adapter.modules[name]
    return {
        "module": name,
        "shapes": {suffix: list(tensor.shape) for suffix, tensor in params.items()},
        "alpha": adapter.alphas.get(name, adapter.config.alpha),
        "norm": _norm(found, adapter, name),
    }


def _spans(adapter: Adapter) -> dict[str, str]:
    """dim and alpha where modules differ in them, "1-8"; kernels count apart where the config has a size for them."""
    config, spans = adapter.config, {}
    algorithm = adapter.algorithm
    dims = {
        name: algorithm.sizes_of(params).get("dim")
        for name, params in adapter.modules.items()
        if "w_norm" not in params
    }
    for key, values in (("dim", dims), ("alpha", adapter.alphas)):
        found = sorted({value for value in values.values() if value is not None})
        if getattr(config, key) is None and key in algorithm.hyperparameters and len(found) > 1:
            spans[key] = f"{found[0]:g}-{found[-1]:g}"
    return spans


def _norm(found: Components, adapter: Adapter, name: str) -> float | None:
    """|dW| of the weight. Where the base has no weights, NaN stands for them: a norm that is NaN depends on them."""
    weight = module_of(found, name).weight
    known = torch.full(weight.shape, torch.nan) if weight.is_meta else weight.detach().float()
    norm = adapters.weight_update(adapter, name, known).norm().item()
    return None if math.isnan(norm) else norm


def base_source(base: str) -> str:
    """A base model of the command line: a name of `architectures`, or as in a study."""
    return base if base in architectures.ARCHITECTURES else config.base_source(base, Path())
