"""lorabench's own: a dataset.toml with a `[[concept]]` for each concept."""

from __future__ import annotations

from lorabench.datasets.assumed import Assumed
from lorabench.datasets.description import DESCRIPTION, read_description
from lorabench.datasets.pictures import PictureFolder
from lorabench.values import read_toml


def assume(seen: PictureFolder) -> Assumed | None:
    file = seen.named or seen.path / DESCRIPTION
    if not file.is_file():
        return None
    content = read_toml(file)
    if "datasets" in content and "concept" not in content:
        return None  # sd-scripts' is often called so, too
    return Assumed("dataset.toml", seen.path, file, read_description(file), is_ours=True)
