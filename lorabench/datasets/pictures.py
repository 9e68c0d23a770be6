"""The pictures of a folder, and which of them are not there to be learnt from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from lorabench.errors import UserError
from lorabench.values import require_text

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
_OTHER_PICTURES = frozenset({".heic", ".heif", ".gif", ".avif", ".jfif", ".jxl", ".svg", ".psd", ".tga", ".mp4"})
_PACKED = frozenset({".parquet", ".arrow", ".zip", ".tar", ".tgz", ".gz", ".7z", ".rar"})
_OF_SYSTEMS = frozenset({"@eadir", "__macosx"})  # what a Synology and a Mac leave in folders: thumbnails, attributes

# Folders of kohya's trainers and of DreamBooth that hold pictures of the class, to keep it as it was.
_CLASS_IMAGES = re.compile(
    r"(regs?|regulari[sz]ation|prior)([ _-]?(images?|imgs?|pictures?|data|dir|set|folder))?"
    r"|class[ _-](images?|imgs?|pictures?|data|dir|set|folder)|reg[ _-].+|.+[ _-](reg|regulari[sz]ation)",
    re.IGNORECASE,
)
# "class" may be anything, but beside these it holds class images.
_CLASS = re.compile(r"class(es)?", re.IGNORECASE)
_INSTANCE = re.compile(r"instances?([ _-].*)?|\d+_.*", re.IGNORECASE)
_THUMBNAILS = re.compile(r"_?thumb(nail)?s?", re.IGNORECASE)
_MASKS = re.compile(r"masks?|conditioning(_data|_images?)?", re.IGNORECASE)
_MASK = re.compile(r".+-(masklabel|condlabel)", re.IGNORECASE)  # OneTrainer's, beside the pictures
_TRAIN = re.compile(r"train(ing)?", re.IGNORECASE)
_TEST = re.compile(r"test(ing)?|val(id(ation)?)?|dev|eval(uation)?", re.IGNORECASE)
# Names of folders that say that there are pictures in them, and not of what.
_GENERIC = re.compile(
    r"(instance|training|train|source|raw|input|cropped|resized|processed)?[ _-]?"
    r"(ima?ges?|imgs?|pictures?|pics?|photos?|data|dataset|dir)|instance|training|train|source|src|raw|inputs?|cropped"
    r"|resized|processed|output|jpe?g|png|\d+(x\d+|px)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class PictureFolder:
    """A folder as a layout sees it, and the file in it that the user named, if it was a file."""

    path: Path
    named: Path | None = None

    @cached_property
    def pictures(self) -> list[Path]:
        """All images below it, sorted."""
        return images_below(self.path)

    @cached_property
    def groups(self) -> dict[PurePosixPath, list[Path]]:
        """Images to learn from by their folder, relative to this one; all images where none is left else."""
        learnt = [path for path in self.pictures if not self.role(path)]
        groups: dict[PurePosixPath, list[Path]] = {}
        for path in learnt or self.pictures:
            groups.setdefault(self.relative(path.parent), []).append(path)
        return groups

    @cached_property
    def _tops(self) -> set[str]:
        """Folders in it that pictures lie in or below."""
        return {path.parts[0] for path in map(self.relative, self.pictures) if len(path.parts) > 1}

    def relative(self, path: Path) -> PurePosixPath:
        return PurePosixPath(path.relative_to(self.path).as_posix())

    def role(self, picture: Path) -> str:
        """What a picture is if not one to learn from, by the names of its folders; else ""."""
        folders = self.relative(picture).parts[:-1]
        top = folders[0] if folders else ""
        of_class = _CLASS.fullmatch(top) and any(map(_INSTANCE.fullmatch, self._tops))
        if of_class or any(_CLASS_IMAGES.fullmatch(part) for part in folders):
            return "class images (regularisation)"
        if _TEST.fullmatch(top) and any(map(_TRAIN.fullmatch, self._tops)):
            return "of another split than train"
        if any(_THUMBNAILS.fullmatch(part) for part in folders):
            return "thumbnails"
        if any(_MASKS.fullmatch(part) for part in folders) or _MASK.fullmatch(picture.stem):
            return "masks or conditions"
        return ""

    def require_pictures(self) -> None:
        """UserError for a folder without images, which says what it holds else."""
        if self.pictures:
            return
        files = [file for file in self.path.rglob("*") if file.is_file()]
        packed = sorted({file.suffix.lower() for file in files} & _PACKED)
        hint = f" It holds {', '.join(packed)}: take the pictures out of it." if packed else ""
        raise UserError(f"Data set {self.path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).{hint}")

    def unread(self) -> list[str]:
        """A sentence about pictures of kinds that are not read, if there are some."""
        files = [file for file in self.path.rglob("*") if file.suffix.lower() in _OTHER_PICTURES]
        files = sorted(file for file in files if not _is_hidden(self.relative(file)))
        if not files:
            return []
        kinds = ", ".join(sorted({file.suffix.lower() for file in files}))
        first = self.relative(files[0])
        return [f"{count(len(files), 'file')} of kinds that are not read ({kinds}) left out; the first is {first}."]


def images_below(folder: Path) -> list[Path]:
    """All images below a folder, sorted by their path; hidden files and folders are not looked at."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return _checked(folder, [path for path in paths if not _is_hidden(PurePosixPath(path.relative_to(folder)))])


def images_in(folder: Path) -> list[Path]:
    """The images that lie in a folder itself, sorted; none of a folder that is not there."""
    paths = folder.iterdir() if folder.is_dir() else ()
    found = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    return _checked(
        folder, [path for path in found if not path.name.startswith(".") and not _MASK.fullmatch(path.stem)]
    )


def is_generic(name: str) -> bool:
    """Does a folder's name say that there are pictures in it, and not of what?"""
    return _GENERIC.fullmatch(name) is not None


def is_split(name: str) -> bool:
    return (_TRAIN.fullmatch(name) or _TEST.fullmatch(name)) is not None


def count(number: int, what: str) -> str:
    """ "1 picture", "2 pictures"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part.lower() in _OF_SYSTEMS for part in path.parts)


def _checked(folder: Path, paths: Sequence[Path]) -> list[Path]:
    found = sorted(paths, key=lambda path: path.relative_to(folder).as_posix())
    for path in found:
        require_text(path, "Picture")
    return found
