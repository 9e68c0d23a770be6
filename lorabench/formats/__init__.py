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

from lorabench import adapters
from lorabench import components as plugins
from lorabench.adapters import Adapter
from lorabench.bases import UNET
from lorabench.components import BIAS_SUFFIX, NORM_SUFFIXES, Algorithm, LoadedAdapter, Origin, Params, Words
from lorabench.errors import UserError
from lorabench.formats import _safetensors, _unusable, kohya
from lorabench.formats._original_names import original_names
from lorabench.formats._params import neutral_alpha, recognise_algorithm
from lorabench.formats._safetensors import refuse_pickle
from lorabench.layers import Components, canonical, is_kernel, recognise_layers, trainable_modules
from lorabench.records import AdapterConfig, TrainConfig

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
            except UserError as error:
                raise UserError(_named(path, unused) or str(error)) from error
    named = _named(path, unused)
    if named is not None:
        raise UserError(named)
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        refuse_pickle(file)
    instead = _safetensors.instead(path)
    if instead is not None:
        raise UserError(f"{path} is {instead}.")
    raise UserError(f"{path} is no checkpoint of a kind that lorabench reads: {', '.join(plugins.names('formats'))}.")


def _named(path: Path, unused: Sequence[str]) -> str | None:
    """A sentence that says what a file is of which nothing can be made here; None where nobody can tell."""
    if not path.is_file() or path.suffix != ".safetensors":
        return None
    header = _safetensors.header(path, unused)
    other = _unusable.not_an_adapter(header)
    if other is not None:
        return f"{path} {other}."
    return _of_another_model(path, _unusable.family(header)) if _unusable.holds_updates(header) else None


def _of_another_model(path: Path, family: _unusable.Family | None) -> str | None:
    return None if family is None or family.drawn else f"{path} is {family.words}; {_unusable.ELSEWHERE}."


def named(loaded: LoadedAdapter) -> str | None:
    """A sentence about an adapter of a model that lorabench cannot draw with; None of others."""
    return _of_another_model(loaded.source, _unusable.family_of(loaded))


def load_adapter(path: Path, components: Components, unused: Sequence[str] = ()) -> tuple[Adapter, LoadedAdapter]:
    """Read a checkpoint and fit it to the base model: the adapter to swap in, and what the file says of itself."""
    loaded = read_adapter(path, unused)
    return resolve(loaded, components), loaded


def save_adapter(
    path: Path,
    adapter: Adapter,
    config: TrainConfig,
    origin: Origin,
    dtype: DType = "float16",
    format_name: str = "kohya",
) -> None:
    """Write the adapter and the config that it is of, whole or not at all. UserError for a format that is only read."""
    format_ = plugins.find("formats", format_name)
    if format_.write is None:
        raise UserError(f"Format '{format_name}' can be read but not written; write kohya instead.")
    format_.write(path, _as_saved(adapter, config, origin, path), getattr(torch, dtype))


def file_size(adapter: Adapter, config: TrainConfig, dtype: DType = "float16") -> int:
    """Bytes of the kohya file that `save_adapter` would write, but for what it says of its origin.

    The adapter may be on the meta device.
    """
    return kohya.file_size(_as_saved(adapter, config, Origin(seed=0, epoch=0, step=0), Path()), getattr(torch, dtype))


