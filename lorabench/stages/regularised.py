"""What holds an update back while it is trained: parts of it that a step leaves out, and a largest norm."""

from __future__ import annotations

from dataclasses import replace

import torch

from lorabench import adapters
from lorabench.adapters import Adapter
from lorabench.components import Algorithm
from lorabench.errors import UserError
from lorabench.layers import Components, canonical, module_of
from lorabench.records import TEXTUAL_INVERSION, AdapterConfig, OptimizerConfig
from lorabench.seeds import derive_seed

_PROBE = (32, 32)  # a weight to try an algorithm on


def dropped(components: Components, adapter: Adapter, config: OptimizerConfig, seed: int, step: int) -> Adapter:
    """The adapter without the modules (module_dropout) and the rows of updates (rank_dropout) that a step leaves out.

    As LyCORIS drops them; what is left is not scaled up, and norms are never dropped. A module's draws depend on (seed,
    step, module).
    """
    if not config.module_dropout and not config.rank_dropout:
        return adapter
    modules, kept_rows = {}, {}
    for name, params in adapter.modules.items():
        rng = torch.Generator().manual_seed(derive_seed("dropout", seed, step, canonical(name)))
        is_norm = "w_norm" in params
        if is_norm or torch.rand((), generator=rng) >= config.module_dropout:
            modules[name] = params
        if config.rank_dropout and not is_norm:
            weight = module_of(components, name).weight
            kept = torch.rand(len(weight), generator=rng) >= config.rank_dropout
            kept_rows[name] = kept.float().to(weight.device)
    return replace(adapter, modules=modules, kept_rows=kept_rows)


def within_norm(components: Components, adapter: Adapter, largest: float) -> None:
    """Scale every update whose Frobenius norm is larger down to that norm, each of its factors alike (kohya's
    scale_weight_norms)."""
    with torch.no_grad():
        for name, params in adapter.modules.items():
            if "w_norm" in params:
                continue
            weight = module_of(components, name).weight.detach().float()
            norm = adapters.weight_update(adapter, name, weight).norm()
            factors = _factors(params)
            ratio = (largest / norm.clamp(min=largest)) ** (1 / len(factors))
            for tensor in factors:
                tensor.mul_(ratio)


def check_norm(algorithm: Algorithm, config: AdapterConfig) -> None:
    """UserError for an algorithm whose update is no product of its factors, so that scaling these scales no norm."""
    if algorithm.name == TEXTUAL_INVERSION or not _is_product(algorithm, config):
        raise UserError(
            f"scale_weight_norms is for updates that are products of factors (lora, loha, lokr, native), not for "
            f"'{algorithm.name}'."
        )


def _is_product(algorithm: Algorithm, config: AdapterConfig) -> bool:
    """Does the update of a weight grow by two with each of its factors?"""
    weight = torch.eye(*_PROBE)
    rng = torch.Generator().manual_seed(0)
    params = algorithm.init(weight, config, rng)
    for tensor in _factors(params):
        tensor.copy_(torch.rand(tensor.shape, generator=rng))
    once = algorithm.delta_weight(params, weight, config).clone()  # of native, the factor itself
    for tensor in _factors(params):
        tensor.mul_(2)
    twice = algorithm.delta_weight(params, weight, config)
    return torch.allclose(twice, once * 2 ** len(_factors(params)), rtol=1e-4)


def _factors(params: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """What is multiplied to give the update of the weight."""
    return [tensor for name, tensor in params.items() if tensor.is_floating_point() and name != "diff_b"]
