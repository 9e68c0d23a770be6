"""Which modules of a base model are trained: presets and regular expressions over names.

A module is called by its component and path, "unet.down_blocks.0.attentions.0.proj_in" or
"text_encoder.encoder.layers.0.mlp.fc1".
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping

from torch import nn

from lorabench.errors import UserError, unknown

Components = Mapping[str, nn.Module]  # {"unet": ..., "text_encoder": ...}

PRESETS = ("attention", "linear", "full")
CUSTOM = "regex:"  # trained_layers = "regex:<expression>" trains every module whose name it matches

_ATTENTION = r"\.(to_q|to_k|to_v|to_out\.0|q_proj|k_proj|v_proj|out_proj)$"
_TRANSFORMER = r"\.ff\.net\.(0\.proj|2)$|\.attentions\.\d+\.proj_(in|out)$|\.mlp\.fc[12]$"
_BLOCK = r"\.(attentions|resnets)\.\d+\."  # the norms of `full`; the U-Net's last norm is outside of it


def canonical(name: str) -> str:
    """The name of a module without dots and without `text_model`, which transformers took out of some of its paths.

    Files, random seeds and spellings of different library versions meet in it.
    """
    return re.sub(r"^(text_encoder(?:_2)?)_text_model_", r"\1_", name.replace(".", "_"))


def trainable_modules(components: Components) -> dict[str, nn.Module]:
    """Every Linear, Conv2d and affine LayerNorm or GroupNorm of the components, by name, in the model's own order."""
    return {
        f"{component}.{path}": module
        for component, root in components.items()
        for path, module in root.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) or is_norm(module)
    }


def trained_modules(
    components: Components, trained_layers: str, train_unet: bool = True, train_text_encoder: bool = True
) -> tuple[str, ...]:
    """Names of the modules that a preset or "regex:<expression>" trains (re.search on the whole name).

    `attention`: query, key, value and output projections. `linear`: and the other matrices of transformer blocks with
    the 1x1 projections around them. `full`: and all else of the U-Net that has a matrix or a kernel (of SDXL not what
    embeds sizes, which LyCORIS' preset does not name), with the affine parameters of the norms inside its transformer
    and resnet blocks. Embeddings are never trained. UserError if the
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


def is_kernel(module: nn.Module) -> bool:
    """Whether it is a convolution of more than 1 x 1: what `conv_dim` and `conv_alpha` are for."""
    return isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm | nn.GroupNorm) and module.weight is not None


def _in_preset(name: str, module: nn.Module, preset: str) -> bool:
    if is_norm(module):
        return preset == "full" and name.startswith("unet.") and re.search(_BLOCK, name) is not None
    if preset == "full" and name.startswith("unet."):
        return not name.startswith("unet.add_embedding.")
    pattern = _ATTENTION if preset == "attention" else f"{_ATTENTION}|{_TRANSFORMER}"
    return re.search(pattern, name) is not None


def _matching(modules: Mapping[str, nn.Module], expression: str) -> tuple[str, ...]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UserError(f"trained_layers '{CUSTOM}{expression}' is not a regular expression: {error}.") from error
    return tuple(name for name in modules if pattern.search(name))


def _nothing_matches(trained_layers: str, names: tuple[str, ...]) -> str:
    words = re.sub(r"\W+", ".", trained_layers.removeprefix(CUSTOM)).strip(".").lower()
    # A typo is in a part of a name, most often the last.
    parts = {part: name for name in reversed(names) for part in (name.lower(), *name.lower().split("."))}
    near = (
        list(dict.fromkeys(parts[part] for part in difflib.get_close_matches(words, parts, n=3, cutoff=0.4)))
        or names[:3]
    )
    hint = f"The nearest of its {len(names)} names are {', '.join(near)}." if near else "It has no trainable module."
    return f"trained_layers '{trained_layers}' matches no module of this base model. {hint}"


def module_of(components: Components, name: str) -> nn.Module:
    """The module of that name; KeyError or AttributeError if this base model has none.

    Asked for hundreds of times a step: nn.Module.get_submodule takes twice as long.
    """
    component, path = name.split(".", 1)
    return functools.reduce(getattr, path.split("."), components[component])
