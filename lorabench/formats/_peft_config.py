"""peft's hyperparameters, as its folders and diffusers' metadata spell them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import regex
from pydantic import BaseModel, Field

from lorabench import peft_settings
from lorabench.errors import UserError
from lorabench.untrusted import FileRecord, checked
from lorabench.values import given

METHODS = {"LORA": "lora", "LOHA": "loha", "LOKR": "lokr"}  # peft_type -> algorithm; all others are "peft"
IA3 = "IA3"  # read as our own (IA)^3, since its layers do not share one setting; not written: LyCORIS keeps biases
_PATTERNS = ("rank_pattern", "alpha_pattern")
_PATTERN_SECONDS = 0.2  # an expression can be written to take years
# Initialisations that leave the base model's weights alone; all others by name (PiSSA, OLoRA, ...) train what remains
# of them, so that their files are no updates of the base model.
_OF_AN_UPDATE = ("gaussian", "orthogonal", "eva")
# Settings of a LoRA that do more than a LoRA does; "" or its like where they are not used.
_VARIANTS = (
    *("use_qalora", "use_bdlora", "kasa_config", "velora_config", "monteclora_config", "arrow_config"),
    *("alora_invocation_tokens", "layer_replication", "lora_bias", "trainable_token_indices", "target_parameters"),
)
_Number = Annotated[float, Field(ge=-1e9, le=1e9)]  # an update of a larger scale is none that was trained
Number = TypeVar("Number", int, float)


class PeftConfig(FileRecord):
    """What is read of adapter_config.json; what it says of models, modules to import and ways to begin is not."""

    peft_type: str = "LORA"
    r: _Number | None = None
    lora_alpha: _Number | None = None
    alpha: _Number | None = None
    rank_pattern: dict[str, _Number] | None = None
    alpha_pattern: dict[str, _Number] | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    feedforward_modules: list[str] | str | None = None

    @property
    def algorithm(self) -> str:
        """The algorithm of peft_type: "peft" for all that we have no formula of our own for."""
        return "ia3" if self.peft_type == IA3 else METHODS.get(self.peft_type, "peft")


class _Method(BaseModel):
    peft_type: str = "LORA"


def peft_config(table: Mapping[str, Any], place: str) -> PeftConfig:
    """The record of a config. UserError for values of other kinds, and where it asks for more than an update."""
    if table.get("modules_to_save") or table.get("bias") not in (None, "none"):
        raise UserError(
            f"{place}: modules_to_save and bias say that more than an adapter was trained, which cannot be read; merge "
            "it with peft and evaluate the merged model."
        )
    start = table.get("init_lora_weights")
    if isinstance(start, str) and start not in _OF_AN_UPDATE:
        raise UserError(
            f"{place}: init_lora_weights {given(start)} changes the base model, so the file is no update of it; save "
            "it with peft's path_initial_model_for_weight_conversion."
        )
    variant = next((name for name in _VARIANTS if table.get(name)), None)
    if variant:
        raise UserError(f"{place}: {variant} makes it another method than LoRA, and none of that kind is read.")
    if checked(table, _Method, place).peft_type not in (*METHODS, IA3):  # the method's own settings are checked apart
        table = {key: value for key, value in table.items() if key in ("peft_type", *_PATTERNS)}
    config = checked(table, PeftConfig, place)
    if config.algorithm in METHODS.values() and config.r is not None and config.r < 1:
        raise UserError(f"{place}: 'r': a rank is 1 or more, got {config.r:g}.")
    patterns = {name: [*(getattr(config, name) or ())] for name in _PATTERNS}
    patterns["feedforward_modules"] = [config.feedforward_modules] * isinstance(config.feedforward_modules, str)
    for name, expressions in patterns.items():
        for expression in expressions:
            _check_pattern(expression, f"{place}: '{name}'")
    return config


def settings_of(table: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The config's settings as algorithm "peft" takes them.

    UserError where layers have settings of their own, or for a method or value that is not known.
    """
    for name in _PATTERNS:
        if table.get(name):
            raise UserError(f"{place}: {table['peft_type']} with {name} cannot be read; save it with equal layers.")
    try:
        return peft_settings.of_a_file(table)
    except ValueError as error:
        raise UserError(f"{place}: {str(error).rstrip('.')}.") from error


def alpha_of(config: PeftConfig, path: str, rank: int) -> float:
    """The alpha of a module such that gamma = alpha / rank, from its alpha, alpha_pattern and use_rslora.

    `path` is without component. Without a config, as in older files of diffusers, it is the rank.
    """
    usual = next((each for each in (config.lora_alpha, config.alpha) if each is not None), rank)
    alpha = _of_pattern(config.alpha_pattern, path, usual)
    return float(alpha) * math.sqrt(rank) if config.use_rslora else float(alpha)


def rank_of(config: PeftConfig, path: str) -> int:
    """The rank that peft divides alpha by, from r and rank_pattern; peft's own default is 8."""
    return int(_of_pattern(config.rank_pattern, path, config.r or 8))


def scales_inputs(config: PeftConfig, path: str) -> bool:
    """Whether IA3 scales what goes into the module at `path` rather than what comes out of it."""
    named = config.feedforward_modules or []
    if isinstance(named, str):
        return _matches(named, path)
    return any(path.endswith(name) for name in named)


def pattern_of(values: Mapping[str, Number]) -> tuple[Number, dict[str, Number]]:
    """The most frequent of the modules' values, and those of the modules that have another."""
    usual = Counter(values.values()).most_common(1)[0][0]
    return usual, {f"^{regex.escape(path)}": value for path, value in values.items() if value != usual}


def _of_pattern(patterns: Mapping[str, float] | None, path: str, otherwise: float) -> float:
    for pattern, value in (patterns or {}).items():
        if _matches(rf"(.*\.)?({pattern})", path):
            return value
    return otherwise


def _matches(pattern: str, path: str) -> bool:
    try:
        return regex.fullmatch(pattern, path, timeout=_PATTERN_SECONDS) is not None
    except TimeoutError as error:
        raise ValueError(f"the pattern {given(pattern)} takes too long on '{path}'") from error


def _check_pattern(pattern: str, place: str) -> None:
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise UserError(f"{place}: {given(pattern)} is no regular expression ({error}).") from error
