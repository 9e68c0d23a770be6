"""Pictures in one folder, with or without captions: DreamBooth's `instance_data_dir`, or anybody's."""

from __future__ import annotations

from lorabench.datasets.assumed import Assumed
from lorabench.datasets.captions import read_captions
from lorabench.datasets.description import Description
from lorabench.datasets.layouts._entries import entry_of
from lorabench.datasets.pictures import PictureFolder, is_generic, is_split
from lorabench.datasets.words import descriptor_of


def assume(seen: PictureFolder) -> Assumed | None:
    seen.require_pictures()
    folders = [path for path in seen.groups if not path.parts]
    if not folders and len(seen.groups) == 1:
        folders = [path for path in seen.groups if all(is_generic(part) or is_split(part) for part in path.parts)]
    if not folders:
        return None
    captions = read_captions(seen.groups[folders[0]], seen.path)
    found = descriptor_of(captions.given)
    entry = entry_of(".", [str(folders[0])], found, captions)
    layout = "one folder of pictures" if captions.given else "one folder of pictures without captions (DreamBooth's)"
    return Assumed(layout, seen.path, seen.path, Description(concept=[entry]), {".": found.origin}, captions.remarks)
