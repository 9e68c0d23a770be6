"""Optimizers of training by name: torch's, bitsandbytes' and Prodigy."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import io
from collections.abc import Mapping
from typing import Any

import torch

from lorabench.errors import UserError, unknown
from lorabench.records import OptimizerConfig

_PACKAGES = {"bitsandbytes": "gpu", "prodigyopt": "prodigy"}  # what is not torch's, and the extra that brings it
_PRODIGY = "prodigy"
# Of bitsandbytes those whose states have 8 bits, or lie in the machine's memory; the others are torch's once more.
_8BIT = (
    *("adam8bit", "adamw8bit", "adagrad8bit", "lion8bit", "rmsprop8bit", "sgd8bit", "lars8bit", "ademamix8bit"),
    *("pagedadam8bit", "pagedadamw8bit", "pagedlion8bit", "pagedademamix8bit", "lion", "lamb", "ademamix"),
)
# They ask for the loss several times a step, or for gradients that are none of ours.
_NOT_OURS = ("lbfgs", "sparseadam", "muon", "optimizer")
_SHARED = ("weight_decay", "betas")  # keys of [training] that an optimizer takes where it has them


def names() -> tuple[str, ...]:
    """All names, whatever is installed."""
    return (*_torch(), *_8BIT, _PRODIGY)


def check_name(name: str) -> None:
    """UserError for an optimizer that there is not."""
    if name not in names():
        raise UserError(unknown("optimizer", name, names()))


def require(config: OptimizerConfig) -> None:
    """UserError for an optimizer that there is not, whose package is not installed, or that takes other options."""
    check_name(config.optimizer)
    package = _package_of(config.optimizer)
    if package and importlib.util.find_spec(package) is None:
        raise UserError(
            f"training.optimizer '{config.optimizer}' needs the package {package}, which is not installed: "
            f"pip install 'lorabench[{_PACKAGES[package]}]'. \"adamw\", with 32-bit states, needs nothing."
        )
    able = _parameters(_class_of(config.optimizer))
    for name in config.optimizer_options:
        if name not in able or name in ("lr", "fused"):
            raise UserError(unknown(f"option of {config.optimizer}", name, able, "training.optimizer_options"))
    try:
        optimizer_of([{"params": [torch.zeros(1, requires_grad=True)]}], config, torch.device("cpu"))
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(f"Optimizer {config.optimizer} takes no such options: {error}.") from error


def optimizer_of(groups: list[dict[str, Any]], config: OptimizerConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer that a config names, over groups of parameters.

    Weight decay and betas go to it where it has them, its own options as they are. Those of 8 bits keep tensors below
    4,096 numbers in 32 bits (Dettmers et al., 2022), as bitsandbytes has it.
    """
    make = _class_of(config.optimizer)
    able = _parameters(make)
    options = {name: getattr(config, name) for name in _SHARED if name in able}
    if "fused" in able and device.type in ("cpu", "cuda"):
        options["fused"] = True
    with contextlib.redirect_stdout(io.StringIO()):  # Prodigy says there how it decays weights
        return make(groups, lr=config.lr, **options | dict(config.optimizer_options))


def _torch() -> dict[str, type[torch.optim.Optimizer]]:
    found = {name.lower(): each for name, each in vars(torch.optim).items() if inspect.isclass(each)}
    ours = {name: each for name, each in found.items() if issubclass(each, torch.optim.Optimizer)}
    return {name: each for name, each in ours.items() if name not in _NOT_OURS}


def _package_of(name: str) -> str:
    return "prodigyopt" if name == _PRODIGY else "bitsandbytes" if name in _8BIT else ""


def _class_of(name: str) -> type[torch.optim.Optimizer]:
    package = _package_of(name)
    if not package:
        return _torch()[name]
    module = importlib.import_module("bitsandbytes.optim" if package == "bitsandbytes" else package)
    return {each.lower(): found for each, found in vars(module).items() if inspect.isclass(found)}[name]


def _parameters(make: type[torch.optim.Optimizer]) -> Mapping[str, inspect.Parameter]:
    return {name: each for name, each in inspect.signature(make).parameters.items() if name != "params"}
