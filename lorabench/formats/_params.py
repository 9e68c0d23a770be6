"""From the flat keys of a file to params by module: which suffix belongs to which algorithm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from lorabench import components
from lorabench.components import SUFFIXES_OF_ANY, Algorithm, LoadedAdapter, Params
from lorabench.errors import UserError

_FLAGS = ("on_input", "on_bias")  # settings of (IA)^3, which LyCORIS saves in the weights' dtype


def gather(tensors: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Params], dict[str, float]]:
    """Params and alphas by module from keys "<module>.<suffix>". UserError for an unknown suffix or an empty file."""
    known = {"alpha", *SUFFIXES_OF_ANY, *(suffix for one in _algorithms() for suffix in one.suffixes)}
    # Families first, then the longest: "peft.x.weight" and "lora_up.weight" end with (IA)^3's "weight".
    suffixes = sorted(known, key=lambda suffix: (not suffix.endswith("."), -len(suffix), suffix))
    modules: dict[str, Params] = {}
    alphas: dict[str, float] = {}
    for key, tensor in tensors.items():
        suffix = next((end for suffix in suffixes if (end := _end(key, suffix))), None)
        if suffix is None:
            raise UserError(f"{path}: no algorithm of lorabench knows the end of key '{key}'; {_known(suffixes)}.")
        if tensor.numel() == 0 or tensor.ndim > 4 or (not tensor.is_floating_point() and tensor.numel() > 1):
            raise UserError(f"{path}: '{key}' holds no weights, but {tensor.dtype} {list(tensor.shape)}.")
        module = key.removesuffix(f".{suffix}")
        if suffix != "alpha":
            modules.setdefault(module, {})[suffix] = tensor.long() if suffix in _FLAGS else tensor
        elif tensor.numel() == 1:
            alphas[module] = tensor.item()
        else:
            raise UserError(f"{path}: '{key}' must be one number, its shape is {list(tensor.shape)}.")
    lonely = sorted(alphas.keys() - modules.keys())
    if lonely:
        raise UserError(f"{path}: '{lonely[0]}.alpha' stands alone: the file has no weights of that module.")
    if not modules:
        raise UserError(f"{path} holds no module of an adapter; is it the right file?")
    return modules, alphas


def renamed(tensors: Mapping[str, Tensor], rename: Callable[[str], str], path: Path) -> dict[str, Tensor]:
    """The tensors under other names. UserError if two of the file's keys are the same one."""
    found: dict[str, str] = {}
    for key in tensors:
        twin = found.setdefault(rename(key), key)
        if twin != key:
            raise UserError(f"{path}: '{twin}' and '{key}' are two spellings of one key; the file must hold it once.")
    return {name: tensors[key] for name, key in found.items()}


def refuse_others(adapter: LoadedAdapter, format_name: str) -> None:
    """UserError if the adapter has words, norms, biases or Tucker factors, which other formats cannot hold."""
    beyond = {*SUFFIXES_OF_ANY, "lora_mid.weight"}
    if adapter.words:
        raise UserError(
            f"A {format_name} file cannot hold the words {', '.join(adapter.words)}; write kohya instead, or leave "
            "them out with --allow-unused 'bundle_emb.*'."
        )
    for name, params in adapter.modules.items():
        kept = sorted(beyond & params.keys())
        if kept:
            raise UserError(f"A {format_name} file cannot hold '{name}.{kept[0]}'; write kohya instead.")


def recognise_algorithm(modules: Mapping[str, Params], path: Path) -> Algorithm:
    """The algorithm that uses all suffixes of the file and knows them as its own, else "mixed", one for each module.

    UserError if a module is of none.
    """
    used = {suffix for params in modules.values() for suffix in params} - SUFFIXES_OF_ANY
    if not used:
        return components.find("algorithms", "native")  # biases and norms alone: full updates
    own = {name: params for name, params in modules.items() if params.keys() - SUFFIXES_OF_ANY}
    alone = components.algorithm_using(used, next(iter(own.values())))
    if alone is not None:
        return alone
    for name, params in own.items():
        suffixes = params.keys() - SUFFIXES_OF_ANY
        if components.algorithm_using(suffixes, params) is None:
            raise UserError(f"{path}: '{name}' is of no algorithm of lorabench: it has {', '.join(sorted(suffixes))}.")
    return components.find("algorithms", "mixed")


def with_neutral_alphas(
    modules: Mapping[str, Params], alphas: Mapping[str, float], algorithm: Algorithm
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Alphas for all modules, a scale of 1 where the file says none, as other tools take it; and a note of that."""
    found = dict(alphas)
    for name, params in modules.items():
        if has_alpha(algorithm, params) and name not in found:
            try:
                found[name] = neutral_alpha(algorithm, params)
            except KeyError:  # a part of the module is missing, which is said where it is fitted
                continue
    added = len(found) - len(alphas)
    if not added:
        return found, ()
    which = "it has no alpha" if not alphas else f"{added} of its {len(modules)} modules have no alpha"
    return found, (f"{which}, so alpha = rank is taken, a scale of 1, as other programs do",)


def neutral_alpha(algorithm: Algorithm, params: Params) -> float:
    """The alpha that changes nothing of a module's update. KeyError for a module that is not whole."""
    own = algorithm.of_module(params) if algorithm.of_module else algorithm
    return float(own.sizes_of(params).get("dim", 1) if own.neutral_alpha is None else own.neutral_alpha)


def has_alpha(algorithm: Algorithm, params: Params) -> bool:
    """Whether the module's update is scaled by alpha: norms, biases and full updates are not."""
    own = algorithm.of_module(params) if algorithm.of_module else algorithm
    return "alpha" in own.hyperparameters and bool(params.keys() - SUFFIXES_OF_ANY)


def _end(key: str, suffix: str) -> str:
    """The part of the key that is that suffix, or of that family ("x."); "" if none is."""
    if suffix.endswith("."):
        _, dot, rest = key.partition(f".{suffix}")
        return f"{suffix}{rest}" if dot else ""
    return suffix if key.endswith(f".{suffix}") else ""


def _algorithms() -> list[Algorithm]:
    return [components.find("algorithms", name) for name in components.names("algorithms")]


def _known(suffixes: list[str]) -> str:
    return f"it reads {', '.join(sorted(suffixes))}"
