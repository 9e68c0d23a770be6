"""Which of peft's methods are made here, and what each may be told: its config is built from these settings alone.

Others are no update of single layers, or follow what a setting names: a model of the hub to load, a module to import.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, create_model

from lorabench.errors import unknown
from lorabench.untrusted import FileRecord, Seed, first_problem
from lorabench.values import given

_Rank = Annotated[int, Field(ge=0, le=2**14)]  # 0 where the side of a block is set instead
_Size = Annotated[int, Field(ge=0, le=2**22)]
_Few = Annotated[int, Field(ge=0, le=64)]
_Number = Annotated[float, Field(ge=-1e9, le=1e9)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Start = bool | None
_Nothing = Annotated[dict[str, float], Field(max_length=0)] | None  # layers with settings of their own

_Activation = Literal[
    "relu", "relu6", "gelu", "gelu_new", "quick_gelu", "silu", "swish", "mish", "tanh", "sigmoid", "linear"
]

_DREW = {"projection_prng_key": Seed, "save_projection": bool, "d_initial": _Number}
SETTINGS: dict[str, dict[str, Any]] = {
    "BEFT": {},
    "BOFT": {  # more than one butterfly needs peft's CUDA extension, which is not compiled
        **{"boft_block_size": _Size, "boft_block_num": _Size, "boft_dropout": _Share},
        "boft_n_butterfly_factor": Literal[1],
    },
    "C3A": {
        "block_size": _Size,
        "block_size_pattern": _Nothing,
        "init_weights": _Start | Literal["gaussian", "kaiming_uniform", "xavier_uniform"],
    },
    "DEFT": {
        **{"r": _Rank, "decomposition_method": Literal["relu", "qr"], "init_scale": _Number, "alpha": _Number | None},
        **{"para": bool, "deft_dropout": _Share},
    },
    "DELORA": {
        **{"r": _Rank, "delora_lambda": _Number, "module_dropout": _Share},
        **{"rank_pattern": _Nothing, "lambda_pattern": _Nothing},
    },
    "FOURIERFT": {
        **{"n_frequency": _Size, "scaling": _Number, "random_loc_seed": Seed | None, "n_frequency_pattern": _Nothing}
    },
    "GLORA": {
        **{"r": _Rank, "config_A_B": Literal["lora", "vector", "constant", "none"]},
        **{"config_C": Literal["lora", "vector", "none"], "config_D_E": Literal["vector", "constant", "none"]},
    },
    "GRALORA": {
        **{"r": _Rank, "hybrid_r": _Rank, "alpha": _Number, "gralora_dropout": _Share, "gralora_k": _Size},
    },
    "HIRA": {
        "r": _Rank,
        "hira_dropout": _Share,
        "init_weights": _Start | Literal["gaussian"],
        "rank_pattern": _Nothing,
    },
    "HRA": {"r": _Rank, "apply_GS": bool},
    "IA3": {"feedforward_modules": list[str] | str | None, "init_ia3_weights": bool},
    "LILY": {"r": _Rank, "stride_A": _Size, "num_B": _Few, "scaling": _Number},
    "LOHA": {
        **{"r": _Rank, "alpha": _Number, "rank_dropout": _Share, "module_dropout": _Share},
        **{"use_effective_conv2d": bool, "rank_pattern": _Nothing, "alpha_pattern": _Nothing},
    },
    "LOKR": {
        **{"r": _Rank, "alpha": _Number, "rank_dropout": _Share, "module_dropout": _Share, "decompose_both": bool},
        **{"use_effective_conv2d": bool, "decompose_factor": Annotated[int, Field(ge=-1, le=2**22)]},
        **{"rank_dropout_scale": bool, "rank_pattern": _Nothing, "alpha_pattern": _Nothing},
        "init_weights": _Start | Literal["lycoris"],
    },
    "LORA": {
        **{"r": _Rank, "lora_alpha": _Number, "lora_dropout": _Share, "use_rslora": bool, "use_dora": bool},
        **{"init_lora_weights": _Start | Literal["gaussian", "orthogonal"]},
        **{"rank_pattern": _Nothing, "alpha_pattern": _Nothing},
    },
    "MISS": {"r": _Rank, "miss_dropout": _Share, "mini_r": _Rank, "init_weights": _Start | Literal["bat", "mini"]},
    "OFT": {
        **{"r": _Rank, "oft_block_size": _Size, "module_dropout": _Share, "coft": bool, "eps": _Number},
        **{"block_share": bool, "use_cayley_neumann": bool, "num_cayley_neumann_terms": _Few},
    },
    "OSF": {"effective_rank": _Number | None, "rank_pattern": _Nothing},
    "PEANUT": {"r": _Rank, "depth": _Few, "act_fn": _Activation, "scaling": _Number},
    "POLY": {"r": _Rank, "poly_type": Literal["poly"], "n_tasks": _Few, "n_skills": _Few, "n_splits": _Few},
    "PVERA": {
        **{"r": _Rank, **_DREW, "pvera_dropout": _Share, "sample_at_inference": bool, "generator_seed": Seed | None}
    },
    "RANDLORA": {
        **{"r": _Rank, "projection_prng_key": Seed, "save_projection": bool, "sparse": bool, "very_sparse": bool},
        **{"randlora_dropout": _Share, "randlora_alpha": _Number},
    },
    "ROAD": {"variant": Literal["road_1", "road_2", "road_4"], "group_size": _Size},
    "SHIRA": {"r": _Rank, "mask_type": Literal["random"], "random_seed": Seed | None},
    "UNILORA": {
        **{"r": _Rank, "proj_seed": Seed, "theta_d_length": _Size, "unilora_dropout": _Share},
        **{"init_theta_d_bound": _Number, "save_indices": bool},
    },
    "VBLORA": {
        **{"r": _Rank, "num_vectors": _Rank, "vector_length": _Rank, "topk": _Rank, "save_only_topk_weights": bool},
        **{"vblora_dropout": _Share, "init_vector_bank_bound": _Number, "init_logits_std": _Number},
    },
    "VERA": {"r": _Rank, **_DREW, "vera_dropout": _Share},
    "WAVEFT": {
        **{"n_frequency": _Size, "scaling": _Number, "wavelet_family": str, "use_idwt": bool, "random_loc_seed": Seed},
        **{"n_frequency_pattern": _Nothing, "proportional_parameters": bool},
    },
}
# Sizes that have to divide the sides of a layer, with peft's defaults.
DIVISORS = {"C3A": ("block_size", 256), "ROAD": ("group_size", 64), "VBLORA": ("vector_length", 256)}
_OF_ALL = {"bias": Literal["none"] | None, "fan_in_fan_out": bool, "init_weights": _Start}


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with `peft_type` as peft spells it, all known and of their kind. ValueError naming what is not."""
    method = settings.get("peft_type")
    if not isinstance(method, str):
        raise ValueError('it needs a table of its settings: peft = { peft_type = "VERA", r = 8 }, say')
    method = method.upper()  # papers write MiSS and VeRA
    if method not in SETTINGS:
        raise ValueError(f"'peft_type': lorabench has no method {given(method)}; it has {', '.join(SETTINGS)}")
    kinds = _OF_ALL | SETTINGS[method]
    for key in settings.keys() - kinds.keys() - {"peft_type"}:
        raise ValueError(f"peft's {method}: {unknown('setting', key, sorted(kinds))}")
    wanted = {key: kinds[key] for key in settings if key in kinds}
    record = create_model(method, __base__=FileRecord, **{key: (kind, ...) for key, kind in wanted.items()})
    try:
        record.model_validate(dict(settings))
    except ValidationError as error:
        raise ValueError(f"peft's {method}: {first_problem(error)}") from error
    return {**settings, "peft_type": method}


def for_layer(settings: Mapping[str, Any], rows: int, columns: int) -> dict[str, Any]:
    """The settings with what peft's defaults leave open, or get wrong, for a layer of that size."""
    method = settings["peft_type"]
    found: dict[str, Any] = {}
    if method in DIVISORS:
        name, default = DIVISORS[method]
        found[name] = math.gcd(default, rows, columns)
    if method == "IA3":  # peft knows which layers are feed-forward by the names of language models
        found["feedforward_modules"] = []
    if method == "OFT" and settings.get("r"):  # either the blocks or their size
        found["oft_block_size"] = 0
    return found | dict(settings)


def of_a_file(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of an adapter's config that its method takes, checked; others are left out, as peft does.

    ValueError as of `checked_settings`.
    """
    kept = _OF_ALL.keys() | SETTINGS.get(str(config.get("peft_type")), {}).keys() | {"peft_type"}
    return checked_settings({key: value for key, value in config.items() if key in kept})
