"""How people lay out pictures with captions: a file a layout.

Each has `assume(seen)`, which gives the `Assumed` that a folder comes to in that layout, or None where it is not laid
out so. A new layout is a file here, and its place among the others in `LAYOUTS`.
"""

from __future__ import annotations

from pathlib import Path

from lorabench.datasets.assumed import Assumed
from lorabench.datasets.layouts import categories, dataset_toml, flat, imagefolder, kohya, sd_scripts
from lorabench.datasets.pictures import PictureFolder
from lorabench.errors import UserError

# The first that knows the folder reads it: what is written down comes before what names of folders say.
LAYOUTS = (dataset_toml, sd_scripts, imagefolder, kohya, flat, categories)


def recognise(place: Path) -> Assumed:
    """A folder of pictures, or the TOML file that describes one, as a data set. UserError if it is neither."""
    if place.is_file() and place.suffix.lower() == ".toml":
        seen = PictureFolder(place.parent, place)
    elif place.is_dir():
        seen = PictureFolder(place)
    else:
        raise UserError(
            f"Data set {place} is not a folder of images, nor a TOML file that describes one (data.folder of a study). "
            "For the folders of the paper's data set, to be filled with its pictures: `lorabench dataset paper FOLDER`."
        )
    return next(assumed for layout in LAYOUTS if (assumed := layout.assume(seen)) is not None)
