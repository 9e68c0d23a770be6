"""The ways in which a study draws its checkpoints: its own, and those of its sweeps."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lorabench.config.schema import Study, Sweep
from lorabench.records import Sampling, Setting, TrainConfig

COLUMNS = {"steps": "sampling_steps"}  # of tables, where it is not the setting's own name: `step` is one of training
_OWN = Sweep()


@dataclass(frozen=True)
class Way:
    """A setting and a merge ratio, and the checkpoints that are drawn so."""

    setting: Setting
    scale: float
    configs: tuple[str, ...] = ()  # glob patterns; () = all
    epochs: tuple[int, ...] = ()

    def takes(self, config: str, epoch: int | None) -> bool:
        named = not self.configs or any(fnmatch.fnmatchcase(config, pattern) for pattern in self.configs)
        return named and (not self.epochs or epoch in self.epochs)


def ways(study: Study) -> tuple[Way, ...]:
    """The study's own way at each of its merge ratios, then its sweeps'. What differs among them is a factor."""
    own = study.sampling
    asked = [(_OWN, {"scale": scale}) for scale in study.images.scales]
    asked += [(sweep, {"scale": 1.0} | each) for sweep in study.sweep for each in sweep.ways()]
    drawn = [replace(own, **{key: value for key, value in each.items() if key != "scale"}) for _, each in asked]
    varied = [key for key in asdict(own) if len({getattr(each, key) for each in drawn}) > 1]
    found = []
    for (sweep, each), sampling in zip(asked, drawn, strict=True):
        factors = {COLUMNS.get(key, key): _value(getattr(sampling, key)) for key in varied}
        setting = Setting(_name(sampling, own), sampling, factors)
        found.append(Way(setting, each["scale"], sweep.configs, sweep.epochs))
    return tuple(found)


def drawings(study: Study, configs: Sequence[TrainConfig]) -> list[tuple[TrainConfig, int, Way]]:
    """Each epoch of configs whose adapter is kept, in each way in which it is drawn, once."""
    found = {
        (config.name, epoch, way.setting.name, way.scale): (config, epoch, way)
        for config in configs
        for epoch in config.training.checkpoint_epochs
        for way in ways(study)
        if way.takes(config.name, epoch)
    }
    return list(found.values())


def _value(value: Any) -> str | float:
    return value if isinstance(value, str) else float(value)


def _name(sampling: Sampling, own: Sampling) -> str:
    """What differs from the study's own way, in words that stay when other ways are added."""
    before = asdict(own)
    changed: Mapping[str, Any] = {key: value for key, value in asdict(sampling).items() if value != before[key]}
    return "-".join(_WORDS[key](value) for key, value in changed.items())


_WORDS = {
    "steps": lambda value: f"steps{value}",
    "guidance": lambda value: f"cfg{value:g}",
    "negative_prompt": lambda value: f"neg-{hashlib.sha256(value.encode()).hexdigest()[:6]}" if value else "neg-none",
    "scheduler": lambda value: value.replace(" ", "-"),
    "clip_skip": lambda value: f"clip{value}",
}
