"""The words that adapters' own metadata say they were trained with: a trigger phrase, kohya's folders and tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from pydantic import RootModel

from lorabench import untrusted
from lorabench.datasets.layouts.kohya import words_of_folder
from lorabench.datasets.words import Words, descriptor_of
from lorabench.errors import UserError

Metadata = Mapping[str, str]  # the header of a safetensors file

_PHRASE, _FOLDERS, _TAGS = "modelspec.trigger_phrase", "ss_dataset_dirs", "ss_tag_frequency"


class _Folder(untrusted.FileRecord):
    img_count: untrusted.Whole | None = None


class _Folders(RootModel[dict[str, _Folder]]):
    pass


class _Tags(RootModel[dict[str, dict[str, untrusted.Whole]]]):
    pass


_Kind = TypeVar("_Kind", _Folders, _Tags)


def words_in_metadata(headers: Sequence[Metadata]) -> list[Words]:
    """Distinct words in the metadata of adapter files, those of most files first; what cannot be read says nothing."""
    found: Counter[tuple[str, str]] = Counter()
    origins: dict[tuple[str, str], str] = {}
    for header in headers:
        for words in _in_header(header):
            key = words.trigger, words.class_word
            found[key] += 1
            origins.setdefault(key, words.origin)
    return [Words(*key, origin=origins[key]) for key, _ in found.most_common()]


def _in_header(header: Metadata) -> list[Words]:
    """The trigger phrase, else of each folder the tag that all of its captions have, else the folder's name."""
    if phrase := header.get(_PHRASE, "").strip():
        return [_words(phrase.split(",")[0], _PHRASE)]
    folders = _table(header, _FOLDERS, _Folders)
    tags = _table(header, _TAGS, _Tags)
    sizes = {name: about.img_count for name, about in folders.root.items()} if folders else {}
    frequencies = tags.root if tags else {}
    class_images = _table(header, "ss_reg_dataset_dirs", _Folders)
    apart = set(class_images.root) if class_images else set()
    names = [name for name in dict.fromkeys((*sizes, *frequencies)) if name not in apart]
    found = dict.fromkeys(
        words for name in names for words in _of_folder(name, frequencies.get(name, {}), sizes.get(name))
    )
    return list(found)


def _of_folder(name: str, tags: Mapping[str, int], size: int | None) -> Iterator[Words]:
    named = words_of_folder(name)
    most = max(tags.values(), default=0)
    # A tag that is there once may be the caption of one picture.
    everywhere = [
        tag for tag, number in tags.items() if number == most and most >= (size or (1 if len(tags) == 1 else 2))
    ]
    tag = named if named in everywhere else next(iter(everywhere), "")
    if tag:
        yield _words(tag, _TAGS)
    elif named:
        yield _words(named, _FOLDERS)


def _words(text: str, origin: str) -> Words:
    found = descriptor_of([text])
    return Words(found.trigger, found.class_word, origin)


def _table(header: Metadata, key: str, kind: type[_Kind]) -> _Kind | None:
    """A table that is JSON in the metadata; None where it is none, because it only informs."""
    try:
        return untrusted.parsed(header[key], kind, key) if key in header else None
    except UserError:
        return None