def resolve(loaded: LoadedAdapter, components: Components) -> Adapter:
    """The adapter for this base model, params on its device, or as they are where it is on the meta device.

    dim, alpha, factor and trained layers that the file does not say are read off its weights. UserError if a module
    of the file is not in the base model, or its update or a word's vectors do not fit there.
    """
    algorithm = plugins.find("algorithms", loaded.algorithm, str(loaded.source))
    modules = trainable_modules(components)
    name_of = {canonical(other): name for name, other in original_names(modules).items()}
    name_of |= {canonical(name): name for name in modules}
    names = {key: name_of.get(_canonical_key(key)) for key in loaded.modules}
    _refuse_unmatched(loaded, [key for key, name in names.items() if name is None])
    _refuse_twice(names, loaded.source)
    words = _fitting_words(loaded, components)
    config = loaded.config.adapter if loaded.config else AdapterConfig(loaded.algorithm)
    for key, name in names.items():
        try:
            _check_fit(modules[name], loaded.modules[key], algorithm, config, f"{loaded.source}: '{key}'")
        except UserError as error:
            raise UserError(named(loaded) or f"{error}{_hint(loaded)}") from error
    if not config.trained_layers and not names:
        config = replace(config, trained_layers="embeddings")
    elif not config.trained_layers:
        layers = recognise_layers(components, frozenset(names.values()))
        kernels = frozenset(key for key, name in names.items() if is_kernel(modules[name]))
        config = replace(config, trained_layers=layers, **_sizes(loaded, algorithm, kernels), **_options(loaded))
    params = {name: _beside(modules[name].weight, loaded.modules[key]) for key, name in names.items()}
    alphas = {names[key]: alpha for key, alpha in loaded.alphas.items() if alpha != config.alpha}
    return Adapter(algorithm, config, params, alphas, words)


def adapter_of(
    modules: Mapping[str, Params],
    alphas: Mapping[str, float],
    components: Components,
    source: Path,
    words: Words,
) -> Adapter:
    """An adapter of params that were made here, by dotted names of modules; its algorithm is known by their names."""
    algorithm = recognise_algorithm(modules, source)
    return resolve(LoadedAdapter(algorithm.name, None, modules, alphas, source, words=words), components)


def config_of(loaded: LoadedAdapter, adapter: Adapter) -> TrainConfig:
    """What a file says of its training, with the layers and sizes that it was found to have."""
    return replace(loaded.config or TrainConfig(loaded.source.stem, adapter.config), adapter=adapter.config)


def unused_words(loaded: LoadedAdapter, adapter: Adapter) -> list[str]:
    """A note of what the base model has no place for among the words that the file brings."""
    notes = []
    for word, vectors in loaded.words.items():
        beyond = vectors.keys() - adapter.words.get(word, {}).keys()
        if word not in adapter.words:
            widths = " and ".join(f"{each.shape[1]} wide for {name}" for name, each in vectors.items())
            notes.append(f"its word '{word}' is not used: its vectors are {widths}, which this base does not read")
        elif beyond:
            notes.append(f"of its word '{word}' the vectors for {', '.join(sorted(beyond))} are not used")
    return notes


def _as_saved(adapter: Adapter, config: TrainConfig, origin: Origin, path: Path) -> LoadedAdapter:
    alphas = {name: _alpha(adapter, name) for name, params in adapter.modules.items() if not _norm(params)}
    words = adapter.words
    return LoadedAdapter(adapter.algorithm.name, config, adapter.modules, alphas, path, origin, words=words)


def _alpha(adapter: Adapter, name: str) -> float:
    """The alpha a file states for the module; where none is set, the one that changes nothing."""
    alpha = adapters.alpha_of(adapter, name)
    return float(alpha or neutral_alpha(adapter.algorithm, adapter.modules[name]))


def _beside(weight: torch.Tensor, params: Params) -> Params:
    return params if weight.is_meta else {suffix: tensor.to(weight.device) for suffix, tensor in params.items()}


def _canonical_key(key: str) -> str:
    """ "lora_unet_x", "lora_te_text_model_x" or "unet.x" as `layers.canonical` spells the module.

    LyCORIS numbers text encoders handed over as a list, and where it wraps one model alone says "lycoris_" of either.
    """
    key = re.sub(r"^lora_te1?_|^lycoris_(?=text_model_|encoder_layers_)", "text_encoder_", key)
    key = re.sub(r"^lora_te2_", "text_encoder_2_", key)
    return canonical(re.sub("^lycoris_", "unet_", key.removeprefix("lora_")))


