"""Whether a config can be trained as it says, found out before anything is; and an adapter of it to count."""

from __future__ import annotations

from collections.abc import Collection

from lorabench import adapters, components, schedules
from lorabench.adapters import Adapter
from lorabench.errors import UserError
from lorabench.layers import Components
from lorabench.records import TrainConfig
from lorabench.stages import optimizers, regularised


def check_trainable(model: Components, config: TrainConfig) -> None:
    """UserError where a config cannot be trained on a base model, found by making its adapter without weights.

    Whether the optimizer's package is here is asked where something is trained.
    """
    algorithm, training = components.find("algorithms", config.adapter.algorithm), config.training
    blank(model, config)
    if training.scale_weight_norms:
        regularised.check_norm(algorithm, config.adapter)
    if training.warmup_steps and training.warmup_share:
        raise UserError("warmup_steps and warmup_share say two things of one warm-up: take one of them.")
    optimizers.check_name(training.optimizer)
    try:
        schedules.multiplier(training, training.lr, 1, 1)
    except ValueError as error:
        raise UserError(f"Schedule {training.schedule}: {error}.") from error


def blank(model: Components, config: TrainConfig, words: Collection[str] = ()) -> Adapter:
    """The adapter as it is made, without meaning: on the meta device for nothing, to count."""
    algorithm = components.find("algorithms", config.adapter.algorithm)
    begin = adapters.blank_words(model, config.adapter, words) if config.adapter.vectors else None
    return adapters.create(model, algorithm, config.adapter, 0, begin)
