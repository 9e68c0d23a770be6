"""`lorabench init`: a first study from a folder of pictures, with sizes that fit base model and machine."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorabench import base_files, datasets, devices
from lorabench.api.adapter_tools import base_source
from lorabench.api.pictures import Reading, dataset
from lorabench.api.sizes import Sizes, suitable_sizes
from lorabench.base_names import parse_base
from lorabench.config import MINI, PACKAGE_SCHEME
from lorabench.datasets import Words
from lorabench.errors import UserError
from lorabench.mini.vocabulary import SUBJECTS, caption_words

STUDY = "study.toml"
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
MINI_PICTURES = "lorabench:mini/dataset"
CAPTION = "[V_mine] toy"
FEW_PICTURES = 4

Ask = Callable[[str, str], str]  # (question, what is taken where nothing is answered) -> answer


@dataclass(frozen=True)
class Started:
    """A study that was written, and what its author should know of it: sentences, which stand in the file too."""

    file: Path
    remarks: tuple[str, ...]


def write_study(
    folder: Path, data: Path | None, base: str | None, caption: str | None, ask: Ask | None = None
) -> Started:
    """Write FOLDER/study.toml; what is not given is asked for, or guessed where there is nobody to ask.

    UserError for what it could not be made of; nothing is written then.
    """
    target = folder / STUDY
    if target.exists():
        raise UserError(f"{target} exists; edit it, or name another folder.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder for the study.")
    take = ask or (lambda question, default: default)
    base = base or take("Base model (mini, hub id, diffusers folder or .safetensors)", _usual_base())
    base_files.find_base(base_source(base))
    pictures = data or _chosen_pictures(take, folder, base)
    found = dataset(pictures, Words()) if pictures else None
    captions = _captions(found, caption, ask) if found else {}
    remarks = _remarks(found, captions, caption, base) if found else ()
    text = _text(folder, pictures, base, found, remarks)
    for file, words in captions.items():
        file.write_text(words + "\n", encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return Started(target, remarks)


def _usual_base() -> str:
    """SD1.5 where it is here and there is an accelerator to train it on, else the miniature world's."""
    try:
        base_files.find_base(SD15)
    except UserError:
        return MINI
    return SD15 if devices.pick_device("auto").type != "cpu" else MINI


# --- pictures and captions --------------------------------------------------------------------------------------------


def _chosen_pictures(take: Ask, folder: Path, base: str) -> Path | None:
    """The folder that the user names, or one nearby that holds pictures; None = the miniature world's own."""
    places = (folder, folder / "pictures", Path("pictures"), Path("images"), Path())
    near = next((place for place in places if place.is_dir() and _holds_pictures(place)), None)
    answer = take("Folder of your pictures", str(near or (MINI_PICTURES if base == MINI else "")))
    if not answer:
        raise UserError("Which pictures is the study about? Add --data FOLDER.")
    return None if answer == MINI_PICTURES else Path(answer).expanduser()


def _holds_pictures(folder: Path) -> bool:
    return any(file.suffix.lower() in datasets.IMAGE_SUFFIXES for file in folder.iterdir())


def _captions(found: Reading, caption: str | None, ask: Ask | None) -> dict[Path, str]:
    """A caption file for each picture that lacks one, all with the same words. UserError where none are given.

    None where the layout has words for them, unless a caption is given.
    """
    missing = [path for part in found.parts for path in part.captions.missing]
    if not missing or (caption is None and not found.lacking):
        return {}
    words = caption
    if words is None and ask:
        words = ask(f"{len(missing)} pictures have no caption: a new word for what they show, and what it is", CAPTION)
    if words is None:
        raise UserError(
            f"{len(missing)} pictures in {found.assumed.root} have no caption, a .txt file of the same name; the first "
            f"is {missing[0]}. Write them, or add --caption '{CAPTION}': a new word for what they show, what it is. "
            "It is written beside each of them."
        )
    if not words.strip():
        raise UserError("A caption has to say something: --caption is empty.")
    return {file.with_suffix(".txt"): " ".join(words.split()) for file in missing}


def _remarks(found: Reading, captions: Mapping[Path, str], caption: str | None, base: str) -> tuple[str, ...]:
    """What may make the study another than its author thinks; `captions` are those that are written now."""
    said = []
    if caption is not None and not captions:
        said.append(f"--caption '{caption}' was not used: every picture has a caption already.")
    if len(found.images) < FEW_PICTURES:
        few = "one picture" if len(found.images) == 1 else f"{len(found.images)} pictures"
        said.append(f"{few} teach an adapter little but themselves, and leave the audit none to compare with.")
    classes = {part.concept.class_word for part in found.parts} | {
        words.partition(" ")[2] for words in captions.values()
    }
    if any(" " not in words for words in captions.values()):
        said.append("A caption of one word leaves out what it is one of, which the base model knows: '[V_mine] toy'.")
    strange = sorted({word for words in classes for word in words.split()} - set(caption_words()))
    if base == MINI and strange:
        said.append(
            f"The miniature base model does not know {', '.join(strange)}: it has {len(caption_words())} words, among "
            f"them {', '.join(SUBJECTS[:8])}, ..."
        )
    return tuple(said)


