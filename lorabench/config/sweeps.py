"""The ways in which a study draws its checkpoints: its own, and those of its sweeps."""

from __future__ import annotations

import fnmatch
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from lorabench.base_names import parse_base
from lorabench.config.reading import MINI, MINI_PLACE, portable
from lorabench.config.schema import DRAWN, Study, Sweep
from lorabench.records import Milestone, Sampling, Setting, TrainConfig

# Names in tables that are not the setting's own: `step` is one of training, and `base` the id of its content.
COLUMNS = {"steps": "sampling_steps", "base": "base_model"}
SETTINGS = tuple(COLUMNS.get(key, key) for key in DRAWN if key != "scale")  # columns that settings can have
_OWN = Sweep()


@dataclass(frozen=True)
class Way:
    """A setting and a merge ratio, and the checkpoints that are drawn so."""

    setting: Setting
    scale: float
    configs: tuple[str, ...] = ()  # glob patterns; () = all
    milestones: tuple[Milestone, ...] = ()

    def takes(self, config: str, milestone: Milestone) -> bool:
        named = not self.configs or any(fnmatch.fnmatchcase(config, pattern) for pattern in self.configs)
        return named and (not self.milestones or milestone in self.milestones)


def ways(study: Study) -> tuple[Way, ...]:
    """The study's own way at each of its merge ratios, then its sweeps'. What differs among them is a factor."""
    beside = {"companion": study.images.companion, "companion_scale": study.images.companion_scale}
    own = asdict(study.sampling) | {"base": "", "vae": None} | beside
    asked = [(_OWN, {"scale": scale}) for scale in study.images.scales]
    asked += [(sweep, {"scale": 1.0} | each) for sweep in study.sweep for each in sweep.ways()]
    drawn = [own | {key: each[key] for key in each if key != "scale"} for _, each in asked]
    for each in drawn:
        each["base"] = "" if each["base"] == study.base else each["base"]
        each["vae"] = None if each["vae"] == study.vae else each["vae"]
    models = (("base", "", study.base), ("vae", None, study.vae), ("companion", "", "none"))
    labels = {key: _labels({nothing: usual}, [each[key] for each in drawn]) for key, nothing, usual in models}
    words = [{key: labels[key][value] if key in labels else value for key, value in each.items()} for each in drawn]
    varied = [key for key in own if len({each[key] for each in drawn}) > 1]
    found = []
    for (sweep, each), values, said in zip(asked, drawn, words, strict=True):
        name = "-".join(_WORDS[key](said[key]) for key in own if values[key] != own[key])
        factors = {COLUMNS.get(key, key): _plain(said[key]) for key in varied}
        sampling = Sampling(**{key: value for key, value in values.items() if key not in (*labels, "companion_scale")})
        others = {key: values[key] for key in ("base", "vae", "companion", "companion_scale")}
        setting = Setting(name, sampling, **others, factors=factors)
        found.append(Way(setting, each["scale"], sweep.configs, sweep.milestones))
    return tuple(found)


def _plain(value: str | float) -> str | float:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else float(value)


def _labels(usual: Mapping[str | None, str], sources: Sequence[str | None]) -> dict[str | None, str]:
    """What models are called, by how they are named in a study: the end of that, and more where it is no difference.

    `usual` is what stands for the study's, and its name.
    """
    named = {source: _end(usual.get(source, source)) for source in dict.fromkeys((*usual, *sources))}
    alike = Counter(named.values())
    return {source: f"{end}-{_hash(source)}" if alike[end] > 1 and source else end for source, end in named.items()}


def _end(source: str) -> str:
    place = portable(parse_base(source).place)
    return MINI if place == MINI_PLACE else PurePath(place).name.removesuffix(".safetensors") or "own"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def drawings(study: Study, configs: Sequence[TrainConfig]) -> list[tuple[TrainConfig, Milestone, Way]]:
    """Each milestone of configs whose adapter is kept, in each way in which it is drawn, once."""
    every = ways(study)
    return [
        (config, milestone, way)
        for config in configs
        for milestone in config.training.milestones
        for way in ways_of(every, config.name, milestone)
    ]


def ways_of(every: Sequence[Way], config: str, milestone: Milestone) -> list[Way]:
    """Those in which a checkpoint is drawn, each once."""
    return list({(way.setting.name, way.scale): way for way in every if way.takes(config, milestone)}.values())


# What a way is called by each setting that is not the study's: words that stay when other ways are added.
_WORDS: Mapping[str, Callable[[Any], str]] = {
    "steps": lambda value: f"steps{value}",
    "guidance": lambda value: f"cfg{value:g}",
    "negative_prompt": lambda value: f"neg-{_hash(value)}" if value else "neg-none",
    "scheduler": lambda value: value.replace(" ", "-"),
    "clip_skip": lambda value: f"clip{value}",
    "zero_terminal_snr": lambda value: "zero-snr" if value else "no-zero-snr",
    "base": lambda value: f"on-{value}",
    "vae": lambda value: f"vae-{value}",
    "companion": lambda value: f"with-{value}",
    "companion_scale": lambda value: f"beside{value:g}",
}
