"""Configs that differ in some settings, whichever part these are of."""

from typing import Any

from lorabench.records import TrainConfig


def changed(config: TrainConfig, **settings: Any) -> TrainConfig:
    return TrainConfig.from_flat(config.flat | settings)
