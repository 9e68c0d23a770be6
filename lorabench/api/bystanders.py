"""What lies beside adapters and is none: states of trainings, words about a file. Nobody asks to have it measured."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

TEXT = ".txt"
# What accelerate, diffusers, peft's and transformers' trainers write beside the weights to go on from there.
_STATE = re.compile(
    r"(?:optimizer|scheduler|scaler|sampler|training_args|rng_state|random_states|dl_state|ema)[-_\w]*\.(?:bin|pt|pth)"
)
_STATE_FOLDER = re.compile(r".*-state")  # kohya's trainer: the same adapter once more, as accelerate has it
_ABOUT = re.compile(r"(?:readme|license|licence|notice|changelog|requirements|sample_?prompts?).*", re.IGNORECASE)


def without_bystanders(files: Iterable[Path]) -> list[Path]:
    """The files but for states of trainings, and texts that are called as another file of the folder or say of all."""
    return [file for file in files if not (_is_state(file) or _is_about(file))]


def _is_state(file: Path) -> bool:
    folder = file.parent
    in_state = bool(_STATE_FOLDER.fullmatch(folder.name)) and any(
        (folder / name).exists() for name in ("optimizer.bin", "train_state.json")
    )
    return in_state or bool(_STATE.fullmatch(file.name))


def _is_about(file: Path) -> bool:
    if file.suffix != TEXT:
        return False
    if _ABOUT.fullmatch(file.name):
        return True
    return any(other != file and other.name.startswith(f"{file.stem}.") for other in file.parent.iterdir())
