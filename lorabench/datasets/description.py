"""dataset.toml: what a data set's folder says about its concepts, read and written. Every layout comes to the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorabench.errors import UserError
from lorabench.values import MANY, Many, Name, problems, read_toml, sentence

DESCRIPTION = "dataset.toml"


class ConceptEntry(BaseModel):
    """One `[[concept]]` of dataset.toml; docs: a data set is a folder."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    path: Annotated[Name, Field(min_length=1)] = Field(description="folder: category/class[/sub-class]")
    folders: list[Annotated[Name, Field(min_length=1)]] = Field(
        [], description="where its images lie; default: path. Entries of one path are one concept, with repeats each"
    )
    trigger: str = Field(description="the word that training ties to the concept")
    class_word: str = Field("", description="what it is one of; the descriptor is `trigger class_word[, keyword]`")
    keyword: str = Field("", description="of a sub-class")
    repeats: Many | Literal["balance"] = Field(
        1, description='how often an epoch shows each image; "balance": every class about equally often'
    )
    pictures: Many | None = Field(
        None,
        description="how many belong to it; another number is said, and `plan` counts with it before they are there",
    )
    caption: str | None = Field(
        None, description="of images that have none, {} = the descriptor; default: such images are an error"
    )
    caption_extension: Name = Field("", description='of captions beside images; default: ".txt", else ".caption"')
    caption_file: Name = Field(
        "", description="with captions of many images; default: metadata.jsonl, .csv or .parquet beside or above them"
    )
    caption_prefix: str = Field("", description="goes before each caption, and a space")
    caption_suffix: str = Field("", description="follows each caption after a space")
    alter: Name | None = Field(
        None, description='template of its `alter` prompts; "" = none; default: its category\'s, or one for anything'
    )
    alignment: str | None = Field(
        None,
        description='stands for the descriptor in the text that CLIP compares with; "" removes it; '
        "default: class_word, of an outfit nothing",
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
        raise UserError("\n".join(dict.fromkeys(_sentence(problem, path) for problem in problems(error)))) from error


def _sentence(problem: Any, path: Path) -> str:
    location = tuple(problem["loc"])
    if "repeats" in location:  # pydantic adds which of the two kinds it means
        location = location[: location.index("repeats") + 1]
        problem = problem | {"msg": f'must be a whole number from 1 to {MANY} or "balance"'}
    known = Description.model_fields if len(location) == 1 else ConceptEntry.model_fields
    return sentence(problem | {"loc": location}, path, list(known))


# --- the file ---------------------------------------------------------------------------------------------------------


def written(description: Description, heading: str = "") -> str:
    """The text of a dataset.toml that says the same; keys that say what is so anyway are left out."""
    top = [f"{key} = {_value(getattr(description, key))}" for key in _TOP if getattr(description, key)]
    tables = []
    for entry in description.concept:
        values = {"path": entry.path, "trigger": entry.trigger, "class_word": entry.class_word}
        values |= {key: value for key, value in entry.model_dump(exclude_defaults=True).items() if key not in values}
        tables.append("\n".join(["[[concept]]", *(f"{key} = {_value(value)}" for key, value in values.items())]))
    parts = ["\n".join(f"# {line}" for line in heading.splitlines()), "\n".join(top), *tables]
    return "\n\n".join(part for part in parts if part) + "\n"


_TOP = ("name", "revision", "license", "citation")


def _value(value: str | bool | int | list[str]) -> str:
    # A basic string of TOML is one of JSON, but for this character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