# --- the file ---------------------------------------------------------------------------------------------------------


def _text(folder: Path, pictures: Path | None, base: str, found: Reading | None, remarks: Sequence[str]) -> str:
    sizes, of_mini = suitable_sizes(base == MINI), base == MINI
    epochs = _epochs(found, sizes)
    return _STUDY.format(
        remarks="".join(f"# Note: {each}\n" for each in remarks),
        name=_quoted(_name(folder)),
        base=_quoted(_base(base, folder)),
        data=_data_lines(pictures, folder, found),
        epochs=epochs,
        half=max(1, epochs // 2),
        batch=sizes.batch,
        drawn=sizes.drawn,
        per_set=sizes.per_set,
        steps=sizes.steps,
        guidance=sizes.guidance,
        tokens="max_tokens = 30\n" if of_mini else "",
        prompts='prompts = "lorabench:mini/prompts"  # in words that this base model knows\n' if of_mini else "",
        # The miniature world's own rates and factor, or the paper's.
        lora="5e-3" if of_mini else "5e-4",
        lokr="1e-2" if of_mini else "5e-4",
        factor=4 if of_mini else 8,
        rest=_MINI_ENCODERS if of_mini else f'\n[run]\nprecision = "{sizes.precision}"\n',
    )


_STUDY = """\
# A first study, written by `lorabench init`: which of two adapters learns these pictures better?
{remarks}# Keys that are left out are as in the LyCORIS paper; images are drawn at the base model's own size.
name = {name}  # results go to results/<name>
base = {base}
seeds = [1, 2]  # each config is trained with each: what differs less than two seeds do is no difference

[data]
{data}

[training]
epochs = {epochs}  # passes over the pictures
checkpoint_epochs = [{half}, {epochs}]  # adapters are kept and measured after these
warmup_epochs = 0.5
batch_size = {batch}  # smaller if memory does not suffice
{tokens}
# A row for each algorithm; `vary` changes one thing at a time: vary = [{{ dim = 16 }}, {{ lr = 1e-3 }}]
[[grid]]
algorithm = "lora"
lr = {lora}
dim = 8
alpha = 4

[[grid]]
algorithm = "lokr"
lr = {lokr}
factor = {factor}

[images]
{prompts}per_set = {per_set}  # pictures of a concept and kind of prompt; the paper draws 100
steps = {steps}
guidance = {guidance}
batch_size = {drawn}  # drawn at once
{tokens}{rest}"""
_MINI_ENCODERS = (
    "\n[encoders]  # the miniature world's own\n"
    + "\n".join(f'{name} = {{ weights = "lorabench:mini/weights/{name}" }}' for name in ("dinov2", "clip", "vgg19"))
    + "\n"
)


def _data_lines(pictures: Path | None, folder: Path, found: Reading | None) -> str:
    if pictures is None or found is None:
        return (
            f'folder = "{MINI_PICTURES}"  # the miniature world\'s own; name a folder of yours here\n'
            'concepts = ["stuffed_toys/panda"]  # glob patterns; without this line, all of the folder'
        )
    return f"folder = {_quoted(_portable(pictures, folder))}  # read as {found.assumed.layout}"


def _epochs(found: Reading | None, sizes: Sizes) -> int:
    """Passes after which each concept has been seen so many times."""
    if found is None:
        return 24
    count, concepts = sum(image.repeats for image in found.images), len({part.concept for part in found.parts})
    return max(2, math.ceil(sizes.samples * concepts / count))


def _portable(path: Path, folder: Path) -> str:
    """A path as one from the study's folder."""
    relative = os.path.relpath(path.expanduser().resolve(), folder.resolve())
    return relative if relative.startswith(".") else f"./{relative}"


def _base(base: str, folder: Path) -> str:
    """A base model as the study names it: a path from its folder, or the same words."""
    source = base_source(base)
    place = parse_base(source).place
    if base == MINI or base.startswith(PACKAGE_SCHEME) or not Path(place).exists():
        return base
    return _portable(Path(place), folder) + source.removeprefix(place)


def _name(folder: Path) -> str:
    name = folder.resolve().name
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in name)
    return kept.strip("-._") or "study"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
