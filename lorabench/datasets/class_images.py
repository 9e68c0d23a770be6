"""Pictures of classes rather than of concepts: what prior preservation keeps a model from forgetting (DreamBooth)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lorabench.datasets.reading import load_dataset
from lorabench.errors import UserError
from lorabench.records import Dataset, TrainingImage


def load_class_images(folder: Path) -> Dataset:
    """Pictures in any usual layout, their captions those beside them, else the name of the folder that they lie in.

    UserError for a folder that is no data set, and for pictures that nobody says the class of.
    """
    found = load_dataset(folder, needs_words=False)
    images = tuple(_of_class(image, folder) for image in found.images)
    return replace(found, images=images)


def _of_class(image: TrainingImage, folder: Path) -> TrainingImage:
    caption = image.caption
    if not caption and image.path.parent.resolve() != folder.resolve():
        caption = image.path.parent.name.replace("_", " ")
    if not caption:
        raise UserError(
            f"Nothing says what class {image.path} is of: write it into {image.path.stem}.txt beside it, or put the "
            "pictures of each class into a folder that is called so."
        )
    return replace(image, caption=caption, concept_id=f"class images/{image.concept_id}", is_class_image=True)
