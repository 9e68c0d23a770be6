"""What a data set's folder says about its concepts: dataset.toml, or else the folders' names and the captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorabench.errors import UserError
from lorabench.values import MANY, Many, Name, read_toml, sentence

DESCRIPTION = "dataset.toml"

# Of the paper's categories (LyCORIS D.3), used only where no dataset.toml says otherwise: the template of `alter`
# prompts, and what stands for the descriptor in the text for alignment; "{}" is the class name.
_TEMPLATES = {
    "anime_characters": "characters",
    "movie_characters": "characters",
    "stuffed_toys": "stuffed_toys",
    "scenes": "scenes",
    "styles": "styles",
}
_SCENES = ("canal", "castle", "garden", "sculpture", "waterfall")  # classes with a template of their own
_ALIGNMENT: dict[str, str | None] = {"stuffed_toys": "{}", "scenes": "{}", "styles": ""}
ANY_TEMPLATE = "anything"  # says nothing of what the concept is


class ConceptEntry(BaseModel):
    """One `[[concept]]` of dataset.toml; docs: a data set is a folder."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: Annotated[Name, Field(min_length=1)] = Field(description="folder: category/class[/sub-class]")
    trigger: str = Field(description="the word that training ties to the concept")
    class_word: str = Field("", description="what it is one of; the descriptor is `trigger class_word[, keyword]`")
    keyword: str = Field("", description="of a sub-class")
    repeats: Many | Literal["balance"] = Field(
        1, description='how often an epoch shows each image; "balance": every class about equally often'
    )
    alter: Name | None = Field(
        None, description='template of its `alter` prompts; "" = none; default: its category\'s, or one for anything'
    )
    alignment: str | None = Field(
        None,
        description='stands for the descriptor in the text that CLIP compares with; "" removes it; default: class_word',
    )
    style_prompts: bool = Field(True, description="false: no prompts in other styles")
    evaluate: bool = Field(True, description="false: trained on, not measured")


class Description(BaseModel):
    """dataset.toml as it is written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field("", description="of the data set; default: its folder's")
    revision: str = Field("", description="of the pictures and captions, in tables and report")
    license: str = Field("", description="under which the pictures may be used")
    citation: str = Field("", description="where they are from")
    concept: Annotated[list[ConceptEntry], Field(min_length=1)] = Field(description="a table for each concept")


def read_description(path: Path) -> Description:
    try:
        return Description.model_validate(read_toml(path))
    except ValidationError as error:
        raise UserError("\n".join(dict.fromkeys(_sentence(problem, path) for problem in error.errors()))) from error


def _sentence(problem: Any, path: Path) -> str:
    location = tuple(problem["loc"])
    if "repeats" in location:  # pydantic adds which of the two kinds it means
        location = location[: location.index("repeats") + 1]
        problem = problem | {"msg": f'must be a whole number from 1 to {MANY} or "balance"'}
    known = Description.model_fields if len(location) == 1 else ConceptEntry.model_fields
    return sentence(problem | {"loc": location}, path, list(known))


# --- without dataset.toml ---------------------------------------------------------------------------------------------


def guess_description(
    folder: Path, paths: Sequence[Path], captions: Mapping[Path, str]
) -> tuple[Description, list[str]]:
    """What dataset.toml would say, read from folder names and captions, and the sentences that say so."""
    by_folder: dict[PurePosixPath, list[Path]] = {}
    for path in paths:
        by_folder.setdefault(PurePosixPath(path.parent.relative_to(folder).as_posix()), []).append(path)
    if PurePosixPath() in by_folder:
        by_folder = {PurePosixPath(): by_folder[PurePosixPath()]}
    deep = [str(path) for path in by_folder if len(path.parts) > 3]
    if deep:
        raise UserError(
            f"Data set {folder}: '{deep[0]}' is deeper than category/class/sub-class. "
            f"Move the images up or write a {DESCRIPTION}."
        )
    repeats: int | Literal["balance"] = "balance" if len(by_folder) > 1 else 1
    number = "1 concept" if len(by_folder) == 1 else f"{len(by_folder)} concepts"
    entries, assumptions = (
        [],
        [f"There is no {DESCRIPTION} in {folder}: {number} read from its folders."],
    )
    for path, images in by_folder.items():
        entry = _guessed_entry(path, [captions[image] for image in images], folder.resolve().name, repeats)
        entries.append(entry)
        assumptions.append(
            f"Concept '{path}': trigger '{entry.trigger}', class word '{entry.class_word}', "
            f"keyword '{entry.keyword}', template '{_template(path, folder)}' of `alter` prompts."
        )
    if repeats == "balance":
        assumptions.append("Images are repeated so that an epoch shows every class about equally often.")
    return Description.model_construct(name="", revision="", license="", citation="", concept=entries), assumptions


def _guessed_entry(
    path: PurePosixPath, captions: Sequence[str], name: str, repeats: int | Literal["balance"]
) -> ConceptEntry:
    """The descriptor is the first comma-separated part that all captions share, else the class's name."""
    category = path.parts[0] if len(path.parts) > 1 else ""
    class_name = path.parts[min(1, len(path.parts) - 1)] if path.parts else name
    spoken = class_name.replace("_", " ")
    first = {caption.split(",")[0].strip() for caption in captions}
    trigger, class_word = _trigger_and_class_word(first.pop() if len(first) == 1 and "" not in first else spoken)
    second = {(caption.split(",") + [""])[1].strip() for caption in captions}
    # A sub-class's keyword follows the descriptor in every caption; of a class without sub-classes it is just a tag.
    keyword = second.pop() if len(path.parts) == 3 and len(second) == 1 else ""
    alignment = _ALIGNMENT.get(category)
    return ConceptEntry(
        path=str(path),
        trigger=trigger,
        class_word=class_word,
        keyword=keyword,
        repeats=repeats,
        alignment=alignment and alignment.format(spoken),
    )


def _template(path: PurePosixPath, folder: Path) -> str:
    category, class_name, _ = place_of(path, folder.resolve().name)
    return usual_templates(category, class_name)[0]


def place_of(path: PurePosixPath, name: str) -> tuple[str, str, str]:
    """Category, class and sub-class of a concept's folder in the data set of that name.

    A folder that is one concept, or a class without a category, is grouped under the data set's name.
    """
    parts = path.parts or (name,)
    category, class_name, subclass = (*((name, *parts) if len(parts) == 1 else parts), "")[:3]
    return category, class_name, subclass


def usual_templates(category: str, class_name: str) -> tuple[str, ...]:
    """Templates for the `alter` prompts of a concept whose data set names none, the best first, for any category.

    A scene of the paper has one of its class; the others are for the category, and for anything at all.
    """
    usual = (_TEMPLATES[category],) if category in _TEMPLATES else ()
    of_class = (class_name,) if category == "scenes" and class_name in _SCENES else ()
    return tuple(dict.fromkeys((*of_class, *usual, ANY_TEMPLATE)))


def _trigger_and_class_word(descriptor: str) -> tuple[str, str]:
    """ "[V_new token] anime girl" -> its bracketed part (else its first word) and the rest."""
    cut = descriptor.find("]") + 1 if descriptor.startswith("[") else 0
    cut = cut or (descriptor + " ").find(" ")
    return descriptor[:cut], descriptor[cut:].strip()
