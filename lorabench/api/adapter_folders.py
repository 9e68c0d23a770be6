"""The adapters of a folder: which there are, what each is called, what it says of itself, and which cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lorabench import formats
from lorabench.api.early_checks import OURS, adapters_in
from lorabench.api.members import AdapterFile
from lorabench.api.sheet import Row
from lorabench.base_models import Base
from lorabench.errors import UserError
from lorabench.formats import peft
from lorabench.layers import Components
from lorabench.pipeline.plan import BASE_CHECKPOINT, RESERVED_IDS
from lorabench.records import Failure

_Said = Mapping[Path, Sequence[Row]]


def adapter_files(folder: Path) -> list[Path]:
    """Adapter files and peft folders at or below a path, sorted. UserError if there are none."""
    found = adapters_in(folder)
    if folder.is_file():
        return [folder]
    configs = [file for file in found if file.name == peft.CONFIG]
    adapters, parts = {peft.folder_of(file) for file in configs}, {file.parent for file in configs}
    return sorted(adapters | {file for file in found if file.parent not in parts})


def bases_of(files: Sequence[Path], unused: Sequence[str]) -> tuple[dict[Path, str], list[Failure]]:
    """The base model that each readable file says it was made for ("" where it does not), and the files refused."""
    bases, refused = {}, []
    for file in files:
        try:
            bases[file] = formats.read_adapter(file, unused).origin.base
        except UserError as error:
            refused.append(_failure(file, error))
    return bases, refused


def fitting(
    files: Iterable[Path], folder: Path, base: Base, unused: Sequence[str], said: _Said
) -> tuple[dict[Path, AdapterFile], list[Failure]]:
    """The adapters that fit the base model, with what a sheet says of each, and those that do not."""
    architecture = base.architecture()
    found, refused = {}, []
    for file, name in names_of(list(files), folder).items():
        try:  # one at a time: a folder of full fine-tunings does not fit the memory
            row = next(iter(said.get(file, ())), None)
            found[file] = adapter_file(file, name, folder, architecture, unused, row)
        except UserError as error:
            refused.append(_failure(file, error))
    return found, refused


def adapter_file(
    file: Path, name: str, folder: Path, architecture: Components, unused: Sequence[str], said: Row | None = None
) -> AdapterFile:
    """What a file says of itself and its weights say of it. UserError if it is no adapter of this base model."""
    loaded = formats.read_adapter(file, unused)
    adapter = formats.resolve(loaded, architecture)
    notes = (*loaded.notes, *formats.unused_words(loaded, adapter))
    ours, words = OURS in loaded.metadata, tuple(adapter.words)
    path = file.relative_to(folder.parent if file == folder else folder)
    settings = formats.config_of(loaded, adapter)
    return AdapterFile(path, name, settings, loaded.origin, ours, loaded.metadata, words, notes, said)


def callable_names(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    """All that a sheet may call each file, its path in the folder first; what would name two files names none."""
    paths = {file: file.name if file == folder else file.relative_to(folder).as_posix() for file in files}
    ways = [paths, {file: path.removesuffix(".safetensors") for file, path in paths.items()}, names_of(files, folder)]
    ways.append({file: str(file) for file in files})
    found = {name: file for file, name in paths.items()}
    for way in ways[1:]:
        counts = Counter(way.values())
        found |= {name: file for file, name in way.items() if counts[name] == 1 and name not in found}
    return found


def names_of(files: Sequence[Path], folder: Path) -> dict[Path, str]:
    """What each file is called: its path without slashes and suffix, or as it is where that would be another's name."""
    paths = {file: file.name if file == folder else str(file.relative_to(folder)) for file in files}
    short = {file: path.replace("/", " ").removesuffix(".safetensors") for file, path in paths.items()}
    taken = Counter([*short.values(), BASE_CHECKPOINT, *RESERVED_IDS])
    return {file: short[file] if taken[short[file]] == 1 else paths[file] for file in files}


def _failure(file: Path, error: UserError) -> Failure:
    return Failure("evaluate", str(file), "failed", str(error))
