"""Folders of pictures as people have them, each layout a file in `layouts`, as one kind of data set."""

from lorabench.datasets.assumed import Assumed as Assumed
from lorabench.datasets.buckets import bucket_size as bucket_size
from lorabench.datasets.class_images import load_class_images as load_class_images
from lorabench.datasets.concepts import Part as Part
from lorabench.datasets.concepts import parts_of as parts_of
from lorabench.datasets.concepts import training_images as training_images
from lorabench.datasets.description import DESCRIPTION as DESCRIPTION
from lorabench.datasets.description import written as written
from lorabench.datasets.foretold import foretell as foretell
from lorabench.datasets.pictures import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from lorabench.datasets.pictures import images_below as images_below
from lorabench.datasets.reading import assume as assume
from lorabench.datasets.reading import assumptions as assumptions
from lorabench.datasets.reading import dataset_of as dataset_of
from lorabench.datasets.reading import load_dataset as load_dataset
from lorabench.datasets.reading import read_dataset as read_dataset
from lorabench.datasets.reading import without_pictures as without_pictures
from lorabench.datasets.skeletons import begin_skeleton as begin_skeleton
from lorabench.datasets.skeletons import missing_pictures as missing_pictures
from lorabench.datasets.words import HOW_TO_SAY as HOW_TO_SAY
from lorabench.datasets.words import Words as Words
