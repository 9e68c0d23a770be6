"""Which files are one config: never two files in one row, and no series of one training in two."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import PurePath

import numpy as np
import pytest
from changed_configs import changed

from lorabench.api.file_names import Moment, of_path
from lorabench.api.members import AdapterFile
from lorabench.api.series import placed
from lorabench.api.sheet import Row
from lorabench.components import Origin
from lorabench.errors import UserError
from lorabench.records import AdapterConfig, TrainConfig, TrainingConfig

CONFIG = TrainConfig("lora-d8", AdapterConfig("lora", "linear", dim=8), TrainingConfig(1e-3))


def file(path: str, seed: int | None = 1, epoch: int | None = 1, pictures: str = "a", config=CONFIG, ours=True):
    origin = Origin("base-0", seed, epoch, pictures={"toys/panda": pictures})
    return AdapterFile(PurePath(path), path.removesuffix(".safetensors"), config, origin, ours)


def named(*files: AdapterFile) -> list[str]:
    return placed(files).configs


def test_seeds_and_epochs_of_one_training_are_one_config():
    paths = (f"{number}.safetensors" for number in itertools.count())
    every = [file(next(paths), seed, epoch) for seed in (1, 2) for epoch in (5, 10)]
    longer = file("longer.safetensors", 3, 5, config=changed(CONFIG, epochs=50, checkpoint_epochs=(5, 50)))
    assert named(*every, longer) == ["lora-d8"] * 5


def test_configs_of_one_name_are_told_apart_by_what_they_learned_from_and_how():
    of_data = [file(f"{data}-e{epoch}.safetensors", 1, epoch, data) for data in ("cats", "dogs") for epoch in (5, 10)]
    assert named(*of_data) == ["lora-d8 (cats)"] * 2 + ["lora-d8 (dogs)"] * 2
    slower = file("changed.safetensors", 1, 15, config=changed(CONFIG, weight_decay=0.5))
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
                changed(CONFIG, name=str(rng.integers(2))),
                bool(rng.integers(2)),
            )
            for name in names
        ]
        found = placed(files)
        rows = [(config, moment.seed, moment.epoch) for config, moment in zip(found.configs, found.moments)]
        assert len(set(rows)) == len(rows)


def theirs(path: str, title: str = "", seed: int | None = None, epoch: int | None = None, step: int | None = None):
    name = path.removesuffix(".safetensors").replace("/", " ")
    settings = changed(CONFIG, name=name, lr=1e-4, epochs=6)
    metadata = {"ss_output_name": title} if title else {}
    return AdapterFile(PurePath(path), name, settings, Origin("sd", seed, epoch, step), False, metadata)


def rows(*files: AdapterFile) -> list[tuple]:
    found = placed(files)
    return [(config, *vars(moment).values()) for config, moment in zip(found.configs, found.moments)]


def test_a_series_of_kohya_is_one_config_with_its_seeds_and_epochs_and_says_that_its_metadata_do():
    files = [
        theirs(f"mylora_s{seed}{end}.safetensors", f"mylora_s{seed}", seed, epoch, 40 * epoch)
        for seed in (1, 2)
        for end, epoch in (("-000002", 2), ("-000004", 4), ("", 6))
    ]
    assert rows(*files) == [("mylora", seed, epoch, 40 * epoch) for seed in (1, 2) for epoch in (2, 4, 6)]
    [remark] = placed(files).remarks
    assert "mylora (epochs 2, 4, 6; seeds 1, 2)" in remark and "metadata" in remark


def test_without_metadata_names_are_believed_and_it_says_so():
    names = ("style_v2-000010", "style_v2-000020", "style_v2-step00000300", "style_v2")
    files = [theirs(f"{name}.safetensors") for name in names]
    files = [replace(each, settings=changed(each.settings, epochs=1)) for each in files]
    assert rows(*files) == [
        ("style_v2", None, 10, None), ("style_v2", None, 20, None), ("style_v2", None, None, 300),
        ("style_v2", None, 30, None),
    ]  # fmt: skip
    believed, last, mixed = placed(files).remarks
    assert "which were believed" in believed and "style_v2 (of style_v2: epoch 30)" in last
    assert "how many steps an epoch has" in mixed


def test_what_names_say():
    said = {
        "x_e5": Moment(epoch=5), "x-epoch-10": Moment(epoch=10), "x-000002": Moment(epoch=2), "x_seed3": Moment(seed=3),
        "x_s2-000004": Moment(2, 4), "x_000000500": Moment(step=500), "x-step00000300": Moment(step=300),
        "x-epoch=3-step=90": Moment(epoch=3, step=90), "seed1/x_e5": Moment(1, 5),
        "x/checkpoint-500/pytorch_lora_weights": Moment(step=500), 
        "x-2024-05-01_12-30-00-save-90-3-0": Moment(None, 3, 90),
        "x-v2": Moment(), "x 2024": Moment(),
    }  # fmt: skip
    for name, moment in said.items():
        found = of_path(PurePath(f"{name}.safetensors"))
        assert found.moment == moment, name
        assert found.series == "x" or not moment.is_known, name


def test_bare_numbers_are_a_series_where_nothing_else_differs_and_versions_are_none():
    assert rows(*(theirs(f"x-{n}.safetensors") for n in (5, 10, 15))) == [("x", None, n, None) for n in (5, 10, 15)]
    assert [row[3] for row in rows(*(theirs(f"x-{n}.safetensors") for n in (500, 1000)))] == [500, 1000]
    assert [row[0] for row in rows(theirs("dog 1.safetensors"), theirs("dog 2.safetensors"))] == ["dog 1", "dog 2"]


def test_files_saved_within_one_epoch_are_told_apart_by_their_steps():
    files = [theirs(f"x-step{n:08d}.safetensors", "x", 1, 1, n) for n in (100, 200)]
    assert rows(*files) == [("x", 1, None, 100), ("x", 1, None, 200)]


def test_two_trainings_that_differ_in_settings_or_folder_alone_are_two_configs():
    wide = replace(theirs("x-000004.safetensors"), settings=changed(CONFIG, dim=16))
    assert len(set(named(theirs("x-000002.safetensors"), wide))) == 2
    assert named(*(theirs(f"{run}/x-{n:06d}.safetensors") for run in "ab" for n in (2, 4))) == [
        "x (a)", "x (a)", "x (b)", "x (b)",
    ]  # fmt: skip


def said(file: AdapterFile, config: str = "", own: dict | None = None, **moment: int) -> AdapterFile:
    return replace(file, said=Row(2, file.name, config, Moment(**moment), own=own or {}))


def test_a_sheet_is_believed_before_metadata_and_names():
    files = [theirs(f"x-{n:06d}.safetensors", "x", 1, n, 10 * n) for n in (2, 4)]
    both = [said(files[0], "y", seed=5), said(files[1], "y", epoch=7)]
    assert rows(*both) == [("y", 5, 2, 20), ("y", 1, 7, None)]  # another epoch has another step
    assert "read from the sheet" in placed(both).remarks[0]
    assert rows(said(files[0], seed=5), files[1]) == [("x", 5, 2, 20), ("x", 1, 4, 40)]
    assert rows(said(file("a.safetensors"), seed=3, epoch=9)) == [("lora-d8", 3, 9, None)]  # of ours, too
    with pytest.raises(UserError, match="x-000002 and x-000004 would both be config 'y' with epoch 2; seed 1"):
        placed([said(files[0], "y"), said(files[1], "y", epoch=2)])


def test_factors_of_a_sheet_make_configs_but_for_what_is_measured_or_not_said_of_all():
    files = [theirs(f"s{seed}/x-{n:06d}.safetensors", "x", seed, n) for seed in (1, 2) for n in (2, 4)]
    optimizers = [said(each, own={"optimizer": name}) for each, name in zip(files, ("a", "a", "b", "b"))]
    assert named(*optimizers) == ["x (a)", "x (a)", "x (b)", "x (b)"]
    numbers = [said(each, own={"optimizer": "a", "dropout": value}) for each, value in zip(files, (0, 0, 0.1, 0.1))]
    assert named(*numbers) == ["x (dropout 0)"] * 2 + ["x (dropout 0.1)"] * 2
    losses = [said(each, own={"loss": value}) for each, value in zip(files, (0.4, 0.3, 0.5, 0.2))]
    assert set(named(*losses)) == set(named(optimizers[0], *files[1:])) == {"x"}


def test_metadata_that_names_contradict_are_believed_and_it_says_so():
    [remark, other] = placed([theirs("x-000003.safetensors", "x", 1, 2)]).remarks
    assert "x (epoch 2; seed 1)" in remark and "x-000003 (epoch 2; seed 1): their names say other numbers" in other


def test_trainers_that_name_folders_by_step_and_the_last_by_nothing():
    names = [f"checkpoint-{n}/pytorch_lora_weights" for n in (100, 200)] + ["pytorch_lora_weights"]
    files = [theirs(f"{name}.safetensors") for name in names]
    files = [replace(each, settings=changed(each.settings, epochs=1)) for each in files]
    found = placed(files, folder="dog")
    assert [(*row[:1], row[1].step) for row in zip(found.configs, found.moments)] == [
        ("dog", 100), ("dog", 200), ("dog", 300),
    ]  # fmt: skip


def test_a_series_by_steps_whose_last_file_says_its_epoch_too_is_all_by_steps():
    files = [theirs(f"x{end}.safetensors", "x", 1, 3, n) for end, n in (("-step00000100", 100), ("", 200))]
    assert rows(*files) == [("x", 1, None, 100), ("x", 1, None, 200)]


def test_what_kohya_was_told_to_do_otherwise_is_another_config():
    one, other = (theirs(f"{name}/x-000002.safetensors", "x", seed, 2) for name, seed in (("a", 1), ("b", 2)))
    assert len(set(named(one, other))) == 1
    other = replace(other, metadata={**other.metadata, "ss_optimizer": "Prodigy"})
    assert len(set(named(one, other))) == 2
