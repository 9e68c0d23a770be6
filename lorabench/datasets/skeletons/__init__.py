"""Known data sets without their pictures: a dataset.toml each, and what is still missing in a folder that has one."""

from __future__ import annotations

import shutil
from pathlib import Path

from lorabench.datasets.assumed import Assumed
from lorabench.datasets.concepts import folders_of
from lorabench.datasets.description import DESCRIPTION, read_description
from lorabench.datasets.pictures import images_in
from lorabench.datasets.reading import counted
from lorabench.errors import UserError, unknown

_FOLDER = Path(__file__).parent


def skeleton_names() -> list[str]:
    return sorted(file.stem for file in _FOLDER.glob("*.toml"))


def skeleton_file(name: str) -> Path:
    """The description of a known data set."""
    return _FOLDER / f"{name}.toml"


def begin_skeleton(name: str, folder: Path) -> Path | None:
    """Write the dataset.toml of a known data set into a folder, and its folders; None where it is there already.

    UserError for a name that is not known, and for a folder with another data set's.
    """
    if name not in skeleton_names():
        raise UserError(unknown("skeleton", name, skeleton_names(), "--skeleton"))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder for the data set.")
    target = folder / DESCRIPTION
    skeleton = read_description(skeleton_file(name))
    if target.exists():
        if read_description(target).name != skeleton.name:
            raise UserError(f"{target} exists, and is not of the data set '{skeleton.name}'; name another folder.")
        return None
    for entry in skeleton.concept:
        (folder / entry.path).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(skeleton_file(name), target)
    return target


def missing_pictures(assumed: Assumed) -> list[str]:
    """A sentence for each concept with another number of pictures than its description says, if one has none at all."""
    found = [
        (entry, sum(len(images_in(folder)) for folder in folders_of(entry, assumed.root)))
        for entry in assumed.description.concept
    ]
    if all(number for _, number in found):
        return []
    return [counted(entry, number) for entry, number in found if entry.pictures not in (None, number)]
