"""Which files are one config: never two files in one row, and no series of one training in two."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import PurePath

import numpy as np

from lorabench.api.series import AdapterFile, config_names
from lorabench.components import Origin
from lorabench.records import TrainConfig

CONFIG = TrainConfig("lora-d8", "lora", "linear", 1e-3, dim=8)


def file(path: str, seed: int | None = 1, epoch: int | None = 1, pictures: str = "a", config=CONFIG, ours=True):
    origin = Origin("base-0", seed, epoch, pictures={"toys/panda": pictures})
    return AdapterFile(PurePath(path), path.removesuffix(".safetensors"), config, origin, ours)


def named(*files: AdapterFile) -> list[str]:
    return config_names(files)


def test_seeds_and_epochs_of_one_training_are_one_config():
    paths = (f"{number}.safetensors" for number in itertools.count())
    every = [file(next(paths), seed, epoch) for seed in (1, 2) for epoch in (5, 10)]
    longer = file("longer.safetensors", 3, 5, config=replace(CONFIG, epochs=50, checkpoint_epochs=(5, 50)))
    assert named(*every, longer) == ["lora-d8"] * 5


def test_configs_of_one_name_are_told_apart_by_what_they_learned_from_and_how():
    of_data = [file(f"{data}-e{epoch}.safetensors", 1, epoch, data) for data in ("cats", "dogs") for epoch in (5, 10)]
    assert named(*of_data) == ["lora-d8 (cats)"] * 2 + ["lora-d8 (dogs)"] * 2
    slower = file("changed.safetensors", 1, 15, config=replace(CONFIG, weight_decay=0.5))
    assert len(set(named(file("first.safetensors"), slower))) == 2


def test_twins_are_told_apart_by_their_folders_or_else_by_their_files():
    runs = [file(f"{run}/checkpoints/seed-1/e{n}.safetensors", 1, n) for run in ("old", "new") for n in (1, 2)]
    assert named(*runs) == ["lora-d8 (old)"] * 2 + ["lora-d8 (new)"] * 2
    assert named(file("a.safetensors"), file("copy of a.safetensors")) == ["lora-d8 (a)", "lora-d8 (copy of a)"]


def test_somebody_else_s_file_called_as_a_config_of_ours_is_another():
    assert len(set(named(file("x.safetensors"), file("lora-d8.safetensors", ours=False)))) == 2


def test_no_two_files_are_ever_one_row():
    rng = np.random.default_rng(0)
    for _ in range(300):
        names = [f"{'/'.join(rng.choice(list('abc'), rng.integers(0, 3)))}/{n}.safetensors" for n in range(6)]
        files = [
            file(
                name.lstrip("/"),
                [None, 1, 2][rng.integers(3)],
                [None, 1, 2][rng.integers(3)],
                str(rng.integers(2)),
                replace(CONFIG, name=str(rng.integers(2))),
                bool(rng.integers(2)),
            )
            for name in names
        ]
        rows = [(config, each.origin.seed, each.origin.epoch) for config, each in zip(config_names(files), files)]
        assert len(set(rows)) == len(rows)
