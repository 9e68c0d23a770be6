"""The words that call a concept: told, or found in captions and in the names of folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

HOW_TO_SAY = (
    "Say how prompts call it: --trigger sks --class-word dog (trigger and class_word of [data] in a study), or a "
    "dataset.toml, which `lorabench dataset FOLDER --write` begins"
)


@dataclass(frozen=True)
class Words:
    """How prompts call a concept, as somebody said outside of the data set."""

    trigger: str = ""
    class_word: str = ""
    origin: str = "--trigger, --class-word or [data] of the study"  # who said so

    def __bool__(self) -> bool:
        return bool(self.trigger or self.class_word)

    def __str__(self) -> str:
        return f"{self.trigger} {self.class_word}".strip()


@dataclass(frozen=True)
class Descriptor:
    """The words of a concept as they were found, and where."""

    trigger: str = ""
    class_word: str = ""
    keyword: str = ""
    origin: str = ""


def descriptor_of(captions: Sequence[str], name: str = "") -> Descriptor:
    """What all captions say first, or a name that they hold where that is elsewhere, or what they share, or the name.

    No words where there is neither. `name` is a folder's where that says what its pictures show.
    """
    firsts = {_without_lead(caption.split(",")[0]) for caption in captions}
    first = firsts.pop() if len(firsts) == 1 else ""
    is_held = bool(name and captions) and all(_holds(caption, name) for caption in captions)
    if first and (_holds(first, name) or not is_held):
        return _split(first, "what all captions begin with")
    if is_held:
        return _split(name, "the folder's name, which all captions hold")
    if shared := _shared(captions):
        return _split(shared, "what all captions share")
    return _split(name, "the folder's name") if name else Descriptor()


def told(found: Descriptor, words: Words) -> Descriptor:
    """What somebody said, and of what was found the part that goes with it."""
    text = f"{found.trigger} {found.class_word}".strip()
    if words.trigger and words.class_word:
        return Descriptor(words.trigger, words.class_word, "", words.origin)
    if words.trigger:
        rest = text.removeprefix(words.trigger)
        return Descriptor(words.trigger, rest.strip() if rest != text else "", "", words.origin)
    rest = text.removesuffix(words.class_word)
    return Descriptor(rest.strip() if rest != text else found.trigger, words.class_word, "", words.origin)


def _split(text: str, origin: str) -> Descriptor:
    """ "[V_new token] anime girl, hat" -> its brackets (else first word), the rest, what follows a comma."""
    descriptor, _, keyword = text.partition(",")
    descriptor = descriptor.strip()
    cut = descriptor.find("]") + 1 if descriptor.startswith("[") else 0
    cut = cut or (descriptor + " ").find(" ")
    return Descriptor(descriptor[:cut], descriptor[cut:].strip(), keyword.strip(), origin)


# "a photo of sks dog", "an oil painting of a castle", "in the style of sks": what leads in is no word of the concept.
_LEAD = re.compile(
    r"(?:\w+ ){0,3}?(?:photo(?:graph)?|picture|image|painting|drawing|render(?:ing)?|illustration|depiction|rendition"
    r"|sketch|portrait|shot|close-?up|view|style)s? of ",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"(?:an?|the|one|my|some) ", re.IGNORECASE)
# Captions share these, whatever they are of.
_EMPTY = frozenset(
    "a an the one my some this that its it he she his her of in on at by to from for with and or is are as style photo "
    "photograph picture image painting drawing illustration background".split()
)
_LONGEST = 8  # words


def _without_lead(text: str) -> str:
    text = text.strip()
    lead = _LEAD.match(text)
    text = text[lead.end() :] if lead else text
    article = _ARTICLE.match(text)
    return (text[article.end() :] if article else text).strip()


def _holds(caption: str, words: str) -> bool:
    return f" {words} " in f" {re.sub(r'[,.;:!?]', ' ', caption)} "


def _shared(captions: Sequence[str]) -> str:
    """The longest run of words that stands in every caption, within a comma's part; "" if it says nothing."""
    if len(captions) < 2:
        return ""
    padded = [" , ".join(["", *(f" {' '.join(part.split())} " for part in re.split(r"[,.;:!?]", each)), ""])
              for each in captions]  # fmt: skip
    best: list[str] = []
    for part in re.split(r"[,.;:!?]", min(captions, key=len)):
        words = part.split()
        for start in range(len(words)):
            for end in range(len(words), start + len(best), -1):
                run = words[start:end]
                says = run[0].lower() not in _EMPTY and end - start <= _LONGEST
                # "sks style" names a style; "the style" nothing.
                if says and all(f" {' '.join(run)} " in caption for caption in padded):
                    best = run
                    break
    while best and best[-1].lower() in _EMPTY and best[-1].lower() != "style":
        best = best[:-1]
    return " ".join(best)
