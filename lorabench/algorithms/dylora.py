"""DyLoRA: a LoRA of which every step trains one rank, so that it can be cut to any smaller dim."""

from __future__ import annotations

import torch

from lorabench.algorithms.lora import apart, delta_weight, init, sizes_of
from lorabench.components import Algorithm, Params
from lorabench.records import AdapterConfig


def for_step(params: Params, config: AdapterConfig, rng: torch.Generator) -> Params:
    """The first b ranks, b drawn from 1 to dim, the last of them trained (DyLoRA, Valipour et al. 2023, algorithm 1).

    The scale is alpha / b. LyCORIS draws blocks of ranks and divides by the number of blocks: equal for blocks of 1.
    """
    down, up = params["lora_down.weight"], params["lora_up.weight"]
    rank = int(torch.randint(1, config.dim + 1, (), generator=rng))
    return {
        "lora_down.weight": torch.cat([down[: rank - 1].detach(), down[rank - 1 : rank]]),
        "lora_up.weight": torch.cat([up[:, : rank - 1].detach(), up[:, rank - 1 : rank]], dim=1),
    }


dylora = Algorithm(
    name="dylora",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha"),
    suffixes=("lora_down.weight", "lora_up.weight"),
    capacity_from="dim",
    apart=apart,
    sizes_of=sizes_of,
    for_step=for_step,
    recognises=lambda params: False,  # its files are LoRA's, and other tools read them as such
    description="Low-rank update whose ranks are trained one at a time.",
)