def _refuse_unmatched(loaded: LoadedAdapter, unmatched: list[str]) -> None:
    if unmatched:
        raise UserError(
            named(loaded)
            or f"{loaded.source}: {len(unmatched)} of its {len(loaded.modules)} modules are not in this base model, "
            f"'{unmatched[0]}' for one; was it made for another base? (--allow-unused PATTERN leaves keys out.)"
            f"{_hint(loaded)}"
        )


def _hint(loaded: LoadedAdapter) -> str:
    family = _unusable.family_of(loaded)
    if family is None:
        return ""
    return f" It looks like {family.words}" + ("; name such a base with --base." if family.drawn else ".")


def _fitting_words(loaded: LoadedAdapter, components: Components) -> Words:
    """The words that every text encoder has a place for; what else the file holds is used without the others.

    UserError where it holds nothing else.
    """
    tables = {name: each.get_input_embeddings() for name, each in components.items() if name != UNET}
    widths = {name: table.weight.shape[1] for name, table in tables.items()}
    fitting = {
        word: {name: vectors[name] for name in widths}
        for word, vectors in loaded.words.items()
        if widths and all(name in vectors and vectors[name].shape[1] == width for name, width in widths.items())
    }
    if loaded.modules or not loaded.words:
        return fitting
    word, vectors = next(iter(loaded.words.items()))
    if not fitting or vectors.keys() - widths.keys():  # one that was trained for two is no word of one of them
        theirs = " and ".join(str(each.shape[1]) for _, each in sorted(vectors.items()))
        own = " and ".join(f"a text encoder of width {width}" for width in widths.values()) or "no text encoder"
        raise UserError(
            f"{loaded.source}: the vectors of its word '{word}' are {theirs} wide and this base has {own}; "
            "were they made for another base?"
        )
    return fitting


def _refuse_twice(names: Mapping[str, str], source: Path) -> None:
    for name, count in Counter(names.values()).items():
        if count > 1:
            both = " and ".join(f"'{key}'" for key in names if names[key] == name)
            raise UserError(f"{source}: {both} are the same module of this base model; the file must hold it once.")


def _sizes(loaded: LoadedAdapter, algorithm: Algorithm, kernels: frozenset[str]) -> dict[str, float | None]:
    """dim and alpha as the weights show them, where all modules have the same, and the largest factor.

    conv_dim and conv_alpha are those of kernels, where they differ. A factor shows only in layers whose width it
    divides.
    """
    held = {key: params for key, params in loaded.modules.items() if set(algorithm.suffixes) & set(params)}
    sizes = {key: algorithm.sizes_of(params) for key, params in held.items()}
    dims = {key: size["dim"] for key, size in sizes.items() if "dim" in size}
    found: dict[str, float | None] = {
        "dim": _only(dims, dims.keys() - kernels or dims.keys()),
        "alpha": _only(loaded.alphas, loaded.alphas.keys() - kernels or loaded.alphas.keys()),
        "factor": max((size["factor"] for size in sizes.values() if "factor" in size), default=None),
    }
    for key, values in (("dim", dims), ("alpha", loaded.alphas)):
        of_kernels = _only(values, values.keys() & kernels)
        found[f"conv_{key}"] = None if of_kernels == found[key] else of_kernels
    return found


def _only(values: Mapping[str, float], keys: Set[str]) -> float | None:
    """The one value that all these keys have; None if there is none."""
    found = {values[key] for key in values if key in keys}
    return found.pop() if len(found) == 1 else None


def _options(loaded: LoadedAdapter) -> dict[str, bool]:
    """The options of an algorithm that its suffixes give away."""
    suffixes = {suffix for params in loaded.modules.values() for suffix in params}
    return {option: bool(suffixes & marks) for option, marks in _MARKS.items()}


def _check_fit(module: nn.Module, params: Params, algorithm: Algorithm, config: AdapterConfig, place: str) -> None:
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
