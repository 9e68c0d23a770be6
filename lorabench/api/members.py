"""What each adapter file says of itself, is called, and has said of it: the series that it is of, and which moment."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Literal

from lorabench.api import file_names
from lorabench.api.file_names import Moment, Named
from lorabench.api.sheet import Row
from lorabench.components import Origin
from lorabench.records import Milestone, TrainConfig

Source = Literal["metadata", "names", "sheet"]
_TITLES = ("ss_output_name", "modelspec.title")  # what other tools call a training
# What kohya's trainer writes of what it was told, beside what a TrainConfig holds: another value is another config.
_SETTINGS = (
    *("ss_network_module", "ss_network_args", "ss_network_dropout", "ss_optimizer", "ss_lr_scheduler"),
    *("ss_learning_rate", "ss_text_encoder_lr", "ss_lr_warmup_steps", "ss_max_grad_norm", "ss_loss_type"),
    *("ss_batch_size_per_device", "ss_total_batch_size", "ss_gradient_accumulation_steps", "ss_resolution"),
    *("ss_noise_offset", "ss_min_snr_gamma", "ss_zero_terminal_snr", "ss_prior_loss_weight", "ss_clip_skip"),
    *("ss_caption_dropout_rate", "ss_shuffle_caption", "ss_keep_tokens", "ss_flip_aug", "ss_sd_model_hash"),
    *("ss_datasets", "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_tag_frequency", "ss_num_train_images"),
)


@dataclass(frozen=True)
class AdapterFile:
    """An adapter as it was found: where, what it is called, and what it says of itself."""

    path: PurePath  # in the folder that was given
    name: str
    settings: TrainConfig
    origin: Origin
    is_ours: bool
    metadata: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()  # that it brings along
    notes: tuple[str, ...] = ()  # what was assumed of it
    said: Row | None = None  # in somebody's sheet

    @property
    def title(self) -> str:
        """What its training was called, where another tool's metadata says it."""
        return next((self.metadata[key] for key in _TITLES if self.metadata.get(key)), "")


@dataclass(frozen=True)
class Member:
    """A file, the series that it is of, and which moment of it."""

    file: AdapterFile
    series: str  # "" where nothing says one: then the file is a config of its own
    moment: Moment
    source: Source = "metadata"  # the last that had to be believed
    is_last: bool = False  # it has no number, and its siblings have
    called: Moment = Moment()  # what its name says otherwise

    @property
    def place(self) -> Hashable:
        """What no two files of a config may have in common. Tables and curves put an epoch first."""
        seed, epoch, step = vars(self.moment).values()
        return (seed, "epoch", epoch) if epoch is not None else (seed, "step", step)

    @property
    def has_number(self) -> bool:
        return self.moment.epoch is not None or self.moment.step is not None


def members(files: Sequence[AdapterFile], folder: str) -> list[Member]:
    """The files in their order: of ours their metadata count, of others metadata before names, a sheet before both.

    What has no name but its number ("checkpoint-500/pytorch_lora_weights") is called as the folder that holds all.
    """
    theirs = [file for file in files if not file.is_ours]
    by_path = file_names.numbered([file_names.of_path(file.path) for file in theirs])
    named = {file.path: each if each.series else replace(each, series=folder) for file, each in zip(theirs, by_path)}
    return [_as_said(_ours(file) if file.is_ours else _theirs(file, named[file.path])) for file in files]


def training_of(member: Member) -> Hashable:
    """What files of one config have in common; when their training was to end, and what else it saved, is no part."""
    file = member.file
    if file.said is not None and file.said.config:
        return "sheet", file.said.config
    if not (file.is_ours or member.series):
        return file.path
    settings = file.settings.saved_at(Milestone(1))
    if file.is_ours:
        return repr(settings), file.origin.base, tuple(sorted(file.origin.pictures.items()))
    told = tuple(file.metadata.get(key) for key in _SETTINGS)
    return repr(replace(settings, name="")), file.origin.base, told, member.series


def _ours(file: AdapterFile) -> Member:
    return Member(file, file.settings.name, Moment(file.origin.seed, file.origin.epoch, file.origin.step))


def _theirs(file: AdapterFile, by_path: Named) -> Member:
    """Metadata first: the moment of the file, then marks in the name of its training, then its name and folders."""
    said = Moment(file.origin.seed, file.origin.epoch, file.origin.step)
    title = file_names.marked(file.title)
    if by_path.moment.step is not None and by_path.moment.epoch is None and said.step is not None:
        said = replace(said, epoch=None)  # saved within an epoch, of which its trainer states the number all the same
    told = said.or_else(title.moment)
    moment = told.or_else(by_path.moment)
    series = _without_seed(title.series or by_path.series, moment.seed)
    other = {kind: value for kind, value in vars(by_path.moment).items() if _differ(value, getattr(told, kind))}
    return Member(file, series, moment, "metadata" if moment == told else "names", called=Moment(**other))


def _differ(called: int | None, told: int | None) -> bool:
    return called is not None and told is not None and called != told


def _without_seed(series: str, seed: int | None) -> str:
    """The name of a training without the seed that it ends in ("mylora-7")."""
    return series if seed is None else re.sub(rf"(?<=.)[-_. ]0*{seed}$", "", series)


def _as_said(member: Member) -> Member:
    """The member as the sheet has it, where it says something of its place."""
    said = member.file.said
    if said is None or not (said.config or said.moment.is_known):
        return member
    moment = said.moment.or_else(member.moment)
    return replace(member, series=said.config or member.series, moment=moment, source="sheet", called=Moment())
